"""Models: every variant learns, saves and loads; files that lie are refused."""

import json

import numpy as np
import obspy
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import geoae
from geoae import Objective
from geoae.arrays import to_batch
from geoae.dist import Diagonal, Gaussian

VARIANTS = {
    "linear": ({"network": "linear"}, Objective()),
    "linear tied": ({"network": "linear", "tied": True}, Objective()),
    "dense": ({"widths": (16,)}, Objective()),
    "dense tied": ({"widths": (16,), "tied": True, "activation": "tanh"}, Objective()),
    "overcomplete": ({"widths": (64,), "latent": 80}, Objective()),
    "conv": ({"network": "conv", "widths": (4, 8), "hidden": 16}, Objective()),
    "conv tied": ({"network": "conv", "widths": (4, 8), "hidden": 0, "tied": True}, Objective()),
    "dropout": ({"widths": (16,), "dropout": 0.1}, Objective()),
    "conv dropout": ({"network": "conv", "widths": (4, 8), "hidden": 16, "dropout": 0.1}, Objective()),
    "l2": ({"widths": (16,)}, Objective(l2=1e-4)),
    "sparse": ({"widths": (16,), "latent": 16}, Objective(l1=1e-2)),
    "k-sparse": ({"widths": (16,), "latent": 16, "top": 4}, Objective()),
    "sparse by KL": ({"widths": (16,), "activation": "sigmoid", "code": "sigmoid"}, Objective(sparse_kl=0.1)),
    "sparse by L1": ({"widths": (16,)}, Objective(sparse_l1=0.1, rho=(0.1,), layer_weights=(2.0,))),
    "sparse by L2": ({"widths": (16,)}, Objective(sparse_l2=0.1, mean_over="units")),
    "sum of norms": ({"widths": (16,)}, Objective(activity=0.01)),
    "contractive, estimated": (
        {"widths": (16,), "activation": "tanh"},
        Objective(contractive=1e-2, probes=2),
    ),
    "contractive, deep": ({"widths": (16,), "activation": "tanh"}, Objective(contractive=1e-2)),
    "contractive": ({"widths": (), "code": "sigmoid", "latent": 8}, Objective(contractive=1e-2)),
    "vae": ({"widths": (16,), "posterior": "diagonal"}, Objective(kl=1)),
    "vae, learned sigma": ({"widths": (16,), "posterior": "diagonal", "sigma": "learned"}, Objective(kl=1)),
    "vae, sigma per sample": (
        {"widths": (16,), "posterior": "diagonal", "sigma": "per sample"},
        Objective(kl=1),
    ),
    "vae full": ({"widths": (16,), "posterior": "full"}, Objective(kl=1)),
    "beta vae": ({"widths": (16,), "posterior": "diagonal", "sigma": 0.3}, Objective(kl=4)),
    "vae, several draws": ({"widths": (16,), "posterior": "diagonal"}, Objective(kl=1, samples=4)),
    "vae, free bits": ({"widths": (16,), "posterior": "diagonal"}, Objective(kl=1, free_bits=0.1)),
    "vae, warm-up": ({"widths": (16,), "posterior": "diagonal"}, Objective(kl=geoae.WarmUp(1.0, 0.5))),
    "vae, cycles": ({"widths": (16,), "posterior": "full"}, Objective(kl=geoae.Cyclic(1.0, 2))),
    "your own term": (
        {"widths": (16,)},
        Objective(extra={"variation": (0.1, lambda trip: trip.p.mean.diff(dim=-1).abs().sum((1, 2)))}),
    ),
    "conv vae": (
        {"network": "conv", "widths": (4, 8), "hidden": 16, "posterior": "diagonal"},
        Objective(kl=1),
    ),
    "bernoulli vae": (
        {"widths": (16,), "posterior": "diagonal", "likelihood": "bernoulli", "scale": "range"},
        Objective(kl=1),
    ),
}


