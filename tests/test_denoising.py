"""Denoising records: what comes in goes out; nothing but the nearest window matters."""

import numpy as np
import obspy
import pytest
import xarray as xr
from obspy import UTCDateTime

import geoae
from geoae import denoise, denoising

RATE = 100.0


def record(n=3000, channels=3, seed=0):
    values = np.random.default_rng(seed).standard_normal((channels, n)).cumsum(-1)
    time = np.arange(n) / RATE
    return xr.DataArray(values, {"channel": list("ENZ")[:channels], "time": time}, ("channel", "time"))


def close(a, b, peak):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * peak)


# ------------------------------------------------------------------------------------------- streams


def test_a_stream_keeps_its_headers_but_for_one_line(three):
    stream = obspy.read()
    before = stream.copy()
    out = denoise(stream, three)
    assert len(out) == len(stream)
    for old, new in zip(stream, out, strict=True):
        for key in set(old.stats) - {"processing"}:
            assert old.stats[key] == new.stats[key], key
        added = new.stats.processing[len(old.stats.get("processing", [])) :]
        assert len(added) == 1
        assert added[0].startswith("geoae ")
        assert new.data.shape == old.data.shape
        assert np.isfinite(new.data).all()
    assert stream == before


def test_the_order_of_components_does_not_matter(three):
    stream = obspy.read()
    straight, turned = denoise(stream, three), denoise(stream[::-1], three)
    for a in straight:
        (b,) = [t for t in turned if t.id == a.id]
        assert (a.data == b.data).all()


def test_components_go_in_by_what_their_names_stand_for(three):
    """1 is north and 2 is east, though 1 comes first."""
    stream = obspy.read()
    numbered = stream.copy()
    for trace in numbered:
        trace.stats.channel = trace.stats.channel[:2] + {"N": "1", "E": "2"}.get(trace.id[-1], "Z")
    for a, b in zip(denoise(stream, three), denoise(numbered, three), strict=True):
        assert (a.data == b.data).all()


def test_a_stream_equals_its_record(three):
    stream = obspy.read()
    out = denoise(geoae.io.from_stream(stream), three)
    for trace in denoise(stream, three):
        close(out.sel(channel=trace.id), trace.data, np.abs(trace.data).max())


def test_stations_that_start_apart_come_out_of_a_record_as_of_a_stream(three):
    stream = obspy.read()
    late = stream.copy().trim(stream[0].stats.starttime + 7)
    for trace in late:
        trace.stats.station = "LATE"
    both = stream + late
    back = geoae.to_stream(denoise(geoae.io.from_stream(both), three))
    for trace in denoise(both, three):
        close(back.select(id=trace.id)[0].data, trace.data, 1e3)


def test_rates_that_differ_in_the_ninth_digit_are_one(three):
    stream = obspy.read()
    straight = denoise(stream, three)
    stream[0].stats.sampling_rate = 99.9999999
    for a, b in zip(straight, denoise(stream, three), strict=True):
        assert (a.data == b.data).all()


def test_a_gap_or_a_missing_component_spoils_little_beside_it():
    """What remains of noise beside a gap of ten seconds, and with one component missing, of that without."""
    events = geoae.synth.seismograms(48, rate=RATE, duration=10.24, seed=0)
    model = geoae.denoiser(like=events, widths=(16, 16), seed=0)
    geoae.fit(model, events, corrupt=geoae.AddNoise(snr_db=(-5, 10)), epochs=8, batch=8, lr=1e-2, seed=0)
    x = record(6000).copy(data=np.random.default_rng(3).standard_normal((3, 6000)))
    gap, missing = x.copy(deep=True), x.copy(deep=True)
    gap[:, 2000:4000], missing[0] = np.nan, np.nan
    left = float(denoise(x, model)[1:, 1000:2000].std())
    assert float(denoise(gap, model)[1:, 1000:2000].std()) < 1.25 * left
    assert float(denoise(missing, model)[1:, 1000:2000].std()) < 1.25 * left


