"""Train the denoiser that comes with geoae.

    python data/denoiser/train.py MIXES.npz RECORDS/ MORE/ ... -o denoiser.safetensors

MIXES.npz holds sig3c (event, 3, time) and sig1c (event, time), each with P samples (sig3c_p) and stations
(sig3c_station), and noise3c (trace, 3, 6000) with noise_station; RECORDS are folders of three-component
records that ObsPy reads, of earthquakes or of noise. README.md tells where the ones came from that the
shipped weights saw. With `--start` the training goes on from a model's weights, in smaller steps.

The loop is not `geoae.fit`, because here clean and noisy traces are both drawn anew at each step: an event is
turned, stretched and put somewhere else, what lies before its P wave is taken off the answer but not off the
question. Everything random comes from the seed.
"""

import argparse
import json
from collections import defaultdict
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import torch
from obspy.signal.trigger import recursive_sta_lta
from scipy import signal
from scipy.ndimage import uniform_filter1d
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

import geoae
from geoae.io import ENZ

RATE = 100
STRETCHES = ((4, 5), (9, 10), (1, 1), (10, 9), (5, 4))  # in time, as if recorded at 80 to 125 Hz
THREE = 0.85  # share of events of three components
LOUDEST = ("RN.BAVN", 0.22)  # wind turbines, in the band of earthquakes: the hardest noise, and its share
WEIGHTS = {"trace": 0.8, "event": 1.2, "onset": 0.2, "envelope": 0.25, "spectrum": 0.3, "peak": 0.2}

# ------------------------------------------------------------------------------------------------- data


def records(folder: Path) -> tuple[list[tuple[np.ndarray, int, str]], list[tuple[np.ndarray, str]]]:
    """Events with their P sample and station, and noise with its station, of all records in a folder."""
    events, noise = [], []
    for station, traces in instruments(folder):
        x = prepare(traces)
        if x is not None:
            starts = onsets(x)
            events += [(*event, station) for p in starts if (event := event_at(x, p))]
            noise += [(piece, station) for piece in quiet(x, starts)]
    return events, noise


def instruments(folder: Path) -> list[tuple[str, list[obspy.Trace]]]:
    """Station and the components E, N and Z of each record of an instrument that has all three."""
    found: dict[tuple, dict] = defaultdict(dict)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            stream = obspy.read(path).merge()
        except TypeError:  # what ObsPy says of a file that holds no waveforms
            continue
        for trace in stream:
            whole = not np.ma.isMaskedArray(trace.data) and trace.stats.npts >= 25 * trace.stats.sampling_rate
            if whole and trace.stats.sampling_rate >= 40 and trace.id[-1] in ENZ:
                start = str(trace.stats.starttime)[:16]
                found[trace.id[:-1], start][ENZ[trace.id[-1]]] = trace
    return [
        (f"{traces[0].stats.network}.{traces[0].stats.station}", [traces[i] for i in range(3)])
        for traces in found.values()
        if len(traces) == 3
    ]


def prepare(traces: list[obspy.Trace]) -> np.ndarray | None:
    """Values at 100 Hz above 0.5 Hz; None if the record is short, dead or clipped."""
    start, end = max(t.stats.starttime for t in traces), min(t.stats.endtime for t in traces)
    rate = round(traces[2].stats.sampling_rate)
    n = int((end - start) * rate)
    if n < 25 * rate:
        return None
    x = np.stack([t.copy().trim(start, end).data[:n].astype(float) for t in traces])
    largest = abs(x - np.median(x, -1, keepdims=True))
    clipped = (largest > 0.98 * largest.max(-1, keepdims=True)).mean(-1).max()
    if clipped > 0.003 or (np.diff(x) == 0).mean() > 0.2:
        return None
    ratio = Fraction(RATE, rate)
    x = signal.resample_poly(signal.detrend(x), ratio.numerator, ratio.denominator, axis=-1)
    return signal.sosfiltfilt(signal.butter(2, 0.5, "highpass", fs=RATE, output="sos"), x)


