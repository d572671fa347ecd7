"""Every waveform file that comes with ObsPy: its format is told, it loads, and it comes back as it was."""

import gzip
import os
import re
import resource
import signal
import tarfile
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import obspy
import pytest
from obspy import Stream, Trace, UTCDateTime
from obspy.core.util.base import ENTRY_POINTS

from geoae.io import ReadError, decode, formats, read, read_stream, read_tree, to_stream, worker
from geoae.io.formats import detect

OBSPY = Path(obspy.__file__).parent
START = UTCDateTime(2020, 1, 2, 3, 4, 5, 678901)

# Why a file that ObsPy reads makes no record.
REFUSED = {
    "clients/fdsn/tests/data/bulk.mseed": "is a date wrong",  # three years of nothing between two minutes
    "io/ascii/tests/data/mseed2ascii_miniseed_record.txt": "promises 360671 samples and holds 422",
    "io/mseed/tests/data/encoding/fullASCII_bigEndian.mseed": "not numbers",  # a log, in letters
    "io/mseed/tests/data/encoding/fullASCII_littleEndian.mseed": "not numbers",
    "io/mseed/tests/data/encoding/smallASCII_bigEndian.mseed": "not numbers",
    "io/mseed/tests/data/encoding/smallASCII_littleEndian.mseed": "not numbers",
    "io/mseed/tests/data/rt130_sr0_cropped.mseed": "sampling rate of 0 Hz",  # a log channel
    "io/rg16/tests/data/header_3_chan_one_code.dat": "no samples",  # headers only
    "io/sac/tests/data/non_ascii.sac": "no samples",
}


def whole(path):
    """The record or tree of a file, whatever it takes."""
    try:
        return read(path)
    except ReadError as error:
        if "several sampling rates" in str(error):
            return read_tree(path, overlap="layers")
        if "two values" in str(error):
            return read(path, overlap="layers")
        raise


@pytest.fixture(scope="module")
def corpus():
    """{name: traces} of all files in ObsPy's tests that ObsPy reads in a format of its own, pickles aside."""
    found = {}
    for path in sorted(OBSPY.glob("**/tests/data/**/*")):
        if not path.is_file() or path.stat().st_size == 0 or path.stat().st_size > 2**21:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                traces = decode.plain_traces(obspy.read(str(path)))
            except Exception:
                continue
        found[str(path.relative_to(OBSPY))] = traces
    return found


def test_all_of_obspys_files_come_back_as_they_were(corpus):
    assert len(corpus) >= 227
    exact = 0
    for name, traces in corpus.items():
        if name in REFUSED:
            with pytest.raises(ReadError, match=REFUSED[name]) as caught:
                whole(OBSPY / name)
            assert "\n" not in str(caught.value)
            continue
        expected = [t for t in traces if len(t)]
        found = to_stream(whole(OBSPY / name))
        assert [t.id for t in found] == [t.id for t in expected], name
        for a, b in zip(found, expected, strict=True):
            assert a.stats.starttime.ns == b.stats.starttime.ns, name
            assert (a.stats.npts, a.stats.sampling_rate) == (b.stats.npts, b.stats.sampling_rate), name
            assert a.data.dtype == b.data.dtype.newbyteorder("="), name
            np.testing.assert_array_equal(a.data, b.data, err_msg=name)
        exact += 1
    assert exact == len(corpus) - len(REFUSED)


def test_formats_are_told_as_obspy_tells_them(corpus):
    packed = (".gz", ".bz2", ".tgz", ".tar", ".zip")
    for name, traces in corpus.items():
        if traces and not name.endswith(packed):
            assert detect(OBSPY / name) == traces[0].stats._format, name
    told = {traces[0].stats._format for traces in corpus.values() if traces}
    assert len(told) == 30  # of ObsPy's 31 formats, all but PICKLE


def test_every_sign_has_a_reader():
    unread = formats.SIGNS.keys() - ENTRY_POINTS["waveform"].keys() - formats.LABELLED
    assert unread == decode.READERS.keys()  # what ObsPy has no reader for has one of ours, and no other has
    assert formats.SIGNS.keys() >= formats.SAFE | formats.GUESSED | formats.GATHERS | formats.LABELLED


