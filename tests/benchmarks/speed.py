"""Measure what denoising costs: python tests/benchmarks/speed.py [--model FILE]

On one thread: two hours of three components at 100 Hz, by turns with SeisBench's DeepDenoiser.annotate (with
random weights, which is the same work) where that is installed; then longer records for time and memory, each
in a process of its own; then a day with 5000 gaps; then files, by the command line.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import obspy
import torch

import geoae

HERE = Path(__file__).parent
RATE = 100


def record(hours: float, gaps: int = 0) -> obspy.Stream:
    """Noise with a small earthquake every ten minutes, in counts; pieces where there are gaps of 0.2 s."""
    rng = np.random.default_rng(0)
    n = int(hours * 3600 * RATE)
    events = 400 * geoae.synth.seismograms(4, rate=RATE, duration=40, seed=0).values
    stream = obspy.Stream()
    for i, c in enumerate("ENZ"):
        values = 20 * rng.standard_normal(n, dtype=np.float32)
        for k, start in enumerate(range(0, n - 60 * RATE, 600 * RATE)):
            values[start : start + events.shape[-1]] += events[k % 4, i]
        header = {"network": "XX", "station": "SPEED", "channel": f"HH{c}", "sampling_rate": RATE}
        trace = obspy.Trace(values.astype(np.int32), {**header, "starttime": obspy.UTCDateTime(2020, 1, 1)})
        edges = np.linspace(0, n, gaps + 2).astype(int)
        for a, b in itertools.pairwise(edges):
            end = b - (20 if b < n else 0)
            piece = obspy.Trace(trace.data[a:end], trace.stats)
            piece.stats.starttime += a / RATE
            stream.append(piece)
    return stream


def timed(function, *words) -> tuple[float, float]:
    """CPU and wall-clock seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    function(*words)
    return time.process_time() - cpu, time.perf_counter() - wall


def peak(process: int | str = "self") -> int:
    """Most memory that a process has held, this one since `forget_peak`, in MB (Linux); 0 if it is over."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024 if "VmHWM:" in status else 0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def alone(*words: str) -> dict:
    """One measurement in a process of its own."""
    out = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def one(hours: float, gaps: int, model: str | None, who: str = "geoae") -> dict:
    stream = record(hours, gaps)
    held = sum(trace.data.nbytes for trace in stream) / 2**20
    run = (lambda data: geoae.denoise(data, model)) if who == "geoae" else deep_denoiser().annotate
    run(obspy.read())  # everything loaded
    forget_peak()
    before = peak()
    cpu, wall = timed(run, stream)
    return {"cpu": cpu, "wall": wall, "before": before, "peak": peak(), "input": round(held)}


def command(hours: float, model: str | None) -> tuple[float, int]:
    """CPU seconds and most memory [MB] of ``geoae denoise`` with a MiniSEED file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mseed"
        geoae.write(record(hours), source)
        words = [sys.executable, "-m", "geoae", "denoise", source, "-o", f"{folder}/out.mseed"]
        process = subprocess.Popen([*words, *(["-m", model] if model else [])], stdout=subprocess.DEVNULL)
        most = 0  # not ru_maxrss, which begins at what this process holds
        while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            most = max(most, peak(process.pid))
            time.sleep(0.01)
        if done[1]:
            raise RuntimeError(f"geoae denoise ended with {done[1]}")
    return done[2].ru_utime + done[2].ru_stime, most


def deep_denoiser():
    import seisbench.models

    return seisbench.models.DeepDenoiser()


def compare(rounds: int, model: str | None) -> bool:
    """Print the table of speed, by turns; whether there was someone to compare with."""
    peers = {"geoae": lambda stream: geoae.denoise(stream, model)}
    try:
        peers["SeisBench DeepDenoiser"] = deep_denoiser().annotate
    except ImportError:
        print("SeisBench is not installed: pip install seisbench==0.12.6")
    stream, seconds = record(2), 3 * 7200
    geoae.denoise(record(0.1), model)
    took: dict[str, list] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, run in peers.items():
            took[name].append(timed(run, stream))
    print("| two hours, three components, 100 Hz | trace-s per CPU-s | trace-s per s |\n|---|---|---|")
    for name, pairs in took.items():
        cpu, wall = np.median(pairs, axis=0)
        print(f"| {name} | {seconds / cpu:.0f} | {seconds / wall:.0f} |")
    if len(took) > 1:
        a, b = (np.array(pairs) for pairs in took.values())
        ratios = np.median(b / a, axis=0)
        print(f"| ratio, median of {rounds} paired rounds | {ratios[0]:.1f} | {ratios[1]:.1f} |", flush=True)
    return len(took) > 1


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--model")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--hours", type=float, nargs="*", default=[2, 6, 24])
    words.add_argument("--one", help="hours,gaps,who of one measurement")
    asked = words.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        hours, gaps, who = asked.one.split(",")
        print(json.dumps(one(float(hours), int(gaps), asked.model, who)))
        return
    model = ["--model", asked.model] if asked.model else []
    paired = asked.rounds > 0 and compare(asked.rounds, asked.model)
    print("\n| record | CPU-s per hour | peak [MB] | before [MB] | input [MB] | rest but output [MB] |")
    print("|---|---|---|---|---|---|")
    runs = [(f"{h:g} h", h, 0, "geoae") for h in asked.hours] + [("24 h, 5000 gaps", 24, 5000, "geoae")]
    runs += [("2 h, SeisBench", 2, 0, "peer")] * paired
    for name, hours, gaps, who in runs:
        r = alone("--one", f"{hours},{gaps},{who}", *model)
        extra = r["peak"] - r["before"] - 2 * r["input"]
        print(
            f"| {name} | {r['cpu'] / hours:.2f} | {r['peak']} | {r['before']} | {r['input']} | {extra} |",
            flush=True,
        )
    print("\n| `geoae denoise`, MiniSEED file | CPU-s, start included | peak [MB] |\n|---|---|---|")
    for hours in asked.hours:
        cpu, most = command(hours, asked.model)
        print(f"| {hours:g} h | {cpu:.1f} | {most} |", flush=True)


if __name__ == "__main__":
    main()