def test_a_trace_is_one_component(denoiser):
    trace = obspy.read()[0]
    out = denoise(trace, denoiser)
    assert isinstance(out, obspy.Trace)
    assert (out.data == denoise(obspy.Stream([trace]), denoiser)[0].data).all()


def test_a_missing_component_is_named(three):
    with pytest.raises(
        ValueError,
        match=r"takes 3 components together, instrument BW.RJOB..EH. has BW.RJOB..EHN, BW.RJOB..EHZ",
    ):
        denoise(obspy.read().select(component="[ZN]"), three)


def test_a_fourth_component_is_named(three):
    stream = obspy.read()
    stream += stream.select(component="Z").copy()
    stream[3].stats.channel = "EHH"
    with pytest.raises(ValueError, match=r"has BW.RJOB..EHE, .*EHH; leave out those that are none of them"):
        denoise(stream, three)


def test_two_instruments_go_their_own_ways(three):
    stream = obspy.read()
    other = stream.copy()
    for trace in other:
        trace.stats.station, trace.data = "OTHER", trace.data[::-1].copy()
    both = denoise(stream + other, three)
    for trace in denoise(stream, three):
        assert (both.select(id=trace.id)[0].data == trace.data).all()


def test_gaps_stay_and_islands_come_out(three):
    stream = obspy.read()
    start = stream[0].stats.starttime
    cut = (
        stream.copy().cutout(start + 8, start + 9).cutout(start + 9.5, start + 14)
    )  # leaves an island of 0.5 s
    out = denoise(cut, three)
    assert [(t.id, t.stats.starttime, t.stats.npts) for t in out] == [
        (t.id, t.stats.starttime, t.stats.npts) for t in cut
    ]
    assert all(np.isfinite(t.data).all() for t in out)
    masked = denoise(cut.copy().merge(), three)
    for trace in masked:
        assert np.ma.isMaskedArray(trace.data)
        pieces = [t.data for t in out if t.id == trace.id]
        close(trace.data.compressed(), np.concatenate(pieces), 1e3)


def test_far_apart_segments_need_no_memory_between_them(three):
    stream = obspy.read()
    late = stream.copy()
    for trace in late:
        trace.stats.starttime += 10 * 365 * 86400  # 90 GB if the gap were laid out
    out = denoise(stream + late, three)
    assert len(out) == 6
    for trace in denoise(stream, three):
        assert (out.select(id=trace.id)[0].data == trace.data).all()


def test_contradicting_traces_are_named(denoiser):
    trace = obspy.read()[0]
    other = trace.copy()
    other.data = other.data + 1
    with pytest.raises(ValueError, match="BW.RJOB..EHZ has two different traces at 2009"):
        denoise(obspy.Stream([trace, other]), denoiser)


def test_masked_nan_and_infinite_samples(denoiser):
    trace = obspy.read()[0]
    trace.data = trace.data.astype(float)
    trace.data[100:110] = np.nan
    out = denoise(trace, denoiser)
    assert np.isnan(out.data).nonzero()[0].tolist() == list(range(100, 110))
    trace.data[5] = np.inf
    with pytest.raises(ValueError, match="1 samples are infinite"):
        denoise(trace, denoiser)
    trace.data[:] = np.nan
    with pytest.raises(
        ValueError, match="BW.RJOB..EHZ from 2009.*every sample is NaN; there is nothing to denoise"
    ):
        denoise(trace, denoiser)


def test_a_rate_of_zero_is_refused(denoiser):
    trace = obspy.read()[0]
    trace.stats.sampling_rate = 0
    with pytest.raises(ValueError, match="BW.RJOB..EHZ has a sampling rate of 0 Hz"):
        denoise(trace, denoiser)


