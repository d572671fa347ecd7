"""Archives taken stock of; records written and read with their labels; the command line's doors."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import obspy
import pytest
import xarray as xr
from obspy import Stream, Trace, UTCDateTime
from typer.testing import CliRunner

from geoae import synth
from geoae.cli import app
from geoae.io import (
    ReadError,
    clock,
    holding,
    read,
    remove_response,
    rotate,
    scan,
    to_stream,
    with_inventory,
    write,
)

OBSPY = Path(obspy.__file__).parent
START = UTCDateTime(2020, 1, 1)


def recorder(path, ppm, hours=1.0, rate=100.0, jump=0, n=400):
    """A MiniSEED file whose clock drifts, and jumps by so many ns in the middle."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    count = int(hours * 3600 * rate) // n
    for k in range(count):
        ns = START.ns + round(k * n / rate * (1 + ppm * 1e-6) * 1e9) + (jump if k >= count // 2 else 0)
        header = {"station": "A", "channel": "HHZ", "starttime": UTCDateTime(ns=ns), "sampling_rate": rate}
        one = Stream([Trace(rng.integers(-5, 5, n).astype(np.int32), header)])
        one.write(out, format="MSEED", reclen=512, encoding="STEIM2")
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize("ppm", [0, 10, 200, -50])
def test_a_drifting_clock_is_told_in_ppm(ppm, tmp_path):
    found = clock(recorder(tmp_path / "x.mseed", ppm, hours=0.25)).isel(channel=0)
    assert float(found.drift) == pytest.approx(ppm, abs=max(0.1, 5 * float(found.error)))
    assert float(found.error) < 0.1
    assert int(found.jumps) == 0
    record = read(tmp_path / "x.mseed")
    assert record.sizes["time"] == 90_000  # snapped to one grid; nothing but the clock report tells


def test_a_clock_that_jumps_is_told_and_starts_a_segment(tmp_path):
    found = clock(recorder(tmp_path / "x.mseed", 200, hours=0.25, jump=2_000_000_000)).isel(channel=0)
    assert (int(found.jumps), float(found.drift)) == (1, pytest.approx(200, abs=0.1))
    assert len(to_stream(read(tmp_path / "x.mseed"))) == 2
    with pytest.raises(ReadError, match="MiniSEED 2"):
        clock(OBSPY / "io/sac/tests/data/test.sac")


def test_a_manifest_finds_damage_and_the_files_of_a_time(tmp_path):
    archive, manifest = tmp_path / "archive", tmp_path / "manifest.json"
    (archive / "2020").mkdir(parents=True)
    for day in range(3):
        data = np.arange(86_400, dtype=np.int32)
        header = {"station": "A", "channel": "LHZ", "starttime": START + day * 86_400, "sampling_rate": 1.0}
        Stream([Trace(data, header)]).write(str(archive / f"2020/{day}.mseed"), format="MSEED", reclen=512)
    (archive / "letter.txt").write_text("Dear seismologist\n")
    first = scan(archive, manifest)
    assert [len(f["segments"]) for f in first["files"].values()] == [1, 1, 1]
    assert list(first["unread"]) == ["letter.txt"]
    assert first["damage"] == {}
    paths = holding(manifest, "2020-01-02T12:00", "2020-01-02T13:00", select="*.LHZ")
    assert [path.name for path in paths] == ["1.mseed"]
    assert holding(manifest, select="*.HHZ") == []
    assert read(paths).sizes["time"] == 86_400
    content = bytearray((archive / "2020/1.mseed").read_bytes())
    content[3000] ^= 4
    (archive / "2020/1.mseed").write_bytes(content)
    (archive / "2020/2.mseed").unlink()
    with (archive / "2020/0.mseed").open("ab") as file:
        file.write(b"more")
    told, grown = [], archive / "2020/0.mseed"
    again = scan(archive, manifest, say=told.append)
    had = first["files"]["2020/0.mseed"]["size"]
    assert again["damage"] == {
        "2020/0.mseed": f"it has {grown.stat().st_size} bytes, it had {had}",
        "2020/1.mseed": "its content changed since",
        "2020/2.mseed": "it is gone",
    }
    assert len([words for words in told if words.startswith("2020/")]) >= 3
    assert scan(archive, manifest)["damage"] == {}  # from now on that is how it is
    manifest.write_text("{}")
    with pytest.raises(ReadError, match="is no manifest"):
        scan(archive, manifest)


# ---------------------------------------------------------------- writing


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("gaps", [False, True])
def test_records_keep_all_their_labels(suffix, gaps, tmp_path):
    stream = obspy.read()
    if gaps:
        stream.cutout(stream[0].stats.starttime + 5, stream[0].stats.starttime + 6)
    record = read(stream)
    path = write(record, tmp_path / f"x{suffix}")
    for back in (read(path), read(path, lazy=True)):
        xr.testing.assert_identical(back.drop_attrs(deep=False), record.drop_attrs(deep=False))
        for a, b in zip(to_stream(back), stream, strict=True):
            assert (a.id, a.stats.starttime.ns, a.data.dtype) == (b.id, b.stats.starttime.ns, b.data.dtype)
            np.testing.assert_array_equal(a.data, b.data)
    assert [p.name for p in tmp_path.iterdir()] == [f"x{suffix}"]
    if suffix == ".zarr":
        with pytest.raises(FileExistsError, match="exists; delete it"):
            write(record, path)


@pytest.mark.parametrize("encoding", ["STEIM1", "STEIM2", "INT32", "FLOAT64"])
@pytest.mark.parametrize("reclen", [256, 4096])
def test_encoding_and_record_length_are_as_asked(encoding, reclen, tmp_path):
    data = np.random.default_rng(0).integers(-1000, 1000, 3000).astype(np.int32)
    path = write(Trace(data, {"station": "A"}), tmp_path / "x.mseed", encoding=encoding, reclen=reclen)
    back = obspy.read(path, format="MSEED")[0]
    np.testing.assert_array_equal(back.data, data)
    assert (back.stats.mseed.encoding, back.stats.mseed.record_length) == (encoding, reclen)


def test_an_encoding_that_would_round_is_refused(tmp_path):
    halves = Trace(np.array([0.5, 1.5]), {"station": "A"})
    with pytest.raises(ValueError, match="'STEIM2' does not hold these float64 samples exactly"):
        write(halves, tmp_path / "x.mseed", encoding="STEIM2")
    with pytest.raises(ValueError, match="are of MiniSEED"):
        write(halves, tmp_path / "x.sac", reclen=512)
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_promises_too_much_does_not_crash_the_writer(tmp_path):
    liar = Trace(np.arange(100, dtype=np.int32), {"station": "A", "npts": 10_000_000})
    assert len(obspy.read(write(liar, tmp_path / "x.mseed"), format="MSEED")[0]) == 100


@pytest.mark.parametrize(
    "name", ["00001034.sgy_first_trace", "ld0042_file_00018.sgy_first_trace", "1.su_first_trace"]
)
def test_gathers_keep_their_header_fields(name, tmp_path):
    gather = read(OBSPY / "io/segy/tests/data" / name)
    assert gather.dims == ("trace", "time")
    back = read(write(gather, tmp_path / ("x.su" if "su" in name else "x.sgy")))
    xr.testing.assert_identical(back.drop_attrs(deep=False), gather.drop_attrs(deep=False))
    header = json.loads(gather.attrs["segments"])["headers"][0]
    assert json.loads(back.attrs["segments"])["headers"][0].keys() == header.keys()


def test_segyio_and_obspy_read_the_same(tmp_path):
    rng = np.random.default_rng(0)
    stream = Stream()
    for i in range(12):
        one = Trace(rng.normal(size=80).astype(np.float32), {"sampling_rate": 250.0})
        fields = {"distance_from_center_of_the_source_point_to_the_center_of_the_receiver_group": 25 * i}
        fields |= {
            "ensemble_number": 100 + i,
            "source_coordinate_x": 5000,
            "scalar_to_be_applied_to_all_coordinates": -10,
        }
        one.stats.segy = {"trace_header": fields}
        stream.append(one)
    path = write(stream, tmp_path / "x.sgy")
    eager, late = read(path), read(path, lazy=True)
    np.testing.assert_array_equal(eager, late)
    np.testing.assert_array_equal(
        late.isel(trace=slice(2, 9, 3), time=slice(5, 50)), late.values[2:9:3, 5:50]
    )
    np.testing.assert_array_equal(late.isel(trace=4), eager[4])
    for gather in (eager, late):
        assert gather.offset.values.tolist() == [25 * i for i in range(12)]
        assert gather.cdp.values.tolist() == [100 + i for i in range(12)]
        assert set(gather.source_x.values) == {500.0}
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ReadError, match="x.sgy looks like SEGY but cannot be read"):
        read(path)