def test_what_is_no_waveform_has_no_format(tmp_path):
    for name in ("geodetics/base.py", "io/stationxml/tests/data/IRIS_single_channel_with_response.xml"):
        assert detect(OBSPY / name) is None
    rng = np.random.default_rng(0)
    for i in range(200):  # chance has no format either
        (tmp_path / "noise").write_bytes(rng.bytes(int(rng.integers(1, 5000))))
        assert detect(tmp_path / "noise") is None, i


def test_compressed_files_and_archives_are_unpacked_and_their_names_ignored(tmp_path):
    inside = tmp_path / "inside.mseed"
    obspy.read().write(str(inside), format="MSEED")
    (tmp_path / "a.gz").write_bytes(gzip.compress(inside.read_bytes()))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(inside, "../../../../evil.mseed")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(inside, "../../evil.mseed")
        archive.writestr("readme.txt", "a letter")
    for name in ("a.gz", "a.tgz", "a.zip"):
        np.testing.assert_array_equal(read(tmp_path / name), read(inside))
    assert {p.name for p in tmp_path.iterdir()} == {"inside.mseed", "a.gz", "a.tgz", "a.zip"}


def test_an_archive_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "UNPACKED", 1)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(2**27)))
    with pytest.raises(ReadError, match=r"bomb.gz cannot be unpacked: it grows beyond"):
        read(tmp_path / "bomb.gz")


# ---------------------------------------------------------------- the worker


GSE = OBSPY / "io/gse2/tests/data/loc_RNON20040609200559.z"


def test_the_worker_is_kept_and_replaced_when_it_dies():
    expected = obspy.read(GSE, format="GSE2")[0]
    np.testing.assert_array_equal(read(GSE).values[0], expected.data)
    first = worker._worker().process
    read(GSE)
    assert worker._worker().process is first
    first.send_signal(signal.SIGSEGV)
    first.wait()
    np.testing.assert_array_equal(read(GSE).values[0], expected.data)
    assert worker._worker().process is not first


def test_a_reader_that_crashes_or_hangs_is_a_read_error(tmp_path, monkeypatch):
    def crash(process, *_):
        os.kill(process.pid, signal.SIGSEGV)

    real = worker._send
    monkeypatch.setattr(worker, "_send", lambda *_: crash(worker._worker().process))
    words = r"looks like GSE2 but cannot be read: the reader crashed \(exit code -11\)"
    with pytest.raises(ReadError, match=words):
        read(GSE)
    monkeypatch.setattr(worker, "_send", real)
    hang = tmp_path / "far.sac"
    trace = obspy.read()[0]
    trace.stats.sac = {"stla": 1.0, "stlo": 2.0, "evla": 1.0, "evlo": 2.0, "lcalda": 1}
    trace.write(str(hang), format="SAC")
    content = bytearray(hang.read_bytes())
    content[36 * 4 : 37 * 4] = np.float32(2.3e26).tobytes()
    hang.write_bytes(content)
    monkeypatch.setattr(worker, "SECONDS", 3.0)
    start = time.monotonic()
    with pytest.raises(ReadError, match=r"far.sac looks like SAC but cannot be read: reading took longer"):
        read(hang)
    assert time.monotonic() - start < 20


def test_what_comes_from_the_worker_is_numbers_not_a_pickle():
    sources = [Path(worker.__file__).read_text(), Path(formats.__file__).with_name("segment.py").read_text()]
    for source in sources:
        assert "import pickle" not in source
        assert "eval(" not in source


# ---------------------------------------------------------------- promises


