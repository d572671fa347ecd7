"""The jobs of the README, as a user types them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import obspy
import pytest
import xarray as xr

import geoae

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_which_latent_holds_stiffness_and_which_damping():
    x = geoae.synth.damped_oscillations((12, 12), k=(5, 10), b=(0.5, 1.0), t=np.linspace(0, 10, 50))
    model = geoae.autoencoder(like=x, latent=3, network="dense", widths=(32,), posterior="diagonal")
    history = geoae.fit(model, x, geoae.Objective(kl=1.0), epochs=20, batch=32, seed=0)
    codes = geoae.encode(x, model)
    codes = codes.assign_coords(omega=np.sqrt(codes.k - codes.b**2 / 4))
    table = geoae.latent.attribute(codes, ["k", "b", "omega"])
    verdict = geoae.latent.verdict(table)
    assert set(verdict) == {"k", "b", "omega"}
    assert geoae.latent.traverse(model, latent=0, span=(-3, 3), steps=9).sizes == {"step": 9, "time": 50}
    assert geoae.generate(model, 16, seed=0).sizes == {"trace": 16, "time": 50}
    for figure in (
        geoae.plot.attribution(table),
        geoae.plot.codes(codes, colour="k"),
        geoae.plot.history(history),
    ):
        assert figure.axes


def test_a_denoiser_from_clean_signals_and_noise_gives_back_what_came_in(tmp_path):
    clean = geoae.synth.seismograms(16, rate=100.0, duration=10.24)
    noise = xr.DataArray(geoae.noise.coloured((8, 3, 2048), exponent=1.0), dims=("trace", "channel", "time"))
    model = geoae.denoiser(like=clean, widths=(8, 8))
    corrupt = geoae.AddNoise(noise, snr_db=(-10, 20))
    geoae.fit(model, clean, corrupt=corrupt, valid=0.2, patience=10, epochs=3, batch=8)
    geoae.save(model, tmp_path / "mine.safetensors")

    stream = obspy.read()
    stream_out = geoae.denoise(stream, tmp_path / "mine.safetensors")
    stream_out.write(str(tmp_path / "clean.mseed"), format="MSEED")
    signal, noise = geoae.denoise(stream, model, return_noise=True)
    for a, b, n, x in zip(stream_out, signal, noise, stream, strict=True):
        assert (a.data == b.data).all()
        np.testing.assert_allclose(b.data + n.data, x.data, atol=1e-9)
    record = geoae.read(tmp_path / "clean.mseed")
    again = geoae.to_stream(record.pipe(geoae.denoise, model))
    np.testing.assert_allclose(again[0].data, geoae.denoise(stream_out, model)[0].data, atol=1e-3)
    assert geoae.plot.before_after(stream, stream_out).axes


@pytest.mark.slow
def test_the_readmes_python_runs_as_it_stands(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert re.search(r"k: z\d \(R2 0.9", out.stdout)
    assert (tmp_path / "clean.mseed").exists()


@pytest.mark.slow
def test_another_seed_moves_the_latents_and_not_the_answer(tmp_path):
    latents = set()
    for seed in range(3):
        lines = []
        geoae.demo.demo(tmp_path / str(seed), seed=seed, say=lines.append)
        said = "\n".join(lines)
        k, b = (re.search(rf"{name}: (z\d) \(R2 0\.9\d", said).group(1) for name in "kb")
        idle = re.search(r"(z\d): inactive", said).group(1)
        assert {k, b, idle} == {"z0", "z1", "z2"}
        assert re.search(r"slope: z\d \(R2 (1.00|0.9)", said)
        latents.add((k, b, idle))
    assert len(latents) > 1


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda x, m: geoae.autoencoder(x), "length is a DataArray; give traces to be like as like=traces"),
        (lambda x, m: geoae.fit(x, m), r"model is a DataArray; the model comes first: fit\(model, data\)"),
        (
            lambda x, m: geoae.fit(m, x.values),
            "data is a ndarray; wanted labelled traces, such as xr.DataArray",
        ),
        (
            lambda x, m: geoae.fit(m, x, "kl"),
            r"objective is 'kl'; wanted one such as geoae.Objective\(kl=1\)",
        ),
        (lambda x, m: geoae.fit(m, x, geoae.Objective), "wanted one such as geoae.Objective"),
        (lambda x, m: geoae.Objective("kl"), "positional"),
        (lambda x, m: geoae.save("m.safetensors", m), r"model is a str; the model comes first: save\(model"),
        (lambda x, m: geoae.encode(m, x), r"the traces come first: encode\(data, model\)"),
        (lambda x, m: geoae.encode(x, None), "a NoneType has no latents"),
        (lambda x, m: geoae.encode(x.values, m), "data is a ndarray; wanted labelled traces"),
        (lambda x, m: geoae.latent.attribute(x, ["k"]), r"DataArray without latents; use geoae.encode\(data"),
        (lambda x, m: geoae.latent.verdict(x), "no table of answers; use geoae.latent.attribute"),
        (
            lambda x, m: geoae.denoise("day.mseed"),
            r"cannot denoise a str; .*such as geoae.read\('day.mseed'\)",
        ),
    ],
)
def test_what_is_in_the_wrong_place_is_told_with_what_was_wanted(mistake, words, oscillations, vae):
    with pytest.raises(TypeError, match=words):
        mistake(oscillations, vae)
