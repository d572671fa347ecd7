"""Measure what `geoae.fit` costs: prints a table, and writes its section of README.md beside this file.

.venv/bin/python tests/benchmarks/training.py

Contestants run by turns in one process, on one thread. pythae 0.1.2 and Lightning take part where installed.
"""

import contextlib
import datetime
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from page import put
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geoae

EPOCHS, WINDOW, MEGABYTES = 4, 1920, 128
TRACES = geoae.synth.damped_oscillations(10000, seed=0)
SCALED = torch.from_numpy(((TRACES - TRACES.mean("trace")) / TRACES.std()).values).float()
TEXT = """# What training costs

Written by `.venv/bin/python tests/benchmarks/training.py` (two minutes) on {date}: {machine}.

{table}

A ratio compares the time per epoch, from the end of one to the end of the next, of two contestants that ran
by turns in one process: median (least to most) over the rounds. An aim is met if both medians meet it. All
have the same layers, batches and terms. Small VAE: 50-100-100-3/3-100-100-50, batch 100, 100 steps an epoch,
sigma 1. Denoiser: `geoae.denoiser` as it comes, 3 x {window} samples, batch 16, `AddNoise`.

- *bare loop*: scaled traces in a tensor, shuffled indices, fused Adam; no schedule, history or checks.
- *DataLoader*: over a `TensorDataset`, with Adam as it comes. *pythae*: its `BaseTrainer`. *Lightning*: its
  `Trainer`, lean without logger, checkpoint and bar. All three minimise the bare loop's loss.
- *2x / 1x*: time per epoch of 5000 over 2500 traces, then of 10000 over 5000.
- *streaming*: speed on a `geoae.cache`, which the system has in memory, relative to a DataArray.
- *restarts*: time of the whole call, 40 epochs of 2500 traces.
- *peak memory*: of processes that train a small autoencoder, above that of one on 256 windows; in the ratio
  at least 10 MB; {peaks}.

`resume.py` kills trainings at random steps, resumes them and compares the weights; it prints its own table.
"""


class Watch(list):
    """A callback that notes CPU and wall-clock time, once an epoch."""

    def __call__(self, *_, **__):
        self.append((time.process_time(), time.perf_counter()))

    def per_epoch(self):
        return np.median(np.diff(self, axis=0), 0)


def race(rounds, **contestants):
    """CPU and wall-clock seconds (round, 2) of each, in shuffled order; a first round does not count."""
    times = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name in random.sample(list(contestants), len(contestants)):
            times[name].append(contestants[name]())
    return {name: np.array(seconds[1:]) for name, seconds in times.items()}


def row(what, ratios, aim="", least=0.0, most=np.inf):
    """One line of the table, of ratios (round, CPU and wall-clock), or None where something is missing."""
    if ratios is None:
        return f"| {what} | not installed | not installed | {aim} | |"
    medians, low, high = np.median(ratios, 0), ratios.min(0), ratios.max(0)
    cells = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in zip(medians, low, high, strict=True)]
    met = "met" if ((medians >= least) & (medians <= most)).all() else "**MISSED**"
    return f"| {what} | {' | '.join(cells)} | {aim} | {met if aim else ''} |"


# ------------------------------------------------------------------------------------------ contestants


class Vae(nn.Module):
    """The small VAE as one would write it down: scaled traces (trace, time) to the loss."""

    def __init__(self):
        super().__init__()
        act = nn.ReLU
        self.encoder = nn.Sequential(nn.Linear(50, 100), act(), nn.Linear(100, 100), act(), nn.Linear(100, 6))
        self.decoder = nn.Sequential(nn.Linear(3, 100), act(), nn.Linear(100, 100), act(), nn.Linear(100, 50))

    def forward(self, x):
        mean, log_std = self.encoder(x).chunk(2, -1)
        std = log_std.exp()
        residual = x - self.decoder(mean + std * torch.randn_like(mean))
        kl = 0.5 * (mean**2 + std**2 - 1) - log_std
        return (0.5 * residual.square().sum() + kl.sum()) / len(x)