@pytest.fixture(scope="module")
def traces():
    return geoae.synth.damped_oscillations(64, seed=1)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_saves_and_loads(name, traces, tmp_path):
    words, objective = VARIANTS[name]
    model = geoae.autoencoder(like=traces, **words)
    loss = geoae.fit(model, traces, objective, valid=traces, epochs=15, batch=32, seed=0).loss.sel(
        split="valid"
    )
    assert loss[-1] < loss[0]  # on the same traces, all at the last sigma
    geoae.save(model, tmp_path / "model.safetensors")
    again = geoae.load(tmp_path / "model.safetensors")
    x = torch.from_numpy(to_batch(traces))
    assert torch.equal(again(x), model(x))
    assert again.config == json.loads(json.dumps(model.config))
    assert again.trained == json.loads(json.dumps(model.trained))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_gets_a_gradient(name, traces):
    words, objective = VARIANTS[name]
    model = geoae.autoencoder(like=traces, **words)
    loss, _ = objective(model, torch.from_numpy(to_batch(traces)))
    loss.backward()
    for weight, p in model.named_parameters():
        assert p.grad is not None, weight
        assert p.grad.abs().sum() > 0, weight


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_takes_one_trace_a_dead_one_and_double_precision(name, traces):
    words, objective = VARIANTS[name]
    model = geoae.autoencoder(like=traces, **words)
    dead = torch.full((1, 1, 50), 3.0)
    assert model(dead).isfinite().all()
    loss, _ = objective(model, dead)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert model.double()(dead.double()).dtype == torch.float64


@pytest.mark.parametrize("kind", ["mask", "time"])
def test_every_denoiser_learns_saves_and_loads(kind, tmp_path):
    events = geoae.synth.seismograms(8, duration=10.24, seed=0)
    widths = {"mask": (8, 8), "time": (4, 8)}[kind]
    model = geoae.denoiser(like=events, kind=kind, widths=widths)
    corrupt = geoae.AddNoise(snr_db=(-5, 5))
    loss = geoae.fit(model, events, corrupt=corrupt, valid=events, epochs=8, batch=4).loss.sel(split="valid")
    assert loss[-1] < loss[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    geoae.save(model, tmp_path / "m.safetensors")
    x = torch.from_numpy(to_batch(events))
    with torch.no_grad():
        assert torch.equal(geoae.load(tmp_path / "m.safetensors")(x), model(x))
        assert model(torch.full((1, 3, 1024), 5.0)).isfinite().all()


def test_a_predicted_sigma_is_the_size_of_the_error(tmp_path):
    """Learned from white noise on silence: the answer is silence, and its error the noise."""
    silence = geoae.synth.seismograms(64, duration=5.12, seed=0) * 0.0
    model = geoae.denoiser(like=silence, widths=(8, 8), kernel=32, stride=8, sigma="predicted", scale="none")
    target = silence + np.random.default_rng(0).standard_normal(silence.shape) * [[0.1], [0.2], [0.4]]
    geoae.fit(model, silence + 1.0, target=target, epochs=40, batch=16, lr=3e-2, seed=0)
    geoae.save(model, tmp_path / "m.safetensors")
    with torch.no_grad():
        mean, sigma = geoae.load(tmp_path / "m.safetensors").estimate(torch.ones(1, 3, 512))
    assert mean.shape == sigma.shape
    assert sigma[0].mean(-1).tolist() == pytest.approx([0.1, 0.2, 0.4], rel=0.1)
    with pytest.raises(ValueError, match="kind='time' does not tell its error"):
        geoae.denoiser(64, kind="time", sigma="predicted")
    assert geoae.denoiser(256).estimate(torch.ones(1, 3, 256))[1] is None


def test_the_shipped_denoiser_takes_pink_noise_off_an_earthquake_and_little_else():
    earthquake = obspy.read().filter("highpass", freq=1.0, corners=2, zerophase=True)
    clean = torch.from_numpy(np.stack([trace.data for trace in earthquake])).float()[None, :, :3000]
    pink = torch.from_numpy(geoae.noise.coloured((1, 3, 3000), exponent=1, rate=100.0, seed=1)).float()
    noise = pink * clean.std() / pink.std()
    model = geoae.pretrained()

    def snr_db(x):
        return 10 * torch.log10(clean.square().sum() / (x - clean).square().sum()).item()

    with torch.no_grad():
        mean, sigma = model.estimate(clean + noise)
        assert snr_db(mean) > snr_db(clean + noise) + 6
        assert 0.5 < ((mean - clean).square().mean() / sigma.square().mean()).sqrt() < 2
        assert snr_db(model(clean)) > 20
        assert model(noise).std() < noise.std() / 30
        alone = torch.zeros_like(clean)  # the vertical alone, without the others
        alone[:, 2] = (clean + noise)[:, 2]
        left = (model(alone) - clean)[:, 2].square().mean()
        assert left < noise[:, 2].square().mean() / 4


@pytest.mark.gpu
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_on_a_gpu(name, traces):
    words, objective = VARIANTS[name]
    model = geoae.autoencoder(like=traces, **words)
    history = geoae.fit(model, traces, objective, epochs=2, device="cuda")
    assert np.isfinite(history.loss.sel(split="train")).all()


def test_the_words_print(traces):
    model = geoae.autoencoder(like=traces, network="conv", top=1, latent=2)
    for word in ("Conv1d", "ConvTranspose1d", "TopK", "k=1"):
        assert word in repr(model)


def test_a_hand_built_model_is_saved_and_filled(traces, tmp_path):
    def build():
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(50, 8), nn.Tanh())
        decoder = nn.Sequential(nn.Linear(2, 50), nn.Unflatten(1, (1, 50)))
        return geoae.Autoencoder(encoder, Diagonal(8, 2), decoder, Gaussian(0.3))

    model = build()
    geoae.fit(model, traces, epochs=2)
    geoae.save(model, tmp_path / "own.safetensors")
    with pytest.raises(
        ValueError, match="put together by hand; build it again and load\\(path, into=model\\)"
    ):
        geoae.load(tmp_path / "own.safetensors")
    again = geoae.load(tmp_path / "own.safetensors", into=build())
    x = torch.from_numpy(to_batch(traces))
    assert torch.equal(again(x), model(x))
    with pytest.raises(ValueError, match="does not fit the model"):
        geoae.load(tmp_path / "own.safetensors", into=geoae.autoencoder(50))


