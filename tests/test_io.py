import json
import pickle
from pathlib import Path

import numpy as np
import obspy
import pytest
import xarray as xr
from obspy import Stream, Trace, UTCDateTime

from geoae import synth
from geoae.arrays import detrend, resample, sampling_rate
from geoae.io import ReadError, from_stream, read, read_stream, read_traces, to_stream, write

OBSPY = Path(obspy.__file__).parent
START = UTCDateTime(2020, 1, 2, 3, 4, 5, 678901)


def trace(code="HHZ", data=(1, 2, 3), start=START, rate=100.0, dtype=np.int32, **header):
    names = dict(zip(("network", "station", "location", "channel"), ("XX", "ABC", "", code), strict=True))
    words = {**names, "starttime": start, "sampling_rate": rate, **header}
    return Trace(np.asarray(data, dtype=dtype), header=words)


def native(dtype):
    return np.dtype(dtype).newbyteorder("=")


def assert_same(found, expected, *, headers=True):
    assert [t.id for t in found] == [t.id for t in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.stats.starttime.ns == b.stats.starttime.ns
        assert (a.stats.npts, a.stats.sampling_rate) == (b.stats.npts, b.stats.sampling_rate)
        assert a.data.dtype == native(b.data.dtype)
        np.testing.assert_array_equal(a.data, b.data)
        if headers:
            kept = b.stats.keys() - {"response"}
            assert {k: a.stats.get(k) for k in kept} == {k: b.stats[k] for k in kept}


# ---------------------------------------------------------------- ObsPy's own files

REFUSED = {  # why a good file makes no record
    "io/mseed/tests/data/rt130_sr0_cropped.mseed": "sampling rate of 0 Hz",  # a log channel
    "io/mseed/tests/data/encoding/fullASCII_bigEndian.mseed": "not numbers",  # text
    "io/mseed/tests/data/encoding/fullASCII_littleEndian.mseed": "not numbers",
    "io/mseed/tests/data/encoding/smallASCII_bigEndian.mseed": "not numbers",
    "io/mseed/tests/data/encoding/smallASCII_littleEndian.mseed": "not numbers",
    "io/seg2/tests/data/20130107_103041000.CET.3c.cont.0.seg2.gz": "gather of many traces under one id",
    "io/sac/tests/data/non_ascii.sac": "no samples",
    "io/ascii/tests/data/mseed2ascii_miniseed_record.txt": "promises 360671 samples and holds 422",
    "core/tests/data/ffbx_rotated.slist": r"several sampling rates: 40 Hz \(BW.FFB1..BHZ",
}


def bundled(*patterns, limit=60_000):
    """Paths of ObsPy's bundled test files, small ones, relative to its package."""
    found = {path for pattern in patterns for path in OBSPY.glob(pattern) if path.is_file()}
    names = sorted(str(path.relative_to(OBSPY)) for path in found if path.stat().st_size < limit)
    return [name for name in names if name not in REFUSED]


FILES = bundled(
    "io/mseed/tests/data/encoding/*Endian.mseed",
    "io/mseed/tests/data/*.mseed",
    "io/sac/tests/data/*.sac*",
    "io/gse2/tests/data/*.gse",
    "io/ah/tests/data/*.f",
)


@pytest.mark.filterwarnings("ignore")  # ObsPy's own, from its own read
@pytest.mark.parametrize("name", FILES)
def test_obspys_own_files_come_back_exactly(name):
    try:
        expected = obspy.read(OBSPY / name)
    except Exception:
        with pytest.raises(ReadError):
            read(OBSPY / name)
        return
    assert_same(to_stream(read(OBSPY / name)), [t for t in expected if len(t)])


def test_the_sample_of_files_is_a_good_one():
    assert len(FILES) > 40
    assert {name.split("/")[1] for name in FILES} >= {"mseed", "sac", "gse2", "ah"}


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_makes_no_record_is_refused_with_the_reason(name, why):
    with pytest.raises(ReadError, match=why) as caught:
        read(OBSPY / name)
    assert "\n" not in str(caught.value)


def test_the_example_event_comes_back_exactly():
    stream = obspy.read()
    record = read(stream)
    assert_same(to_stream(record), stream)
    assert record.dims == ("channel", "time")
    assert record.channel.values.tolist() == [t.id for t in stream]
    assert record.component.values.tolist() == ["Z", "N", "E"]
    assert record.code.values.tolist() == ["EHZ", "EHN", "EHE"]
    assert set(record.station.values) == {"RJOB"}
    assert set(record.network.values) == {"BW"}


# ---------------------------------------------------------------- labels and numbers


@pytest.mark.parametrize("order", ["ZNE", "ENZ", "NZEZEN"])
def test_each_component_keeps_its_own_numbers_across_gaps(order, tmp_path):
    value = {"E": 1000, "N": 2000, "Z": 3000}
    first = [trace(f"HH{c}", value[c] + np.arange(50)) for c in dict.fromkeys(order)]
    later = [trace(f"HH{c}", value[c] + np.arange(80, 120), start=START + 0.8) for c in reversed(order[-3:])]
    Stream(first + later).write(str(tmp_path / "gapped.mseed"), format="MSEED")
    record = read(tmp_path / "gapped.mseed")
    assert record.sizes == {"channel": 3, "time": 120}
    expected = np.arange(120.0)
    expected[50:80] = np.nan
    for c in "ENZ":
        assert record.component.values[record.channel == f"XX.ABC..HH{c}"] == c
        np.testing.assert_array_equal(record.sel(channel=f"XX.ABC..HH{c}"), value[c] + expected)
    again = to_stream(record)
    assert len(again) == 6
    for piece in again:
        assert piece.data.dtype == np.int32
        assert np.all(piece.data // 1000 * 1000 == value[piece.stats.channel[-1]])


@pytest.mark.parametrize(
    ("dtype", "gapped"),
    [(np.int16, np.float32), (np.int32, np.float64), (np.float32, np.float32), (float, float)],
)
def test_dtypes_change_only_where_a_gap_needs_nan(dtype, gapped):
    whole = Stream([trace(dtype=dtype), trace("HHN", dtype=dtype)])
    assert from_stream(whole).dtype == dtype
    for stream in (
        whole + trace("HHN", start=START + 1, dtype=dtype),
        Stream([trace(dtype=dtype), trace("HHN", data=[1, 2], dtype=dtype)]),
    ):
        assert from_stream(stream).dtype == gapped
        assert_same(to_stream(from_stream(stream)), stream)


def test_segments_between_the_grid_points_keep_their_own_time():
    stream = Stream([trace(), trace("HHN", start=START + 0.0034), trace("HHE", start=START + 0.0081)])
    record = from_stream(stream)
    assert record.sizes["time"] == 4
    np.testing.assert_array_equal(record.values[2], [np.nan, 1, 2, 3])
    assert_same(to_stream(record), stream)


def test_an_hour_at_512_hz_does_not_drift():
    n = 512 * 3600
    record = from_stream(trace(data=np.zeros(n), rate=512.0, dtype=np.int16))
    assert record.time.values[0].astype(int) == START.ns
    assert record.time.values[-1].astype(int) == START.ns + (n - 1) * 1953125
    later = from_stream(Stream([trace(rate=512.0), trace(rate=512.0, start=START + 3600)]))
    assert later.time.values[n].astype(int) == START.ns + 3600 * 10**9
    assert later.values[0, n] == 1


def test_repeated_data_merge_and_contradictions_are_refused():
    data = np.arange(100, 150)
    agree = Stream([trace(data=data), trace(data=data), trace(data=data[30:] + 0, start=START + 0.3)])
    record = from_stream(agree)
    np.testing.assert_array_equal(record.values, data[None])
    assert_same(to_stream(record), agree)
    clash = Stream([trace(data=data), trace(data=data[30:] + (np.arange(20) == 5), start=START + 0.3)])
    with pytest.raises(ReadError, match=r"XX.ABC..HHZ has two values at 2020-01-02T03:04:06.028901"):
        from_stream(clash)
    floats = np.array([1.0, np.nan, 3.0])
    nan_agrees = Stream([trace(data=floats, dtype=float), trace(data=floats, dtype=float)])
    np.testing.assert_array_equal(from_stream(nan_agrees).values, floats[None])


def test_masked_streams_become_gaps():
    data = np.ma.masked_array(np.arange(10), np.arange(10) // 3 == 1)
    masked = trace()
    masked.data = data
    record = from_stream(masked)
    np.testing.assert_array_equal(np.isnan(record.values[0]), data.mask)
    assert [t.data.tolist() for t in to_stream(record)] == [[0, 1, 2], [6, 7, 8, 9]]


def test_several_rates_are_refused_by_name_and_chosen_by_select():
    mixed = Stream([trace("HHZ"), trace("BHZ", rate=20.0), trace("BHN", rate=20.0)])
    with pytest.raises(
        ReadError, match=r"100 Hz \(XX.ABC..HHZ\), 20 Hz \(XX.ABC..BHZ, XX.ABC..BHN\).*select="
    ):
        read(mixed)
    assert sampling_rate(read(mixed, select="*.BH?")) == 20.0


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        ("*.HH?", ["HHZ", "HHN"]),
        ("HH[NE]", ["HHN"]),
        ("XX.ABC..HHZ", ["HHZ"]),
        ("ABC..*N", ["HHN", "BHN"]),
        ("XX.*.*.B*", ["BHN"]),
    ],
)
def test_select_matches_ids_or_their_ends(pattern, codes):
    stream = Stream([trace("HHZ"), trace("HHN"), trace("BHN")])
    assert read(stream, select=pattern).code.values.tolist() == codes


def test_select_without_a_match_says_what_there_is():
    with pytest.raises(ReadError, match=r"select='\*.LHZ' matches none of XX.ABC..HHZ, XX.ABC..HHN"):
        read(Stream([trace("HHZ"), trace("HHN")]), select="*.LHZ")


# ---------------------------------------------------------------- files


def test_a_file_a_pattern_and_a_list_give_the_same(tmp_path):
    stream = obspy.read()
    for t in stream:
        folder = tmp_path / t.stats.channel
        folder.mkdir()
        t.write(str(folder / "x[1].sac"), format="SAC")
    record = read(str(tmp_path / "**" / "*.sac"))
    assert record.sizes == {"channel": 3, "time": 3000}
    listed = read([tmp_path / c / "x[1].sac" for c in ("EHE", "EHN", "EHZ")])
    np.testing.assert_array_equal(record, listed)
    assert record.channel.values.tolist() == listed.channel.values.tolist()
    assert record.attrs["history"] == "read: 3 files, x[1].sac to x[1].sac"
    for t in to_stream(record):
        np.testing.assert_array_equal(t.data, stream.select(id=t.id)[0].data.astype(np.float32))


def test_what_does_not_exist_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nothing.mseed"):
        read(tmp_path / "nothing.mseed")
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\*.mseed"):
        read(tmp_path / "*.mseed")


def test_what_is_no_waveform_is_a_read_error(tmp_path):
    (tmp_path / "empty.mseed").touch()
    (tmp_path / "text.mseed").write_text("Dear seismologist,\nthis is a letter.\n" * 20)
    (tmp_path / "noise.mseed").write_bytes(np.random.default_rng(0).bytes(4096))
    header = json.dumps({"w": {"dtype": "F32", "shape": [256], "data_offsets": [0, 1024]}}).encode()
    (tmp_path / "model.mseed").write_bytes(len(header).to_bytes(8, "little") + header + bytes(1024))
    for name, words in {
        "empty.mseed": "empty.mseed is empty",
        "text.mseed": "text.mseed is in no waveform format",
        "noise.mseed": "noise.mseed is in no waveform format",
        "model.mseed": "model.mseed is in no waveform format",
        "": "none of the 4 files in .* can be read: .*empty.mseed is empty",
    }.items():
        with pytest.raises(ReadError, match=words) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ReadError, match="list of files is empty"):
        read([])
    with pytest.raises(TypeError, match="cannot read a int"):
        read(3)