def test_what_is_there_of_an_instrument_is_taken_on_request(three):
    """As if the missing component were there and all NaN."""
    stream = obspy.read()
    missing = geoae.io.from_stream(stream)
    missing.loc["BW.RJOB..EHE"] = np.nan
    expected = denoise(missing, three)
    out = denoise(stream.select(component="[ZN]"), three, partial=True)
    lone = denoise(stream.select(component="N")[0], three)
    other = denoise(stream.select(component="Z")[0], three)
    for trace in out:
        close(trace.data, expected.sel(channel=trace.id), 1e3)
    assert np.abs(lone.data - denoise(stream, three).select(component="N")[0].data).max() > 1e-3
    assert lone.id == "BW.RJOB..EHN"
    assert other.stats.npts == 3000


def test_a_dead_component_stays_dead(three):
    stream = obspy.read()
    stream[1].data = np.full(3000, 12345)
    out = denoise(stream, three)
    np.testing.assert_allclose(out[1].data, 12345, rtol=1e-15)
    assert all(np.isfinite(trace.data).all() for trace in out)


# ---------------------------------------------------------------------------------------------- rates

RATES = [20, 33.3, 40, 50, 99.99, 120, 128, 200, 250, 1000 / 3]


@pytest.fixture(scope="module")
def identity():
    """A model of 100 Hz that gives back what it is given, in single precision."""
    model = geoae.denoiser(256, kind="time", widths=(4,), seed=0)
    model.trained["rate"] = 100.0
    return model.eval()


def waves(t):
    """Something without an end to its spectrum below 15 Hz, the same at any rate."""
    rng = np.random.default_rng(0)
    f, a, p = (rng.uniform(low, high, 40) for low, high in ((0.5, 15), (0.2, 1), (0, 7)))
    return (a * np.sin(2 * np.pi * f * t[:, None] + p)).sum(-1) * np.exp(-(((t - 20) / 4) ** 2))


@pytest.mark.parametrize("rate", RATES)
def test_a_model_that_changes_nothing_changes_nothing_at_any_rate(identity, rate):
    values = np.random.default_rng(1).standard_normal((3, 3000)).cumsum(-1) + 1e5
    values[:, 1200:1230] = values[1, 2500:2900] = np.nan
    out = denoise(values, identity, rate=rate)
    close(out, values, np.ptp(values[np.isfinite(values)]))
    stream = obspy.Stream(
        [
            obspy.Trace(row[:1000], {"channel": f"HH{c}", "sampling_rate": rate})
            for row, c in zip(values, "ENZ", strict=True)
        ]
    )
    for before, after in zip(stream, denoise(stream, identity), strict=True):
        assert after.stats.sampling_rate == before.stats.sampling_rate
        close(after.data, before.data, 300)