# ---------------------------------------------------------------- files with labels of others


def test_arrays_tables_and_seisbench_sets_are_read(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    np.savez(tmp_path / "x.npz", data=data.T, rate=50.0)
    record = read(tmp_path / "x.npz")
    assert record.dims == ("channel", "time")
    np.testing.assert_array_equal(record, data)
    assert float(record.time[1]) == 0.02
    np.savez(tmp_path / "y.npz", data=data)
    with pytest.raises(ReadError, match="tells no sampling rate; it needs one of rate"):
        read(tmp_path / "y.npz")
    np.savez(tmp_path / "z.npz", data=np.array([{}], object), rate=1.0)
    with pytest.raises(
        ReadError, match="z.npz looks like NPZ but cannot be read: Object arrays cannot be loaded"
    ):
        read(tmp_path / "z.npz")
    lines = ["time,HHZ,HHN", *(f"{i / 10},{i},{-i}" for i in range(20))]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    table = read(tmp_path / "x.csv")
    assert table.channel.values.tolist() == ["HHZ", "HHN"]
    np.testing.assert_array_equal(table[1], -np.arange(20))


def test_a_seisbench_set_keeps_its_columns(tmp_path):
    h5py = pytest.importorskip("h5py")
    data = np.random.default_rng(0).normal(size=(4, 3, 600)).astype(np.float32)
    with h5py.File(tmp_path / "waveforms.hdf5", "w") as file:
        file["data/bucket0"] = data[:3]
        file["data/alone"] = data[3, :, :500]
        file["data_format/component_order"] = "ZNE"
        file["data_format/sampling_rate"] = 100.0
    names = ["bucket0$0,:3,:600", "bucket0$1,:3,:600", "bucket0$2,:3,:400", "alone"]
    rows = [f"{name!r},{40 + i},BAVN".replace("'", '"') for i, name in enumerate(names)]
    (tmp_path / "metadata.csv").write_text(
        "\n".join(["trace_name,trace_p_arrival_sample,station_code", *rows])
    )
    found = read(tmp_path)
    assert found.sizes == {"trace": 4, "channel": 3, "time": 600}
    assert "".join(found.channel.values) == "ZNE"
    assert found.trace_p_arrival_sample.values.tolist() == [40, 41, 42, 43]
    np.testing.assert_array_equal(found[:2], data[:2])
    np.testing.assert_array_equal(found[3, :, :500], data[3, :, :500])
    assert np.isnan(found[2, :, 400:]).all()


def test_miniseed_3_is_read_through_pymseed(tmp_path):
    pymseed = pytest.importorskip("pymseed")
    data = np.random.default_rng(0).integers(-999, 999, 5000).astype(np.int32)
    traces = pymseed.MS3TraceList()
    traces.add_data("FDSN:XX_ABC_00_H_H_Z", data.tolist(), "i", 100.0, starttime=START.ns)
    traces.to_file(str(tmp_path / "x.mseed3"), format_version=3, overwrite=True)
    assert (tmp_path / "x.mseed3").read_bytes()[:3] == b"MS\x03"
    back = to_stream(read(tmp_path / "x.mseed3"))[0]
    assert (back.id, back.stats.starttime.ns, back.stats.sampling_rate) == ("XX.ABC.00.HHZ", START.ns, 100.0)
    np.testing.assert_array_equal(back.data, data)
    content = bytearray((tmp_path / "x.mseed3").read_bytes())
    content[200] ^= 1
    (tmp_path / "x.mseed3").write_bytes(content)
    with pytest.raises(ReadError, match="MSEED3"):
        read(tmp_path / "x.mseed3")


def test_miniseed_3_that_was_cut_says_so(tmp_path):
    pymseed = pytest.importorskip("pymseed")
    data, path = np.random.default_rng(0).integers(-999, 999, 5000), tmp_path / "x.mseed3"
    traces = pymseed.MS3TraceList()
    traces.add_data("FDSN:XX_ABC_00_H_H_Z", data.tolist(), "i", 100.0, starttime=START.ns)
    traces.to_file(str(path), format_version=3, max_record_length=512, overwrite=True)
    content = path.read_bytes()
    ends = [at for at in range(1, len(content)) if content[at : at + 3] == b"MS\x03"]
    for end, left in ((ends[0], 0), (ends[3], 0), (ends[2] + 100, 100), (ends[4] + 20, 20)):
        path.write_bytes(content[:end])
        record = read(path)
        np.testing.assert_array_equal(record.values[0], data[: record.sizes["time"]])
        assert record.attrs.get("warnings", "").startswith(
            f"its last record is cut: {left} of" if left else ""
        )
        assert bool(left) == ("warnings" in record.attrs)


# ---------------------------------------------------------------- stations and data centres


@pytest.mark.filterwarnings("ignore")
def test_an_inventory_gives_places_responses_and_directions():
    stream, inventory = obspy.read(), obspy.read_inventory()
    record = read(stream, inventory=inventory)
    assert record.elevation.values.tolist() == [860.0] * 3
    assert record.azimuth.values.tolist() == [0.0, 0.0, 90.0]
    assert record.longitude.attrs["units"] == "degrees"
    moving = remove_response(record, inventory, "VEL")
    expected = stream.copy().remove_response(inventory, output="VEL")
    for a, b in zip(to_stream(moving), expected, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert moving.attrs["units"] == "m/s"
    assert moving.attrs["history"].endswith("remove_response: VEL")
    turned = rotate(record, inventory, "NE->RT", back_azimuth=30.0)
    assert sorted(turned.component.values) == ["R", "T", "Z"]
    north, east = record.sel(channel="BW.RJOB..EHN"), record.sel(channel="BW.RJOB..EHE")
    angle = np.radians(30.0)
    radial = -north * np.cos(angle) - east * np.sin(angle)
    np.testing.assert_allclose(turned.sel(channel="BW.RJOB..EHR"), radial, atol=1e-9)
    with pytest.raises(ValueError, match="output='POWER' is none of DISP, VEL, ACC"):
        remove_response(record, inventory, "POWER")


def test_channels_that_an_inventory_lacks_are_told_of_once():
    inventory, stream = obspy.read_inventory(), obspy.read()
    stream[0].stats.station = stream[1].stats.station = "ROTZ"
    wanted = r"has no BW.ROTZ..EHZ, BW.ROTZ..EHN at 2009-08-24T00:20:03.000000Z; it has .*BW.RJOB..EHZ"
    with pytest.warns(UserWarning, match=wanted) as told:
        record = read(stream, inventory=inventory)
    assert (len(told), told[0].filename) == (1, __file__)
    assert record.attrs["warnings"] == str(told[0].message)
    assert np.isnan(record.latitude.values).tolist() == [True, True, False]
    with pytest.warns(UserWarning, match=wanted) as told:
        with_inventory(record, inventory)
    assert told[0].filename == __file__
    with pytest.raises(ReadError, match=f"{wanted}.*leave strict=True out"):
        read(stream, inventory=inventory, strict=True)
    for trace in stream:
        trace.stats.station, trace.stats.starttime = "RJOB", obspy.UTCDateTime(1970, 1, 1)
    with pytest.warns(UserWarning, match=r"EHE at 1970-01-01T00:00:00.000000Z \(only at other times\)"):
        assert np.isnan(read(stream, inventory=inventory).dip).all()


def test_an_inventory_is_one_and_goes_with_channels(tmp_path):
    with pytest.raises(TypeError, match="inventory is a int; give an obspy Inventory or a file's path"):
        read(obspy.read(), inventory=3)
    synth.lines(3).to_netcdf(tmp_path / "x.nc", engine="scipy")
    with pytest.raises(ValueError, match="an inventory has places for channels"):
        read(tmp_path / "x.nc", inventory=obspy.read_inventory())


def test_a_data_centre_is_asked_by_address(monkeypatch):
    asked = []

    class Client:
        def __init__(self, centre):
            asked.append(centre)

        def get_waveforms(self, *words):
            asked.extend(map(str, words))
            return obspy.read()

    monkeypatch.setattr("obspy.clients.fdsn.Client", Client)
    record = read("fdsn://IRIS/BW.RJOB..EH?/2009-08-24T00:20:03/2009-08-24T00:21:00", select="*Z")
    assert record.sizes == {"channel": 1, "time": 3000}
    assert asked[:5] == ["IRIS", "BW", "RJOB", "", "EH?"]
    assert asked[5:] == ["2009-08-24T00:20:03.000000Z", "2009-08-24T00:21:00.000000Z"]
    with pytest.raises(ValueError, match="is no query; write fdsn://CENTRE/NET.STA.LOC.CHA/START/END"):
        read("fdsn://IRIS/nothing")


# ---------------------------------------------------------------- the command line


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_info_convert_and_scan(tmp_path):
    source = OBSPY / "io/mseed/tests/data/gaps.mseed"
    out = run("info", source, "-o", tmp_path / "gaps.png")
    assert "BW.BGLD..EHE" in out.output
    assert "3 gaps" in out.output
    assert (tmp_path / "gaps.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "archive").mkdir()
    assert run("convert", source, tmp_path / "archive/x.mseed", "--reclen", 256).exit_code == 0
    expected = obspy.read(source, format="MSEED")
    found = obspy.read(tmp_path / "archive/x.mseed", format="MSEED")
    assert [(t.id, t.stats.starttime, t.stats.npts) for t in found] == [
        (t.id, t.stats.starttime, t.stats.npts) for t in expected
    ]
    manifest = tmp_path / "manifest.json"
    assert "1 files, 0 unread, 0 damage" in run("scan", tmp_path / "archive", "-o", manifest).output
    shutil.copy(source, tmp_path / "archive/x.mseed")
    assert "x.mseed: it has" in run("scan", tmp_path / "archive", "-o", manifest).output