def test_a_damaged_file_is_a_read_error(tmp_path):
    obspy.read()[0].write(str(tmp_path / "whole.sac"), format="SAC")
    (tmp_path / "cut.sac").write_bytes((tmp_path / "whole.sac").read_bytes()[:-400])
    with pytest.raises(
        ReadError, match=r"cut.sac (looks like SAC but cannot be read|is in no waveform format)"
    ):
        read(tmp_path / "cut.sac")


def test_miniseed_that_was_cut_says_how_much_is_left_of_its_record(tmp_path):
    stream = obspy.read()
    stream.write(tmp_path / "whole.mseed", format="MSEED", reclen=4096)
    content, cut = (tmp_path / "whole.mseed").read_bytes(), tmp_path / "cut.mseed"
    assert "warnings" not in read(tmp_path / "whole.mseed").attrs
    cut.write_bytes(content[:700])
    with pytest.raises(
        ReadError, match=r"cannot be read: it has 700 bytes, its first record should have 4096"
    ):
        read(cut)
    for rest in (48, 1000, 3996):  # of some of which libmseed says nothing
        cut.write_bytes(content[: 4096 + rest])
        assert f"its last record is cut: {rest} of 4096 bytes are left" in read(cut).attrs["warnings"]
        with pytest.raises(ReadError, match=f"{cut} .*refused by strict"):
            read(cut, strict=True)


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_pickled_stream_is_never_unpickled(tmp_path):
    stream = obspy.read()
    stream[0].stats.trap = Trap(tmp_path / "mark")
    evil = tmp_path / "evil.mseed"
    evil.write_bytes(pickle.dumps(stream))
    assert b"obspy.core.stream" in evil.read_bytes()[:100]  # what ObsPy's own detector unpickles
    with pytest.raises(ReadError, match=r"evil.mseed is in no waveform format"):
        read(evil)
    assert not (tmp_path / "mark").exists()
    obspy.read(evil)
    assert (tmp_path / "mark").exists()  # the trap works