@pytest.mark.parametrize("rate", [120, 200, 250])
def test_the_same_waves_come_out_alike_at_any_rate(three, rate):
    """Sampled more or less often, the waves are the same, and so is what the model makes of them."""
    often, seldom = (np.tile(waves(np.arange(40 * r) / r), (3, 1)) for r in (rate, 10))
    reference = denoise(np.tile(waves(np.arange(4000) / 100), (3, 1)), three, rate=100)[:, ::10]
    assert np.abs(reference - seldom).max() > 0.03 * np.abs(seldom).max()  # it does something
    error = denoise(often, three, rate=rate)[:, :: rate // 10] - reference
    assert np.abs(error).max() < 5e-3 * np.abs(seldom).max()


def test_what_lies_above_follows_is_kept_or_dropped(identity):
    t = np.arange(4000) / 200
    low, high = np.sin(2 * np.pi * 5 * t), np.sin(2 * np.pi * 70 * t)
    inner = slice(200, -200)
    for word, expected in (("follow", low + high), ("keep", low + high), ("drop", low)):
        out = denoise(np.tile(low + high, (3, 1)), identity, rate=200, outside=word)
        np.testing.assert_allclose(out[0, inner], expected[inner], atol=2e-3)
    with pytest.raises(
        ValueError, match="unknown word for what lies outside 'gone'; choose from follow, drop"
    ):
        denoise(np.zeros((3, 99)), identity, rate=200, outside="gone")


def test_what_lies_below_the_band_follows_is_kept_or_dropped(identity):
    """As two poles of a Butterworth filter, run both ways, part them."""
    model = geoae.denoiser(4096, kind="time", widths=(4,), seed=0).eval()
    model.trained |= {"rate": 100.0, "band": [0.5, 50.0]}
    t = np.arange(20000) / 100
    tones = {f: np.sin(2 * np.pi * f * t) for f in (4 / 40.96, 20 / 40.96, 5.0)}  # whole turns in a window
    x = np.tile(sum(tones.values()), (3, 1))
    close(denoise(x + 1e6, model, rate=100, outside="keep") - 1e6, x, 30)
    inner = slice(5000, -5000)
    high, far = ({f: 1 - 1 / (1 + (f / low) ** 4) for f in tones} for low in (0.5, 0.1))
    for word, left in (("drop", high), ("follow", {f: 1 - (1 - high[f]) * (1 - far[f]) for f in tones})):
        out = denoise(x + 1e6, model, rate=100, outside=word)[0]
        expected = sum(tone * left[f] for f, tone in tones.items())
        np.testing.assert_allclose(out[inner], expected[inner], atol=0.06)


@pytest.mark.parametrize("rate", [40, 100, 125])
def test_the_numbers_do_not_depend_on_how_a_record_is_cut(three, rate, monkeypatch):
    """Bit for bit: chunks, blocks, and a piece of the record with enough on either side."""
    time = np.datetime64("2020-01-01T00:00:00.4") + (np.arange(4000) * (1e9 / rate)).astype("timedelta64[ns]")
    x = record(4000).assign_coords(time=time)
    x[:, 1500:1520] = np.nan
    x[:, 2300:2800] = np.nan
    whole = denoise(x, three)
    np.testing.assert_array_equal(denoise(x.chunk(time=999), three), whole)
    piece = denoise(x.isel(time=slice(333, 3777)), three)
    np.testing.assert_array_equal(piece[:, 1000:-1000], whole[:, 1333:2777])
    monkeypatch.setattr(denoising.job, "BLOCK", 700)
    np.testing.assert_array_equal(denoise(x, three), whole)
    stream = geoae.to_stream(x)
    for trace in denoise(stream, three):
        begin = round((trace.stats.starttime - stream[0].stats.starttime) * rate)
        np.testing.assert_array_equal(trace.data, whole.sel(channel=trace.id[-1])[begin : begin + len(trace)])


def test_a_record_of_two_rates_keeps_both(three):
    stream = obspy.read()
    slow = stream.copy().decimate(2)
    for trace in slow:
        trace.stats.channel = "B" + trace.stats.channel[1:]
    out = denoise(stream + slow, three)
    assert [t.stats.sampling_rate for t in out] == [100] * 3 + [50] * 3
    for trace in denoise(slow, three):
        assert (out.select(id=trace.id)[0].data == trace.data).all()


# --------------------------------------------------------------------------------------------- arrays


def test_an_array_equals_a_record(three):
    x = record()
    expected = denoise(x, three).values
    assert (denoise(x.values, three, rate=RATE) == expected).all()
    both = denoise(np.stack([x.values, x.values]), three, rate=RATE)
    assert (both == expected).all()
    lone = denoise(x.values[2], three, rate=RATE)
    assert (lone == denoise(x[2].drop_vars("channel"), three).values).all()
    assert denoise(x.values.astype(np.int16), three, rate=RATE).dtype == np.float32


def test_a_masked_array_comes_back_masked(three):
    values = np.ma.masked_inside(np.round(record().values), 3, 4)
    nan = denoise(values.filled(np.nan), three, rate=RATE)
    for x in (values, values.astype(int)):
        out = denoise(x, three, rate=RATE)
        assert (out.mask == values.mask).all()
        assert (out.compressed() == nan[~values.mask]).all()


def test_arrays_that_say_too_little_are_refused(three):
    with pytest.raises(
        ValueError, match="an array has no sampling rate of its own: rate is None; give rate="
    ):
        denoise(np.zeros((3, 99)), three)
    with pytest.raises(ValueError, match=r"array has shape \(2, 99\); wanted .* with 3 channels .* E, N, Z"):
        denoise(np.zeros((2, 99)), three, rate=100)
    with pytest.raises(ValueError, match="rate= is for plain arrays; this Stream has its own"):
        denoise(obspy.read(), three, rate=100)


# -------------------------------------------------------------------------------------------- records


def test_windows_follow_each_other_by_four_fifths(three):
    x = record(2000)
    xr.testing.assert_identical(denoise(x, three), denoise(x, three, hop=204))
    assert not denoise(x, three).equals(denoise(x, three, hop=192))


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_the_batch_does_not_matter(three, batch):
    x = record()
    close(denoise(x, three, batch=batch), denoise(x, three), float(abs(x).max()))


@pytest.mark.parametrize("gap", [(0, 0), (40, 60), (900, 1400), (1100, 1357), (0, 300), (2700, 3000)])
@pytest.mark.parametrize("chunk", [10, 257, 999, 1500, 9000])
def test_chunks_equal_the_whole(three, chunk, gap):
    x = record(3000)
    x[:, slice(*gap)] = np.nan
    pieces = denoise(x.chunk(time=chunk), three)
    assert pieces.chunks is not None
    np.testing.assert_array_equal(pieces.compute(), denoise(x, three))


def test_a_later_cut_of_the_record_agrees_with_the_whole(three):
    """The grid hangs on absolute time, so a piece with a window of context equals the whole."""
    x = record(4000).assign_coords(
        time=np.datetime64("2020-01-01") + (np.arange(4000) * 1e7).astype("timedelta64[ns]")
    )
    whole, piece = denoise(x, three), denoise(x.isel(time=slice(777, 3333)), three)
    close(
        piece.isel(time=slice(256, -256)), whole.isel(time=slice(777 + 256, 3333 - 256)), float(abs(x).max())
    )


def test_units_and_offsets_go_through(three):
    x = record()
    plain = denoise(x, three)
    for unit in (1e12, 1e-60):  # the smaller is nothing in single precision
        close(denoise(unit * x, three), unit * plain, unit * float(abs(x).max()))
    close(denoise(x + 1e6, three) - 1e6, plain, 10 * float(abs(x).max()))


def test_an_event_far_larger_elsewhere_does_not_matter(three):
    x = record()
    loud = x.copy(deep=True)
    loud[:, 2500:] *= 1000
    close(denoise(loud, three)[:, :2000], denoise(x, three)[:, :2000], float(abs(x).max()))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("n", [1, 10, 255, 256, 257])
def test_records_shorter_than_a_window_come_out(three, n, lazy):
    out = denoise(record(n).chunk() if lazy else record(n), three).compute()
    assert out.shape == (3, n)
    assert np.isfinite(out).all()


def test_gaps_are_nan_again_and_leave_the_rest_alone(three):
    x = record()
    gappy = x.copy(deep=True)
    gappy[:, 1500:1600] = np.nan
    out = denoise(gappy, three)
    assert (out.isnull() == gappy.isnull()).all()
    close(out[:, :1000], denoise(x, three)[:, :1000], float(abs(x).max()))


def test_dims_order_dtype_and_labels_come_back(three):
    x = record().astype("float32").expand_dims(trace=[7, 8]).transpose("time", "trace", "channel")
    out = denoise(x, three)
    assert out.dims == x.dims
    assert out.dtype == np.float32
    xr.testing.assert_equal(out.trace, x.trace)
    assert out.attrs["history"].startswith("geoae ")
    assert denoise(record().round().astype("int32"), three).dtype == np.float64


def test_signal_and_noise_add_up_to_the_input(three):
    x = record()
    signal, noise = denoise(x, three, return_noise=True)
    np.testing.assert_allclose(signal + noise, x, rtol=0, atol=np.spacing(float(abs(x).max())))
    stream = obspy.read()
    signal, noise = denoise(stream, three, return_noise=True)
    for s, n, x in zip(signal, noise, stream, strict=True):
        np.testing.assert_allclose(s.data + n.data, x.data, rtol=0, atol=np.spacing(np.abs(x.data).max()))


def test_a_saved_model_may_be_given_by_its_path(three, tmp_path):
    geoae.save(three, tmp_path / "m.safetensors")
    x = record(500)
    assert (denoise(x, tmp_path / "m.safetensors") == denoise(x, three)).all()


def test_what_cannot_be_denoised_is_named(three):
    with pytest.raises(TypeError, match="cannot denoise a list; give a Stream, a Trace, a DataArray or"):
        denoise([1, 2], three)
    with pytest.raises(ValueError, match="the stream holds no traces"):
        denoise(obspy.Stream(), three)
    with pytest.raises(ValueError, match="hop is 999; the model sees 256 samples"):
        denoise(obspy.read(), three, hop=999)


# ------------------------------------------------------------------------------------ what to compare with


def test_the_band_pass_agrees_with_obspy():
    trace = obspy.read()[0]
    x = geoae.io.from_stream(trace)
    ours = denoising.bandpass(x, 1.0, 20.0).values[0]
    theirs = trace.copy().filter("bandpass", freqmin=1.0, freqmax=20.0, corners=4, zerophase=True).data
    inner = slice(500, -500)  # the two treat the ends differently
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=0.01 * np.abs(theirs).max())
    with pytest.raises(ValueError, match="band 1 to 60 Hz does not lie between 0 and half the rate, 50 Hz"):
        denoising.bandpass(x, 1.0, 60.0)


