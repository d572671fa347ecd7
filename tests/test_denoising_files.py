"""Denoising files piece by piece: the numbers of the whole in memory, at the memory of a piece."""

import numpy as np
import obspy
import pytest
from obspy import UTCDateTime

import geoae
from geoae.denoising import denoise_file, job, runs

RATE = 100.0


@pytest.fixture
def small(monkeypatch):
    """Pieces of 1000 samples."""
    for room in (job, runs, geoae.denoising.files):
        monkeypatch.setattr(room, "BLOCK", 1000)


def stream(dtype="i4", n=9000, rate=RATE):
    """Two stations: one with a gap, the other half a sample beside the grid with an island of its own."""
    rng = np.random.default_rng(0)
    out = obspy.Stream()
    for station, late in (("AAA", 0.0), ("BBB", 0.5 / rate)):
        for code in ("HHE", "HHN", "HHZ"):
            data = (50 * rng.standard_normal(n).cumsum()).round().astype(dtype)
            header = {"network": "XX", "station": station, "channel": code, "sampling_rate": rate}
            start = UTCDateTime(2020, 1, 1) + late
            for a, b in ((0, 4000), (4100, n)) if station == "AAA" else ((0, 7000), (8000, 8300)):
                piece = data[a:b]
                out.append(obspy.Trace(piece, {**header, "starttime": start + a / rate}))
    return out


def alike(path, expected):
    found = obspy.read(path, format="MSEED")
    assert len(found) == len(expected)
    for trace in expected:
        (other,) = [t for t in found if (t.id, t.stats.starttime) == (trace.id, trace.stats.starttime)]
        assert other.stats.sampling_rate == pytest.approx(trace.stats.sampling_rate, rel=1e-7)
        assert other.data.dtype == trace.data.dtype
        np.testing.assert_array_equal(other.data, trace.data)


@pytest.mark.parametrize("dtype", ["i4", "f4", "f8"])
@pytest.mark.parametrize("rate", [40.0, RATE])
def test_a_file_comes_out_as_its_stream_does(three, small, tmp_path, dtype, rate):
    stream(dtype, rate=rate).write(str(tmp_path / "in.mseed"), "MSEED", reclen=512)
    told = obspy.read(str(tmp_path / "in.mseed"), format="MSEED")
    assert denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three, told=(words := [])) == 12
    assert words == []
    alike(tmp_path / "out.mseed", geoae.denoise(told, three))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["in.mseed", "out.mseed"]


def test_no_more_is_read_at_a_time_than_a_piece_depends_on(three, small, tmp_path, monkeypatch):
    stream().write(str(tmp_path / "in.mseed"), "MSEED", reclen=512)
    asked, read = [], geoae.io.lazy.Span.read
    monkeypatch.setattr(
        geoae.io.lazy.Span, "read", lambda self, a, b: asked.append(b - a) or read(self, a, b)
    )
    monkeypatch.setattr(geoae.io.lazy, "decode", lambda *_: pytest.fail("the file was read whole"))
    denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three, noise=tmp_path / "noise.mseed")
    assert len(asked) > 50
    assert max(asked) <= 1000 + 2 * 2 * 256  # a block, and two windows on either side


@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_what_was_taken_off_is_written_too(three, small, tmp_path, dtype):
    stream(dtype).write(str(tmp_path / "in.mseed"), "MSEED")
    denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three, noise=tmp_path / "noise.mseed")
    told = obspy.read(str(tmp_path / "in.mseed"), format="MSEED")
    alike(tmp_path / "noise.mseed", geoae.denoise(told, three, return_noise=True)[1])


def test_several_files_count_as_one_stream(three, small, tmp_path):
    whole = stream()
    for code in "ENZ":
        whole.select(component=code).write(str(tmp_path / f"{code}.mseed"), "MSEED", reclen=512)
    denoise_file(str(tmp_path / "[ENZ].mseed"), tmp_path / "out.mseed", three)
    alike(tmp_path / "out.mseed", geoae.denoise(whole, three))