def test_a_rate_of_zero_is_refused_by_name():
    with pytest.raises(
        ReadError, match=r"XX.ABC..LOG has a sampling rate of 0 Hz; leave it out with select="
    ):
        read(Stream([trace(), trace("LOG", rate=0.0)]))
    assert read(Stream([trace(), trace("LOG", rate=0.0)]), select="HHZ").sizes["channel"] == 1


def test_a_wrong_date_does_not_fill_the_memory():
    with pytest.raises(ReadError, match=r"6 samples lie on a grid of 1 x .*: is a date wrong"):
        from_stream(Stream([trace(), trace(start=START + 20 * 365 * 86400)]))


def test_obspys_warnings_are_recorded_not_shown():
    record = read(OBSPY / "io/mseed/tests/data/corrupt_one_extra_byte_at_end.mseed")
    assert record.attrs["warnings"].startswith("readMSEEDBuffer(): Last record only has 1 byte(s)")
    assert "warnings" not in read(OBSPY / "io/mseed/tests/data/test.mseed").attrs


# ---------------------------------------------------------------- rates that are one but for rounding


def test_rates_that_differ_by_rounding_are_one_and_come_back():
    near = float(np.float32(100 * (1 + 1e-7)))
    assert near != 100
    stream = Stream(
        [
            trace("HHZ", np.arange(5000), rate=near),
            trace("HHN", np.arange(7000), rate=100.0),
            trace("HHE", np.arange(1000), rate=near),
            trace("HHE", np.arange(4000), rate=near * (1 - 5e-7), start=START + 20),
        ]
    )
    record = read(stream)
    assert sampling_rate(record) == 100.0  # that of most samples
    assert_same(to_stream(record), stream)
    cropped = to_stream(record.isel(time=slice(2500, 3000)))
    for piece, whole in zip(cropped, [stream[0], stream[1], stream[3]], strict=True):
        first = round((piece.stats.starttime - whole.stats.starttime) * whole.stats.sampling_rate)
        np.testing.assert_array_equal(piece.data, whole.data[first : first + 500])
        expected = whole.stats.starttime.ns + round(first * 1e9 / whole.stats.sampling_rate)
        assert abs(piece.stats.starttime.ns - expected) <= 1
    assert {t.stats.sampling_rate for t in to_stream(resample(record, 50.0))} == {50.0}


