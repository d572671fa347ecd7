"""Prove that an archive survives kills, and measure time and memory: python tests/benchmarks/archive.py

Ten stations by two days (``--seconds`` long, to spare the machine), three components at 20 Hz, one file each,
as in an SDS archive, denoised on two dask workers. The run is killed with all its workers at three random
moments and taken up again; every output must have the bytes of an unbroken run, and each unit stands in the
log once. Then one, two and four times the days in one process, for time and memory.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import obspy
import torch

import geoae

RATE = 20.0
START = obspy.UTCDateTime(2020, 1, 1)


def write_archive(folder: Path, stations: int, days: int, seconds: int) -> None:
    """Red noise with a small earthquake every five minutes; days follow each other without a gap."""
    n = round(seconds * RATE)
    events = 300 * geoae.synth.seismograms(4, rate=RATE, duration=60, frequency=(1, 3), seed=0).values
    for s in range(stations):
        rng = np.random.default_rng(s)
        for i, c in enumerate("ENZ"):
            values = 20 * rng.standard_normal(days * n).cumsum()
            for k, at in enumerate(range(0, days * n - 1200, round(300 * RATE))):
                values[at : at + 1200] += events[k % 4, i]
            for day in range(days):
                header = {"network": "XX", "station": f"S{s:02}", "channel": f"BH{c}", "sampling_rate": RATE}
                piece = values[day * n : (day + 1) * n].astype(np.int32)
                trace = obspy.Trace(piece, {**header, "starttime": START + day * seconds})
                place = folder / f"2020/XX/S{s:02}/BH{c}.D"
                place.mkdir(parents=True, exist_ok=True)
                trace.write(str(place / f"XX.S{s:02}..BH{c}.D.2020.{day + 1:03}"), format="MSEED")


def small_model(path: Path) -> None:
    """A quick model of windows of 25.6 s; what is proved does not depend on how good it is."""
    events = geoae.synth.seismograms(16, rate=RATE, duration=25.6, frequency=(1, 3), seed=0)
    model = geoae.denoiser(like=events, widths=(8, 8), seed=0)
    geoae.fit(model, events, corrupt=geoae.AddNoise(snr_db=(0, 10)), epochs=2, batch=8, progress=False)
    geoae.save(model, path)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "denoised.jsonl"
    }


def lines(folder: Path) -> list[dict]:
    path = folder / "denoised.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")][1:]


def work(words: list[str]) -> None:
    """What the killed process does."""
    src, dst, model, workers, cluster = words
    torch.set_num_threads(1)
    begin = time.perf_counter()
    if cluster == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(int(workers), threads_per_worker=1, dashboard_address=None) as nodes,
            Client(nodes) as client,
        ):
            summary = geoae.denoise_archive(src, dst, model, client=client)
    else:
        summary = geoae.denoise_archive(src, dst, model, workers=int(workers))
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024  # Linux
    print(json.dumps({"ok": summary.ok, "wall": time.perf_counter() - begin, "peak": peak}))


def command(*words: object) -> list[str]:
    return [sys.executable, __file__, "--work", *map(str, words)]


def killed(folder: Path, model: Path, stations: int, days: int, seed: int) -> None:
    units = stations * days
    rng = random.Random(seed)
    subprocess.run(command(folder / "sds", folder / "whole", model, 2, "dask"), check=True)
    for wanted in sorted(rng.sample(range(1, units - 1), 3)):
        process = subprocess.Popen(
            command(folder / "sds", folder / "out", model, 2, "dask"), start_new_session=True
        )
        while process.poll() is None and len(lines(folder / "out")) < wanted:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"killed with {len(lines(folder / 'out'))} of {units} units done", flush=True)
    subprocess.run(command(folder / "sds", folder / "out", model, 2, "dask"), check=True)
    names = [line["unit"] for line in lines(folder / "out")]
    same = digests(folder / "out") == digests(folder / "whole")
    print(f"{len(names)} units, {len(set(names))} of them different; bytes equal to an unbroken run: {same}")
    if not same or len(names) != units or len(set(names)) != units:
        sys.exit("the archive did not survive")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--stations", type=int, default=10)
    words.add_argument("--days", type=int, default=2)
    words.add_argument("--seconds", type=int, default=3600, help="length of a day")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--work", nargs=5)
    asked = words.parse_args()
    if asked.work:
        work(asked.work)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Path(name) / "model.safetensors"
        small_model(model)
        write_archive(folder / "sds", asked.stations, asked.days, asked.seconds)
        killed(folder, model, asked.stations, asked.days, asked.seed)
        print("\n| days | wall [s] | peak [MB] |\n|---|---|---|")
        for times in (1, 2, 4):
            source = folder / f"days{times}"
            write_archive(source, 2, times * asked.days, asked.seconds)
            out = subprocess.run(
                command(source, folder / f"out{times}", model, 1, "serial"),
                check=True,
                capture_output=True,
                text=True,
            )
            result = json.loads(out.stdout.splitlines()[-1])
            print(f"| {times}x | {result['wall']:.1f} | {result['peak']} |", flush=True)


if __name__ == "__main__":
    main()