def test_missing_samples_stay_missing(three, small, tmp_path):
    whole = stream("f4")
    known = whole[0].copy()  # a second trace of the channel, which has what the first misses
    known.data, known.stats.starttime = known.data[900:1200].copy(), known.stats.starttime + 9.0
    for trace in whole[:3]:
        trace.data[1000:1100] = np.nan
    whole.append(known)
    whole.write(str(tmp_path / "in.mseed"), "MSEED")
    denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three)
    alike(tmp_path / "out.mseed", geoae.denoise(whole, three))


def test_a_file_that_has_no_parts_is_read_whole(three, small, tmp_path):
    """Records of two lengths, and another format."""
    whole = stream().select(station="AAA")
    halves = tmp_path / "a.mseed", tmp_path / "b.mseed"
    whole.select(component="[EN]").write(str(halves[0]), "MSEED", reclen=512)
    whole.select(component="Z").write(str(halves[1]), "MSEED", reclen=4096)
    (tmp_path / "in.mseed").write_bytes(b"".join(path.read_bytes() for path in halves))
    denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three)
    alike(tmp_path / "out.mseed", geoae.denoise(whole, three))
    whole.write(str(tmp_path / "in.gse2"), "GSE2")
    denoise_file(tmp_path / "in.gse2", tmp_path / "out.mseed", three)
    alike(tmp_path / "out.mseed", geoae.denoise(geoae.io.read_stream(tmp_path / "in.gse2"), three))


def test_damage_is_told_and_what_is_left_denoised(three, small, tmp_path):
    stream().write(str(tmp_path / "in.mseed"), "MSEED", reclen=512, encoding="STEIM2")
    content = bytearray((tmp_path / "in.mseed").read_bytes())
    content[3 * 512 + 64 + 19] ^= 1  # a difference of samples, which no longer end where they should
    (tmp_path / "in.mseed").write_bytes(content)
    words, heard = [], []
    expected = geoae.denoise(geoae.io.read_stream(tmp_path / "in.mseed", told=heard), three)
    denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three, told=words)
    assert words == heard != []
    alike(tmp_path / "out.mseed", expected)


def test_what_cannot_be_denoised_leaves_nothing_behind(three, small, tmp_path):
    whole = stream("f8").select(station="AAA")
    whole[-1].data[4000] = np.inf
    whole.write(str(tmp_path / "in.mseed"), "MSEED")
    (tmp_path / "out.mseed").write_text("of before")
    with pytest.raises(ValueError, match=r"XX.AAA..HHZ from 2020.*: 1 samples are infinite"):
        denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three)
    whole[-1].data[4000] = 0
    (whole + whole[-1:]).write(str(tmp_path / "in.mseed"), "MSEED")
    twice = whole.copy()
    twice[-1].data = twice[-1].data + 1.0
    (whole + twice[-1:]).write(str(tmp_path / "in.mseed"), "MSEED")
    with pytest.raises(ValueError, match="XX.AAA..HHZ has two different traces"):
        denoise_file(tmp_path / "in.mseed", tmp_path / "out.mseed", three)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mseed", "out.mseed"]
    assert (tmp_path / "out.mseed").read_text() == "of before"


def test_files_that_are_no_miniseed_or_one_and_the_same_are_refused(three, tmp_path):
    stream().write(str(tmp_path / "in.mseed"), "MSEED")
    with pytest.raises(ValueError, match="out.sac would be no MiniSEED; end it with .mseed"):
        denoise_file(tmp_path / "in.mseed", tmp_path / "out.sac", three)
    out = tmp_path / "out.mseed"
    with pytest.raises(ValueError, match="signal and noise cannot both be"):
        denoise_file(tmp_path / "in.mseed", out, three, noise=out)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mseed"]
