"""Denoise seismic sections trace by trace: python tests/benchmarks/reflections.py FILE.sgy ... -o FOLDER

The model is trained on synthetic reflections and noise only. For each section it writes a picture of before,
after and the difference, and prints what was taken off and how much that looks like the signal.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.io

import geoae
from geoae.plot.style import titled

RATE = 250.0
LENGTH = 256


def trained(traces: int, epochs: int, seed: int = 0):
    """A one-component denoiser of windows of one second."""
    drawn = geoae.synth.reflections(traces, layers=20, rate=RATE, duration=LENGTH / RATE, seed=seed)
    clean = drawn["seismogram"].astype("float32")
    noise = geoae.noise.coloured((256, 1, 2 * LENGTH), exponent=0.5, rate=RATE, seed=seed)
    model = geoae.denoiser(like=clean, kind="time", widths=(8, 16, 32), seed=seed)
    corrupt = geoae.AddNoise(noise, snr_db=(-5, 20))
    history = geoae.fit(model, clean, corrupt=corrupt, epochs=epochs, batch=32, valid=0.1, seed=seed)
    print(f"held-out loss {float(history.loss.sel(split='valid')[-1]):.3g}")
    return model


def section(path: Path) -> np.ndarray:
    """Traces (trace, time) of a section."""
    if path.suffix == ".mat":
        values = [v for v in scipy.io.loadmat(path).values() if getattr(v, "ndim", 0) == 2 and v.size > 1000]
        return values[0].T.astype(float)
    if path.suffix == ".npy":
        return np.load(path).astype(float)
    return np.asarray(geoae.read(path).values, float)


def picture(name: str, before: np.ndarray, after: np.ndarray):
    figure = titled(name, 10, 4)
    limit = np.percentile(np.abs(before), 98)
    for place, (words, values) in enumerate(
        {"before": before, "after": after, "difference": before - after}.items(), 1
    ):
        ax = figure.add_subplot(1, 3, place)
        ax.imshow(values.T, aspect="auto", cmap="gray", vmin=-limit, vmax=limit)
        ax.set(title=words, xlabel="trace", ylabel="sample")
    return figure


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("files", nargs="+", type=Path)
    words.add_argument("-o", "--output", type=Path, default=Path())
    words.add_argument("--traces", type=int, default=1500)
    words.add_argument("--epochs", type=int, default=15)
    asked = words.parse_args()
    model = trained(asked.traces, asked.epochs)
    for path in asked.files:
        before = section(path)
        after = geoae.denoise(before[:, None], model, rate=RATE)[:, 0]
        taken = before - after
        share = 100 * (taken**2).sum() / (before**2).sum()
        alike = np.corrcoef(after.ravel(), taken.ravel())[0, 1]
        # neighbours are alike where there are reflections, and not where there is noise
        coherent = [np.corrcoef(v[:-1].ravel(), v[1:].ravel())[0, 1] for v in (before, after, taken)]
        print(
            f"{path.name}: {before.shape}, {share:.1f} % of the power taken off, correlation with what was "
            f"kept {alike:.2f}; of neighbours before {coherent[0]:.2f}, after {coherent[1]:.2f}, taken off "
            f"{coherent[2]:.2f}",
            flush=True,
        )
        picture(path.name, before, after).savefig(asked.output / f"{path.stem}.png", dpi=80)


if __name__ == "__main__":
    main()