def test_a_drift_over_days_still_comes_back():
    n = 2_000_000  # at 9e-7, nearly two samples off the grid at the end
    late = START + 30_000
    stream = Stream(
        [
            trace("HHZ", np.arange(n) % 1000, dtype=np.int16),
            trace("HHN", [5, 6, 7], rate=100.00009, start=late, dtype=np.int16),
        ]
    )
    assert_same(to_stream(from_stream(stream)), stream)


def test_rates_that_look_alike_are_told_apart_in_words():
    with pytest.raises(ReadError, match=r"100 Hz \(XX.ABC..HHZ\), 100.0002 Hz \(XX.ABC..HHN\)"):
        read(Stream([trace("HHZ"), trace("HHN", rate=100.0002)]))


# ---------------------------------------------------------------- windows to train on


def three(n, rate=100.0, offset=0.0, seed=0, dtype=np.int32):
    data = 1000 * np.random.default_rng(seed).standard_normal((3, n)) + offset
    return Stream([trace(f"HH{c}", row, rate=rate, dtype=dtype) for c, row in zip("ZNE", data, strict=True)])


def test_windows_have_no_offset_and_lose_nothing_to_it(tmp_path):
    stream = three(1000, offset=1e9)
    windows = read_traces(write(stream, tmp_path / "x.mseed"), 250)
    assert windows.dtype == np.float32
    assert windows.sizes == {"trace": 4, "channel": 3, "time": 250}
    for row, code in enumerate("ENZ"):
        expected = stream.select(component=code)[0].data.astype(float).reshape(4, 250)
        expected -= expected.mean(1, keepdims=True)
        np.testing.assert_allclose(windows.values[:, row], expected, rtol=1e-6, atol=1e-3)
    flat = Stream([trace(f"HH{c}", np.full(500, 1e5 / 3), dtype=float) for c in "ZNE"])
    assert (read_traces(write(flat, tmp_path / "flat.mseed"), 250) == 0).all()