def fit(data, batch=100, model=None, epochs=EPOCHS, **options):
    """Seconds per epoch of `geoae.fit`, and of the whole call."""
    model = model or geoae.autoencoder(like=data, latent=3, posterior="diagonal", sigma=1.0)
    watch, whole = Watch(), Watch()
    whole()
    geoae.fit(model, data, epochs=epochs, batch=batch, progress=False, callback=watch, **options)
    whole()
    return watch.per_epoch(), whole.per_epoch()


def bare(loss, parameters, batches, fused=True):
    """Seconds per epoch of the loop that does nothing but learn."""
    watch, adam = Watch(), torch.optim.Adam(parameters, 3e-3, fused=fused)
    for _ in range(EPOCHS):
        for x in batches():
            value = loss(x)
            adam.zero_grad()
            value.backward()
            adam.step()
        watch()
    return watch.per_epoch()


def shuffled(x, size):
    return lambda: (x[rows] for rows in torch.randperm(len(x)).split(size))


def loader():
    return DataLoader(TensorDataset(SCALED), 100, shuffle=True)


def pythae():
    from pythae.data.datasets import BaseDataset
    from pythae.models.base import BaseAE, BaseAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Theirs(BaseAE):
        def forward(self, inputs, **_):
            return ModelOutput(loss=self.net(inputs["data"]))

        def save(self, path):
            """Save nothing: pythae cannot pickle a class within a function."""

    watch, model = Watch(), Theirs(BaseAEConfig((50,), 3))
    model.net, each = Vae(), TrainingCallback()
    each.on_epoch_end = watch
    data = BaseDataset(SCALED, torch.zeros(len(SCALED)))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(folder, 100, num_epochs=EPOCHS, learning_rate=3e-3, no_cuda=True)
        trainer = BaseTrainer(model, data, training_config=config, callbacks=[each])
        trainer.train()
    return watch.per_epoch()


def lightning(**options):
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import LambdaCallback

    class Theirs(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Vae()

        def training_step(self, batch, _):
            loss = self.net(batch[0])
            if not options:  # who switches the logger off has nothing to log
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 3e-3)

    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        where = {"default_root_dir": folder, "accelerator": "cpu"}
        each = LambdaCallback(on_train_epoch_start=watch)
        Trainer(max_epochs=EPOCHS, callbacks=[each], **where, **options).fit(Theirs(), loader())
    return watch.per_epoch()


# ------------------------------------------------------------------------------------------ measurements


def small_vae():
    def bare_vae():
        net = Vae()
        return bare(net, net.parameters(), shuffled(SCALED, 100))

    def with_loader():
        net = Vae()
        return bare(net, net.parameters(), lambda: (x for (x,) in loader()), fused=None)

    lean = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    peers = {"torch": with_loader, "pythae": pythae, "lightning": lightning}
    peers = {name: run for name, run in peers.items() if installed(name)}
    if "lightning" in peers:
        peers["lean"] = lambda: lightning(**lean)
    ours = race(15, fit=lambda: fit(TRACES)[0], bare=bare_vae)
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        times = race(5, fit=lambda: fit(TRACES)[0], **peers)
    yield row("small VAE: `geoae.fit` / bare loop", ours["fit"] / ours["bare"], "at most 1.10", most=1.10)
    yield row("small VAE: DataLoader, default Adam / `geoae.fit`", times["torch"] / times["fit"])
    for name, words in (
        ("pythae", "pythae"),
        ("lean", "Lightning, lean"),
        ("lightning", "Lightning, defaults"),
    ):
        ratios = times[name] / times["fit"] if name in times else None
        yield row(f"small VAE: {words} / `geoae.fit`", ratios, "at least 2", 2)


def growth_and_restarts():
    one, two, four = race(9, **{str(n): lambda n=n: fit(TRACES[:n])[0] for n in (2500, 5000, 10000)}).values()
    yield row("small VAE: 2x / 1x the traces", two / one, "2 within 15 %", 1.7, 2.3)
    yield row("small VAE: 4x / 2x the traces", four / two, "2 within 15 %", 1.7, 2.3)
    times = race(7, **{str(n): lambda n=n: fit(TRACES[:2500], epochs=40, restarts=n)[1] for n in (1, 4)})
    yield row("small VAE: four restarts / one", times["4"] / times["1"], "at most 2.5", most=2.5)