def test_the_scale_keeps_units_and_gaps(denoiser):
    x = torch.randn(2, 1, 256)
    gap = x.clone()
    gap[0, 0, 50:60] = torch.nan
    with torch.no_grad():
        assert torch.equal(denoiser(gap).isnan(), gap.isnan())
        torch.testing.assert_close(denoiser(1000 * x + 50), 1000 * denoiser(x) + 50, rtol=1e-3, atol=0.05)


def test_no_trace_sees_its_neighbours(vae, oscillations):
    x = torch.from_numpy(to_batch(oscillations))
    with torch.no_grad():
        torch.testing.assert_close(vae(x)[3:4], vae(x[3:4]), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------ files


@pytest.fixture
def saved(vae, tmp_path):
    path = tmp_path / "vae.safetensors"
    geoae.save(vae, path)
    return path


def test_safetensors_alone_opens_the_file(saved, vae):
    tensors = load_file(saved)
    assert tensors.keys() == vae.state_dict().keys()
    with safe_open(saved, "pt") as file:
        about = json.loads(file.metadata()["geoae"])
    assert about["format"] == 1
    assert about["model"]["latent"] == 3
    assert about["trained"]["traces"] == 144
    assert about["trained"]["rate"] == pytest.approx(4.9)


def test_nothing_is_left_beside_the_file(saved):
    assert [p.name for p in saved.parent.iterdir()] == ["vae.safetensors"]


@pytest.mark.parametrize("size", [0, 1, 8, 100, 1000, -1])
def test_a_truncated_file_is_refused(saved, size):
    content = saved.read_bytes()
    saved.write_bytes(content[:size])
    with pytest.raises(ValueError, match="not a model saved by geoae, or it is damaged"):
        geoae.load(saved)


def test_a_flipped_bit_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[-5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="do not match their sha256"):
        geoae.load(saved)


def test_foreign_files_are_refused(tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("no model at all, just words" * 10)
    with pytest.raises(ValueError, match="not a model saved by geoae"):
        geoae.load(text)
    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="a safetensors file, but not a model saved by geoae"):
        geoae.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no model file"):
        geoae.load(tmp_path / "nothing.safetensors")


def rewritten(path, change):
    """The same weights with other metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    about = json.loads(metadata["geoae"])
    change(about)
    save_file(load_file(path), path, {**metadata, "geoae": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(format=99), "has format 99; this geoae reads up to 1"),
        (lambda a: a["model"].update(wings=2), "describes a model this geoae cannot build"),
        (lambda a: a["model"].update(builder="os.system"), "unknown builder 'os.system'"),
        (lambda a: a["model"].update(latent="three"), "latent is 'three'; it must be a whole number"),
        (
            lambda a: a["model"].update(widths=[10**9]),
            r"is \(.*\) in the file, \(1000000000, .*\) in the model",
        ),
        (lambda a: a.pop("trained"), "is damaged: it does not say its trained"),
        (lambda a: a.update(trained=[]), r"is damaged: its trained is \[\], no dict"),
        (lambda a: a.update(format="x"), "is damaged: its format is 'x', no int"),
        (lambda a: a["trained"].update(rate="abc"), "is damaged: its sampling rate is 'abc'"),
        (lambda a: a["model"].update(stride=0), "describes a model this geoae cannot build .stride is 0"),
        (lambda a: a["model"].update(like=5), "describes a model this geoae cannot build .like is a int"),
    ],
)
def test_a_recipe_that_lies_is_refused(saved, change, message):
    rewritten(saved, change)
    with pytest.raises(ValueError, match=message):
        geoae.load(saved)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda t: t * torch.nan, "holds weights that are NaN or inf"),
        (lambda t: t.long(), "holds numbers of types .*; wanted floats of one kind"),
        (lambda t: t.double(), "holds numbers of types .*; wanted floats of one kind"),
    ],
)
def test_weights_that_no_training_left_are_refused(saved, weights, message):
    tensors = load_file(saved)
    tensors["encoder.1.weight"] = weights(tensors["encoder.1.weight"])
    with safe_open(saved, "pt") as file:
        metadata = file.metadata() | {"sha256": geoae.model.digest(tensors)}
    save_file(tensors, saved, metadata)
    with pytest.raises(ValueError, match=message):
        geoae.load(saved)


def test_saving_into_no_folder_says_what_to_type(vae, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no folder .*away to write vae.safetensors into; make it with: mkdir"
    ):
        geoae.save(vae, tmp_path / "away" / "vae.safetensors")


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"posterior": "diag"}, "unknown posterior 'diag'; choose from point, diagonal, full"),
        ({"network": "rnn"}, "unknown network 'rnn'; choose from dense, conv, linear"),
        ({"likelihood": "poisson"}, "unknown likelihood 'poisson'; choose from gaussian, bernoulli"),
        ({"scale": "minmax"}, "unknown scale 'minmax'; choose from global, std, peak, range, none"),
        ({"activation": "swish"}, "unknown activation 'swish'"),
        ({"latent": 0}, "latent is 0; it must be a whole number from 1 up"),
        ({"latent": 2.0}, "latent is 2.0; it must be a whole number"),
        ({"length": 0}, "length is 0; it must be a whole number"),
        ({"top": 9}, "top is 9; of 2 latents it can keep 1 to 2"),
        ({"top": 1, "posterior": "diagonal"}, "top=1 acts on a point code, but the posterior is 'diagonal'"),
        ({"tied": True, "posterior": "full"}, "tied weights need a point posterior, not 'full'"),
        ({"likelihood": "bernoulli", "sigma": 1.0}, "sigma=1.0 is for likelihood='gaussian'"),
        ({"sigma": "fixed"}, "unknown sigma 'fixed'; choose from learned, per sample, anneal"),
        ({"length": None}, "how long are the traces"),
    ],
)
def test_words_that_make_no_model_say_why(words, message):
    with pytest.raises(ValueError, match=message):
        geoae.autoencoder(**{"length": 50, **words})


def test_numbers_of_numpy_are_numbers():
    model = geoae.autoencoder(np.int64(20), latent=np.int64(3), widths=np.array([10]))
    assert json.loads(json.dumps(model.config)) == model.config
    with pytest.raises(TypeError, match="like is a ndarray; give labelled traces"):
        geoae.autoencoder(like=np.zeros((3, 20)))


def test_the_seed_decides_the_first_weights():
    weights = [geoae.autoencoder(20, seed=s).encoder[1].weight for s in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_like_takes_the_shape_of_traces():
    events = geoae.synth.seismograms(2, duration=20.48)
    model = geoae.denoiser(like=events)
    assert (model.config["length"], model.config["channels"]) == (2048, 3)
    assert np.shape(model(torch.zeros(1, 3, 2048)).detach()) == (1, 3, 2048)
