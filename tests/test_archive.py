"""Denoising an archive: the same bits however it is cut or stopped; nothing twice, nothing lost."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import obspy
import pytest

import geoae
from geoae.denoising import archive

DAY = 3000  # samples; short days, so that the tests are
START = obspy.UTCDateTime("2020-01-01")


@pytest.fixture
def model(three):
    return three


def station(name, seed, n=2 * DAY):
    rng = np.random.default_rng(seed)
    header = {"network": "XX", "station": name, "sampling_rate": 100.0, "starttime": START}
    return obspy.Stream(
        obspy.Trace(
            (50 * rng.standard_normal(n).cumsum()).round().astype(np.int32), {**header, "channel": f"HH{c}"}
        )
        for c in "ENZ"
    )


@pytest.fixture
def sds(tmp_path):
    """Two stations by two days, one file per component and day, as in an SDS archive."""
    for seed, name in enumerate(("AAA", "BBB")):
        for trace in station(name, seed):
            folder = tmp_path / f"sds/2020/XX/{name}/{trace.stats.channel}.D"
            folder.mkdir(parents=True)
            for day in range(2):
                piece = trace.slice(START + day * DAY / 100, START + ((day + 1) * DAY - 1) / 100)
                piece.write(str(folder / f"XX.{name}..{trace.stats.channel}.D.2020.00{day + 1}"), "MSEED")
    return tmp_path / "sds"


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != archive.LOG
    }


def log(folder):
    return [json.loads(line) for line in (folder / archive.LOG).read_text().splitlines()]


def test_day_files_equal_the_record_in_one_piece_bit_for_bit(sds, model, tmp_path):
    summary = geoae.denoise_archive(sds, tmp_path / "out", model)
    assert summary.ok
    assert len(summary.results) == 4
    assert contents(tmp_path / "out").keys() == contents(sds).keys()
    for seed, name in enumerate(("AAA", "BBB")):
        for whole in geoae.denoise(station(name, seed), model):
            files = sorted((tmp_path / "out").rglob(f"XX.{name}..{whole.stats.channel}.D.*"))
            days = [obspy.read(str(file), format="MSEED")[0] for file in files]
            assert [day.id for day in days] == [whole.id] * 2
            assert [day.stats.starttime for day in days] == [START, START + DAY / 100]
            np.testing.assert_array_equal(np.concatenate([d.data for d in days]), whole.data.astype("f4"))


def test_another_cut_of_the_archive_gives_the_same_numbers(model, tmp_path):
    """Uneven files that hold two stations each."""
    both = station("AAA", 0) + station("BBB", 1)
    (tmp_path / "odd").mkdir()
    edges = [0, 777, 2500, 2600, 6000]
    for a, b in itertools.pairwise(edges):
        piece = both.slice(START + a / 100, START + (b - 1) / 100)
        piece.write(str(tmp_path / f"odd/from{a:04}.mseed"), "MSEED")
    assert geoae.denoise_archive(tmp_path / "odd", tmp_path / "out", model).ok
    out = obspy.Stream()
    for file in sorted((tmp_path / "out").glob("*.mseed")):
        out += obspy.read(str(file), format="MSEED")
    for trace in geoae.denoise(both, model):
        pieces = [piece.data for piece in out.select(id=trace.id)]
        np.testing.assert_array_equal(np.concatenate(pieces), trace.data.astype("f4"))


def test_sac_files_stay_sac_and_keep_their_headers(model, tmp_path):
    (tmp_path / "in").mkdir()
    for trace in station("AAA", 0):
        trace.stats.sac = {"user0": 7.5, "kevnm": "quake"}
        trace.write(str(tmp_path / f"in/{trace.id}.SAC"), "SAC")
    assert geoae.denoise_archive(tmp_path / "in", tmp_path / "out", model).ok
    for whole in geoae.denoise(station("AAA", 0), model):
        (trace,) = obspy.read(str(tmp_path / f"out/{whole.id}.SAC"), format="SAC")
        assert (trace.id, trace.stats.starttime) == (whole.id, whole.stats.starttime)
        assert (trace.stats.sac.user0, trace.stats.sac.kevnm.strip()) == (7.5, "quake")
        np.testing.assert_array_equal(trace.data, whole.data.astype("f4"))


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(sds, model, tmp_path, monkeypatch):
    geoae.denoise_archive(sds, tmp_path / "unbroken", model)
    done, do = [], archive.Task._do

    def stopping(self, unit):
        if len(done) == 1:
            done.append("stop")
            raise KeyboardInterrupt
        done.append(unit.name)
        return do(self, unit)

    monkeypatch.setattr(archive.Task, "_do", stopping)
    with pytest.raises(KeyboardInterrupt):
        geoae.denoise_archive(sds, tmp_path / "out", model)
    with (tmp_path / "out" / archive.LOG).open("a") as file:
        file.write('{"unit": "half a li')  # killed while writing
    (tmp_path / "out/.x.7.part.mseed").write_bytes(b"half a file")
    summary = geoae.denoise_archive(sds, tmp_path / "out", model)
    assert (summary.kept, len(summary.results), summary.ok) == (1, 3, True)
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    units = [line["unit"] for line in log(tmp_path / "out")[1:]]
    assert len(units) == len(set(units)) == 4
    again = geoae.denoise_archive(sds, tmp_path / "out", model)
    assert (again.kept, again.results) == (4, [])


def test_what_has_changed_is_done_again_and_its_neighbour_too(sds, model, tmp_path):
    geoae.denoise_archive(sds, tmp_path / "out", model)
    (path,) = sds.rglob("XX.AAA..HHZ.D.2020.001")
    trace = obspy.read(str(path), format="MSEED")[0]
    trace.data = trace.data[::-1].copy()
    trace.write(str(path), "MSEED")
    summary = geoae.denoise_archive(sds, tmp_path / "out", model)
    assert (summary.kept, len(summary.results)) == (2, 2)
    next((tmp_path / "out").rglob("*BBB*HHN*.001")).unlink()
    assert len(geoae.denoise_archive(sds, tmp_path / "out", model).results) == 1


def test_other_settings_are_refused(sds, model, tmp_path):
    geoae.denoise_archive(sds, tmp_path / "out", model)
    with pytest.raises(ValueError, match="out was made with hop \\d+, now it is 100; give another folder"):
        geoae.denoise_archive(sds, tmp_path / "out", model, hop=100)
    other = geoae.denoiser(256, widths=(8, 8), seed=1)
    with pytest.raises(ValueError, match="out was made with model"):
        geoae.denoise_archive(sds, tmp_path / "out", other)


def test_broken_files_are_told_and_the_others_done(sds, model, tmp_path):
    (sds / "notes.txt").write_text("no waveform")
    (path,) = sds.rglob("XX.AAA..HHZ.D.2020.001")
    path.write_bytes(path.read_bytes()[:100])
    next(sds.rglob("XX.BBB..HHE.D.2020.002")).unlink()
    summary = geoae.denoise_archive(sds, tmp_path / "out", model)
    assert not summary.ok
    assert summary.broken.keys() == {"notes.txt", path.relative_to(sds).as_posix()}
    assert len(summary.failed) == 2
    text = str(summary)
    assert "2 units denoised" in text
    assert "instrument XX.BBB..HH? has XX.BBB..HHN, XX.BBB..HHZ" in text
    assert "not read: notes.txt" in text
    assert len(contents(tmp_path / "out")) == 6
    assert geoae.denoise_archive(sds, tmp_path / "some", model, partial=True).failed == {}


def test_the_inventory_is_what_the_files_hold_though_samples_stay_unread(sds, monkeypatch):
    gappy = obspy.Stream([*station("CCC", 2, 500), *station("CCC", 3, 700)])
    for k, trace in enumerate(gappy):
        trace.stats.starttime += 20.0 * k
        trace.stats.sampling_rate = 100.0 if k % 2 else 62.5
    gappy.write(str(sds / "gappy.mseed"), "MSEED")
    expected = {}
    for path in sorted(sds.rglob("*")):
        for trace in obspy.read(path) if path.is_file() else ():
            times = trace.stats.starttime.ns, trace.stats.endtime.ns
            key = path.relative_to(sds).as_posix(), trace.id[:-1], trace.stats.sampling_rate
            first, last = expected.get(key, times)
            expected[key] = min(first, times[0]), max(last, times[1])
    for room in (geoae.io.lazy, geoae.io.reading):
        monkeypatch.setattr(room, "decode", lambda path, **_: pytest.fail(f"{path} was read"))
    headers, broken = archive._inventory(sds)
    assert broken == {}
    assert {(h.path, h.instrument, h.rate): (h.start, h.end) for h in headers} == expected


def test_folders_that_will_not_do_are_refused(sds, model, tmp_path):
    for source, target, error, words in (
        (sds, sds / "out", ValueError, "out lies within .*sds, which is read; give a folder outside of it"),
        (sds, sds, ValueError, "lies within"),
        (tmp_path / "none", tmp_path / "out", FileNotFoundError, "no folder .*none; an archive is a folder"),
        (sds, tmp_path, ValueError, "was made with|holds files"),
    ):
        with pytest.raises((error, FileExistsError), match=words):
            geoae.denoise_archive(source, target, model)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="full holds files, but no denoised.jsonl of an earlier run"):
        geoae.denoise_archive(sds, tmp_path / "full", model)


def test_nothing_is_written_outside_of_the_folder(sds, model, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / archive.LOG).touch()
    (tmp_path / "out/2020").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / archive.LOG).write_text(
        json.dumps(
            {"settings": archive._settings(archive.job_for(model, None, None, "follow", False, "cpu"))}
        )
        + "\n"
    )
    summary = geoae.denoise_archive(sds, tmp_path / "out", model, device="cpu")
    assert len(summary.failed) == 4
    assert "would be written outside of" in str(summary)
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


def test_workers_do_not_run_the_script_that_asks_again(sds, model, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text("from pathlib import Path; Path(__file__).with_name('again').touch()")
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert geoae.denoise_archive(sds, tmp_path / "out", model, workers=2).ok
    assert not (tmp_path / "again").exists()
    assert sys.modules["__main__"] is script


PROGRAM = """
import sys, geoae
summary = geoae.denoise_archive(*sys.argv[1:4], workers=int(sys.argv[4]))
sys.exit(not summary.ok)
"""


def test_ctrl_c_ends_the_workers_in_silence(sds, model, tmp_path):
    """They hear it as well, on a terminal, and while they load each would write a page."""
    geoae.save(model, tmp_path / "m.safetensors")
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [sys.executable, "program.py", "sds", "out", "m.safetensors", "2"]
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(geoae.__file__).parents[1])}}
    process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True, **options)
    while not (tmp_path / "out" / archive.LOG).exists():
        time.sleep(0.05)
    time.sleep(1.0)  # they are loading
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count("Traceback") == 1
    assert re.search(r"stopped after \d of 4 units; run again, it goes on from there", said)
    assert not list((tmp_path / "out").rglob("*part*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_and_resume_end_with_the_same_bytes(sds, model, tmp_path, workers):
    """Three times killed, workers and all, then left to finish."""
    geoae.denoise_archive(sds, tmp_path / "unbroken", model)
    geoae.save(model, tmp_path / "m.safetensors")
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [sys.executable, "program.py", "sds", "out", "m.safetensors", str(workers)]
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(geoae.__file__).parents[1])}}
    for wanted in (1, 2, 3):
        process = subprocess.Popen(words, start_new_session=True, **options)
        while process.poll() is None and not (
            (tmp_path / "out" / archive.LOG).exists() and len(log(tmp_path / "out")) > wanted
        ):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, **options, check=False).returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    assert not list((tmp_path / "out").rglob(".*.part*"))
