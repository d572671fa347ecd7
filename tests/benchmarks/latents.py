"""How often training ends with one parameter per latent and the rest silent, with seeds never used before.

    python tests/benchmarks/latents.py [CASE ...]

trains every case (or those named) and writes the table into README.md beside this file. What counts as
success is defined in `captured.py`, apart from geoae. Each trial is one call of ``geoae.fit(...,
restarts=4)``: the training it keeps is judged, and for the rate of single trainings each of the four by
itself.
"""

import json
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from captured import capture
from page import put

import geoae

KEPT = Path("out/latents.json")  # trials done so far, so that a run that was stopped goes on
TRIALS, FIRST_SEED = 20, 41_000
NARROW, WIDE = (0.5, 1.0), (0.0, 5.0)


class Case(NamedTuple):
    """Traces, a model's words, epochs, and what the definition asks of (R2 of each parameter, leak)."""

    traces: object
    parameters: tuple[str, str]
    words: dict
    epochs: int
    least: tuple[float, float]
    leak: float


def oscillations(form: str, b: tuple[float, float], **words) -> Case:
    """Three latents, two parameters."""
    x = geoae.synth.damped_oscillations((50, 50), b=b, form=form)
    return Case(x, ("b", "k"), {"latent": 3, **words}, 100, (0.8, 0.7), 0.15)


def lines(latent: int) -> Case:
    """Slope and intercept."""
    words = {"latent": latent, "decoder_widths": (100,)}
    return Case(geoae.synth.lines((50, 50)), ("slope", "intercept"), words, 20, (0.9, 0.9), 0.1)


CASES = {
    f"{form}, b {b[0]:g} to {b[1]:g}": lambda form=form, b=b: oscillations(form, b)
    for form in ("physical", "lecture", "cosine")
    for b in (NARROW, WIDE)
}
CASES |= {f"lines, {n} latents": lambda n=n: lines(n) for n in (2, 3)}
CASES["conv, physical, b 0 to 5"] = lambda: oscillations("physical", WIDE, network="conv")


def trial(case: Case, seed: int) -> dict:
    """Train four times, and judge what was kept, and each."""
    model = geoae.autoencoder(like=case.traces, posterior="diagonal", seed=seed, **case.words)
    start = time.process_time()
    geoae.fit(model, case.traces, epochs=case.epochs, restarts=4, seed=seed)
    seconds = time.process_time() - start
    parameters = np.stack([case.traces[name].values for name in case.parameters], 1)
    got = []
    for run in model.runs:
        codes = geoae.encode(case.traces, run)
        got.append(capture(codes["mean"].values.astype(float), codes.kl.mean("trace").values, parameters))
    good = [one.good(case.least, case.leak) for one in got]
    return {"seed": seed, "seconds": seconds, "good": good, "kept": got[0]}


def main() -> None:
    """Train what is not there yet, and write the table."""
    torch.set_num_threads(1)
    KEPT.parent.mkdir(exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in sys.argv[1:] or CASES:
        case = CASES[name]()
        for i in range(len(kept.get(name, [])), TRIALS):
            one = trial(case, FIRST_SEED + 100 * list(CASES).index(name) + i)
            kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}  # another process may do other cases
            kept.setdefault(name, []).append(one)
            KEPT.write_text(json.dumps(kept))
            print(name, one, flush=True)
    put(report(kept))


def report(kept: dict) -> str:
    """Say it in a table."""
    rows = []
    for name, trials in ((name, kept[name]) for name in CASES if name in kept):
        single = sum(sum(t["good"]) for t in trials)
        best = sum(t["good"][0] for t in trials)
        r2 = np.median([t["kept"][1] for t in trials], 0)
        leak = np.median([t["kept"][2] for t in trials])
        rest = max(t["kept"][3] for t in trials)
        seconds = np.median([t["seconds"] for t in trials])
        rows.append(
            f"| {name} | {single} of {4 * len(trials)} | {best} of {len(trials)} | {r2[0]:.2f}, {r2[1]:.2f} "
            f"| {leak:.2f} | {rest:.3f} | {seconds:.1f} |"
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("geoae", "torch", "numpy"))
    return f"""# Which latent captures what

Written by `python tests/benchmarks/latents.py` (25 minutes of CPU time, one thread) on {date.today()};
{versions}.

| traces | single trainings | best of four | R2 of b, k (slope, intercept) | leak | other KL | CPU s, four |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Success: each parameter has a latent of its own (oscillations: R2 of b at least 0.8, of k 0.7; lines 0.9
both), the other parameter explains at most 0.15 (lines 0.1) of that latent's variance, and every other latent
stays below 0.05 nats. `captured.py` has the definition, apart from geoae. Medians and the largest KL are over
the trainings that were kept. Seeds from {FIRST_SEED} were used for nothing else. Meshes of 50 x 50, k 5 to
10; networks and settings are the defaults, 100 epochs for oscillations and 20 for lines. The best of four is
by the evidence bound. Cases with fewer than {TRIALS} trials, and missing ones, are yet to run.
"""


if __name__ == "__main__":
    main()
