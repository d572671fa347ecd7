"""The decoder as JSON: read back with NumPy alone it decodes as the model does."""

import base64
import json

import numpy as np
import pytest
import torch
from torch import nn

import geoae
from geoae import latent
from geoae.export import decoder_json

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), {"float16": "<f2", "float32": "<f4"}[dtype]).astype(float)


def run(path, z):
    """What a browser does, in NumPy."""
    spec = json.loads(path.read_text())
    flat, at = numbers(spec["weights"], spec["dtype"]), 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return flat[at - int(np.prod(shape)) : at].reshape(shape)

    x = np.asarray(z, float)
    for layer in spec["layers"]:
        if layer["type"] == "Linear":
            x = take(*layer["shape"]) @ x.ravel()
            x = x + take(layer["shape"][0]) if layer["bias"] else x
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
        else:
            x = ACTIVATIONS[layer["type"]](x)
    assert at == len(flat)
    offset = numbers(spec["offset"], "float32")
    return (x.ravel() * spec["gain"] + offset).reshape(spec["channels"], spec["length"])


@pytest.fixture
def x():
    return geoae.synth.damped_oscillations(32)


@pytest.mark.parametrize(("dtype", "off"), [("float32", 1e-5), ("float16", 5e-3)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "silu"])
@pytest.mark.parametrize("network", ["dense", "conv", "linear"])
def test_the_file_decodes_as_the_model(x, network, activation, dtype, off, tmp_path):
    words = {"widths": (4, 6), "hidden": 8} if network == "conv" else {}
    if network != "linear":
        words["activation"] = activation
    model = geoae.autoencoder(like=x, latent=2, network=network, posterior="diagonal", **words)
    geoae.fit(model, x, epochs=2)
    decoder_json(model, tmp_path / "decoder.json", dtype=dtype)
    for z in np.random.default_rng(0).standard_normal((5, 2)):
        np.testing.assert_allclose(
            run(tmp_path / "decoder.json", z)[0], latent.decode(model, z[None])[0], atol=off
        )


def test_probabilities_come_out_of_a_bernoulli_decoder(tmp_path):
    model = geoae.autoencoder(20, latent=2, widths=(8,), likelihood="bernoulli", scale="none")
    model.scale = geoae.nn.SetScale(1, 20)
    decoder_json(model, tmp_path / "decoder.json")
    z = np.array([2.0, -1.0])
    decoded = run(tmp_path / "decoder.json", z)[0]
    np.testing.assert_allclose(decoded, latent.decode(model, z[None])[0], atol=1e-6)
    assert ((decoded > 0) & (decoded < 1)).all()


def test_examples_come_along_with_codes_and_parameters(x, tmp_path):
    model = geoae.autoencoder(like=x, latent=2, widths=(16,), posterior="diagonal")
    geoae.fit(model, x, epochs=1)
    codes = geoae.encode(x, model)
    decoder_json(model, tmp_path / "decoder.json", traces=x, codes=codes)
    examples = json.loads((tmp_path / "decoder.json").read_text())["examples"]
    assert (numbers(examples["traces"], "float32").reshape(32, 50) == x.values.astype("f4")).all()
    assert (numbers(examples["mean"], "float32").reshape(32, 2) == codes["mean"].values).all()
    np.testing.assert_allclose(examples["kl"], codes.kl.mean("trace"), atol=1e-4)
    np.testing.assert_allclose(examples["parameters"]["k"]["values"], x.k, rtol=1e-3)
    assert examples["parameters"]["b"]["units"] == "N s m-1"
    for words in ({"traces": x}, {"codes": codes}, {"traces": x[:5], "codes": codes}):
        with pytest.raises(ValueError, match="codes=geoae.encode\\(traces, model\\)"):
            decoder_json(model, tmp_path / "other.json", **words)


def test_large_units_survive_half_precision(x, tmp_path):
    model = geoae.autoencoder(like=x, latent=2, widths=(16,))
    geoae.fit(model, 1e6 * x, epochs=1)
    decoder_json(model, tmp_path / "decoder.json", dtype="float16")
    z = np.array([0.3, -1.0])
    np.testing.assert_allclose(
        run(tmp_path / "decoder.json", z)[0], latent.decode(model, z[None])[0], atol=5e3
    )
    model.decoder[0].weight.data[0, 0] = 1e6
    with pytest.raises(
        ValueError, match="a number of 1e\\+06 does not fit into float16; use dtype='float32'"
    ):
        decoder_json(model, tmp_path / "decoder.json", dtype="float16")


@pytest.mark.parametrize(
    "layer",
    [
        nn.GELU(),
        nn.BatchNorm1d(3),
        nn.Conv1d(1, 1, 3, dilation=2),
        nn.ConvTranspose1d(2, 2, 3, groups=2),
        nn.Conv1d(1, 1, 3, padding="same"),
        nn.Conv1d(1, 1, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_layers_a_browser_does_not_know_are_refused(layer, tmp_path):
    model = geoae.autoencoder(20)
    model.decoder.append(layer)
    with pytest.raises(ValueError, match=f"a browser cannot run the layer {type(layer).__name__}"):
        decoder_json(model, tmp_path / "d.json")
    assert not list(tmp_path.iterdir())


def test_what_is_no_row_of_layers_in_known_units_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot run the decoder Tied; it needs layers in a row"):
        decoder_json(geoae.autoencoder(20, tied=True), tmp_path / "d.json")
    with pytest.raises(ValueError, match="build with scale='global'"):
        decoder_json(geoae.autoencoder(20, scale="std"), tmp_path / "d.json")
    with pytest.raises(ValueError, match="dtype is 'int8'; choose from float16, float32"):
        decoder_json(geoae.autoencoder(20), tmp_path / "d.json", dtype="int8")
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()
