"""Score denoisers on mixes of known signals and noise: python tests/benchmarks/denoising.py

Without further words the mixes are made from what comes with ObsPy (a real local earthquake; noise of three
stations) and from synthetic earthquakes. ``--mixes file.npz`` takes others: arrays clean and noise (mix, 3,
samples) in order E, N, Z at 100 Hz, P onset p and end of the event in samples, and event (a number of each).
``--write`` puts the table into DENOISING.md beside this script, and the figure there, too.
"""

import argparse
from pathlib import Path

import numpy as np
import obspy
import pywt
import xarray as xr
from obspy.signal.trigger import recursive_sta_lta
from scipy.signal import resample_poly, wiener

import geoae
from geoae.denoising import bandpass, spectral_gate
from geoae.plot.style import titled

RATE = 100
SECONDS = 60
SNRS = (-5, 0, 5, 10)
MEASURES = ("gain", "si_snr", "cc", "peak", "pick")
OBSPY = Path(obspy.__file__).parent
HERE = Path(__file__).parent


# ------------------------------------------------------------------------------------------------ the mixes


def bundled(events: int = 23, seed: int = 0) -> dict[str, np.ndarray]:
    """Mixes of one real and some synthetic earthquakes with real noise; rms 1 over the event, and 1."""
    synthetic = geoae.synth.seismograms(events, rate=RATE, duration=SECONDS, distance=(5, 60), seed=seed)
    clean = [*synthetic.values.astype(float), _earthquake()]
    onset = [*np.round(synthetic["p"].values * RATE).astype(int).tolist(), 800]
    rng = np.random.default_rng(seed)
    noises = _noises()
    mixes = {"clean": [], "noise": [], "p": [], "end": [], "event": []}
    for number, (signal, p) in enumerate(zip(clean, onset, strict=True)):
        power = (signal**2).sum(0)[p:].cumsum()
        end = p + int(np.searchsorted(power, 0.95 * power[-1]))
        for noise in (noises[number % len(noises)], noises[(number + 1) % len(noises)]):
            start = rng.integers(noise.shape[-1] - SECONDS * RATE + 1)
            piece = noise[:, start : start + SECONDS * RATE]
            mixes["clean"].append(signal / np.sqrt((signal[:, p:end] ** 2).mean()))
            mixes["noise"].append(piece / np.sqrt((piece**2).mean()))
            mixes["p"].append(p)
            mixes["end"].append(end)
            mixes["event"].append(number)
    return {name: np.array(values) for name, values in mixes.items()}


def _earthquake() -> np.ndarray:
    """BW.RJOB, 2009-08-24, P 8 s after the start; silence before and after what there is of it."""
    stream = obspy.read().detrend("linear").filter("highpass", freq=1, corners=2, zerophase=True)
    values = np.stack([stream.select(component=c)[0].data for c in "ENZ"])
    values[:, :420] *= np.linspace(0, 1, 420) ** 4  # its own noise before P
    out = np.zeros((3, SECONDS * RATE))
    out[:, 340 : 340 + values.shape[-1]] = values
    return out


def _noises() -> list[np.ndarray]:
    """Noise of three stations at 100 Hz; where there is one component, three other times stand for three."""
    noises = []
    for name in ("ref_STS2", "ref_unknown"):
        trace = obspy.read(str(OBSPY / "signal/tests/data" / name), format="MSEED")[0]
        third = len(trace) // 3
        noises.append(np.stack([trace.data[i * third : (i + 1) * third] for i in range(3)]).astype(float))
    path = OBSPY / "io/seisan/tests/data/2005-07-23-1452-04S.CER___030.mseed"
    stream = obspy.read(str(path), format="MSEED")
    noises.append(np.stack([stream.select(component=c)[0].data for c in "ENZ"]).astype(float))
    out = []
    for values, (up, down) in zip(noises, ((1, 2), (1, 2), (2, 3)), strict=True):
        values = resample_poly(values - values.mean(-1, keepdims=True), up, down, axis=-1)
        record = xr.DataArray(values, {"time": np.arange(values.shape[-1]) / RATE}, ("channel", "time"))
        out.append(bandpass(record, 0.5, 45, corners=2).values)
    return out


