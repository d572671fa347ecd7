"""Kill trainings (kill -9) at random steps and resume them: they must end with the weights of unbroken runs.

.venv/bin/python tests/benchmarks/resume.py [HOW MANY, 20] [SEED]

The trainings are those of ``tests/training_job.py``, by turns; a checkpoint is written every other step.
Prints a table; exits with 1 if one differs.
"""

import random
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

JOB = Path(__file__).parents[1] / "training_job.py"
STEPS = {"vae": 20, "denoiser": 9, "stream": 20, "restarts": 40}  # of a whole training


def job(*words):
    return subprocess.run([sys.executable, JOB, *map(str, words)], capture_output=True, text=True)


def end(kind, step=None):
    """Sha256 of the weights that a training ends with, killed before a step or not; or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        if step is not None and (killed := job(kind, folder, step)).returncode != -signal.SIGKILL:
            return f"not killed, but {killed.stdout or killed.stderr[-100:]}"
        done = job(kind, folder)
        return done.stdout.strip() or f"not resumed: {done.stderr[-100:]}"


def main(count=20, seed=0):
    draw = random.Random(seed)
    cases = [(kind, draw.randrange(1, STEPS[kind])) for kind in (list(STEPS) * count)[:count]]
    with ThreadPoolExecutor(2) as pool:
        whole = dict(zip(STEPS, pool.map(end, STEPS), strict=True))
        ends = list(pool.map(lambda case: end(*case), cases))
    equal = [found == whole[kind] for (kind, _), found in zip(cases, ends, strict=True)]
    print("| training | killed before step | sha256 of the weights | equal |\n|---|---|---|---|")
    for (kind, step), found, same in zip(cases, ends, equal, strict=True):
        print(f"| {kind} | {step} of {STEPS[kind]} | {found[:16]} | {'yes' if same else '**NO**'} |")
    print(f"\n{sum(equal)} of {count} equal, seed {seed}")
    return int(not all(equal))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