def test_windows_of_files_whose_rates_are_one_share_their_times(tmp_path):
    write(three(500), tmp_path / "a.mseed")
    write(three(500, rate=100.00001, seed=1), tmp_path / "b.mseed")
    windows = read_traces(tmp_path, 250)
    assert windows.sizes == {"trace": 4, "channel": 3, "time": 250}
    assert np.isfinite(windows).all()
    write(three(500, rate=40.0), tmp_path / "c.mseed")
    with pytest.raises(
        ReadError, match=r"3 files hold several rates: 40 Hz, 100 Hz, 100.0000\d+ Hz; resample"
    ):
        read_traces(tmp_path, 250)


def test_single_components_are_put_together_by_instrument_and_day(tmp_path):
    for name in ("sds", "joined"):
        (tmp_path / name).mkdir()
    for seed, (station, day) in enumerate([("A", 1), ("A", 2), ("B", 1), ("B", 2)]):
        stream = three(1000, seed=seed)
        for one in stream:
            one.stats.station, one.stats.starttime = station, UTCDateTime(2020, 1, day) - 0.5
            write(one, tmp_path / "sds" / f"{one.id}.{day}.mseed")
        write(stream, tmp_path / "joined" / f"{station}.{day}.mseed")
    windows = read_traces(tmp_path / "sds", 250)
    assert windows.sizes == {"trace": 16, "channel": 3, "time": 250}
    xr.testing.assert_equal(windows, read_traces(tmp_path / "joined", 250))
    (tmp_path / "sds" / f"{one.id}.2.mseed").unlink()
    with pytest.raises(ReadError, match="wanted 3 components of one instrument"):
        read_traces(tmp_path / "sds", 250)