# ---------------------------------------------------------------------------------------------- the methods


def labelled(x: np.ndarray) -> xr.DataArray:
    time = np.arange(x.shape[-1]) / RATE
    return xr.DataArray(x, {"channel": list("ENZ"), "time": time}, ("trace", "channel", "time"))


def wavelet(x: np.ndarray) -> np.ndarray:
    """Soft thresholds of Donoho and Johnstone on symlets, the threshold of each level from its median."""
    coarse, *fine = pywt.wavedec(x, "sym8", mode="symmetric", level=7, axis=-1)
    out = [np.zeros_like(coarse)]
    for level in fine:
        sigma = np.median(np.abs(level), -1, keepdims=True) / 0.6745
        above = np.abs(level) - sigma * np.sqrt(2 * np.log(level.shape[-1]))
        out.append(np.sign(level) * np.maximum(above, 0))
    return pywt.waverec(out, "sym8", mode="symmetric", axis=-1)[..., : x.shape[-1]]


def local_wiener(x: np.ndarray) -> np.ndarray:
    """SciPy's adaptive filter over 0.29 s."""
    with np.errstate(invalid="ignore", divide="ignore"):  # silence around the real earthquake
        return np.nan_to_num([[wiener(component, 29) for component in record] for record in x])


def singular_spectrum(x: np.ndarray, lags: int = 50, keep: int = 12) -> np.ndarray:
    """Principal components of the three components and their past half second together (SSA)."""
    out = np.empty_like(x)
    n = x.shape[-1] - lags + 1
    for i, record in enumerate(x):
        past = np.stack([record[:, k : k + n] for k in range(lags)], 1).reshape(-1, n)  # component, lag
        values, vectors = np.linalg.eigh(past @ past.T)
        vectors = vectors[:, np.argsort(values)[-keep:]]
        back = (vectors @ (vectors.T @ past)).reshape(len(record), lags, n)
        total, count = np.zeros_like(record), np.zeros(record.shape[-1])
        for k in range(lags):
            total[:, k : k + n] += back[:, k]
            count[k : k + n] += 1
        out[i] = total / count
    return out


def methods(model: str | None) -> dict:
    return {
        "identity": lambda x: x,
        "band-pass 1 to 20 Hz": lambda x: bandpass(labelled(x), 1, 20).values,
        "wavelet": wavelet,
        "Wiener": local_wiener,
        "SSA": singular_spectrum,
        "spectral gate": lambda x: spectral_gate(labelled(x)).values,
        "geoae": lambda x: geoae.denoise(x, model, rate=RATE),
    }


# ----------------------------------------------------------------------------------------------- the scores


def decibel(a, b):
    return 10 * np.log10((a + 1e-30) / (b + 1e-30))


def onset(z: np.ndarray, p: int) -> int | None:
    """First sample within a second of P where short over long average (0.3 s, 3 s) exceeds 4."""
    z = z + 1e-3 * np.abs(z).max() * np.random.default_rng(0).standard_normal(len(z))
    ratio = recursive_sta_lta(z, RATE * 3 // 10, RATE * 3)
    begin = max(0, p - RATE)
    above = np.flatnonzero(ratio[begin : p + RATE] > 4)
    return begin + int(above[0]) if len(above) else None


def scores(s: np.ndarray, x: np.ndarray, y: np.ndarray, p: int, end: int) -> dict[str, float]:
    """Measures of one mix: clean s, noisy x, denoised y, all (3, samples); the event is p to end."""
    w = slice(p, end)
    scale = (s * y).sum(-1, keepdims=True) / (s * s).sum(-1, keepdims=True)
    wanted, got = onset(s[2], p), onset(y[2], p)
    with np.errstate(invalid="ignore", divide="ignore"):
        cc = np.nan_to_num([np.corrcoef(a, b)[0, 1] for a, b in zip(s[:, w], y[:, w], strict=True)])
    peaks, truth = (np.abs(v[:, w]).max(-1) for v in (y, s))
    hit = wanted is not None and got is not None and abs(got - wanted) <= RATE // 2
    return {
        "gain": decibel(((s - x)[:, w] ** 2).sum(), ((s - y)[:, w] ** 2).sum()),
        "si_snr": decibel(((scale * s) ** 2).sum(), ((y - scale * s) ** 2).sum()),
        "cc": float(np.mean(cc)),
        "peak": float(np.median(np.abs(peaks - truth) / truth) * 100),
        "pick": np.nan if wanted is None else 100.0 * hit,
    }


def summary(values: np.ndarray, events: np.ndarray, measure: str, seed: int = 0) -> tuple[float, float]:
    """Median over mixes (picks: mean) and half the 95 % interval of a bootstrap by event."""
    middle = np.nanmean if measure == "pick" else np.nanmedian
    rng, names = np.random.default_rng(seed), np.unique(events)
    rows = [np.flatnonzero(events == name) for name in names]
    draws = [
        middle(values[np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])])
        for _ in range(300)
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(middle(values)), float(high - low) / 2


