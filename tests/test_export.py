"""The decoder as JSON: read back with NumPy alone it decodes as the model does."""

import base64
import json

import numpy as np
import pytest
import torch

import geoae
from geoae import latent
from geoae.export import decoder_json


def run(path, z):
    """What a browser does, in NumPy."""
    spec = json.loads(path.read_text())
    flat = np.frombuffer(
        base64.b64decode(spec["weights"]), "<f2" if spec["dtype"] == "float16" else "<f4"
    ).astype(float)
    at = 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return flat[at - int(np.prod(shape)) : at].reshape(shape)

    x = np.asarray(z, float)
    for layer in spec["layers"]:
        if layer["type"] == "Linear":
            x = take(*layer["shape"]) @ x.ravel() + take(layer["shape"][0])
        elif layer["type"] == "ConvTranspose1d":
            inward, outward, kernel = layer["shape"]
            w, bias = take(*layer["shape"]), take(outward)
            x = x.reshape(inward, -1)
            full = np.zeros((outward, (x.shape[1] - 1) * layer["stride"] + kernel + layer["output_padding"]))
            for i in range(x.shape[1]):
                full[:, i * layer["stride"] : i * layer["stride"] + kernel] += np.einsum(
                    "c,cok->ok", x[:, i], w
                )
            stop = full.shape[1] - layer["padding"]
            x = full[:, layer["padding"] : stop] + bias[:, None]
        elif layer["type"] == "relu":
            x = np.maximum(x, 0)
    assert at == len(flat)
    offset = np.frombuffer(base64.b64decode(spec["offset"]), "<f4")
    return (x.ravel() * spec["gain"] + offset).reshape(spec["channels"], spec["length"])


@pytest.mark.parametrize(("dtype", "off"), [("float32", 1e-5), ("float16", 5e-3)])
@pytest.mark.parametrize("network", ["dense", "conv"])
def test_the_file_decodes_as_the_model(network, dtype, off, tmp_path):
    x = geoae.synth.damped_oscillations(32)
    words = {"widths": (4, 6), "hidden": 8} if network == "conv" else {"widths": (16,)}
    model = geoae.autoencoder(like=x, latent=2, network=network, posterior="diagonal", **words)
    geoae.fit(model, x, epochs=3)
    decoder_json(model, tmp_path / "decoder.json", dtype=dtype)
    for z in np.random.default_rng(0).standard_normal((5, 2)):
        np.testing.assert_allclose(
            run(tmp_path / "decoder.json", z)[0], latent.decode(model, z[None])[0], atol=off
        )


def test_large_units_survive_half_precision(tmp_path):
    x = 1e6 * geoae.synth.damped_oscillations(32)
    model = geoae.autoencoder(like=x, latent=2, widths=(16,))
    geoae.fit(model, x, epochs=1)
    decoder_json(model, tmp_path / "decoder.json")
    z = np.array([0.3, -1.0])
    np.testing.assert_allclose(
        run(tmp_path / "decoder.json", z)[0], latent.decode(model, z[None])[0], atol=5e3
    )
    model.decoder[0].weight.data[0, 0] = 1e6
    with pytest.raises(
        ValueError, match="a weight of 1e\\+06 does not fit into float16; use dtype='float32'"
    ):
        decoder_json(model, tmp_path / "decoder.json")


def test_layers_a_browser_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a browser cannot run the layer GELU"):
        decoder_json(geoae.autoencoder(20, activation="gelu"), tmp_path / "d.json")
    with pytest.raises(ValueError, match="build with scale='global'"):
        decoder_json(geoae.autoencoder(20, scale="std"), tmp_path / "d.json")
    with pytest.raises(ValueError, match="dtype is 'int8'; choose from float16, float32"):
        decoder_json(geoae.autoencoder(20), tmp_path / "d.json", dtype="int8")
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()
