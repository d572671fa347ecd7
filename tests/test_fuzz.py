"""Damaged files: each gives data, or a ReadError that names file, format and cause; nothing else, ever."""

import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import obspy
import pytest

from geoae.io import ReadError, read_tree, to_stream, worker

OBSPY = Path(obspy.__file__).parent
CLEAN = {
    "MSEED": "io/mseed/tests/data/BW.BGLD.__.EHE.D.2008.001.first_10_records",
    "MSEED float": "io/mseed/tests/data/encoding/float32_Float32_bigEndian.mseed",
    "SAC": "io/sac/tests/data/test.sac",
    "SEGY": "io/segy/tests/data/00001034.sgy_first_trace",
    "SU": "io/segy/tests/data/1.su_first_trace",
    "SLIST": "io/ascii/tests/data/slist.ascii",
    "TSPAIR": "io/ascii/tests/data/tspair.ascii",
    "WAV": "io/wav/tests/data/3cssan.near.8.1.RNON.wav",
    "GSE2": "io/gse2/tests/data/loc_RNON20040609200559.z",
    "GSE1": "io/gse2/tests/data/loc_STAU20031119011659.z",
    "SEG2": "io/seg2/tests/data/20180307_031245000.0.seg2",
    "KNET": "io/nied/tests/data/test.knet",
    "WIN": "io/win/tests/data/10030302.00",
    "DMX": "io/dmx/tests/data/131114_090600.dmx",
    "REFTEK130": "io/reftek/tests/data/225051000_00008656",
    "AH": "io/ah/tests/data/ah2.f",
    "MSEED3": "io/mseed/tests/data/BW.BGLD.__.EHE.D.2008.001.first_10_records",  # written anew
}
KINDS = ("flip", "flips", "cut", "splice", "zeros", "counts", "swapped", "twice", "text", "empty")


def mutant(clean, kind, rng):
    """Damage some bytes in one of the ways that files get damaged, or are made to look."""
    data = np.frombuffer(clean, np.uint8).copy()
    n = len(data)
    a, b = np.sort(rng.integers(0, n, 2))
    if kind == "flip":
        data[a] ^= 1 << rng.integers(8)
    elif kind == "flips":
        data[rng.integers(0, n, 64)] ^= rng.integers(1, 256, 64).astype(np.uint8)
    elif kind == "cut":
        data = data[: rng.integers(1, n)]
    elif kind == "splice":
        data = np.concatenate([data[:b], data[a:]])
    elif kind == "zeros":
        data[a : a + 512] = 0
    elif kind == "counts":
        at = rng.integers(0, min(n, 4096) - 4)
        data[at : at + 4] = np.frombuffer(
            rng.choice([b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"9999"]), np.uint8
        )
    elif kind == "swapped":
        data[: n // 2 * 2] = data[: n // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    elif kind == "twice":
        data = np.concatenate([data[:a], data[a:b], data[a:b], data[b:]])
    elif kind == "text":
        data = np.frombuffer(b"Dear seismologist, this is a letter.\n" * rng.integers(1, 200), np.uint8)
    else:
        data = data[:0]
    return data.tobytes()


def whole_file(name, folder):
    """Bytes of a file of ObsPy's; it has none of MiniSEED 3."""
    if name != "MSEED3":
        return (OBSPY / CLEAN[name]).read_bytes()
    pymseed = pytest.importorskip("pymseed")
    traces = pymseed.MS3TraceList()
    (one,) = obspy.read(OBSPY / CLEAN[name])
    start = one.stats.starttime.ns
    traces.add_data("FDSN:BW_BGLD__E_H_E", one.data.tolist(), "i", one.stats.sampling_rate, starttime=start)
    traces.to_file(str(folder / "whole"), format_version=3, max_record_length=512, overwrite=True)
    return (folder / "whole").read_bytes()


def samples(tree):
    return {(t.id, t.stats.starttime.ns): t.data for t in to_stream(tree)}


def outcome(path, clean):
    """What reading did: refused, or gave the same, or other values with or without a word."""
    try:
        tree = read_tree(path, overlap="layers")
    except ReadError as error:
        words = str(error)
        assert path.name in words or "grid" in words or "sampling rate" in words or "samples" in words
        assert "\n" not in words
        return "refused"
    found = samples(tree)
    told = any(
        node.attrs for node in tree.subtree if any("warnings" in v.attrs for v in node.data_vars.values())
    )
    told = any("warnings" in v.attrs for node in tree.subtree for v in node.data_vars.values())
    same = found.keys() == clean.keys() and all(
        np.array_equal(found[k], clean[k], equal_nan=True) for k in clean
    )
    return "same" if same else "warned" if told else "silent"


def run(count, tmp_path, monkeypatch, seed):
    """Outcomes of so many mutants of each format, with the worst time of one."""
    monkeypatch.setattr(worker, "SECONDS", 5.0)
    table, slowest = {}, 0.0
    for number, name in enumerate(CLEAN):
        rng = np.random.default_rng([seed, number])
        content = whole_file(name, tmp_path)
        path = tmp_path / f"mutant{number}"
        path.write_bytes(content)
        clean = samples(read_tree(path, overlap="layers"))
        assert outcome(path, clean) == "same"  # the control: what is whole is read
        counts = Counter()
        for i in range(count):
            path.write_bytes(mutant(content, KINDS[i % len(KINDS)], rng))
            start = time.monotonic()
            counts[outcome(path, clean)] += 1
            slowest = max(slowest, time.monotonic() - start)
        table[name] = counts
    return table, slowest


def show(table, slowest, memory):
    print()
    for name, counts in table.items():
        print(
            f"{name:12}", *(f"{kind} {counts[kind]:4d} " for kind in ("refused", "same", "warned", "silent"))
        )
    total = sum(table.values(), Counter())
    print(f"{'all':12}", *(f"{kind} {total[kind]:4d} " for kind in ("refused", "same", "warned", "silent")))
    print(f"slowest {slowest:.1f} s, memory grew by {memory / 1024:.0f} MiB")


def grown(before):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_a_hundred_damaged_files_give_data_or_one_kind_of_error(tmp_path, monkeypatch):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table, slowest = run(10, tmp_path, monkeypatch, seed=0)
    assert sum(sum(counts.values()) for counts in table.values()) >= 100
    assert slowest < 20
    assert grown(memory) < 2**20  # KiB


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thousands_of_damaged_files_give_data_or_one_kind_of_error(tmp_path, monkeypatch):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table, slowest = run(130, tmp_path, monkeypatch, seed=1)
    show(table, slowest, grown(memory))
    total = sum(table.values(), Counter())
    assert total.total() >= 2000
    assert total["silent"] < 0.15 * total.total()  # most formats have no sums over their samples
    assert slowest < 20
    assert grown(memory) < 2**20