def judge(name: str, method, mixes: dict) -> dict:
    s, n = mixes["clean"].astype(float), mixes["noise"].astype(float)
    result: dict = {"name": name}
    for snr in SNRS:
        x = s + 10 ** (-snr / 20) * n
        y = np.asarray(method(x), float)
        rows = [scores(*four) for four in zip(s, x, y, mixes["p"], mixes["end"], strict=True)]
        result[snr] = {
            key: summary(np.array([row[key] for row in rows]), mixes["event"], key) for key in MEASURES
        }
    off = [decibel((a**2).sum(), (b**2).sum()) for a, b in zip(n, method(n), strict=True)]
    harm = [decibel((a**2).sum(), ((a - b) ** 2).sum()) for a, b in zip(s, method(s), strict=True)]
    result |= {"off noise": float(np.median(off)), "clean in": min(float(np.median(harm)), 99.0)}
    return result


def table(results: list[dict]) -> str:
    lines = [
        "| method | " + " | ".join(f"{snr} dB" for snr in SNRS) + " | off noise | clean in |",
        "|" + "---|" * (len(SNRS) + 3),
    ]
    for r in results:
        cells = [
            f"{r[s]['gain'][0]:.1f} ± {r[s]['gain'][1]:.1f} / {r[s]['si_snr'][0]:.1f} / "
            f"{r[s]['cc'][0]:.2f} / {r[s]['peak'][0]:.0f} / {r[s]['pick'][0]:.0f}"
            for s in SNRS
        ]
        lines.append(f"| {r['name']} | {' | '.join(cells)} | {r['off noise']:.0f} | {r['clean in']:.0f} |")
    return "\n".join(lines)


def figure(results: list[dict]):
    drawn = titled("Denoisers on mixes of known signals and noise", 7.2, 3.2)
    names = {"gain": "event SNR gain [dB]", "si_snr": "scale-invariant SNR [dB]", "pick": "P picks kept [%]"}
    for place, (key, words) in enumerate(names.items(), 1):
        ax = drawn.add_subplot(1, 3, place)
        for r in results:
            middle, half = np.array([r[s][key] for s in SNRS]).T
            ax.errorbar(SNRS, middle, half, label=r["name"], linewidth=2.2 if r["name"] == "geoae" else 1)
        ax.set_xlabel("SNR of the mix [dB]")
        ax.set_title(words, fontsize="small")
    ax.legend(frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return drawn


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--mixes", help="npz file")
    words.add_argument("--model", help="file of a model; the shipped one if left out")
    words.add_argument("--only", nargs="*", help="names of methods")
    words.add_argument("--write", action="store_true", help="into DENOISING.md and a figure")
    asked = words.parse_args()
    mixes = dict(np.load(asked.mixes)) if asked.mixes else bundled()
    results = []
    for name, method in methods(asked.model).items():
        if not asked.only or name in asked.only:
            results.append(judge(name, method, mixes))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    if asked.write:
        readme = HERE / "DENOISING.md"
        begin, end = "<!-- denoising -->\n", "<!-- /denoising -->"
        before, rest = readme.read_text().split(begin)
        readme.write_text(before + begin + table(results) + "\n" + end + rest.split(end)[1])
        figure(results).savefig(HERE / "denoising.png", dpi=130)


if __name__ == "__main__":
    main()