def test_the_spectral_gate_takes_off_noise_and_leaves_a_tone():
    t = np.arange(6000) / RATE
    tone = np.where((t > 20) & (t < 30), np.sin(2 * np.pi * 5 * t), 0)
    noise = 0.3 * np.random.default_rng(0).standard_normal(6000)
    x = xr.DataArray(tone + noise, {"time": t}, ("time",))
    out = denoising.spectral_gate(x)
    assert float(geoae.metrics.snr_db(tone, out.values)) > float(geoae.metrics.snr_db(tone, x.values)) + 8
    assert float(np.std(out[:1500])) < 0.3 * 0.3  # noise alone


def test_starttimes_between_samples_are_kept(denoiser):
    trace = obspy.read()[0]
    trace.stats.starttime = UTCDateTime("2020-01-01T00:00:00.003456Z")
    assert denoise(trace, denoiser).stats.starttime == trace.stats.starttime


# ------------------------------------------------------------------------------ the model that comes along


@pytest.fixture(scope="module")
def shipped():
    """The real earthquake that comes with ObsPy, denoised by the model that comes with geoae."""
    return denoise(obspy.read(), return_noise=True, return_std=True, report=True)


def test_without_a_model_the_shipped_one_is_used(shipped):
    signal, noise, _, _ = shipped
    stream = obspy.read()
    for before, s, n in zip(stream, signal, noise, strict=True):
        assert (s.id, s.stats.npts) == (before.id, before.stats.npts)
        assert np.abs(s.data + n.data - before.data).max() <= np.spacing(np.abs(before.data).max())
        assert np.corrcoef(before.data[500:1500], s.data[500:1500])[0, 1] > 0.9  # the event is still there
    assert "geoae" in signal[0].stats.processing[-1]


