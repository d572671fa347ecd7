"""What reading costs beside ObsPy; writes its section of README.md.

Run as ``python tests/benchmarks/loading.py``; a day of three components at 100 Hz is made for it. Ratios of
CPU time, contestants by turns in one process.
"""

import resource
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import obspy
import xarray as xr
from obspy import Stream, Trace, UTCDateTime
from page import put

import geoae
from geoae.io.backend import ObsPyBackend

START = UTCDateTime(2020, 1, 1)
ROUNDS = 9
WINDOW = slice(np.datetime64("2020-01-01T10:00"), np.datetime64("2020-01-01T10:10"))


@lru_cache
def walk(n, seed):
    """Integers that wander and come back, as a seismometer's do."""
    x = np.cumsum(np.random.default_rng(seed).normal(0, 30, n))
    return (x - np.linspace(x[0], x[-1], n)).astype(np.int32)


def day(path, rate=100.0, gaps=0, reclen=512, start=START, station="ABC", codes="ZNE"):
    """Write a day of so many components."""
    n, stream = int(86_400 * rate), Stream()
    for k, code in enumerate(codes):
        data = walk(n, k)
        rng = np.random.default_rng(k)
        cuts = np.sort(rng.choice(n // 200, gaps, replace=False)) * 200 if gaps else []
        ends, begins = [*cuts, n], [0, *(cut + 5 for cut in cuts)]
        for a, b in zip(begins, ends, strict=True):
            if b > a:
                header = {"network": "XX", "station": station, "channel": "HH" + code, "sampling_rate": rate}
                stream.append(Trace(data[a:b], {**header, "starttime": start + a / rate}))
    path.parent.mkdir(parents=True, exist_ok=True)
    stream.write(str(path), format="MSEED", encoding="STEIM2", reclen=reclen)
    return path


def ratio(one, other):
    """CPU time of one over that of the other: of the best rounds, least and most over all rounds."""
    seconds = []
    for _ in range(ROUNDS):
        for job in (one, other):
            begin = time.process_time()
            job()
            seconds.append(time.process_time() - begin)
    one, other = np.reshape(seconds, (-1, 2)).T
    return one.min() / other.min(), (one / other).min(), (one / other).max()


def row(what, figures, aim, met):
    best, low, high = figures
    print(f"{what}: {best:.2f} ({low:.2f} to {high:.2f})", flush=True)
    return f"| {what} | {best:.2f} ({low:.2f} to {high:.2f}) | {aim} | {'met' if met else '**MISSED**'} |"


def by_obspy(path):
    return obspy.read(path, format="MSEED").merge()


def sliced(path):
    with xr.open_dataarray(path, engine=ObsPyBackend) as record:
        return record.sel(time=WINDOW).load()


PROGRAM = """
import resource, sys, time
import dask
import geoae

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

dask.config.set(scheduler="synchronous")
geoae.read(sys.argv[1] + "/S0/0.mseed", lazy=True)[:, :10].mean().compute()
begin = time.process_time()
days = geoae.read(sys.argv[1], lazy=True)
took, base = time.process_time() - begin, peak()
days.astype(float).mean("time").compute()
print(took, peak() - base, days.nbytes / 2**20)
"""


def archive(folder):
    """Open ten stations of three days, and compute a mean chunk by chunk, in a process of its own."""
    for k in range(10):
        for number in range(3):
            start = START + 86_400 * number
            day(folder / f"S{k}/{number}.mseed", 20.0, start=start, station=f"S{k}")
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in out.stdout.split()]


def main():
    lines = ["| what | CPU time | aim | |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for reclen in (512, 4096):
            path = day(folder / f"day{reclen}.mseed", reclen=reclen)
            geoae.read(path)
            got = ratio(lambda p=path: geoae.read(p), lambda p=path: by_obspy(p))
            words = f"a day, {reclen} B records: `geoae.read` / `obspy.read` and merge"
            lines.append(row(words, got, "at most 1.15", got[0] <= 1.15))
            got = ratio(lambda p=path: geoae.read(p), lambda p=path: sliced(p))
            words = f"a day, {reclen} B records: read whole / ten minutes, lazily"
            lines.append(row(words, got, "at least 5", got[0] >= 5))
        gappy = day(folder / "gappy.mseed", gaps=1667)
        got = ratio(lambda: geoae.read(gappy), lambda: geoae.read(folder / "day512.mseed"))
        lines.append(row("a day with 5000 gaps / without", got, "at most 1.3", got[0] <= 1.3))
        took, grown, held = archive(folder / "sds")
    verdict = "met" if took < 2 else "**MISSED**"
    words = "SDS archive, 10 stations x 3 days x 3 components at 20 Hz: opened lazily"
    lines.append(f"| {words} | {took:.2f} s | under 2 s | {verdict} |")
    verdict = "met" if grown < held / 4 else "**MISSED**"
    words = f"the same, mean of every channel: memory beyond opening, of {held:.0f} MiB of samples"
    lines.append(f"| {words} | {grown:.0f} MiB | a few chunks | {verdict} |")
    print("\n".join(lines[-2:]))
    write("\n".join(lines))


def write(table):
    """Put the section into the page of results."""
    versions = f"obspy {obspy.__version__}, numpy {np.__version__}, xarray {xr.__version__}"
    text = f"""# What reading costs

Written by `.venv/bin/python tests/benchmarks/loading.py` on {time.strftime("%Y-%m-%d")}: {versions}.

{table}

A ratio compares the CPU time of two contestants that ran by turns in one process, each at its best of
{ROUNDS} rounds (in brackets least and most of one round, on a machine that others used, too). The day has
three components at 100 Hz, 25.9 million samples, packed by Steim-2.
"""
    put(text)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