def onsets(x: np.ndarray) -> list[int]:
    """Samples where something begins: STA/LTA of the components, then Akaike's criterion on their size."""
    still = 1e-3 * x.std(-1, keepdims=True) * np.random.default_rng(0).standard_normal(x.shape)
    trigger = np.max([recursive_sta_lta(row, RATE // 2, 10 * RATE) for row in x + still], 0)
    trigger[: 3 * RATE] = 0
    found, hot = [], np.flatnonzero(trigger > 4.5)
    while len(hot):
        first = max(0, hot[0] - 250)
        energy = np.cumsum((x[:, first : hot[0] + 50] ** 2).sum(0))
        k, n = np.arange(20, len(energy) - 20), len(energy)
        before, after = energy[k] / k, (energy[-1] - energy[k]) / (n - k)
        criterion = k * np.log(before + 1e-30) + (n - k) * np.log(after + 1e-30)
        found.append(first + int(k[criterion.argmin()]) - 8)
        hot = hot[hot > hot[0] + 8 * RATE]
    return found


def event_at(x: np.ndarray, p: int) -> tuple[np.ndarray, int] | None:
    """A record of the event that begins at `p` until it is down in the noise again; None if it is not clear.

    Clear is one that stands 15 dB above what comes before, begins sharply and grows to its peak unbroken.
    """
    before, rest = x[:, max(RATE, p - 15 * RATE) : p - 10], x[:, p : p + 70 * RATE]
    if before.shape[1] < 2.5 * RATE or rest.shape[1] < 8 * RATE:
        return None
    floor = (before**2).sum(0).mean()
    level = uniform_filter1d((rest**2).sum(0), 2 * RATE, mode="constant")
    peak = int(level.argmax())
    over = np.flatnonzero(level[peak:] < 2 * floor)
    stop = p + (peak + int(over[0]) if len(over) else rest.shape[1])
    if (
        peak > 25 * RATE
        or (level[RATE:peak] < 4 * floor).any()
        or (rest[:, :RATE] ** 2).sum(0).mean() < 6 * floor
    ):
        return None
    after = x[:, p : event_end(x[:, :stop], p)]
    snr_db = 10 * np.log10((after**2).mean(-1) / (before**2).mean(-1)).min()
    if stop - p < 3 * RATE or after.shape[1] < RATE or snr_db < 15:
        return None
    first = max(RATE, p - 10 * RATE)
    event = x[:, first : stop + 3 * RATE] * signal.windows.tukey(
        min(stop + 3 * RATE, x.shape[1]) - first, 0.1
    )
    return event, p - first


def quiet(x: np.ndarray, starts: list[int]) -> list[np.ndarray]:
    """Pieces of up to a minute between events, in which no second is much louder than the others."""
    still = np.ones(x.shape[1], bool)
    still[:RATE] = still[-RATE:] = False
    for p in starts:
        still[max(0, p - RATE) : p + 30 * RATE] = False
    edges = np.flatnonzero(np.diff(np.r_[0, still.astype(int), 0]))
    long = x.shape[1] > 10 * 60 * RATE
    pieces = [
        x[:, first : min(first + 60 * RATE, last)]
        for begin, last in edges.reshape(-1, 2)
        for first in range(begin, last - 15 * RATE, 60 * RATE)
    ]
    return [w for w in pieces if abs(w).max() < 12 * w.std() and steady(w)][: 20 if long else 3]


def steady(x: np.ndarray) -> bool:
    """Whether no second holds four times the usual power from 1 to 20 Hz, as a small earthquake would."""
    band = signal.sosfiltfilt(signal.butter(2, (1, 20), "bandpass", fs=RATE, output="sos"), x)
    power = uniform_filter1d((band**2).sum(0), RATE)
    return bool(power.max() < 4 * np.median(power))


def event_end(x: np.ndarray, p: int) -> int:
    """Where 95 % of the energy after P has come."""
    energy = np.cumsum((x[:, p:] ** 2).sum(0))
    return p + int(np.searchsorted(energy, 0.95 * energy[-1])) + 1


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x, dtype=float).mean() + 1e-30))


def stretched(x: np.ndarray) -> list[np.ndarray]:
    return [signal.resample_poly(x, up, down, axis=-1).astype(np.float32) for up, down in STRETCHES]


def by_station(items: list[tuple]) -> np.ndarray:
    """How often to draw each, so that a station counts as the root of its number of records."""
    _, which, counts = np.unique([item[-1] for item in items], return_inverse=True, return_counts=True)
    weights = counts[which] ** -0.5
    return weights / weights.sum()