def denoiser(folder):
    windows, corrupt = geoae.synth.seismograms(64, duration=WINDOW / 100, seed=0), geoae.AddNoise()
    cache = geoae.cache(windows, folder / "windows")

    def bare_denoiser():
        network, rng = geoae.denoiser(like=windows).network, np.random.default_rng(0)

        def loss(x):
            seen = torch.from_numpy(corrupt(x.numpy(), rng))
            offset = seen.mean(-1, keepdim=True)
            gain = (seen - offset).square().mean((1, 2), keepdim=True).sqrt()
            return 0.5 * ((x - offset) / gain - network((seen - offset) / gain)).square().sum() / len(x)

        clean = torch.from_numpy(windows.values).float()
        return bare(loss, network.parameters(), shuffled(clean, 16))

    def ours(data):
        return fit(data, 16, geoae.denoiser(like=windows), corrupt=corrupt)[0]

    times = race(7, bare=bare_denoiser, memory=lambda: ours(windows), cache=lambda: ours(cache))
    yield row("denoiser: `geoae.fit` / bare loop", times["memory"] / times["bare"], "at most 1.03", most=1.03)
    yield row("denoiser: streaming, speed", times["memory"] / times["cache"], "at least 0.8", 0.8)


def peak(*words):
    """Peak memory [MB] of a process that trains on a cache; see `train_and_say_peak`."""
    done = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, check=True)
    return float(done.stdout)


def train_and_say_peak(folder, size, kind, windows=None):
    """Write a cache of some size, or train a small autoencoder from it, streaming or holding its windows."""
    traces = Path(folder) / f"{size}x"
    if kind == "write":
        count = int(size) * MEGABYTES * 2**20 // (3 * WINDOW * 4)
        values = np.random.default_rng(0).standard_normal((count, 3, WINDOW), np.float32)
        geoae.cache(xr.DataArray(values, dims=("trace", "channel", "time")), traces)
    else:
        data = geoae.cache(traces)
        if kind == "hold":
            values = np.load(traces / "traces.npy", mmap_mode="r")[: windows and int(windows)].copy()
            data = xr.DataArray(values, dims=("trace", "channel", "time"))
        geoae.fit(geoae.autoencoder(WINDOW, channels=3, widths=(8,)), data, epochs=1, progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def installed(package):
    with contextlib.suppress(PackageNotFoundError):
        return version(package)


def memory(folder):
    """Returns rows and words; the first thing to measure, as no process is told less than its parent had."""
    for size in (1, 4):
        peak(folder, size, "write")
    least = peak(folder, 1, "hold", 256)
    once, four, held = (peak(folder, *words) - least for words in ((1, "stream"), (4, "stream"), (4, "hold")))
    words = (
        f"{once:.0f} MB streaming {MEGABYTES} MB, {four:.0f} streaming and {held:.0f} holding {4 * MEGABYTES}"
    )
    flat = np.full((1, 2), max(four, 10) / max(once, 10))  # processes that do the same differ by this much
    return [row("peak memory: streaming 4x / 1x", flat, "at most 1.15", most=1.15)], words


def machine():
    """Cores, processor and versions, in words."""
    info = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    models = [line.split(": ")[1] for line in info.splitlines() if line.startswith("model name")]
    versions = [f"{name} {installed(name)}" for name in ("geoae", "torch", "numpy", "pythae", "lightning")]
    processor = (models or [platform.processor()])[0]
    load = f"one thread, load {os.getloadavg()[0]:.0f}"
    return f"{os.cpu_count()} cores {processor}, {load}; Python {platform.python_version()}, " + (
        ", ".join(words for words in versions if "None" not in words)
    )


def main():
    lines = ["| what | CPU time | wall-clock time | aim | |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        rows, peaks = memory(Path(name))
        lines += [*small_vae(), *growth_and_restarts(), *denoiser(Path(name)), *rows]
    print(*lines, peaks, sep="\n")
    words = {"date": datetime.date.today(), "machine": machine(), "peaks": peaks, "window": WINDOW}
    put(TEXT.format(table="\n".join(lines), **words))


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_and_say_peak(*sys.argv[1:]) if len(sys.argv) > 1 else main()