def test_the_error_that_a_model_predicts_comes_as_the_signal_does(shipped):
    signal, _, std, _ = shipped
    for s, error in zip(signal, std, strict=True):
        assert (s.id, s.stats.starttime, s.stats.npts) == (error.id, error.stats.starttime, error.stats.npts)
        assert (error.data > 0).all()
    values = np.stack([trace.data for trace in obspy.read()[::-1]])
    double = denoise(2 * values, rate=100, return_std=True)[1]
    np.testing.assert_allclose(double, 2 * denoise(values, rate=100, return_std=True)[1], rtol=1e-4)


def test_a_model_that_predicts_no_error_is_told(three):
    with pytest.raises(ValueError, match="this model predicts no error; train one with denoiser"):
        denoise(obspy.read(), three, return_std=True)
    signal, report = denoise(obspy.read(), three, report=True)
    assert report["snr_after"].isnull().all()
    assert len(signal) == 3


# ------------------------------------------------------------------------------------------- the quality


def test_the_estimates_are_what_they_say():
    """Against sums done by hand, on ten seconds of a tone in noise that it knows nothing of."""
    rng = np.random.default_rng(0)
    t = np.arange(6000) / RATE
    tone = np.where((t >= 20) & (t < 30), np.sin(2 * np.pi * 5 * t), 0)
    noise, sigma = 0.5 * rng.standard_normal(6000), np.full(6000, 0.1)
    table = denoising.quality(tone + noise, tone, sigma, rate=RATE).isel(channel=0)
    assert abs(float(table.snr_before) - 10 * np.log10(0.5 / 0.25)) < 0.3
    assert abs(float(table.snr_after) - 10 * np.log10(0.5 / 0.01)) < 0.05
    assert abs(float(table.removed) - 10 * np.log10((0.5 / 6 + 0.25) / (0.5 / 6))) < 0.3
    assert float(table.leakage) < 0.04
    assert (float(table.missing), bool(table.dead)) == (0, False)
    # half of the signal taken off with the noise is seen, and so is a dead channel with a gap
    assert float(denoising.quality(tone + 0.1 * noise, 0.5 * tone, rate=RATE).leakage[0]) > 0.9
    dead = np.ma.masked_less(np.arange(6000), 600) * 0 + 7
    gone = denoising.quality(dead, dead, rate=RATE).isel(channel=0)
    assert (float(gone.missing), bool(gone.dead)) == (0.1, True)


