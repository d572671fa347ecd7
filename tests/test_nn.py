"""Networks: their shapes, their adjoints, their scale."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch import nn

import geoae
from geoae import nn as net


def test_the_lectures_convolution_and_its_transpose():
    x = torch.tensor([[1.0, 2, 3], [6, 5, 3], [1, 4, 1]])
    kernel = torch.tensor([[1.0, 2], [2, 1]])[None, None]
    down, up = nn.Conv2d(1, 1, 2, bias=False), nn.ConvTranspose2d(1, 1, 2, bias=False)
    down.weight.data, up.weight.data = kernel, kernel
    a = net.matrix(down, (3, 3))
    assert a.shape == (4, 9)
    assert (a @ x.ravel()).tolist() == [22, 21, 22, 20]
    b = net.matrix(up, (2, 2))
    assert torch.equal(b, a.T)
    assert (b @ torch.tensor([1.0, 2, 2, 4])).reshape(3, 3).tolist() == [[1, 4, 4], [4, 13, 10], [4, 10, 4]]


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [31, 32, 33, 50, 64])
def test_transposed_convolutions_bring_any_length_back(length, stride):
    words = {"widths": (3, 5), "kernel": 5, "stride": stride, "hidden": 0}
    encoder = net.ConvEncoder(2, length, **words)
    assert encoder(torch.zeros(1, 2, length)).shape == (1, encoder.width)
    assert net.ConvDecoder(2, length, 4, **words)(torch.zeros(1, 4)).shape == (1, 2, length)


@pytest.mark.parametrize("length", [32, 33])
def test_a_transposed_convolution_is_the_adjoint_of_its_convolution(length):
    conv = nn.Conv1d(2, 3, 5, 2, 2, bias=False).double()
    back = net.conv._transposed(3, 2, 5, 2, length).double()
    back.weight.data = conv.weight.data
    x, y = torch.randn(1, 2, length).double(), torch.randn(1, 3, (length + 1) // 2).double()
    ax, aty = conv(x), back(y) - back(torch.zeros_like(y))
    assert torch.sum(ax * y).item() == pytest.approx(torch.sum(x * aty).item(), rel=1e-12)


@pytest.mark.parametrize("network", ["dense", "conv"])
def test_tied_weights_are_the_transposed_matrices_of_the_encoder(network):
    if network == "dense":
        layers = [nn.Flatten(), nn.Linear(33, 7), nn.Linear(7, 3)]
    else:
        layers = [nn.Conv1d(1, 2, 5, 2, 2), nn.Conv1d(2, 3, 5, 2, 2), nn.Flatten(), nn.Linear(27, 3)]
    tied = net.Tied(layers, 1, 33).double()
    encoder = nn.Sequential(*layers).double()
    with torch.no_grad():
        units = torch.eye(33).double().reshape(33, 1, 33)
        there = (encoder(units) - encoder(torch.zeros(1, 1, 33).double())).T
        back = tied(torch.eye(3).double()) - tied(torch.zeros(1, 3).double())
    torch.testing.assert_close(back.flatten(1), there)


def test_top_k_keeps_the_largest_and_passes_the_gradient_there_only():
    z = torch.tensor([[3.0, -5, 1, 0.5]], requires_grad=True)
    out = net.TopK(2)(z)
    assert out.tolist() == [[3, -5, 0, 0]]
    (out * torch.tensor([1.0, 10, 100, 1000])).sum().backward()
    assert z.grad.tolist() == [[1, 10, 0, 0]]


@pytest.mark.parametrize("kind", ["std", "peak", "range", "none"])
def test_a_trace_scale_ignores_gaps_and_survives_dead_traces(kind):
    x = torch.randn(4, 3, 50).double()
    x[1] = 7.0  # dead
    x[2, :, 10:20] = torch.nan
    x[3] = torch.nan
    offset, gain = net.TraceScale(kind)(x)
    assert gain.shape == (4, 1, 1)  # one for all channels
    assert offset.isfinite().all()
    assert (gain > 0).all()
    kept = torch.cat([x[2, :, :10], x[2, :, 20:]], -1)[None]
    for with_gap, without in zip(net.TraceScale(kind)(x[2:3]), net.TraceScale(kind)(kept), strict=True):
        torch.testing.assert_close(with_gap, without)


def test_trace_scales_measure_what_their_name_says():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 40)) * 5 + 2)
    offset, gain = net.TraceScale("std")(x)
    scaled = ((x - offset) / gain).numpy()
    np.testing.assert_allclose(scaled.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose((scaled**2).mean((1, 2)), 1)
    offset, gain = net.TraceScale("peak")(x)
    np.testing.assert_allclose(np.abs(((x - offset) / gain).numpy()).max((1, 2)), 1)
    offset, gain = net.TraceScale("range")(x)
    scaled = ((x - offset) / gain).numpy()
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_a_set_scale_is_measured_once():
    x = torch.randn(20, 1, 30) * 3 + 1
    scale = net.SetScale(1, 30)
    scale.measure([x[:7], x[7:]])
    offset, gain = scale(x)
    torch.testing.assert_close(offset, x.mean(0))
    torch.testing.assert_close(((x - offset) / gain).square().mean(), torch.ones(()))
    scale.measure([100 * x])
    torch.testing.assert_close(scale(x)[1], gain)


def test_the_denoising_network_begins_as_the_identity():
    network = net.UNet(3, 64, (4, 8, 8))
    net.reset(network, 3)
    x = torch.randn(2, 3, 64)
    torch.testing.assert_close(network(x), x)


def test_open_gains_give_the_trace_back_at_any_length():
    torch.manual_seed(0)
    for length in (128, 131, 1000, 1023):
        network, x = net.MaskNet(2, length), torch.randn(2, 2, length)
        torch.nn.init.constant_(network.steepness, 0.0)  # all gains of the long frames at a half
        left = 0.5 * torch.sigmoid(torch.tensor(3.0))
        torch.testing.assert_close(network(x), left * x, rtol=0, atol=3e-6)


def test_an_untrained_mask_is_a_spectral_gate():
    t = torch.arange(1024) / 100
    tone = torch.where((t > 4) & (t < 6), torch.sin(2 * torch.pi * 12.5 * t), 0)[None, None]
    torch.manual_seed(0)
    noise = 0.3 * torch.randn(1, 1, 1024)
    with torch.no_grad():
        out = net.MaskNet(1, 1024)(tone + noise)
    assert (out - tone).square().sum() < 0.5 * noise.square().sum()
    assert out[..., :300].square().mean() < 0.5 * noise[..., :300].square().mean()


def test_neighbours_move_a_gain_by_the_same_rules_everywhere():
    """What moves in time and frequency moves what is said of it; a word for a frequency stays where it is."""
    torch.manual_seed(0)
    beside = net.denoisers._Beside(2, 1, 65, 5, 2)
    torch.nn.init.normal_(beside.last.weight)
    x = torch.zeros(1, 2, 65, 94)
    x[..., 20:25, 30:35] = torch.randn(1, 2, 5, 5)
    with torch.no_grad():
        moved = beside(x.roll((7, 11), (2, 3))) - beside(0 * x)
        torch.testing.assert_close(moved, (beside(x) - beside(0 * x)).roll((7, 11), (2, 3)))
        assert moved.abs().max() > 0
        before = beside(x)
        beside.where[:, 40] = 1.0
        changed = (beside(x) != before).any(-1).flatten().nonzero().flatten().tolist()
    assert changed == [39, 40, 41]


def test_what_neighbours_say_reaches_the_gains():
    torch.manual_seed(0)
    network, x = net.MaskNet(1, 1024), torch.randn(1, 1, 1024)
    with torch.no_grad():
        before = network(x)
        for beside in (*network.beside, network.lines.beside):
            beside.last.bias.fill_(-20.0)
            assert network(x).abs().max() < 1e-5 < before.abs().max()
            beside.last.bias.zero_()


def test_a_line_in_what_was_taken_off_is_told_from_what_lies_beside_it():
    """Made to turn down what it sees as a line, and nothing else, the network finds the one that is there."""
    torch.manual_seed(0)
    t = torch.arange(8192) / 100
    noise = torch.randn(1, 1, 8192) + 3 * torch.sin(2 * torch.pi * 8.0 * t)
    lines, y = net.denoisers._Lines(1, 512), torch.randn(1, 1, 8192)
    with torch.no_grad():
        torch.testing.assert_close(lines(y, y + noise), y)
        for weight in lines.parameters():
            weight.zero_()
        lines.beside.first.weight[0, 2, 1, 1] = 1.0
        lines.beside.first.bias.fill_(-1.5)  # no chance rises so far above its surroundings
        lines.beside.last.weight.fill_(-50.0)
        left = lines(y, y + noise)
    frequencies, power = signal.welch(np.stack([left[0, 0], y[0, 0]]), 100, nperseg=1024)
    kept_db = 10 * np.log10(power[0] / power[1])
    assert kept_db[abs(frequencies - 8.0) < 0.05].max() < -6
    assert abs(kept_db[abs(frequencies - 8.0) > 1.0]).max() < 0.1


def test_long_frames_leave_no_spike_at_the_end_of_a_trace():
    """Unpadded, the last sample of 1023 is the last of a frame of 512, where its window is all but zero."""
    torch.manual_seed(0)
    lines, y = net.denoisers._Lines(1, 512), torch.randn(64, 1, 1023)
    torch.nn.init.normal_(lines.beside.last.weight)
    with torch.no_grad():
        left = lines(y, y + torch.randn(64, 1, 1023))
    assert left[..., -1].abs().max() < 2 * left.abs().max(-1).values.mean()


def test_a_gap_says_nothing_of_the_noise_floor():
    """A window that is mostly gap is gated as a whole one is, though silence is most of what it holds."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 1024))).float()
    gappy = noise.clone()
    gappy[..., 400:] = 0
    with torch.no_grad():
        whole, part = net.MaskNet(1, 1024)(noise), net.MaskNet(1, 1024)(gappy)
    left = part[..., :350].std() / whole[..., :350].std()
    assert 0.7 < left < 1.3
    assert part[..., 530:].abs().max() < 1e-5


