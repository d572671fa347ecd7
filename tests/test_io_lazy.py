"""Lazy records and the axis of computed times, held against the same read at once."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
import xarray as xr
from obspy import Stream, Trace, UTCDateTime

from geoae.io import ReadError, from_stream, lazy, read, read_tree, to_stream
from geoae.io.backend import ObsPyBackend
from geoae.io.formats import detect
from geoae.io.hearing import listening
from geoae.io.miniseed import miniseed
from geoae.io.records import Records, records
from geoae.io.segment import Segment, Segments
from geoae.io.times import time_axis

OBSPY = Path(obspy.__file__).parent
DAY = np.datetime64("2020-01-01", "ns")


def trace(code="HHZ", data=(1, 2, 3), start="2020-01-01", rate=100.0, dtype=np.int32):
    names = {"network": "XX", "station": "ABC", "location": "", "channel": code}
    return Trace(np.asarray(data, dtype), {**names, "starttime": UTCDateTime(start), "sampling_rate": rate})


def noise(n, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, n)


def gapped(seed, pieces, rate=100.0):
    """A stream of three components with gaps at places of their own."""
    rng, stream = np.random.default_rng(seed), Stream()
    for k, code in enumerate(("HHZ", "HHN", "HHE")):
        at = 0
        for n in rng.integers(20, 300, pieces):
            data = 10_000 * k + rng.integers(-99, 99, n)
            stream.append(trace(code, data, UTCDateTime(2020, 1, 1) + at / rate, rate))
            at += int(n) + int(rng.integers(1, 50))
    return stream


# ---------------------------------------------------------------- the axis


@pytest.mark.parametrize("rate", [100.0, 512.0, 3.0, 1 / 3, 75.19, 19.9999997, 44100.0])
def test_computed_times_are_the_written_ones(rate):
    n = 300_000
    dense, computed = (time_axis(1_577_836_800_123_456_789, n, rate, dense=d)["time"] for d in (True, False))
    assert np.abs((dense.values - computed.values).astype(int)).max() <= 1  # ns, where floats end in a half
    if float(rate).is_integer():
        np.testing.assert_array_equal(dense.values, computed.values)


def test_times_at_512_hz_are_exact_after_a_day():
    n = 512 * 86400 + 1
    axis = time_axis(UTCDateTime(2020, 1, 1).ns, n, 512.0)["time"]
    assert axis[-1].values == np.datetime64("2020-01-02", "ns")
    assert axis[512 * 3600 + 1].values == np.datetime64("2020-01-01T01:00:00.001953125", "ns")


def test_a_computed_axis_slices_as_a_written_one():
    rng = np.random.default_rng(0)
    n, rate = 5000, 20.0
    values = np.arange(n)
    both = [
        xr.DataArray(values, time_axis(DAY.astype(int).item(), n, rate, dense=d), ("time",))
        for d in (True, False)
    ]
    moments = [DAY + np.timedelta64(int(x), "ms") for x in rng.integers(-5000, 260_000, 40)]
    for a, b in zip(moments[::2], moments[1::2], strict=True):
        dense, computed = (da.sel(time=slice(min(a, b), max(a, b))) for da in both)
        np.testing.assert_array_equal(dense, computed)
        np.testing.assert_array_equal(dense.time, computed.time)
    for piece in (
        slice("2020-01-01T00:01", "2020-01-01T00:02"),
        slice(None, "2020-01-01T00:00:30"),
        slice(None),
    ):
        np.testing.assert_array_equal(both[0].sel(time=piece), both[1].sel(time=piece))
    inner = both[1].isel(time=slice(100, 4000, 7))
    np.testing.assert_array_equal(inner.time, both[0].time[100:4000:7])
    np.testing.assert_array_equal(inner.isel(time=slice(3, 9)).time, both[0].time[121:163:7])
    near = DAY + np.timedelta64(1020, "ms")
    assert both[1].sel(time=near, method="nearest") == both[0].sel(time=near, method="nearest") == 20
    assert both[1].sel(time=DAY + np.timedelta64(1, "s")) == 20
    with pytest.raises(KeyError, match="no sample at"):
        both[1].sel(time=near)
    with pytest.raises(KeyError, match="outside the record"):
        both[1].sel(time=DAY - np.timedelta64(9, "s"), method="nearest")
    pd.testing.assert_index_equal(both[0].indexes["time"], both[1].indexes["time"], exact=False)
    assert both[1].equals(both[1].copy())


# ---------------------------------------------------------------- records of a file


@pytest.mark.filterwarnings("ignore")  # ObsPy's own, from its own read
def test_headers_of_records_tell_what_obspy_tells():
    found = 0
    for path in sorted(OBSPY.glob("io/mseed/tests/data/**/*.mseed")):
        table = records(path)
        if table is None or path.name == "mseed_data_offset_0.mseed":  # ObsPy cuts at a record without data
            continue
        stream = [t for t in obspy.read(path, format="MSEED") if len(t)]
        order, begins = table.runs()
        runs = np.split(order, begins[1:]) if len(order) else []
        told = sorted(
            (table.ids[table.id[r[0]]], int(table.start[r[0]]), int(table.npts[r].sum())) for r in runs
        )
        assert told == sorted((t.id, t.stats.starttime.ns, t.stats.npts) for t in stream), path.name
        rates = {t.id: t.stats.sampling_rate for t in stream}
        for r in runs:
            assert table.rate[r[0]] == pytest.approx(rates[table.ids[table.id[r[0]]]], rel=1e-7)
        found += 1
    assert found > 30


def told_by(job):
    """What a reader gives, or the error it ends in, and what it warns of."""
    with listening() as told:
        try:
            found = job()
        except Exception as error:
            return str(error), told
    return found, told


@pytest.mark.parametrize("damage", [0, 3])
def test_miniseed_comes_as_obspy_reads_it(damage):
    rng, read_here = np.random.default_rng(damage), 0
    for path in sorted(p for p in OBSPY.glob("io/mseed/tests/data/**/*") if p.is_file()):
        if detect(path) != "MSEED" or path.stat().st_size > 2**20:  # ObsPy calls larger ones 1 MiB long
            continue
        content = np.fromfile(path, np.int8)
        if damage:
            content[rng.integers(0, len(content), damage)] ^= rng.integers(1, 127, damage).astype(np.int8)
        found, told = told_by(lambda c=content: miniseed(c))
        if found is None:
            continue
        stream, warned = told_by(lambda c=content: obspy.read(BytesIO(c.tobytes()), format="MSEED"))
        assert told == warned
        if isinstance(stream, str):
            assert found == stream
            continue
        assert len(found) == len(stream)
        for a, b in zip(found, map(Segment.of, stream), strict=True):
            assert (a.id, a.start, a.rate, a.data.dtype) == (b.id, b.start, b.rate, b.data.dtype)
            assert json.dumps(a.header, sort_keys=True) == json.dumps(b.header, sort_keys=True)
            assert a.data.tobytes() == b.data.tobytes()
        read_here += 1
    assert read_here > 40


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_is_what_obspys_traces_lay_out(seed, tmp_path):
    rng, path = np.random.default_rng(seed), tmp_path / "x.mseed"
    stream = gapped(seed, [1, 2, 30][seed % 3])
    encoding = ["STEIM2", "FLOAT32", "FLOAT64", "INT16", "INT32", "STEIM1"][seed]
    kinds = {"FLOAT32": np.float32, "FLOAT64": np.float64, "INT16": np.int16}
    for one in stream:
        one.data = (one.data % 1000).astype(kinds.get(encoding, np.int32))
    if seed % 2:
        rng.shuffle(stream.traces)
    stream.write(str(path), format="MSEED", reclen=256, encoding=encoding)
    expected = from_stream(obspy.read(path, format="MSEED"))
    xr.testing.assert_equal(read(path), expected)
    assert read(path).dtype == expected.dtype
    xr.testing.assert_equal(read(path, select="*.HHN"), from_stream(obspy.read(path).select(channel="HHN")))


def test_thousands_of_gaps_come_as_obspy_has_them(tmp_path):
    stream = gapped(0, 700)
    for reclen, encoding in ((512, "STEIM2"), (256, "STEIM1"), (512, "INT32")):
        stream.write(str(tmp_path / "x.mseed"), format="MSEED", reclen=reclen, encoding=encoding)
        expected = obspy.read(tmp_path / "x.mseed", format="MSEED")
        back = to_stream(read(tmp_path / "x.mseed"))
        assert len(back) == len(expected) == 2100
        for a, b in zip(back, expected, strict=True):
            assert (a.id, a.stats.starttime, a.data.dtype) == (b.id, b.stats.starttime, b.data.dtype)
            np.testing.assert_array_equal(a.data, b.data)


def test_columns_give_each_segment_back():
    kinds = (np.array([1, 2], ">i4"), np.array([np.nan, 1.0]), np.array([], np.int16), np.arange(5.0))
    some = [Segment(f"X.{k}", k, 100.0 + k, data, {"k": k}) for k, data in enumerate(kinds)]
    columns = Segments.of(some[:1])
    columns.extend(Segments.of(some[1:]))
    assert len(columns) == len(some)
    for one, again in zip(some, columns, strict=True):
        assert all(a is b for a, b in zip(one, again, strict=True))
    for name in ("npts", "dtype", "holds_nan"):
        assert getattr(columns, name) == [getattr(one, name) for one in some]


# ---------------------------------------------------------------- lazy records


@pytest.mark.parametrize("seed", range(3))
def test_a_lazy_record_is_the_one_read_at_once(seed, tmp_path):
    path = tmp_path / "x.mseed"
    gapped(seed, 12).write(str(path), format="MSEED", reclen=256)
    eager, late = read(path), xr.open_dataarray(path, engine=ObsPyBackend)
    assert late.shape == eager.shape
    rng, n = np.random.default_rng(seed), eager.sizes["time"]
    keys = [slice(*sorted(rng.integers(0, n, 2))) for _ in range(8)] + [
        int(rng.integers(n)),
        slice(None, None, 13),
    ]
    keys += [slice(n, 0, -3), rng.integers(0, n, 5), slice(5, 5)]
    for key in keys:
        for row in (slice(None), 1, [2, 0]):
            pick = {"time": key, "channel": row}
            np.testing.assert_array_equal(eager.isel(pick), late.isel(pick).values)
    np.testing.assert_array_equal(eager, late.load())
    chunked = read(path, lazy=True)
    assert chunked.chunks is not None
    np.testing.assert_array_equal(eager, chunked)
    for a, b in zip(to_stream(chunked), to_stream(eager), strict=True):
        assert (a.id, a.stats.starttime, a.data.dtype) == (b.id, b.stats.starttime, b.data.dtype)
        np.testing.assert_array_equal(a.data, b.data)


OTHERS = ["gse2/tests/data/acc.gse", "sac/tests/data/test.sac", "mseed/tests/data/fullseed.mseed"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_open_too(name):
    path = OBSPY / "io" / name
    np.testing.assert_array_equal(xr.open_dataarray(path, engine=ObsPyBackend), read(path))


def test_the_engine_is_registered_and_takes_no_others_files(tmp_path):
    obspy.read().write(str(tmp_path / "x.any"), format="MSEED")
    assert "obspy" in xr.backends.list_engines(), "geoae was installed before it had this engine: make test"
    assert xr.open_dataarray(tmp_path / "x.any").shape == (3, 3000)  # guessed from its content
    guess = ObsPyBackend().guess_can_open
    xr.DataArray([1.0], dims="x").to_netcdf(tmp_path / "a.mseed", engine="scipy")
    xr.DataArray([1.0], dims="x").to_netcdf(tmp_path / "b.mseed", engine="h5netcdf")
    xr.DataArray([1.0], dims="x", name="x").to_zarr(tmp_path / "c.mseed", consolidated=False)
    (tmp_path / "d.mseed").write_text("a letter")
    for other in ("a.mseed", "b.mseed", "c.mseed", "d.mseed", "missing.mseed"):
        assert not guess(tmp_path / other)
    assert not guess(b"000001D ")


def test_a_month_of_days_opens_as_one_and_touches_only_the_day_it_needs(tmp_path, monkeypatch):
    values = noise(30 * 86_400)
    for day in range(30):
        start = UTCDateTime(2020, 1, 1) + day * 86_400
        one = trace(data=values[day * 86_400 : (day + 1) * 86_400], start=start, rate=1.0)
        Stream([one]).write(str(tmp_path / f"{day:02}.mseed"), format="MSEED", reclen=512)
    touched, real = [], Records.data

    def data(self, some):
        touched.append((self.path.name, len(some)))
        return real(self, some)

    monkeypatch.setattr(Records, "data", data)
    wanted = slice("2020-01-17T10:00", "2020-01-17T10:09")
    for month in (
        xr.open_mfdataset(str(tmp_path / "*.mseed"), engine=ObsPyBackend)["waveform"],
        read(tmp_path, lazy=True),
    ):
        assert month.sizes == {"channel": 1, "time": 30 * 86_400}
        touched.clear()
        some = month.sel(time=wanted).load()
        np.testing.assert_array_equal(some[0], values[16 * 86_400 + 36_000 :][:600])
        assert {name for name, _ in touched} == {"16.mseed"}
        assert sum(n for _, n in touched) < len(records(tmp_path / "16.mseed").offset) / 4


def test_damage_that_is_met_late_is_a_read_error(tmp_path):
    path = tmp_path / "x.mseed"
    Stream([trace(data=noise(4000))]).write(str(path), format="MSEED", reclen=512, encoding="STEIM2")
    late = read(path, lazy=True)
    content = bytearray(path.read_bytes())
    content[5 * 512 + 64 : 6 * 512] = bytes(448)
    path.write_bytes(content)
    assert late[0, :300].load().sizes["time"] == 300
    with pytest.raises(ReadError, match=r"x.mseed \(MSEED\)"):
        late.load()


@pytest.mark.parametrize("damage", [0x07, 0xC3])
def test_an_id_with_damaged_letters_is_what_it_is_when_read_at_once(damage, tmp_path):
    trace(data=noise(900)).write(str(tmp_path / "a.mseed"), "MSEED", reclen=512)
    content = bytearray((tmp_path / "a.mseed").read_bytes())
    content[11] = damage  # of the station
    (tmp_path / "a.mseed").write_bytes(content)
    found = []
    for words in ({}, {"lazy": True}):
        try:
            found.append(list(read(tmp_path / "a.mseed", **words).channel.values))
        except ReadError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_a_file_of_headers_alone_is_refused_lazily_too(tmp_path):
    trace().write(str(tmp_path / "a.mseed"), "MSEED", reclen=512)
    content = bytearray((tmp_path / "a.mseed").read_bytes())
    content[30:32] = bytes(2)  # the number of samples
    (tmp_path / "a.mseed").write_bytes(content)
    with pytest.raises(ReadError, match="there are no samples"):
        read(tmp_path / "a.mseed", lazy=True)


def test_several_rates_open_as_a_tree(tmp_path):
    stream = Stream([trace("HHZ", noise(500)), trace("BHZ", noise(100), rate=20.0), trace("HHN", noise(400))])
    path = tmp_path / "x.mseed"
    stream.write(str(path), format="MSEED")
    for tree in (read_tree(path), xr.open_datatree(path, engine=ObsPyBackend)):
        assert list(tree) == ["20Hz", "100Hz"]
        back = to_stream(tree)
        assert [t.id for t in back] == [t.id for t in stream]
        for a, b in zip(back, stream, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(ReadError, match=r"20 Hz .*read each with geoae.read_tree"):
        xr.open_dataarray(path, engine=ObsPyBackend)


# ---------------------------------------------------------------- overlaps


def overlapping():
    return Stream([trace(data=[1, 2, 3, 4]), trace(data=[9, 9, 5, 6], start="2020-01-01T00:00:00.02")])


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("first", [[1, 2, 3, 4, 5, 6]]),
        ("last", [[1, 2, 9, 9, 5, 6]]),
        ("mean", [[1, 2, 6, 6.5, 5, 6]]),
        ("layers", [[1, 2, 3, 4, np.nan, np.nan], [np.nan, np.nan, 9, 9, 5, 6]]),
    ],
)
def test_overlaps_are_settled_as_asked(overlap, expected):
    record = from_stream(overlapping(), overlap=overlap)
    np.testing.assert_array_equal(record, np.array(expected, float))
    if overlap == "layers":
        assert record.layer.values.tolist() == [0, 1]
        for a, b in zip(to_stream(record), overlapping(), strict=True):
            assert a.stats.starttime == b.stats.starttime
            np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(ReadError, match=r"XX.ABC..HHZ has two values at 2020-01-01T00:00:00.02.*overlap="):
        from_stream(overlapping())
    with pytest.raises(ValueError, match="overlap='both' is none of first"):
        from_stream(overlapping(), overlap="both")


def test_overlaps_of_lazy_records_must_agree(tmp_path):
    same = Stream([trace(data=noise(900)), trace(data=noise(900)[300:], start="2020-01-01T00:00:03")])
    for i, one in enumerate(same):
        Stream([one]).write(str(tmp_path / f"{i}.mseed"), format="MSEED")
    np.testing.assert_array_equal(read(tmp_path, lazy=True)[0], noise(900))
    other = trace(data=noise(600) + 1, start="2020-01-01T00:00:03")
    Stream([other]).write(str(tmp_path / "1.mseed"), format="MSEED")
    with pytest.raises(ReadError, match=r"two values at 2020-01-01T00:00:03"):
        read(tmp_path, lazy=True).load()


def test_the_lazy_door_shows_no_more_than_it_can(tmp_path):
    obspy.read().write(str(tmp_path / "x.mseed"), format="MSEED")
    with pytest.raises(ValueError, match="need all samples"):
        read(tmp_path / "x.mseed", lazy=True, strict=True)
    lazy._segments.cache_clear()
