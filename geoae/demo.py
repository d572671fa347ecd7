"""The main job from end to end: two latent spaces that explain themselves, and a denoised earthquake."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import xarray as xr

from . import io, latent, metrics, nn, noise, plot, synth
from .denoising import bandpass, denoise, spectral_gate
from .model import autoencoder, denoiser, save
from .train import expected_active_units, fit

LENGTH = 1920  # samples of the denoiser's window, 19.2 s
ADDED_DB = 0.0  # SNR of the earthquake with noise added


def demo(
    out: str | os.PathLike = "out",
    *,
    seed: int = 0,
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train two variational autoencoders and a denoiser, ask them, and write what came out.

    Into the folder `out` (made if need be): ``report.html``, ``denoised.mseed``, and the trained models.

    Parameters
    ----------
    out : path
        Folder for what is written.
    seed : int
        Of everything random: another seed gives other latent numbers and the same answers.
    progress : bool, optional
        Progress bars; by default on a terminal only.
    say : callable
        Takes each line of plain words.

    Returns
    -------
    report : Path
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    say(f"Computing on {nn.device()}.")
    facts: list[plot.Fact] = []
    sections = [
        _oscillations(out, seed, progress, say, facts),
        _lines(out, seed, progress, say, facts),
        *_earthquake(out, seed, progress, say, facts),
    ]
    say("\nDrawing the figures.")
    path = plot.report(
        out / "report.html",
        "geoae: what the latents hold, and an earthquake without its noise",
        sections,
        summary=facts,
        subtitle=f"geoae demo --seed {seed}. Every number here was computed by the run that wrote this page.",
    )
    say(f"The figures and numbers are in {path}; open it in a browser.")
    return path


# ------------------------------------------------------------------------------------ which latent is which


def _oscillations(out: Path, seed: int, progress, say, facts: list) -> plot.Section:
    say("\nDamped oscillations, stiffness k and damping b on a mesh: what do three latents hold?")
    x = synth.damped_oscillations((50, 50), k=(5, 10), b=(0.5, 1.0), t=np.linspace(0, 10, 50))
    model = autoencoder(like=x, latent=3, widths=(100, 100), posterior="diagonal", seed=seed)
    history = fit(model, x, epochs=100, restarts=4, seed=seed, progress=progress)
    save(model, out / "oscillations.safetensors")
    return _asked("Damped oscillations", x, model, history, ["k", "b"], seed, say, facts)


def _lines(out: Path, seed: int, progress, say, facts: list) -> plot.Section:
    say("\nLines y = slope x + intercept: what do two latents hold?")
    x = synth.lines((50, 50), slope=(0.5, 1.0), intercept=(5, 10), x=np.linspace(-10, 10, 50))
    model = autoencoder(
        like=x, latent=2, widths=(100, 100), decoder_widths=(100,), posterior="diagonal", seed=seed
    )
    history = fit(model, x, epochs=40, restarts=2, seed=seed, progress=progress)
    save(model, out / "lines.safetensors")
    return _asked("Lines", x, model, history, ["slope", "intercept"], seed, say, facts)


def _asked(title: str, x, model, history, parameters: list[str], seed: int, say, facts: list) -> plot.Section:
    """Encode, attribute, put into words, and draw."""
    table = latent.attribute(latent.encode(x, model.runs), parameters, seed=seed)
    verdict = latent.verdict(table)
    for line in str(verdict).splitlines():
        say(f"  {line}")
    facts += [
        plot.Fact(f"{title}: {name}", _where(verdict[name]), f"R² {verdict[name].effect:.2f}")
        for name in parameters
    ]
    text = (
        f"{x.sizes['trace']} traces of {x.sizes['time']} samples, a variational autoencoder with "
        f"{model.config['latent']} latents, the best "
        f"of {len(history.attrs['restart_losses'])} trainings by its evidence bound. The traces' spectrum "
        f"alone has room for {_units(x, model)} active latents at the last decoder variance."
    )
    more = ((plot.history(history), "Loss terms by epoch"),)
    return latent.section(title, x, model, table, text=text, more=more)


def _units(x: xr.DataArray, model) -> int:
    scaled = (x - x.mean("trace")) / float(model.scale.gain)
    return expected_active_units(scaled, float(model.likelihood.log_sigma.exp()))


def _where(answer: latent.Answer) -> str:
    names = [f"z{i}" for i in answer.latents]
    return {"either": " or ", "together": " + "}.get(answer.relation, "").join(names) or "not in the code"


# ----------------------------------------------------------------------------------------- the earthquake


def _earthquake(out: Path, seed: int, progress, say, facts: list) -> list[plot.Section]:
    say("\nA convolutional denoiser, trained on synthetic earthquakes and noise only:")
    model, history = _train_denoiser(seed, progress)
    save(model, out / "denoiser.safetensors")
    stream = obspy.read()  # a local earthquake at BW.RJOB, which comes with ObsPy
    section, rows = _with_noise_added(model, stream, seed)
    for name, before, after, _ in rows:
        say(f"  {name:<14} SNR {before:5.1f} dB in, {after:5.1f} dB out")
    gain = rows[0][2] - rows[0][1]
    facts.append(
        plot.Fact(
            "Earthquake, noise added", f"{gain:+.1f} dB", f"SNR {rows[0][1]:.1f} to {rows[0][2]:.1f} dB"
        )
    )
    sections = [section, _as_it_is(model, stream, out, say)]
    training = (
        "Half the squared error of each trace and a constant, on synthetic earthquakes that were held out "
        "(valid) and trained on (train)."
    )
    sections.append(
        plot.Section("How the denoiser was trained", training, ((plot.history(history), "Loss by epoch"),))
    )
    return sections


def _train_denoiser(seed: int, progress) -> tuple[Any, xr.Dataset]:
    events = synth.seismograms(768, rate=100.0, duration=LENGTH / 100, seed=seed)
    model = denoiser(like=events, seed=seed)
    history = fit(
        model,
        events,
        corrupt=noise.AddNoise(_noise(seed), snr_db=(-10, 20)),
        valid=0.1,
        epochs=8,
        batch=16,
        clip=1.0,
        seed=seed,
        progress=progress,
    )
    return model, history


def _noise(seed: int) -> np.ndarray:
    """Three-component noise (trace, channel, time) from white to deep red."""
    exponents = np.linspace(0, 3, 8)
    shape = (64, 3, 2 * LENGTH)
    return np.concatenate(
        [
            noise.coloured(shape, exponent=e, rate=100.0, seed=seed * len(exponents) + i)
            for i, e in enumerate(exponents)
        ]
    )


def _with_noise_added(model, stream: obspy.Stream, seed: int) -> tuple[plot.Section, list[tuple]]:
    """Known truth: the earthquake above 1 Hz, where its own noise is weak, with pink noise added."""
    clean = io.from_stream(stream.copy().filter("highpass", freq=1.0, corners=2, zerophase=True))
    added = noise.coloured((1, *clean.shape), exponent=1.0, rate=100.0, seed=seed + 10_000)[0]
    noisy = clean.copy(data=noise.mix(clean.values[None], added[None], ADDED_DB)[0])
    results = {
        "geoae": denoise(noisy, model),
        "band-pass": bandpass(noisy, 1.0, 20.0),
        "spectral gate": spectral_gate(noisy),
    }
    before = round(float(metrics.snr_db(clean, noisy)), 2)  # 0 dB to seven digits would read as 2.03e-07
    rows = [
        (name, before, float(metrics.snr_db(clean, y)), float(np.mean(metrics.correlation(clean, y))))
        for name, y in results.items()
    ]
    table = plot.Table(
        ("method", "SNR in [dB]", "SNR out [dB]", "correlation"), rows, "Three components jointly, 30 s."
    )
    text = (
        "A real local earthquake (station BW.RJOB, 2009-08-24), high-passed at 1 Hz, with pink noise "
        "added to a "
        f"signal-to-noise ratio of {ADDED_DB:g} dB. The network has seen synthetic earthquakes only; "
        f"the band-pass is 1 to "
        "20 Hz, the spectral gate works on windows of 1 s."
    )
    figures = (
        (
            plot.before_after(noisy, results["geoae"], clean),
            "Three components with noise, denoised, and as they were",
        ),
        (plot.spectrograms(noisy, results["geoae"]), "Spectrograms before and after"),
    )
    return plot.Section("An earthquake with noise added", text, figures, (table,)), rows


def _as_it_is(model, stream: obspy.Stream, out: Path, say) -> plot.Section:
    path = out / "denoised.mseed"
    denoised = denoise(stream, model)
    io.write(denoised, path)
    again = obspy.read(path, format="MSEED")
    same = all(
        (a.id, a.stats.starttime, a.stats.npts) == (b.id, b.stats.starttime, b.stats.npts)
        for a, b in zip(stream, again, strict=True)
    )
    if not same:
        raise ValueError(f"{path} does not read back with the ids and times of the record it was made from")
    say(
        f"  The record as it is, denoised: {path}; ObsPy reads back {len(again)} traces with the same "
        f"ids and times."
    )
    text = (
        "The same record as it was measured, microseism and all, and what the denoiser leaves of it. "
        "There is no truth to "
        "compare with here: look at what was taken off."
    )
    figures = (
        (plot.before_after(stream, denoised), "The record before and after, and what was taken off"),
        (plot.spectrograms(stream, denoised), "Spectrograms before and after"),
    )
    return plot.Section("The record as it is", text, figures)