def test_the_report_shows_them(shipped, tmp_path):
    signal, _, _, table = shipped
    page = denoising.write_report(tmp_path / "report.html", obspy.read(), signal, table).read_text("utf-8")
    assert all(trace.id in page for trace in signal)
    assert "Leakage" in page


# ---------------------------------------------------------------------------- training without clean signals


def test_pairs_of_noisy_traces_teach_what_clean_ones_would():
    """The best linear map from inputs to targets takes noise off traces that it has not seen."""
    rng = np.random.default_rng(0)

    def noisy(n):
        shapes = np.exp(-((np.arange(96) - np.linspace(20, 76, 5)[:, None]) ** 2) / 18)
        there = rng.random((n, 1)) < 0.6  # in the others there is only noise
        clean = (rng.standard_normal((n, 5)) * there) @ shapes * 2
        return clean, clean + 0.5 * rng.standard_normal(clean.shape)

    _, x = noisy(3000)
    data = xr.DataArray(x, {"time": np.arange(96) / 10}, ("trace", "time"))
    inputs, targets = (v.values for v in denoising.noisy_pairs(data, draws=3, seed=0))
    np.testing.assert_allclose((inputs + targets) / 2, np.tile(x, (3, 1)), atol=1e-12)
    filters = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    clean, unseen = noisy(500)
    gain = geoae.metrics.snr_db(clean.ravel(), (unseen @ filters).ravel()) - geoae.metrics.snr_db(
        clean.ravel(), unseen.ravel()
    )
    teacher = np.linalg.lstsq(x, noisy(3000)[0], rcond=None)[0]  # of other traces: teaches nothing
    assert gain > 5
    assert geoae.metrics.snr_db(clean.ravel(), (unseen @ teacher).ravel()) < 1
