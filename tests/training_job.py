"""A small training that can be killed at a step and resumed: ``python training_job.py KIND FOLDER [KILL]``.

Prints the sha256 of the weights at the end. Under torchrun it takes part in one training of several
processes, and
prints its losses.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as processes

import geoae
from geoae.train import loop

KINDS = ("vae", "denoiser", "stream", "restarts")


def fit(kind, folder, **options):
    """Train a model of some kind; returns it and its history."""
    folder = Path(folder)
    if kind == "denoiser":
        data = geoae.synth.seismograms(20, duration=10.24, seed=0).isel(time=slice(256, 512))
        model = geoae.denoiser(like=data, widths=(8, 8), dropout=0.2)
        options |= {
            "corrupt": geoae.AddNoise(snr_db=(-5, 5)) | geoae.Shift(20),
            "epochs": 3,
            "batch": 6,
            "valid": 0.2,
        }
    else:
        data = geoae.synth.damped_oscillations(50, seed=0)
        model = geoae.autoencoder(like=data, latent=2, widths=(16,), posterior="diagonal")
        options |= {"epochs": 4, "batch": 12, "restarts": 2 if kind == "restarts" else 1}
    if kind == "stream":
        data = (
            geoae.cache(folder / "cache")
            if (folder / "cache").exists()
            else geoae.cache(data, folder / "cache")
        )
    return model, geoae.fit(model, data, seed=3, **options)


def weights_of(model):
    """Digest of every number of a model."""
    sha = hashlib.sha256()
    for value in model.state_dict().values():
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()


def kill_at(step):
    """End this process, as a power cut would, before that step of the training."""
    descend = loop.Loop.descend

    def descend_or_die(self, loss, optimiser, progress):
        nonlocal step
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        step -= 1
        descend(self, loss, optimiser, progress)

    loop.Loop.descend = descend_or_die


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, folder = sys.argv[1:3]
    if "WORLD_SIZE" in os.environ:
        processes.init_process_group("gloo")
        model, history = fit(kind, folder)
        if processes.get_rank() == 0:
            print(*history.loss.sel(split="train").values, weights_of(model))
        processes.destroy_process_group()
    else:
        if len(sys.argv) > 3:
            kill_at(int(sys.argv[3]))
        model, _ = fit(kind, folder, checkpoint=Path(folder) / "run.ckpt", every=2, resume=True)
        print(weights_of(model))
