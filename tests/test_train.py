"""Training: what it promises of its arguments, and that a run depends on nothing else."""

import re
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import geoae
from geoae.train import Anneal, expected_active_units, one_cycle


@pytest.fixture(scope="module")
def traces():
    return geoae.synth.damped_oscillations(48, seed=2)


def small(traces, **words):
    return geoae.autoencoder(like=traces, **{"widths": (16,), **words})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_run_is_a_function_of_its_arguments(traces):
    def run(seed):
        model = small(traces, posterior="diagonal")
        corrupt = geoae.GaussianNoise(0.1)
        history = geoae.fit(model, traces, corrupt=corrupt, epochs=4, batch=20, valid=0.2, seed=seed)
        return weights(model), history

    (a, first), (b, again) = run(0), run(0)
    assert torch.equal(a, b)
    xr.testing.assert_identical(first, again)
    assert not torch.equal(a, run(1)[0])


def test_training_leaves_the_random_state_of_others_alone(traces):
    before = torch.random.get_rng_state()
    geoae.fit(small(traces, posterior="diagonal"), traces, corrupt=geoae.GaussianNoise(0.1), epochs=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_history_has_every_term_over_epochs_and_splits(traces):
    history = geoae.fit(small(traces, posterior="diagonal"), traces, valid=0.25, epochs=5)
    assert history.loss.dims == ("epoch", "split")
    assert history.epoch.values.tolist() == [1, 2, 3, 4, 5]
    assert history.split.values.tolist() == ["train", "valid"]
    assert history.notnull().all().to_array().all()
    np.testing.assert_allclose(history.loss, history.reconstruction + history.kl, rtol=1e-5)


def test_without_held_out_traces_the_valid_column_is_empty(traces):
    history = geoae.fit(small(traces), traces, epochs=2)
    assert history.loss.sel(split="valid").isnull().all()
    assert "sigma" not in history


def test_patience_stops_and_keeps_the_best_weights(traces):
    # noise has nothing to be learned, so the loss on held-out noise soon rises
    noise = xr.DataArray(
        np.random.default_rng(0).standard_normal((40, 50)),
        dims=("trace", "time"),
        coords={"time": np.arange(50.0)},
    )
    model = geoae.autoencoder(like=noise, widths=(200,), latent=30)
    history = geoae.fit(model, noise, valid=0.5, epochs=200, batch=20, patience=5)
    valid = history.loss.sel(split="valid")
    assert history.sizes["epoch"] < 200
    assert int(np.argmin(valid.values)) == history.sizes["epoch"] - 6
    assert history.attrs["restart_losses"] == [pytest.approx(float(valid.min()))]


def test_the_best_of_several_restarts_is_kept(traces):
    model = small(traces, latent=3, posterior="diagonal")
    history = geoae.fit(model, traces, epochs=8, restarts=3)
    losses = history.attrs["restart_losses"]
    assert len(set(losses)) == 3
    again = geoae.fit(small(traces, latent=3, posterior="diagonal", seed=5), traces, epochs=8, restarts=3)
    assert again.attrs["restart_losses"] == losses  # the seed of fit decides, not the weights before it
    assert [run is model for run in model.runs] == [True, False, False]
    assert len({run.posterior.weight.sum().item() for run in model.runs}) == 3
    bound = [float(geoae.latent.anomaly(traces, run, "elbo", samples=50).mean()) for run in model.runs]
    assert bound == sorted(bound)


@pytest.mark.parametrize("words", [{"posterior": "diagonal"}, {}])
def test_restarts_side_by_side_end_where_restarts_in_turn_do(traces, words, monkeypatch):
    together, in_turn = small(traces, latent=2, **words), small(traces, latent=2, **words)
    options = {"epochs": 6, "batch": 20, "restarts": 3, "seed": 4}
    history = geoae.fit(together, traces, **options)
    monkeypatch.setattr(geoae.train.loop, "together", lambda model, plan: False)
    wanted = geoae.fit(in_turn, traces, **options)
    np.testing.assert_allclose(history.attrs["restart_losses"], wanted.attrs["restart_losses"], rtol=1e-4)
    xr.testing.assert_allclose(history, wanted, rtol=1e-4)
    torch.testing.assert_close(weights(together), weights(in_turn), rtol=1e-3, atol=1e-4)


def test_corruption_is_undone_not_copied(traces):
    """A denoising autoencoder comes closer to the clean trace than the trace it was given."""
    model = small(traces, latent=4)
    geoae.fit(model, traces, corrupt=geoae.GaussianNoise(0.3), epochs=150, batch=16)
    clean = geoae.arrays.to_batch(traces)
    noisy = geoae.GaussianNoise(0.3)(clean, np.random.default_rng(9))
    with torch.no_grad():
        out = model(torch.from_numpy(noisy)).numpy()
    assert ((out - clean) ** 2).mean() < 0.3 * ((noisy - clean) ** 2).mean()


def test_target_traces_are_what_should_come_out(traces):
    model = small(traces, latent=4)
    geoae.fit(model, traces, target=-traces, epochs=150, batch=16)
    x = geoae.arrays.to_batch(traces)
    with torch.no_grad():
        out = model(torch.from_numpy(x)).numpy()
    assert np.corrcoef(out.ravel(), -x.ravel())[0, 1] > 0.9


def test_annealing_holds_falls_and_holds():
    anneal, largest, end = Anneal(start=0.5, hold=0.1, until=0.7), 8.0, 0.4
    assert anneal.sigma(0.0, largest, end) == anneal.sigma(0.1, largest, end) == 2.0
    assert anneal.sigma(0.4, largest, end) == pytest.approx((2.0 * 0.4) ** 0.5)  # geometric: half way
    assert anneal.sigma(0.7, largest, end) == anneal.sigma(1.0, largest, end) == pytest.approx(0.4)
    assert anneal.sigma(0.0, 0.1, end) == end  # nothing to come down from


def test_sigma_ends_where_the_model_says(traces):
    model = small(traces, posterior="diagonal")
    history = geoae.fit(model, traces, epochs=10)
    assert history.sigma[0] > history.sigma[5] > history.sigma[-1]
    assert float(history.sigma[-1]) == pytest.approx(0.15**0.5)
    assert model.likelihood.log_sigma.exp().item() == pytest.approx(0.15**0.5)


def test_the_learning_rate_goes_up_and_down_once():
    rates = np.array([one_cycle(f) for f in np.linspace(0, 1, 101)])
    assert rates.max() == pytest.approx(1, abs=1e-3)
    assert rates.argmax() == 10
    assert rates[-1] == pytest.approx(0.01)
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()


def test_a_training_says_before_it_starts_how_many_latents_can_pay(capsys):
    """The naive recipe's decoder variance of 1 lies above every eigenvalue of the lecture's oscillations."""
    x = geoae.synth.damped_oscillations((12, 12))
    naive = geoae.autoencoder(like=x, latent=3, widths=(8,), posterior="diagonal", sigma=1.0, scale="none")
    history = geoae.fit(naive, x, lr=1e-3, batch=100, schedule="constant", epochs=30, progress=True)
    first, *_ = capsys.readouterr().err.splitlines()
    largest = np.linalg.eigvalsh(np.cov(x.values.T, bias=True))
    assert largest[-1] < 1
    assert history.attrs["expected_active_units"] == 0
    assert first == "training: the traces' spectrum has room for 0 active latents, the model has 3"
    recipe = geoae.autoencoder(like=x, latent=3, widths=(8,), posterior="diagonal")
    counts = [
        geoae.fit(recipe, x, geoae.Objective(kl=beta), epochs=1).attrs["expected_active_units"]
        for beta in (1.0, 4.0)
    ]
    scaled = largest / x.values.var(0).mean()
    assert counts == [(scaled > 0.15).sum(), (scaled > 0.6).sum()]
    assert "expected_active_units" not in geoae.fit(geoae.autoencoder(like=x, widths=(8,)), x, epochs=1).attrs


def test_expected_active_units_counts_the_eigenvalues_above_the_variance():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    spread = np.r_[[5.0, 3.0, 1.0], np.full(17, 0.01)]
    x = xr.DataArray(rng.standard_normal((5000, 20)) * spread @ basis.T, dims=("trace", "time"))
    assert [expected_active_units(x, sigma) for sigma in (10, 4, 2, 0.5)] == [0, 1, 2, 3]
    assert expected_active_units(x[:10], 2.0) == 2  # fewer traces than samples


def test_held_out_pairs_are_judged_as_pairs(traces):
    """Held-out data with targets of their own count as the same traces held out by a share would."""
    model = small(traces)
    history = geoae.fit(model, traces, target=-traces, valid=(traces, -traces), epochs=60, batch=16)
    valid = history.loss.sel(split="valid").values
    assert valid.min() < 0.8 * valid[0]
    x = geoae.arrays.to_batch(traces)
    with torch.no_grad():
        loss, _ = geoae.Objective()(model, torch.from_numpy(x), torch.from_numpy(-x))
    assert loss.item() == pytest.approx(valid.min(), rel=1e-5)
    with pytest.raises(
        ValueError, match=r"give held-out traces as valid=\(data, target\), as training has targets"
    ):
        geoae.fit(model, traces, target=-traces, valid=traces)
    with pytest.raises(ValueError, match="give held-out traces as valid=data, as training has no targets"):
        geoae.fit(model, traces, valid=(traces, traces))


def test_traces_without_a_time_axis_have_no_rate(traces):
    model = small(traces)
    geoae.fit(model, traces.drop_vars("time"), epochs=1, valid=np.float32(0.1))
    assert model.trained["rate"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": 1.5}, "valid is 1.5; it is the share of traces held out"),
        ({"valid": 0.999}, "leaves none to train on"),
        ({"patience": 3}, "patience counts epochs without improvement on held-out traces; give valid=0.1"),
        ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
        ({"restarts": 0}, "restarts is 0; it must be 1 or more"),
        ({"patience": -1, "valid": 0.5}, "patience is -1; it must be 1 or more"),
        ({"every": -1}, "every is -1; it must be above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(traces, options, message):
    with pytest.raises(ValueError, match=message):
        geoae.fit(small(traces), traces, **options)


def test_traces_that_cannot_be_trained_on_are_refused(traces):
    bad = traces.copy(deep=True)
    bad[7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or inf in 1 of 48 traces, the first being trace 7"):
        geoae.fit(small(traces), bad)
    with pytest.raises(ValueError, match="1 channels of 40 samples, the model expects 1 of 50"):
        geoae.fit(small(traces), traces.isel(time=slice(40)))
    with pytest.raises(ValueError, match="data has 48 traces and target 40"):
        geoae.fit(small(traces), traces, target=traces[:40])


def test_a_loss_that_is_not_a_number_stops_the_run(traces):
    with pytest.raises(
        ValueError, match=r"became (nan|inf) at step \d+, on trace \d+ of those trained on; try a smaller lr"
    ):
        geoae.fit(small(traces, posterior="diagonal"), traces, lr=1e9, epochs=20)


def test_a_bar_is_shown_when_asked_for(traces, capsys):
    geoae.fit(small(traces), traces, epochs=3, progress=True)
    assert "3/3 epochs" in capsys.readouterr().err
    geoae.fit(small(traces), traces, epochs=3, progress=False)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_the_loss(traces, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    geoae.fit(small(traces), traces, epochs=3)
    shown = capsys.readouterr().err
    assert "━" in shown
    assert "3/3 epochs" in shown
    assert re.search(r"epochs/s, loss \d", shown)


def test_the_bar_of_a_resumed_training_goes_on_at_the_epochs_already_done(
    traces, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def power_cut(epoch, numbers):
        if epoch == 3:
            raise RuntimeError

    words = {"epochs": 4, "restarts": 2, "checkpoint": tmp_path / "run.ckpt", "every": 1}
    with pytest.raises(RuntimeError):
        geoae.fit(small(traces), traces, progress=False, callback=power_cut, **words)
    seen = []
    geoae.fit(small(traces), traces, resume=True, callback=lambda epoch, _: seen.append(epoch), **words)
    shown = re.findall(r"(\d+)/8 epochs", capsys.readouterr().err)
    assert (shown[0], shown[-1], seen) == ("2", "8", [3, 4, 1, 2, 3, 4])
    geoae.fit(small(traces), traces, resume=True, **words)  # all of it was done
    assert re.findall(r"(\d+)/8 epochs", capsys.readouterr().err)[0] == "8"


def test_a_training_that_stops_early_tells_of_each_epoch_once(traces):
    seen = []
    words = {"valid": 0.25, "epochs": 4, "patience": 2, "lr": 0.0}  # nothing improves, one epoch is left out
    geoae.fit(small(traces), traces, callback=lambda epoch, _: seen.append(epoch), **words)
    assert seen == [1, 2, 3]


@pytest.mark.gpu
def test_training_on_a_gpu_agrees_with_the_cpu(traces):
    losses = [
        float(geoae.fit(small(traces), traces, epochs=20, device=name).loss.sel(split="train")[-1])
        for name in ("cpu", "cuda")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