def test_windows_are_cut_from_labelled_traces_too(tmp_path):
    traces = synth.seismograms(3, seed=1)[:, ::-1]
    traces.to_netcdf(tmp_path / "x.nc", engine="scipy")
    windows = read_traces(tmp_path / "x.nc", 1500)
    assert windows.sizes == {"trace": 12, "channel": 3, "time": 1500}
    assert list(windows["channel"].values) == list("ENZ")
    assert np.isnat(windows["start"]).all()
    expected = (
        traces.sel(channel=list("ENZ")).values.reshape(3, 3, 4, 1500).swapaxes(1, 2).reshape(12, 3, 1500)
    )
    expected = expected - expected.mean(-1, keepdims=True)
    np.testing.assert_allclose(windows, expected, atol=1e-5 * abs(expected).max())
    write(three(1500), tmp_path / "y.mseed")
    assert read_traces(tmp_path, 1500).sizes["trace"] == 13
    with pytest.raises(ReadError, match="holds Z, N, E; wanted 1 components"):
        read_traces(tmp_path / "x.nc", 1500, channels=1)


def test_records_shorter_than_a_window_are_left_out(tmp_path):
    write(three(500), tmp_path / "a.mseed")
    for length in (501, 750, 2000):
        with pytest.raises(ReadError, match=f"1 files hold no window of {length} samples without gaps"):
            read_traces(tmp_path, length)


def test_traces_without_samples_are_left_out_of_a_stream(tmp_path, monkeypatch):
    path = tmp_path / "x.slist"
    obspy.read().write(str(path), format="SLIST")
    held = obspy.read()
    monkeypatch.setattr(obspy, "read", lambda *_, **__: held)
    held[1].data = np.array([], np.int32)
    assert [t.id for t in read_stream(path)] == ["BW.RJOB..EHZ", "BW.RJOB..EHE"]
    for t in held:
        t.data = np.array([], np.int32)
    with pytest.raises(ReadError, match=r"x.slist holds no samples, only headers"):
        read_stream(path)


# ---------------------------------------------------------------- back to streams


def test_a_segment_table_may_have_its_columns_in_full_or_in_short(tmp_path):
    record = read(write(three(500), tmp_path / "x.mseed"))
    table = json.loads(record.attrs["segments"])
    assert table["rate"] == [100.0]
    assert table["place"] == [0, 1, 2]
    full = {name: x * 3 if isinstance(x, list) and len(x) == 1 else x for name, x in table.items()}
    full["headers"] = table["headers"]
    again = record.assign_attrs(segments=json.dumps(full))
    assert_same(to_stream(again), to_stream(record))
    assert_same(to_stream(again), obspy.read(tmp_path / "x.mseed"))


def test_what_was_done_with_a_record_stands_in_the_processing_of_its_stream(tmp_path):
    stream = three(500)
    stream[0].stats.processing = ["before"]
    path = write(stream, tmp_path / "x.mseed")
    assert not any("processing" in t.stats for t in to_stream(read(path)))
    done = resample(detrend(read(path)), 50.0)
    lines = done.attrs["history"].splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["detrend", "resample"]
    assert [t.stats.processing for t in to_stream(done)] == [lines] * 3
    kept = to_stream(detrend(from_stream(stream)))
    assert [t.stats.processing for t in kept] == [["before", lines[0]], lines[:1], lines[:1]]
    assert stream[0].stats.processing == ["before"]