def test_a_flipped_bit_in_a_steim_record_is_noticed(tmp_path):
    data = np.cumsum(np.random.default_rng(0).integers(-50, 50, 4000)).astype(np.int32)
    header = {"station": "ABC", "channel": "HHZ", "starttime": START, "sampling_rate": 100.0}
    path = tmp_path / "x.mseed"
    Stream([Trace(data, header=header)]).write(str(path), format="MSEED", encoding="STEIM2", reclen=512)
    clean, rng = path.read_bytes(), np.random.default_rng(1)
    changed = noticed = 0
    for _ in range(60):
        content = bytearray(clean)
        at = int(rng.integers(1, len(content) // 512 - 1)) * 512 + int(rng.integers(64 + 12, 512))
        content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            record = read(path)
        except ReadError:
            changed, noticed = changed + 1, noticed + 1
            continue
        if record.shape != (1, 4000) or (record.values[0] != data).any():
            changed += 1
            noticed += "warnings" in record.attrs
            with pytest.raises(ReadError, match="refused by strict"):
                read(path, strict=True)
    assert changed > 40
    assert noticed == changed


SUMS = {  # one sample, or one word of the header, that is not what the rest of the file says
    "sac peak": ("io/sac/tests/data/test.sac", 632 + 4 * 3, np.float32(7), "depmax 1, the samples 7"),
    "sac mean": (
        "io/sac/tests/data/test.sac",
        632 + 4 * 3,
        np.float32(0.9),
        "depmen 8.34465e-08, the samples",
    ),
    "sac stale": ("io/sac/tests/data/test.sac", 4 * 1, np.float32(-5), "depmin -5, the samples -1"),
    "knet peak": ("io/nied/tests/data/test.knet", 2000, b"99999", "a peak of 4.383 gal, the samples"),
    "knet length": ("io/nied/tests/data/test.knet", 310, b"69", "69 s, the samples last 59 s"),
    "wav": ("io/wav/tests/data/3cssan.near.8.1.RNON.wav", 4, b"\xff", "speaks of 2823 bytes, it has 2643"),
    "su": ("io/segy/tests/data/1.su_first_trace", 243, b"\x7e", "holds values from .*; is it damaged?"),
}


@pytest.mark.parametrize("name", SUMS)
def test_samples_that_their_header_contradicts_are_told_of(name, tmp_path):
    source, at, value, words = SUMS[name]
    path, content = tmp_path / "x", bytearray((OBSPY / source).read_bytes())
    content[at : at + len(bytes(value))] = bytes(value)
    path.write_bytes(content)
    assert re.search(words, read(path).attrs["warnings"])
    with pytest.raises(ReadError, match="refused by strict"):
        read(path, strict=True)


def test_records_that_promise_too_much_take_no_memory(tmp_path):
    path = tmp_path / "x.mseed"
    Trace(np.arange(100, dtype=np.int32)).write(str(path), format="MSEED", reclen=512)
    record = bytearray(path.read_bytes())
    record[30:32] = b"\xff\xff"
    path.write_bytes(record * 4000)  # a gigabyte, if it were believed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError, match="MSEED but cannot be read: its records promise 262140000 samples"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_no_whole_file_is_doubted(corpus):
    doubts = r"the header says|its header speaks of|holds values from"
    doubted = set()
    for name in corpus.keys() - REFUSED.keys():
        if re.search(doubts, "\n".join(decode.decode(OBSPY / name).warnings)):
            doubted.add(Path(name).name)
    assert doubted == {"QFILE-TEST-SUN.QHD"}  # in the other byte order, which ObsPy wants to be told


def test_a_folder_is_read_past_a_broken_file_which_is_listed(tmp_path):
    (tmp_path / "deep").mkdir()
    obspy.read().select(component="Z").write(str(tmp_path / "deep/a.mseed"), format="MSEED")
    obspy.read().select(component="N")[0].write(str(tmp_path / "n.sac"), format="SAC")
    (tmp_path / "letter.txt").write_text("Dear seismologist\n")
    record = read(tmp_path)
    assert sorted(record.component.values) == ["N", "Z"]
    assert "letter.txt is in no waveform format" in record.attrs["unread"]
    with pytest.raises(ReadError, match="letter.txt is in no waveform format"):
        read(tmp_path, strict=True)
    assert len(read_stream(tmp_path)) == 2
