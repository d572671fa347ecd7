"""Training that is interrupted, streamed, or spread over processes ends where it would have ended anyway."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import geoae
from geoae.train import data as sources, loop

sys.path.insert(0, str(Path(__file__).parent))
from training_job import KINDS, fit, weights_of

JOB = Path(__file__).with_name("training_job.py")


class PowerCutError(Exception):
    """A power cut that leaves this process alive."""


@pytest.fixture
def cut_at(monkeypatch):
    """Interrupt trainings before a step."""
    descend = loop.Loop.descend

    def at(step, error=PowerCutError):
        left = step

        def descend_or_stop(self, *args):
            nonlocal left
            if left == 0:
                raise error
            left -= 1
            descend(self, *args)

        monkeypatch.setattr(loop.Loop, "descend", descend_or_stop)

    yield at
    monkeypatch.undo()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_ends_bit_equal(kind, tmp_path, cut_at, monkeypatch):
    unbroken, history = fit(kind, tmp_path, checkpoint=tmp_path / "unbroken.ckpt")
    for step in (1, 5, 6, 8):  # within and at the ends of epochs
        path = tmp_path / f"{step}.ckpt"
        cut_at(step)
        with pytest.raises(PowerCutError):
            fit(kind, tmp_path, checkpoint=path, every=1)
        monkeypatch.undo()
        model, again = fit(kind, tmp_path, checkpoint=path, every=1, resume=True)
        assert weights_of(model) == weights_of(unbroken), step
        xr.testing.assert_identical(again, history)


@pytest.mark.parametrize("kind", ["vae", "denoiser", "stream"])
def test_kill_9_and_resume_ends_bit_equal(kind, tmp_path):
    def job(*words):
        return subprocess.run([sys.executable, JOB, kind, tmp_path, *words], capture_output=True, text=True)

    killed = job("7")
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run.ckpt").exists()
    resumed = job()
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == weights_of(fit(kind, tmp_path)[0])


def test_two_processes_reach_what_one_does(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", JOB, "vae", tmp_path]
    both = subprocess.run(command, capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    *losses, _ = both.stdout.splitlines()[-1].split()  # some builds of gloo talk before
    _, alone = fit("vae", tmp_path)
    np.testing.assert_allclose(np.array(losses, float), alone.loss.sel(split="train"), rtol=1e-6)


# ------------------------------------------------------------------------------------------ checkpoints


@pytest.fixture
def checkpoint(tmp_path, cut_at, monkeypatch):
    path = tmp_path / "run.ckpt"
    cut_at(9)
    with pytest.raises(PowerCutError):
        fit("vae", tmp_path, checkpoint=path, every=4)
    monkeypatch.undo()
    return path


def test_a_truncated_checkpoint_is_refused_at_every_length(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    for size in range(0, len(content), 1000):
        checkpoint.write_bytes(content[:size])
        with pytest.raises(ValueError, match="is not a checkpoint of geoae, or it is damaged"):
            fit("vae", tmp_path, checkpoint=checkpoint, resume=True)
        assert checkpoint.read_bytes() == content[:size]
    flipped = bytearray(content)
    flipped[-9] ^= 1
    checkpoint.write_bytes(flipped)
    with pytest.raises(ValueError, match="is damaged: its numbers do not match their sha256"):
        fit("vae", tmp_path, checkpoint=checkpoint, resume=True)


def test_a_checkpoint_of_another_training_is_refused(checkpoint, tmp_path):
    with pytest.raises(
        ValueError, match="is of another training: its model is .*; train on with the same settings"
    ):
        fit("denoiser", tmp_path, checkpoint=checkpoint, resume=True)
    with pytest.raises(ValueError, match="is of another training: its plan is"):
        fit("vae", tmp_path, checkpoint=checkpoint, resume=True, lr=1e-4)
    geoae.save(geoae.autoencoder(20), tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match="model.safetensors is not a checkpoint of geoae; give checkpoint= another name"
    ):
        fit("vae", tmp_path, checkpoint=tmp_path / "model.safetensors", resume=True)


def test_a_checkpoint_is_not_overwritten_by_chance(checkpoint, tmp_path):
    with pytest.raises(
        FileExistsError, match="exists; resume=True goes on from it, or delete it to start anew"
    ):
        fit("vae", tmp_path, checkpoint=checkpoint)
    with pytest.raises(FileNotFoundError, match="no folder .*away for the checkpoint run.ckpt"):
        fit("vae", tmp_path, checkpoint=tmp_path / "away" / "run.ckpt")


def test_a_full_disk_leaves_the_last_checkpoint_whole(checkpoint, tmp_path, monkeypatch):
    before = checkpoint.read_bytes()

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        fit("vae", tmp_path, checkpoint=checkpoint, every=1, resume=True)
    monkeypatch.undo()
    assert checkpoint.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_finished_training_has_nothing_left_to_do(tmp_path, cut_at):
    path = tmp_path / "run.ckpt"
    done, history = fit("vae", tmp_path, checkpoint=path)
    cut_at(0)  # not one step more
    again, same = fit("vae", tmp_path, checkpoint=path, resume=True)
    assert weights_of(again) == weights_of(done)
    xr.testing.assert_identical(same, history)


def test_ctrl_c_keeps_the_best_weights_and_says_how_to_go_on(tmp_path, cut_at, monkeypatch):
    path = tmp_path / "run.ckpt"
    unbroken, _ = fit("denoiser", tmp_path)
    events = geoae.synth.seismograms(8, duration=10.24, seed=0).isel(time=slice(256, 512))
    model = geoae.denoiser(like=events, widths=(8, 8))
    rows = []
    cut_at(5, KeyboardInterrupt)  # in the second epoch of four steps
    with pytest.raises(KeyboardInterrupt) as stop:
        geoae.fit(model, events, valid=events, epochs=2, batch=2, callback=lambda _, row: rows.append(row))
    monkeypatch.undo()
    assert stop.value.__notes__ == ["stopped at step 5 of 8; the model has the best weights so far"]
    x = torch.from_numpy(geoae.arrays.to_batch(events))
    with torch.no_grad():
        loss, _ = geoae.Objective()(model.eval(), x)
    assert loss.item() == pytest.approx(rows[0]["valid/loss"], rel=1e-6)  # not those of step 5
    cut_at(5, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as stop:
        fit("denoiser", tmp_path, checkpoint=path)
    assert stop.value.__notes__[0].endswith(f"resume=True goes on from {path}")
    monkeypatch.undo()
    assert weights_of(fit("denoiser", tmp_path, checkpoint=path, resume=True)[0]) == weights_of(unbroken)


# ---------------------------------------------------------------------------------------------- streaming


@pytest.fixture
def lazy():
    return geoae.synth.damped_oscillations(70, seed=0).chunk(trace=8)


def test_a_cache_holds_every_trace_once_in_another_order(lazy, tmp_path):
    traces = geoae.cache(lazy, tmp_path / "cache", seed=1).traces
    assert traces.shape == (70, 1, 50)
    want = np.sort(lazy.values.astype("f4"), axis=0)
    np.testing.assert_array_equal(np.sort(traces[:, 0], axis=0), want)
    assert not (traces[:, 0] == lazy.values.astype("f4")).all()
    again = geoae.cache(lazy, tmp_path / "again", seed=1).traces
    np.testing.assert_array_equal(traces, again)
    about = json.loads((tmp_path / "cache" / "about.json").read_text())
    assert about["rate"] == pytest.approx(4.9)


def test_training_from_a_cache_learns_and_knows_its_traces(lazy, tmp_path):
    model = geoae.autoencoder(like=lazy, latent=3, widths=(16,))
    history = geoae.fit(model, geoae.cache(lazy, tmp_path / "cache"), valid=0.2, epochs=30, batch=16)
    assert history.loss.sel(split="valid")[-1] < history.loss.sel(split="valid")[0]
    assert model.trained["traces"] == 56
    assert model.trained["units"] == "m"
    whole = geoae.autoencoder(like=lazy, latent=3, widths=(16,))
    geoae.fit(whole, lazy.compute(), epochs=1)
    cached = geoae.autoencoder(like=lazy, latent=3, widths=(16,))
    geoae.fit(cached, geoae.cache(tmp_path / "cache"), epochs=1)
    torch.testing.assert_close(cached.scale.offset, whole.scale.offset, atol=1e-6, rtol=0)
    torch.testing.assert_close(cached.scale.gain, whole.scale.gain)


@pytest.mark.parametrize("n", [1, 9, 10, 11, 30])
def test_every_epoch_sees_every_trace_once(n):
    for x in (torch.zeros(n, 1, 4), np.zeros((n, 1, 4), "f4")):
        epochs = [np.concatenate(sources.batches(x, 10, 0, epoch)) for epoch in (0, 1)]
        for rows in epochs:
            assert sorted(rows.tolist()) == list(range(n))
        if n == 30:
            assert (epochs[0] != epochs[1]).any()


def test_a_cache_that_cannot_be_is_refused_and_leaves_nothing(lazy, tmp_path):
    bad = lazy.compute()
    bad[60, 3] = np.nan
    with pytest.raises(ValueError, match="data has NaN or inf in 1 of 70 traces, the first being trace 60"):
        geoae.cache(bad, tmp_path / "cache")
    assert not list(tmp_path.iterdir())
    geoae.cache(lazy, tmp_path / "cache")
    with pytest.raises(FileExistsError, match="exists; open it with geoae.cache"):
        geoae.cache(lazy, tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="no cache .*; write one with geoae.cache"):
        geoae.cache(tmp_path / "nothing")
    with pytest.raises(ValueError, match="a cache is in an order of its own, so a target cannot go with it"):
        geoae.fit(geoae.autoencoder(like=lazy), geoae.cache(tmp_path / "cache"), target=lazy)


# ------------------------------------------------------------------------------------------------ settings


def test_a_callback_hears_of_every_epoch(tmp_path):
    heard = {}
    _, history = fit("denoiser", tmp_path, callback=lambda epoch, numbers: heard.update({epoch: numbers}))
    assert list(heard) == [1, 2, 3]
    assert heard[3]["valid/loss"] == float(history.loss.sel(split="valid", epoch=3))
    assert {"train/loss", "train/reconstruction", "lr"} < heard[1].keys()


@pytest.mark.parametrize("schedule", ["constant", "warm-up", lambda share: 0.5])
def test_schedules_of_the_learning_rate(schedule, tmp_path):
    _, history = fit("vae", tmp_path, schedule=schedule, lr=1e-3)
    wanted = 5e-4 if callable(schedule) else 1e-3
    assert float(history.lr[-1]) == pytest.approx(wanted)
    with pytest.raises(
        ValueError, match="unknown schedule 'cosine'; choose from one cycle, warm-up, constant"
    ):
        fit("vae", tmp_path, schedule="cosine")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_single_precision_weights(precision, tmp_path):
    model, history = fit("denoiser", tmp_path, precision=precision)
    assert np.isfinite(history.loss).all()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    with pytest.raises(ValueError, match="unknown precision 'int8'; choose from fp32, bf16, fp16"):
        fit("vae", tmp_path, precision="int8")


def test_plain_lines_stand_for_the_bar_where_there_is_no_terminal(tmp_path, capsys):
    fit("vae", tmp_path, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("training: 4/4 epochs, loss ")