def test_a_cropped_record_gives_what_is_left_of_each_segment():
    stream = Stream(
        [
            trace("HHZ", np.arange(100)),
            trace("HHZ", np.arange(150, 300), start=START + 1.5),
            trace("HHN", np.arange(300), start=START + 0.004),
        ]
    )
    record = from_stream(stream)
    cropped = to_stream(record.sel(time=slice(record.time[80], record.time[199])))
    expected = stream.slice(START + 0.802, START + 1.994)
    assert_same(cropped, expected, headers=False)
    assert cropped[2].stats.starttime.ns == START.ns + 804_000_000
    one = to_stream(record.isel(channel=1))
    assert_same(one, stream[2:])
    assert len(to_stream(record.isel(time=slice(120, 130)))) == 1
    assert to_stream(record.isel(time=[7]))[0].data.tolist() == [7]


def test_changed_numbers_stay_as_they_are():
    stream = Stream([trace("HHZ", np.arange(100)), trace("HHZ", np.arange(100), start=START + 2)])
    record = from_stream(stream)
    halved = to_stream(record.copy(data=(record.values / 2).astype(np.float32)))
    assert [t.data.dtype for t in halved] == [np.float32, np.float32]
    np.testing.assert_array_equal(halved[1].data, np.arange(100) / 2)
    masked = record.copy()
    masked[0, 40:50] = np.nan
    pieces = to_stream(masked)
    assert [(t.stats.npts, t.data.dtype) for t in pieces] == [(40, np.int32), (50, np.int32), (100, np.int32)]
    assert pieces[1].stats.starttime.ns == START.ns + 500_000_000


def test_a_resampled_record_keeps_ids_spans_and_headers():
    stream = Stream([trace("HHZ", np.ones(1000), calib=3.0), trace("HHN", np.ones(400), start=START + 2)])
    out = to_stream(resample(from_stream(stream), 50.0))
    assert [t.stats.sampling_rate for t in out] == [50.0, 50.0]
    assert [t.id for t in out] == [t.id for t in stream]
    assert out[0].stats.calib == 3.0
    assert out[0].stats.npts == 500
    assert abs(out[1].stats.npts - 200) <= 22  # a gap grows by the filter
    assert abs(out[1].stats.starttime - stream[1].stats.starttime) <= 0.22


def test_an_oversampled_record_keeps_its_span_and_nan_still_splits():
    stream = Stream(
        [trace(data=np.ones(100), dtype=float), trace(data=np.ones(100), start=START + 9, dtype=float)]
    )
    out = to_stream(resample(from_stream(stream), 200.0))
    assert len(out) == 2
    assert all(np.isfinite(t.data).all() for t in out)
    assert to_stream(resample(from_stream(stream[:1]), 200.0))[0].stats.npts == 200
    halved = from_stream(stream[:1])
    halved[0, 50:] = np.nan
    assert to_stream(halved)[0].stats.npts == 50


def test_nan_among_the_data_is_no_gap():
    stream = Stream(
        [trace(data=[1, np.nan, 3], dtype=float), trace(data=[4.0], start=START + 1, dtype=float)]
    )
    assert_same(to_stream(from_stream(stream)), stream)


def test_a_record_without_a_table_is_cut_at_nan():
    values = np.array([[1.0, 2.0, np.nan, 4.0], [np.nan, np.nan, np.nan, np.nan]])
    time = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(10, "ms")
    record = xr.DataArray(
        values, dims=("channel", "time"), coords={"time": time, "channel": ["XX.ABC.00.HHZ", "XX.ABC.00.HHN"]}
    )
    out = to_stream(record)
    assert [(t.id, t.data.tolist()) for t in out] == [("XX.ABC.00.HHZ", [1, 2]), ("XX.ABC.00.HHZ", [4])]
    assert out[1].stats.starttime == UTCDateTime(2020, 1, 1) + 0.03
    named = record.assign_coords(channel=["E", "N"], station=("channel", ["S1", "S2"]), network="YY")
    assert to_stream(named)[0].id == "YY.S1..E"
    seconds = named.assign_coords(time=np.arange(4) / 50)
    assert to_stream(seconds)[1].stats.starttime == UTCDateTime(0.06)
    assert to_stream(seconds)[1].stats.sampling_rate == 50.0