class Mixes:
    """Endless noisy windows and what they should become."""

    def __init__(self, file: Any, found: list[tuple[list, list]], length: int, seed: int):
        three = [*zip(file["sig3c"], file["sig3c_p"], file["sig3c_station"], strict=True)]
        three += [event for events, _ in found for event in events]
        one = zip(file["sig1c"], file["sig1c_p"], file["sig1c_station"], strict=True)
        one = [(x[None], p, station) for x, p, station in one]
        self.events = []
        for x, p, _ in three + one:
            ends = event_end(x, p)
            scaled = stretched(x / rms(x[:, p:ends]))
            marks = [(p * up // down, ends * up // down) for up, down in STRETCHES]
            self.events.append(list(zip(scaled, marks, strict=True)))
        self.shares = np.r_[THREE * by_station(three), (1 - THREE) * by_station(one)]
        noise = [*zip(file["noise3c"], file["noise_station"], strict=True)]
        noise += [piece for _, pieces in found for piece in pieces]
        self.pieces = [stretched(x - x.mean(-1, keepdims=True)) for x, _ in noise]
        loudest, share = np.array([station == LOUDEST[0] for _, station in noise]), by_station(noise)
        share[loudest] *= LOUDEST[1] / share[loudest].sum()
        share[~loudest] *= (1 - LOUDEST[1]) / share[~loudest].sum()
        self.noise_shares = share
        self.length, self.rng = length, np.random.default_rng(seed)
        self.frequency = np.fft.rfftfreq(length, 1 / RATE)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def piece(self) -> np.ndarray:
        """Noise from somewhere, mirrored where it is too short."""
        pieces = self.pieces[self.rng.choice(len(self.pieces), p=self.noise_shares)]
        x = pieces[self.rng.integers(len(pieces))]
        first = self.rng.integers(max(x.shape[-1], round(1.3 * self.length)) - self.length + 1)
        index = (first + np.arange(self.length)) % (2 * x.shape[-1])
        x = x[:, np.minimum(index, 2 * x.shape[-1] - 1 - index)]
        x = x[:, ::-1] if self.chance(0.5) else x
        x = x[self.rng.permutation(3)] if self.chance(0.3) else x
        return x * (self.rng.choice([-1, 1]) / rms(x))

    def noise(self) -> np.ndarray:
        """Noise of unit rms: recorded, mixed, coloured, of other phases, with lines, of changing size."""
        rng, n = self.rng, self.length
        x = self.piece()
        if self.chance(0.45):
            x = x + rng.uniform(0.2, 1) * self.piece()
        if self.chance(0.6):
            spectrum = np.fft.rfft(x)
            if self.chance(0.6):
                spectrum *= np.exp(1j * rng.uniform(0, 2 * np.pi, spectrum.shape[-1]))
            if self.chance(0.6):
                octaves = np.log2(np.maximum(self.frequency, 0.4) / 0.4)
                spectrum *= 10 ** (np.interp(octaves, np.linspace(0, 7, 6), rng.normal(0, 6, 6)) / 20)
            for _ in range(rng.integers(1, 5) if self.chance(0.25) else 0):
                line, width = np.exp(rng.uniform(np.log(0.8), np.log(40))), rng.uniform(0.02, 0.3)
                shape = np.exp(-0.5 * ((self.frequency - line) / width) ** 2)
                spectrum *= 1 + 10 ** rng.uniform(0.3, 1.5) * shape
            x = np.fft.irfft(spectrum, n)
        if self.chance(0.3):
            x = x * 10 ** (rng.normal(0, 3, (3, 1)) / 20)
        if self.chance(0.15):
            x = x * 10 ** (np.interp(np.arange(n), np.linspace(0, n, 5), rng.normal(0, 3, 5)) / 20)
        return x / rms(x)

    def event(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """An event as recorded, the same with silence before P, its P sample and its end in the window."""
        rng, n = self.rng, self.length
        which = rng.choice(len(self.events), p=self.shares)
        x, (p, ends) = self.events[which][rng.integers(len(STRETCHES))]
        if len(x) == 3:
            turn = rng.uniform(0, 2 * np.pi)
            c, s = np.cos(turn), np.sin(turn)
            x = np.stack([c * x[0] - s * x[1], s * x[0] + c * x[1], x[2]])
            x = x[rng.permutation(3)] if self.chance(0.1) else x
        elif self.chance(0.4):  # one live component
            x = x * np.eye(3)[rng.integers(3)][:, None]
        else:
            size = rng.uniform(0.3, 1.2, 3) * rng.choice([-1, 1], 3)
            x = np.stack(
                [g * np.roll(x[0], lag) for g, lag in zip(size, rng.integers(0, 25, 3), strict=True)]
            )
        x = self.path(x, p) if self.chance(0.3) else x
        x = x * rng.choice([-1, 1])
        cut = not self.chance(0.92)  # begun before the window
        at = -int(rng.uniform(0, 0.7) * (ends - p)) if cut else int(rng.uniform(0.02, 0.9) * n)
        shift = at - p
        first, last = max(0, shift), min(n, shift + x.shape[-1])
        recorded = np.zeros((3, n))
        recorded[:, first:last] = x[:, first - shift : last - shift]
        if shift > 0:
            recorded[:, first : first + 100] *= np.linspace(0, 1, 100)[: n - first]
        if last < n:
            fade = min(300, last - first)
            recorded[:, last - fade : last] *= np.linspace(1, 0, fade)
        clean = recorded.copy()
        if at > 0:
            ramp = max(0, at - 25)
            clean[:, :ramp] = 0
            clean[:, ramp:at] *= np.linspace(0, 1, at - ramp)
        at = max(at, 0)
        return recorded, clean, at, min(max(ends + shift, at + 100), n)

    def path(self, x: np.ndarray, p: int) -> np.ndarray:
        """As if it had come another way: a smooth change of its spectrum and of the sizes of components."""
        n, knots = x.shape[-1], np.linspace(0, 7, 5)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 0.4) / 0.4)
        gain = 10 ** (np.interp(octaves, knots, self.rng.normal(0, 3, 5)) / 20)
        y = np.fft.irfft(np.fft.rfft(x) * gain, n) * 10 ** (self.rng.normal(0, 1.5, (len(x), 1)) / 20)
        return y * (rms(x[:, p:]) / rms(y[:, p:]))

    def window(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """What is seen, what is wanted, the P sample (-1 without an event) and the end of the event."""
        kind = self.rng.random()
        if kind < 0.15:
            noise = self.noise()
            return noise, 0 * noise, -1, self.length
        recorded, clean, p, ends = self.event()
        if self.chance(0.08):
            other, other_clean, _, _ = self.event()
            size = 10 ** self.rng.uniform(-1, 0.3)
            recorded, clean = recorded + size * other, clean + size * other_clean
        if kind < 0.2:  # nothing to do
            return recorded, recorded, p, ends
        live = recorded.any(1, keepdims=True)
        size = 10 ** (-self.rng.uniform(-10, 18) / 20)
        return live * (recorded + size * self.noise()), clean, p, ends

    def batch(self, count: int) -> list[Tensor]:
        """As many windows, each over about its rms; some with a gap or without a component."""
        windows = [self.window() for _ in range(count)]
        seen, wanted, p, ends = (np.stack(part) for part in zip(*windows, strict=True))
        for i in np.flatnonzero(self.rng.random(count) < 0.06):
            there = np.ones((3, self.length))
            if self.chance(0.5):
                there[self.rng.permutation(3)[: self.rng.integers(1, 3)]] = 0
            else:
                first = self.rng.integers(self.length)
                there[:, first : first + self.rng.integers(20, 1500)] = 0
            seen[i], wanted[i] = seen[i] * there, wanted[i] * there
        size = seen.std(-1, keepdims=True) ** 2
        size = np.sqrt(size.mean(1, keepdims=True)) + 1e-9
        size *= 10 ** (self.rng.normal(0, 0.5, size.shape) / 20)
        return [torch.from_numpy(v).float() for v in (seen / size, wanted / size)] + [
            torch.from_numpy(v) for v in (p, ends)
        ]


# ------------------------------------------------------------------------------------------------- loss


def decibel(error: Tensor, power: Tensor, noise: Tensor, where: Tensor, floor: float = 1e-3) -> Tensor:
    """Error over signal in tens of dB in a part of each trace; `floor` of the signal is good enough."""
    error, power, noise = ((v * where).sum(1) for v in (error, power, noise))
    power = power + 0.02 * noise + 1e-3
    return torch.log10((error + floor * power) / power)


def terms(x: Tensor, clean: Tensor, y: Tensor, p: Tensor, ends: Tensor) -> dict[str, Tensor]:
    """What a good answer `y` to `x` is judged by; each is small where it is good."""
    error, power, noise = ((v**2).sum(1) for v in (y - clean, clean, x - clean))
    since = torch.arange(x.shape[-1]) - p[:, None]
    has_event, has_onset = p[:, None] >= 0, p[:, None] > 0
    event = (since >= 0) & (since < (ends - p)[:, None]) & has_event
    onset = (since >= -50) & (since < 100) & has_onset
    noisy = noise.sum(1) > 1e-3 * power.sum(1)
    return {
        "trace": decibel(error, power, noise, torch.ones_like(error)).mean(),
        "event": (decibel(error, power, noise, event) * has_event[:, 0]).mean(),
        "onset": (decibel(error, power, noise, onset, 1e-2) * has_event[:, 0]).mean(),
        "envelope": envelope(clean, y, since, (p > 30) & noisy).mean(),
        "spectrum": spectrum(clean, y),
        "peak": peak(clean, y, event, noisy),
    }


def envelope(clean: Tensor, y: Tensor, since: Tensor, counts: Tensor) -> Tensor:
    """How far the logarithms of the sizes lie apart around P, down to 1/500 of the peak, as a picker sees."""
    here = ((since >= -400) & (since < 250) & counts[:, None]).float()[:, None]
    largest = clean.abs().amax((1, 2), keepdim=True).clamp_min(1e-3)
    least = (2e-3 * clean.abs().amax(-1, keepdim=True).clamp_min(1e-3 * largest)) ** 2
    apart = [(avg_pool1d(v**2, 30, 10) + least).log() for v in (y, clean)]
    here = avg_pool1d(here, 30, 10) > 0.99
    return ((apart[0] - apart[1]).abs() * here).sum((1, 2)) / (3 * here.sum((1, 2)) + 1)


def peak(clean: Tensor, y: Tensor, event: Tensor, counts: Tensor) -> Tensor:
    """How far the logarithms of the largest samples lie apart, of components above 3 % of the largest."""
    right, found = ((v.abs() * event[:, None]).amax(-1) for v in (clean, y))
    largest = right.amax(1, keepdim=True)
    there = (right > 0.03 * largest) & (largest > 1e-3) & counts[:, None]
    least = 1e-3 * largest + 1e-6
    apart = ((found + least) / (right + least)).log().abs()
    return (apart * there).sum() / there.sum().clamp_min(1)


def spectrum(clean: Tensor, y: Tensor) -> Tensor:
    """Mean difference of amplitudes in frames of three lengths."""
    total = torch.zeros(())
    for n in (32, 128, 512):
        window = torch.hann_window(n)
        a, b = (
            torch.stft(v.flatten(0, 1), n, n // 2, window=window, return_complex=True).abs()
            for v in (clean, y)
        )
        total = total + (a - b).abs().mean() / n**0.5
    return total


# --------------------------------------------------------------------------------------------- training


class Muon:
    """Momentum with steps of equal size in every direction of a matrix (Jordan and others, 2024).

    torch.optim.Muon is the same, for matrices alone; here a convolution counts as one.
    """

    def __init__(self, weights: list[nn.Parameter], lr: float = 0.02, decay: float = 0.01):
        self.weights, self.lr, self.decay = weights, lr, decay
        self.momenta = [torch.zeros_like(w) for w in weights]

    @torch.no_grad()
    def step(self, share: float) -> None:
        for weight, momentum in zip(self.weights, self.momenta, strict=True):
            momentum.mul_(0.95).add_(weight.grad)
            step = orthogonal((weight.grad + 0.95 * momentum).flatten(1))
            size = max(1, step.shape[0] / step.shape[1]) ** 0.5
            weight.mul_(1 - share * self.lr * self.decay)
            weight.add_(step.view_as(weight), alpha=-share * self.lr * size)


def orthogonal(x: Tensor) -> Tensor:
    """All singular values brought near one, by five steps of a polynomial."""
    tall = len(x) > len(x.T)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.775 * gram) @ x
    return x.T if tall else x


def train(network: nn.Module, phases: list[tuple[Mixes, int]], size: float = 1.0, batch: int = 16) -> None:
    """Minimise the weighted terms, phase by phase; the weights at the end are a running mean."""
    named = [(name, w) for name, w in network.named_parameters() if w.requires_grad]
    beside = [w for name, w in named if "beside" in name]  # few, and each moves many gains
    matrices = [w for name, w in named if name.startswith(("enter", "blocks")) and w.ndim > 1]
    others = [w for _, w in named if not any(w is one for one in (*beside, *matrices))]
    groups = [{"params": others, "size": 1.0}, {"params": beside, "size": 3.0}]
    muon, adam = Muon(matrices), torch.optim.AdamW(groups, 2e-3, betas=(0.9, 0.98), fused=True)
    mean = {name: w.detach().clone() for name, w in network.named_parameters()}
    total, step = sum(steps for _, steps in phases), 0
    for mixes, steps in phases:
        for _ in range(steps):
            share = size * min(1, step / total / 0.03 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * step / total))
            for group in adam.param_groups:
                group["lr"] = 2e-3 * share * group["size"]
            x, clean, p, ends = mixes.batch(batch)
            with torch.autocast("cpu", torch.bfloat16):
                y = network(x)[0]
            parts = terms(x, clean, y, p, ends)
            loss = sum(WEIGHTS[name] * value for name, value in parts.items())
            network.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([w for _, w in named], 2.0)
            adam.step()
            muon.step(share)
            step += 1
            with torch.no_grad():
                for name, w in network.named_parameters():
                    mean[name].lerp_(w, max(0.001, step**-0.7))
            if step % 250 == 0:
                print(step, *(f"{name} {value:.3f}" for name, value in parts.items()), flush=True)
    network.load_state_dict(mean)


def learn_spread(network: geoae.nn.MaskNet, mixes: Mixes, steps: int, batch: int = 16) -> None:
    """Fit the standard deviation of the error, and nothing else, by its likelihood."""
    adam = torch.optim.Adam(network.spread.parameters(), 5e-3)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 5e-3 * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        x, clean, *_ = mixes.batch(batch)
        y, log_sigma = network(x)
        squares = (y.detach() - clean) ** 2 + 1e-6
        loss = (0.5 * squares * (-2 * log_sigma).exp() + log_sigma).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mixes", type=Path, help="npz of clean events and noise")
    parser.add_argument("records", type=Path, nargs="+", help="folders of three-component records")
    parser.add_argument("-o", "--out", type=Path, default=Path("denoiser.safetensors"))
    parser.add_argument("--start", type=Path, help="go on from this model's weights")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    words = parser.parse_args()

    torch.set_num_threads(1)  # two are slower on a network this small
    model = geoae.denoiser(6000, channels=3, sigma="predicted", seed=words.seed)
    model.network.spread.requires_grad_(False)
    file, found = np.load(words.mixes), [records(folder) for folder in words.records]
    long = Mixes(file, found, 6000, words.seed + 1)
    if words.start:
        model.load_state_dict(geoae.load(words.start).state_dict())
        train(model.network, [(long, words.steps)], size=0.6)
    else:
        short = Mixes(file, found, 3200, words.seed)  # more events an hour
        train(model.network, [(short, words.steps * 3 // 4), (long, words.steps // 4)])
    model.network.requires_grad_(False).spread.requires_grad_(True)
    learn_spread(model.network, long, min(500, words.steps))
    model.trained = {
        "rate": float(RATE),
        "band": [0.3, 50.0],  # signals were high-passed at 0.5 Hz, which leaves some of what lies below
        "channels": ["E", "N", "Z"],
        "units": "",
        "time": [0.0, 59.99],
        "time_units": "s",
        "traces": len(long.events),
        "noise": len(long.pieces),
        "steps": words.steps,
        "seed": words.seed,
        "versions": {name: version(name) for name in ("geoae", "torch", "numpy")},
    }
    model.card = json.loads((Path(__file__).parent / "card.json").read_text())
    geoae.save(model.requires_grad_(True).eval(), words.out)


if __name__ == "__main__":
    main()