def test_a_gap_says_nothing_of_the_noise_in_long_frames_either():
    torch.manual_seed(0)
    y, noise = torch.randn(2, 1, 1, 4096)
    lines = net.denoisers._Lines(1, 512)
    with torch.no_grad():
        for weight in lines.parameters():
            weight.zero_()
        lines.beside.first.weight[0, 0, 1, 1] = 1.0
        lines.beside.first.bias.fill_(2.0)
        lines.beside.last.weight.fill_(-1.0)
        whole = lines(y, y + noise)
        y[..., 2048:] = noise[..., 2048:] = 0
        part = lines(y, y + noise)
    assert 0.95 < part[..., :1500].std() / whole[..., :1500].std() < 1.05


def test_the_gradient_of_a_mask_is_that_of_all_it_does():
    """Autograd against small differences along one direction: what the later passes see is no constant."""
    torch.manual_seed(0)
    network = net.MaskNet(2, 512, widths=(8, 8), kernel=64, stride=16).double()
    x, wanted = torch.randn(2, 1, 2, 512, dtype=torch.float64)
    weights = list(network.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.1 * torch.randn_like(weight))
    directions = [torch.randn_like(weight) for weight in weights]

    def loss(step: float) -> torch.Tensor:
        moved = [w + step * d for w, d in zip(weights, directions, strict=True)]
        named = dict(zip(dict(network.named_parameters()), moved, strict=True))
        return ((torch.func.functional_call(network, named, x) - wanted) ** 2).mean()

    slopes = torch.autograd.grad(loss(0.0), weights)
    slope = sum((s * d).sum() for s, d in zip(slopes, directions, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(slope, (loss(1e-6) - loss(-1e-6)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_the_noise_floor_is_the_same_whichever_library_sorts():
    """Where a gradient is asked for torch finds the floor, elsewhere NumPy; in a gap neither looks."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 1056))).float()
    x[0, :, 300:700] = 0
    x[1, 2] = 0
    network = net.MaskNet(3, 1056)  # an even number of frames has two in the middle
    assert torch.equal(network(x), network(x.clone().requires_grad_()))
    power = net.denoisers._apart(x, 128, 32).abs().square()
    silent = power.amax(2, keepdim=True) <= 0
    floor = power.masked_fill(silent, torch.nan).nanmedian(-1, keepdim=True).values.nan_to_num(1e-6)
    assert torch.equal(net.denoisers._median(power, silent), floor)


def test_a_length_off_the_grid_names_the_nearest_good_one():
    with pytest.raises(ValueError, match=r"length 100 is not a multiple of stride\*\*levels = 64; try 128"):
        net.UNet(1, 100, (4, 8, 8, 8))
    with pytest.raises(ValueError, match="length 100 is less than kernel = 128; try kernel=64, stride=16"):
        net.MaskNet(1, 100)
    with pytest.raises(ValueError, match=r"kernel 40 must be a multiple of 4 \* stride = 64"):
        net.MaskNet(1, 160, kernel=40, stride=16)
    with pytest.raises(ValueError, match=r"widths \(8, 16\) must be equal"):
        net.MaskNet(1, 160, widths=(8, 16))
    with pytest.raises(ValueError, match="kernel is 4; it must be odd, try 5"):
        net.ConvEncoder(1, 50, kernel=4)


def test_reset_depends_on_the_seed_alone():
    a, b = net.UNet(1, 64, (4, 8)), net.UNet(1, 64, (4, 8))
    before = torch.random.get_rng_state()
    net.reset(a, 1)
    torch.randn(3)
    net.reset(b, 1)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    torch.random.set_rng_state(before)
    net.reset(a, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(a.stem.weight, b.stem.weight)


def test_the_device_is_the_one_asked_for():
    assert net.device("cpu") == torch.device("cpu")
    assert net.device().type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="no device 'foo' here; choose from cpu"):
        net.device("foo")


@pytest.mark.parametrize("build", [geoae.autoencoder, geoae.denoiser])
def test_dropout_drops_while_training_and_nothing_after(build):
    model = build(128, channels=3, dropout=0.5)
    x = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0))
    if build is geoae.denoiser:
        torch.nn.init.normal_(model.network.leave.weight)  # a new one adds nothing that could be dropped
    with net.forked_rng(0):
        model.train()
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))
    with pytest.raises(ValueError, match=r"dropout is 1.0; it is the share of features left out"):
        build(128, channels=3, dropout=1.0)