def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match=r"dims \('channel', 'time'\), found \('step', 'time'\)"):
        to_stream(xr.DataArray(np.zeros((2, 3)), dims=("step", "time")))
    with pytest.raises(ValueError, match="found Stream"):
        to_stream(obspy.read())
    with pytest.raises(ValueError, match="no samples"):
        to_stream(from_stream(trace()).isel(time=slice(0, 0)))
    with pytest.raises(ReadError, match="there are no samples"):
        from_stream(Stream())


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".mseed", ".ms", ".MSEED"])
def test_what_is_written_reads_back(dtype, suffix, tmp_path):
    data = np.random.default_rng(0).normal(0, 1000, 500).astype(dtype)
    stream = Stream([trace("HHZ", data, dtype=dtype), trace("HHN", data[:200], start=START + 1, dtype=dtype)])
    for given in (stream, from_stream(stream)):
        path = write(given, tmp_path / f"out{suffix}")
        back = Stream([obspy.read(path, format="MSEED").select(id=t.id)[0] for t in stream])
        for a, b in zip(back, stream, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
            assert a.stats.starttime == b.stats.starttime
            # ObsPy reads 16 bit integers as 32 bit ones
            assert a.data.dtype == (np.int32 if dtype == np.int16 else dtype)
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]


@pytest.mark.parametrize(
    "data",
    [
        np.array([0, 2**31 - 1, -(2**31), 5], np.int32),
        np.arange(5, dtype=np.int64),
        np.array([0, 2**40], np.int64),
        np.array([0, -(2**40)], np.int64),
        np.arange(5, dtype=np.uint8),
        np.array([1.5, 2.5], np.float16),
    ],
    ids=["wide jumps", "int64", "large int64", "small int64", "uint8", "float16"],
)
def test_any_number_fits_into_miniseed(data, tmp_path):
    back = obspy.read(write(trace(data=data, dtype=data.dtype), tmp_path / "x.mseed"), format="MSEED")
    np.testing.assert_array_equal(back[0].data, data)


def test_what_was_packed_before_is_packed_anew(tmp_path):
    source = OBSPY / "io/mseed/tests/data/BW.BGLD.__.EHE.D.2008.001.first_10_records"
    record = read(source)
    halved = record.copy(data=record.values / 2)
    back = read(write(halved, tmp_path / "half.mseed"))
    np.testing.assert_array_equal(back, halved)
    assert_same(to_stream(read(write(record, tmp_path / "same.mseed"))), obspy.read(source), headers=False)


def test_masked_streams_are_written_in_pieces(tmp_path):
    stream = Stream([trace(data=np.arange(5)), trace(data=np.arange(5), start=START + 1)]).merge()
    back = obspy.read(write(stream, tmp_path / "x.mseed"), format="MSEED")
    assert [t.stats.npts for t in back] == [5, 5]


def test_sac_takes_one_trace(tmp_path):
    stream = obspy.read()
    back = obspy.read(write(stream[:1], tmp_path / "z.sac"), format="SAC")[0]
    assert (back.id, back.stats.starttime) == (stream[0].id, stream[0].stats.starttime)
    np.testing.assert_array_equal(back.data, stream[0].data.astype(np.float32))
    with pytest.raises(ValueError, match=r"a SAC file holds one trace, found 3; write .mseed"):
        write(stream, tmp_path / "all.sac")


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    write(trace(), tmp_path / "x.mseed")
    before = (tmp_path / "x.mseed").read_bytes()

    def fail(self, filename, **_):
        Path(filename).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Stream, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write(trace(data=[7, 8, 9]), tmp_path / "x.mseed")
    assert (tmp_path / "x.mseed").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.mseed"]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot tell a format from 'x.txt'; end it with .mseed"):
        write(trace(), tmp_path / "x.txt")
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*away to write x.mseed into; make it with: mkdir -p"
    ):
        write(trace(), tmp_path / "away" / "x.mseed")
    with pytest.raises(ValueError, match=r"nothing to write to x.mseed"):
        write(Stream(), tmp_path / "x.mseed")
    assert list(tmp_path.iterdir()) == []
