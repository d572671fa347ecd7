"""The command line: what each subcommand does, and that a mistake ends in one line and exit code 2."""

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import obspy
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import geoae
from geoae import cli


def run(*words):
    """`geoae` with these words, in this process: exit code, what it printed, what it complained of."""
    return CliRunner().invoke(cli.app, [str(w) for w in words])


def complaint(capsys, monkeypatch, *words):
    """The one line that a mistake ends in."""
    monkeypatch.setattr(sys, "argv", ["geoae", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def model(denoiser, tmp_path):
    path = tmp_path / "model.safetensors"
    geoae.save(denoiser, path)
    return path


@pytest.fixture
def vertical(tmp_path):
    path = tmp_path / "day.mseed"
    geoae.write(obspy.read().select(component="Z"), path)
    return path


@pytest.mark.parametrize("command", ["demo", "denoise", "train", "generate", "attribute", "info"])
def test_every_command_explains_itself_with_an_example(command):
    out = run(command, "--help")
    assert out.exit_code == 0
    assert f"geoae {command}" in " ".join(out.output.split()).split("Example")[1]


def test_help_is_quick_and_loads_nothing_heavy():
    program = (
        "import sys; from geoae import cli; "
        "print(*{'torch', 'obspy', 'xarray', 'matplotlib'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_denoise_writes_a_record_that_obspy_reads(model, vertical, tmp_path):
    out = run(
        "denoise", vertical, "-m", model, "-o", tmp_path / "clean.mseed", "--noise", tmp_path / "noise.mseed"
    )
    assert out.exit_code == 0, out.exception
    before, after = obspy.read(vertical)[0], obspy.read(tmp_path / "clean.mseed")[0]
    assert (after.id, after.stats.starttime, after.stats.npts) == (
        before.id,
        before.stats.starttime,
        before.stats.npts,
    )
    np.testing.assert_allclose(
        after.data + obspy.read(tmp_path / "noise.mseed")[0].data, before.data, atol=1e-3
    )


def test_denoise_takes_a_folder_and_goes_on_where_it_stopped(model, vertical, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/day").write_bytes(vertical.read_bytes())
    words = ("denoise", tmp_path / "archive", "-m", model, "-o", tmp_path / "clean")
    first = run(*words)
    assert (first.exit_code, "1 unit denoised" in first.output) == (0, True)
    assert obspy.read(str(tmp_path / "clean/day"), format="MSEED")[0].stats.npts == 3000
    assert "1 unit done before" in run(*words).output
    (tmp_path / "archive/text").write_text("no waveform")
    last = run(*words)
    assert (last.exit_code, "not read: text" in last.output) == (1, True)
    three = run("denoise", tmp_path / "archive", "-o", tmp_path / "three")
    assert "has BW.RJOB..EHZ; give all of them, take what is there with --partial" in three.output


@pytest.mark.parametrize(
    ("what", "n", "traces", "parameters"),
    [("arrivals", "3x2", 6, "sp"), ("thin_beds", "2x2x3", 12, "contrast"), ("gathers", "2", 48, "offset")],
)
def test_every_signal_can_be_generated_with_noise_and_its_parameters(tmp_path, what, n, traces, parameters):
    out = tmp_path / "x.nc"
    assert run("generate", what, "-n", n, "--noise", 0.1, "-o", out).exit_code == 0
    x = xr.load_dataarray(out)
    assert x.sizes["trace"] == traces
    assert {parameters, "noise", "snr_db"} <= set(x.coords)
    first = getattr(geoae.synth, what)(tuple(map(int, n.split("x"))) if "x" in n else int(n))
    assert float((x - first).std()) == pytest.approx(0.1, rel=0.1)


def test_generate_train_attribute_and_info(tmp_path):
    traces, model, table = (tmp_path / name for name in ("x.nc", "vae.safetensors", "table.nc"))
    assert run("generate", "damped_oscillations", "-n", "10x10", "-o", traces).exit_code == 0
    assert xr.load_dataarray(traces).sizes["trace"] == 100
    trained = run("train", traces, "--latent", 3, "--epochs", 30, "-o", model)
    assert trained.exit_code == 0, trained.exception
    page, words = tmp_path / "page.html", ("-p", "k", "-o", table)
    asked = run("attribute", model, traces, *words, "--noise", 0.05, "--report", page)
    assert asked.exit_code == 0, asked.exception
    assert "that the signals allow" in asked.output
    assert "How a decoded signal is put together" in page.read_text(encoding="utf-8")
    assert "KL [nats]" in asked.output
    assert "R2 of k" in asked.output
    assert "k: " in asked.output
    assert xr.load_dataset(table)["r2"].shape == (3, 1)
    asked = run("attribute", model, traces, "-p", "k", "--run", model)
    assert "2 of 2 trainings agree" in asked.output
    assert '"latent": 3' in run("info", model).output
    assert run("generate", model, "-n", 4, "-o", tmp_path / "new.nc").exit_code == 0
    assert xr.load_dataarray(tmp_path / "new.nc").sizes == {"trace": 4, "time": 50}


def test_train_makes_a_denoiser_of_folders(tmp_path):
    for name, seed in (("events", 0), ("noise", 1)):
        (tmp_path / name).mkdir()
        for i in range(2):
            stream = obspy.read()
            for trace in stream:
                trace.data = trace.data + np.random.default_rng([seed, i]).standard_normal(3000)
            geoae.write(stream, tmp_path / name / f"{i}.mseed")
    path = tmp_path / "mine.safetensors"
    out = run("train", tmp_path / "events", tmp_path / "noise", "--length", 640, "--epochs", 1, "-o", path)
    assert out.exit_code == 0, out.exception
    trained = geoae.load(path)
    assert trained.config["builder"] == "denoiser"
    assert trained.trained["rate"] == 100
    assert geoae.denoise(obspy.read(), trained)[0].stats.npts == 3000


def noisy_records(folder, seeds, samples):
    """A folder of three-component records of noise, at 100 Hz."""
    folder.mkdir()
    for seed in seeds:
        stream = obspy.read()
        for i, trace in enumerate(stream):
            trace.data = np.random.default_rng([seed, i]).standard_normal(samples)
        geoae.write(stream, folder / f"{seed}.mseed")
    return folder


def test_train_goes_on_from_the_model_that_ships(tmp_path):
    events, noise = (
        noisy_records(tmp_path / name, seeds, 6000) for name, seeds in (("e", (1, 2)), ("n", (3, 4)))
    )
    path = tmp_path / "mine.safetensors"
    out = run("train", events, noise, "--start", "shipped", "--epochs", 1, "--valid", 0.5, "-o", path)
    assert out.exit_code == 0, out.exception
    before, after = geoae.pretrained(), geoae.load(path)
    assert after.config == before.config
    moved = [(a - b).abs().max() for a, b in zip(after.parameters(), before.parameters(), strict=True)]
    assert 0 < max(moved) < 0.01


def test_train_makes_a_denoiser_of_noisy_records_alone(tmp_path):
    folder, path = noisy_records(tmp_path / "archive", range(4), 3000), tmp_path / "mine.safetensors"
    out = run("train", folder, "--without-clean", "--length", 640, "--epochs", 1, "-o", path)
    assert out.exit_code == 0, out.exception
    trained = geoae.load(path)
    assert (trained.config["builder"], trained.config["length"]) == ("denoiser", 640)
    assert trained.trained["rate"] == 100


def test_a_training_that_is_stopped_can_be_resumed(tmp_path):
    traces, state, model = (tmp_path / name for name in ("x.nc", "run.ckpt", "vae.safetensors"))
    run("generate", "lines", "-n", "400", "-o", traces)
    words = [
        "train",
        traces,
        "--epochs",
        "100000",
        "--checkpoint",
        state,
        "--every",
        "0.1",
        "--resume",
        "-o",
        model,
    ]
    job = subprocess.Popen([sys.executable, "-m", "geoae", *words], stderr=subprocess.PIPE, text=True)
    try:
        while not state.exists():
            assert job.poll() is None
            time.sleep(0.1)
        job.send_signal(signal.SIGINT)
        _, complaint = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode == 130
    assert f"; no model was written; --resume goes on from {state}" in complaint
    (line,) = complaint.splitlines()
    assert line.startswith("geoae: stopped at step ")
    assert state.exists()
    assert not model.exists()
    words[3] = "50"
    assert "is of another training: its plan is" in str(run(*words).exception)


def test_info_names_the_traces_of_a_record(vertical):
    assert "BW.RJOB..EHZ" in run("info", vertical).output


# --------------------------------------------------------------------------------------------- mistakes


def bad_files(tmp_path):
    (tmp_path / "text.mseed").write_text("this is a text file, whatever its name says\n" * 20)
    (tmp_path / "empty.mseed").write_bytes(b"")
    rate = obspy.read()[0]
    rate.stats.sampling_rate = 0
    rate.write(str(tmp_path / "rate.slist"), format="SLIST")
    nan = obspy.read()[0]
    nan.data = np.full(3000, np.nan)
    nan.write(str(tmp_path / "nan.mseed"), format="MSEED")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.mseed", "no such file"),
        ("text.mseed", "text.mseed is in no waveform format that ObsPy can read"),
        ("empty.mseed", "empty.mseed is empty (0 bytes)"),
        ("model.safetensors", "model.safetensors is in no waveform format that ObsPy can read"),
        ("rate.slist", "a sampling rate of 0 Hz"),
        ("nan.mseed", "every sample is NaN; there is nothing to denoise"),
    ],
)
def test_a_record_that_cannot_be_denoised_ends_in_one_line(
    file, message, model, tmp_path, capsys, monkeypatch
):
    bad_files(tmp_path)
    line = complaint(
        capsys, monkeypatch, "denoise", tmp_path / file, "-m", model, "-o", tmp_path / "out.mseed"
    )
    assert message in line
    assert not (tmp_path / "out.mseed").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_record_given_as_the_model_is_refused(vertical, tmp_path, capsys, monkeypatch):
    line = complaint(capsys, monkeypatch, "denoise", vertical, "-m", vertical, "-o", tmp_path / "out.mseed")
    assert "is not a model saved by geoae" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--latent", 0), "latent is 0; it must be a whole number from 1 up"),
        (("--posterior", "diag"), "unknown posterior 'diag'; choose from point, diagonal, full"),
        (("--network", "rnn"), "unknown network 'rnn'"),
    ],
)
def test_words_that_make_no_model_end_in_one_line(words, message, tmp_path, capsys, monkeypatch):
    traces = tmp_path / "x.nc"
    run("generate", "lines", "-n", "30", "-o", traces)
    assert message in complaint(
        capsys, monkeypatch, "train", traces, *words, "-o", tmp_path / "m.safetensors"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.nc"]


def test_a_length_too_short_ends_in_one_line(vertical, tmp_path, capsys, monkeypatch):
    words = ("train", vertical, vertical, "--length", 100, "-o", tmp_path / "m.safetensors")
    assert "length 100 is less than kernel = 128; try kernel=64, stride=16" in complaint(
        capsys, monkeypatch, *words
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("generate", "waves", "-o", "x.nc"),
            "nothing called 'waves'; choose from damped_oscillations, lines, arrivals, thin_beds, gathers",
        ),
        (("generate", "liness", "-n", "3x3", "-o", "x.nc"), "nothing called 'liness'; choose from damped_"),
        (("generate", "lines", "-n", "3x", "-o", "x.nc"), "-n is '3x'; it is a whole number from 1 up"),
        (("generate", "seismograms", "-n", "3x3", "-o", "x.nc"), "; only signals with a formula make a mesh"),
        (
            ("generate", "lines", "-o", "away/x.nc"),
            "no folder away to write x.nc into; make it with: mkdir -p away",
        ),
        (("info", "nothing"), "no such file: nothing"),
        (("attribute", "nothing", "x.nc"), "no file x.nc"),
    ],
)
def test_other_mistakes_end_in_one_line(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in complaint(capsys, monkeypatch, *words)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------- what would be lost or ignored


@pytest.fixture
def shelf(model, vertical, tmp_path, monkeypatch):
    """A folder with labelled traces, a trained autoencoder, a denoiser and a record of one component."""
    monkeypatch.chdir(tmp_path)
    x = geoae.synth.lines((6, 6))
    x.to_netcdf("x.nc", engine="scipy")
    geoae.save(geoae.autoencoder(like=x, latent=2, posterior="diagonal", widths=(8,)), "vae.safetensors")
    obspy.read().write("three.mseed", format="MSEED")
    (tmp_path / "folder").mkdir()
    (tmp_path / "sds").mkdir()
    (tmp_path / "sds/day").write_bytes(vertical.read_bytes())
    (tmp_path / "link.mseed").symlink_to("day.mseed")
    return tmp_path


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


DENOISE = ("denoise", "day.mseed", "-m", "model.safetensors")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*DENOISE, "-o", "day.mseed"), "day.mseed is already read from or written to; give another name"),
        ((*DENOISE, "-o", "folder/../day.mseed"), "is already read from"),
        ((*DENOISE, "-o", "link.mseed"), "is already read from"),
        (("denoise", "d*.mseed", *DENOISE[2:], "-o", "day.mseed"), "is already read from"),
        ((*DENOISE, "-o", "model.safetensors"), "is already read from"),
        ((*DENOISE, "-o", "a.mseed", "--noise", "./a.mseed"), "a.mseed is already read from or written to"),
        ((*DENOISE, "-o", "a.mseed", "--noise", "day.mseed"), "day.mseed is already read from"),
        ((*DENOISE, "-o", "folder"), "folder is a folder; name a file in it: folder/name.mseed"),
        ((*DENOISE, "-o", "a.txt"), "cannot write 'a.txt'; end it with .mseed, .miniseed, .ms, .sac"),
        ((*DENOISE, "-o", "a.mseed", "--noise", "a.txt"), "cannot write 'a.txt'; end it with .mseed"),
        ((*DENOISE, "-o", "a.mseed", "--noise", "no/a.mseed"), "no folder no to write a.mseed into"),
        (
            ("denoise", "three.mseed", *DENOISE[2:], "-o", "a.mseed", "--noise", "a.sac"),
            "a SAC file holds one trace, found 3",
        ),
        (("train", "x.nc", "-o", "x.nc"), "x.nc is already read from"),
        (("train", "x.nc", "-o", "v.txt"), "cannot write 'v.txt'; end it with .safetensors"),
        (("train", "x.nc", "-o", "folder"), "folder is a folder; name a file in it"),
        (
            ("train", "x.nc", "-o", "v.safetensors", "--checkpoint", "v.safetensors"),
            "v.safetensors is already read from or written to",
        ),
        (
            ("train", "x.nc", "-o", "v.safetensors", "--checkpoint", "x.nc", "--resume"),
            "x.nc is already read from",
        ),
        (
            ("train", "x.nc", "-o", "v.safetensors", "--checkpoint", "x.nc"),
            "x.nc exists; --resume goes on from it",
        ),
        (("train", "x.nc", "-o", "v.safetensors", "--resume"), "--resume goes on from a checkpoint"),
        (("train", "day.mseed", "day.mseed", "-o", "day.mseed"), "day.mseed is already read from"),
        (("generate", "lines", "-o", "a.txt"), "cannot write 'a.txt'; end it with .nc"),
        (("generate", "vae.safetensors", "-o", "vae.safetensors"), "is already read from"),
        (("attribute", "vae.safetensors", "x.nc", "-o", "x.nc"), "x.nc is already read from"),
        (("attribute", "vae.safetensors", "x.nc", "-o", "a.csv"), "cannot write 'a.csv'; end it with .nc"),
        (("demo", "-o", "x.nc"), "x.nc is a file; -o names a folder to write into"),
    ],
)
def test_outputs_are_refused_before_the_work_and_nothing_is_lost(words, message, shelf, capsys, monkeypatch):
    def work(*_, **__):
        raise AssertionError("the work has begun")

    before = contents(shelf)
    for module, name in ((geoae, "denoise"), (geoae, "fit"), (geoae, "generate"), (geoae, "encode")):
        monkeypatch.setattr(module, name, work)
    assert message in complaint(capsys, monkeypatch, *words)
    assert contents(shelf) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x.nc", "--length", 640), "--length is for denoisers; give NOISE as well, or leave it out"),
        (("x.nc", "--snr", 0, 10), "--snr is for denoisers"),
        (("day.mseed", "day.mseed", "--latent", 2), "--latent is for autoencoders; leave it out, or NOISE"),
        (("day.mseed", "day.mseed", "--network", "dense"), "--network is for autoencoders"),
        (("day.mseed", "day.mseed", "--posterior", "full"), "--posterior is for autoencoders"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, message, shelf, capsys, monkeypatch):
    assert message in complaint(capsys, monkeypatch, "train", *words, "-o", "m.safetensors")


def test_training_on_two_rates_is_refused_with_what_to_type(shelf, capsys, monkeypatch):
    slow = obspy.read()
    for trace in slow:
        trace.stats.sampling_rate = 40
    geoae.write(slow, "slow.mseed")
    words = ("train", "three.mseed", "slow.mseed", "--length", 640, "-o", "m.safetensors")
    line = complaint(capsys, monkeypatch, *words)
    assert "three.mseed has 100 Hz and slow.mseed 40 Hz; resample the file first: python -c" in line
    # what it tells to type works
    program = line.split('python -c "')[1].rstrip('"').replace("IN", "three.mseed").replace("OUT", "same")
    subprocess.run([sys.executable, "-c", program], check=True)
    assert {trace.stats.sampling_rate for trace in obspy.read("same.mseed")} == {40}
    assert run("denoise", "slow.mseed", *DENOISE[2:], "-o", "a.mseed").exit_code == 0  # any rate will do


# -------------------------------------------------------------------------------- mistakes of other kinds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "x.nc", "--device", "foo", "-o", "m.safetensors"), "no device 'foo' here"),
        ((*DENOISE, "--device", "foo", "-o", "a.mseed"), "no device 'foo' here"),
        (("train", "x.nc"), "Missing option '-o' / '--output'; see: geoae train --help"),
        (("denoise",), "Missing argument"),
        (("bogus",), "No such command 'bogus'"),
        (("info", "x.nc", "--bogus"), "No such option: --bogus"),
        (("demo", "--threads", 0), "Invalid value for '--threads'"),
        (("train", "x.nc", "-o", "m.safetensors", "--threads", "two"), "Invalid value for '--threads'"),
        (("generate", "lines", "-o", "a.nc", "--seed", -1), "Invalid value for '--seed'"),
        (
            ("generate", "lines", "-n", "1000000x1000000", "-o", "a.nc"),
            "-n 1000000x1000000 makes 50000000000000 samples; 100000000 are the most",
        ),
        (("generate", "vae.safetensors", "-n", 2000001, "-o", "a.nc"), "makes 100000050 samples"),
        (("attribute", "vae.safetensors", "x.nc", "-p", "k"), "no parameter 'k' in x.nc; choose from slope"),
        (("info", "vae.safetensors", "-o", "a.png"), "and vae.safetensors is none; leave it out"),
        (("info", "x.nc", "-o", "a.png"), "-o draws what a recorder's files cover, and x.nc is none"),
        (("denoise", "sds", "-o", "a.mseed"), "sds is a folder, so -o names a folder, too, such as -o a"),
        (("train", "three.mseed", "-o", "m.safetensors"), "three.mseed is one record, not labelled traces"),
        (("train", "sds", "sds", "-o", "m.safetensors"), "EHZ; wanted 3 components of one instrument"),
        (("train", "x.nc", "sds", "-o", "m.safetensors"), "x.nc holds dims trace, time, but no components"),
        (("convert", "day.mseed", "a.mseed", "--encoding", "STEIM"), "unknown encoding 'STEIM'; choose from"),
        (("attribute", "model.safetensors", "x.nc"), "is a denoiser, which has no latents"),
        (
            ("train", "folder", "-o", "m.safetensors"),
            "folder is a folder; to train a denoiser give a folder of",
        ),
    ],
)
def test_mistakes_of_any_kind_end_in_one_line(words, message, shelf, capsys, monkeypatch):
    before = contents(shelf)
    assert message in complaint(capsys, monkeypatch, *words)
    assert contents(shelf) == before


def test_a_model_that_repeats_its_traces_is_refused_as_a_denoiser(shelf, capsys, monkeypatch):
    x = geoae.synth.lines((6, 6))
    model = geoae.autoencoder(like=x, latent=2, widths=(8,))
    for words, noisy in (({}, False), ({"corrupt": geoae.Mask(0.25)}, True), ({"target": x}, True)):
        geoae.fit(model, x, epochs=1, **words)
        assert model.trained["noisy"] is noisy
        geoae.save(model, f"{noisy}.safetensors")
    line = complaint(capsys, monkeypatch, "denoise", "day.mseed", "-m", "False.safetensors", "-o", "a.mseed")
    assert line.startswith("geoae: False.safetensors was trained to repeat its traces, not to take noise off")
    assert run("denoise", "day.mseed", "-m", "True.safetensors", "-o", "a.mseed").exit_code == 0
    words = "trained to repeat its traces, not to take noise off"
    with pytest.warns(UserWarning, match=words) as told:
        geoae.denoise(x.values, "False.safetensors", rate=100.0)
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match=words):
        geoae.denoise_archive("sds", "clean", "False.safetensors", partial=True)
    with warnings.catch_warnings(action="error"):
        geoae.denoise(x.values, "True.safetensors", rate=100.0)


def test_a_folder_closed_to_the_user_is_told_before_the_work(shelf, capsys, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(geoae, "fit", refuse)
    line = complaint(capsys, monkeypatch, "train", "x.nc", "-o", "folder/v.safetensors")
    assert line == (
        "geoae: cannot write v.safetensors into the folder folder (Permission denied); give another folder"
    )


def test_what_the_system_refuses_is_told_without_its_number(shelf, capsys, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x.nc")

    monkeypatch.setattr(xr, "load_dataarray", refuse)
    assert complaint(capsys, monkeypatch, "info", "x.nc") == "geoae: x.nc: Permission denied"


def test_convert_counts_channels_and_samples(shelf):
    assert run("convert", "three.mseed", "three.nc").output == "3 channels, 3000 samples: three.nc\n"
    assert run("convert", "day.mseed", "day.nc").output == "1 channel, 3000 samples: day.nc\n"


@pytest.mark.parametrize("name", ["day.nc", "day.zarr", "day.npz"])
def test_denoise_takes_whatever_read_takes(name, shelf):
    record = geoae.read("day.mseed")
    if name == "day.npz":
        np.savez(name, x=record.values, rate=100.0)
    else:
        geoae.write(record, name)
    assert run("denoise", name, *DENOISE[2:], "-o", "clean.nc").output == "1 trace denoised: clean.nc\n"
    clean, wanted = geoae.read("clean.nc"), geoae.denoise(geoae.read(name), "model.safetensors")
    xr.testing.assert_equal(clean, wanted)
    assert run("denoise", name, *DENOISE[2:], "-o", "clean.mseed", "--report", "r.html").exit_code == 0
    (trace,) = obspy.read("clean.mseed")
    np.testing.assert_array_equal(trace.data, wanted.values[0])
    assert trace.id == geoae.to_stream(wanted)[0].id


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "a.mseed"), "e.nc holds dims trace, channel, time, not channel, time alone; such traces are"),
        (
            ("-o", "a.nc", "--report", "a.html"),
            "e.nc holds dims trace, channel, time, and --report is for one",
        ),
        (("-o", "old.zarr"), "old.zarr exists; delete it"),
        (
            ("-o", "a.nc"),
            "this record has 1 without names; give all of them, take what is there with --partial",
        ),
    ],
)
def test_labelled_files_that_cannot_be_denoised_so_end_in_one_line(
    words, message, shelf, capsys, monkeypatch
):
    geoae.synth.seismograms(2, rate=100.0, duration=10.24).isel(channel=[0]).drop_vars("channel").to_netcdf(
        "e.nc"
    )
    (shelf / "old.zarr").mkdir()
    assert message in complaint(capsys, monkeypatch, "denoise", "e.nc", *words)
    assert not list(shelf.glob("a.*"))


def test_a_file_that_was_cut_is_told_of_and_read_all_the_same(shelf, capsys):
    (shelf / "cut.mseed").write_bytes((shelf / "day.mseed").read_bytes()[:-100])
    for words in (("convert", "cut.mseed", "a.nc"), ("denoise", "cut.mseed", *DENOISE[2:], "-o", "a.mseed")):
        out = run(*words)
        assert out.exit_code == 0
        assert "geoae: cut.mseed: its last record is cut: " in out.stderr
        assert "a." in out.stdout


def test_info_shows_labelled_files_of_any_kind(shelf):
    np.savez("x.npz", x=np.zeros((3, 500)), rate=100.0)
    assert "(channel: 3, time: 500)" in run("info", "x.npz").output


def test_nothing_asked_is_help(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["geoae"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert "attribute" in capsys.readouterr().out


def changed(x, how):
    """Traces that do not fit, each in its own way."""
    return {
        "short": lambda: x.isel(time=slice(40)),
        "three": lambda: x.expand_dims(channel=3, axis=1),
        "timeless": lambda: x.drop_vars("time"),
        "renamed": lambda: x.rename(time="t"),
        "worded": lambda: x.assign_coords(time=[f"t{i}" for i in range(50)]),
        "bare": lambda: x.drop_vars(["slope", "intercept"]),
        "named": lambda: x.drop_vars("slope").assign_coords(
            intercept=("trace", [f"e{i}" for i in range(36)])
        ),
    }[how]()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("short", "do not fit: 1 channels of 40 samples and 1 channels of 50 samples; give traces like"),
        ("three", "do not fit: 3 channels of 50 samples and 1 channels of 50 samples"),
        ("timeless", "bad.nc has dims trace, time and no 'time' axis of numbers; 'geoae generate"),
        ("renamed", "bad.nc has dims trace, t and no 'time' axis of numbers"),
        ("worded", "no 'time' axis of numbers"),
        ("bare", "bad.nc carries no parameter, a coordinate along 'trace'"),
        ("named", "no parameter to ask about; the codes carry intercept"),
    ],
)
def test_traces_that_cannot_be_asked_end_in_one_line(how, message, shelf, capsys, monkeypatch):
    changed(xr.load_dataarray("x.nc"), how).to_netcdf("bad.nc", engine="scipy")
    assert message in complaint(capsys, monkeypatch, "attribute", "vae.safetensors", "bad.nc")
    assert run("info", "bad.nc").exit_code == 0
    if "axis" in message:
        assert message in complaint(capsys, monkeypatch, "train", "bad.nc", "-o", "m.safetensors")


def test_words_are_categories_and_names_are_left_out_and_refused_when_asked_for(shelf, capsys, monkeypatch):
    x = xr.load_dataarray("x.nc")
    words = {"station": ("trace", ["a", "b"] * 18), "event": ("trace", [f"e{i}" for i in range(36)])}
    x.assign_coords(words).to_netcdf("words.nc", engine="scipy")
    line = complaint(capsys, monkeypatch, "attribute", "vae.safetensors", "words.nc", "-p", "event")
    assert "parameter 'event' holds 36 different words on 36 traces" in line
    out = run("attribute", "vae.safetensors", "words.nc")
    assert out.exit_code == 0, out.exception
    assert "station: " in out.output
    assert "event" not in out.output


def test_a_parameter_asked_twice_is_answered_once(shelf):
    out = run("attribute", "vae.safetensors", "x.nc", "-p", "slope", "-p", "slope", "-o", "table.nc")
    assert out.exit_code == 0, out.exception
    assert list(xr.load_dataset("table.nc").parameter.values) == ["slope"]


def test_a_name_that_looks_like_markup_is_printed_as_it_is(shelf, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    xr.load_dataarray("x.nc").rename(slope="[red]k[:x]").to_netcdf("x.nc", engine="scipy")
    out = run("attribute", "vae.safetensors", "x.nc")
    assert out.exit_code == 0, out.exception
    assert "R2 of [red]k[:x]" in out.output


def test_a_record_without_samples_is_called_that(shelf, capsys, monkeypatch):
    obspy.Trace(np.arange(9), {"channel": "HHZ"}).write("header.mseed", "MSEED", reclen=512)
    record = bytearray((shelf / "header.mseed").read_bytes())
    record[30:32] = bytes(2)  # the number of samples
    (shelf / "header.mseed").write_bytes(record)
    line = complaint(capsys, monkeypatch, "denoise", "header.mseed", "-o", "a.mseed")
    assert "header.mseed holds no samples, only headers" in line


@pytest.mark.parametrize(
    "words",
    [
        ("train", "x.nc", "--epochs", 1, "-o", "v.safetensors"),
        (*DENOISE, "-o", "a.mseed"),
        ("attribute", "vae.safetensors", "x.nc"),
    ],
)
def test_threads_are_one_unless_asked_for(words, shelf, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert run(*words).exit_code == 0
    (shelf / "v.safetensors").unlink(missing_ok=True)
    assert run(*words, "--threads", 3).exit_code == 0
    assert asked == [1, 3]


# --------------------------------------------------------------------------------------------------- Ctrl-C

STOPPED_WHILE_LOADING = """
import os, signal, sys, time

class Finder:  # Ctrl-C when the import of a module begins, in code that swallows it if told to
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            except {swallowed}:
                pass

sys.meta_path.insert(0, Finder())
sys.argv = ["geoae", "generate", "seismograms", "-n", "1", "-o", "x.nc"]
from geoae.cli import main
main()
"""


@pytest.mark.parametrize(
    ("name", "swallowed"),
    [
        ("typer", "()"),
        ("geoae.synth", "()"),
        ("geoae.synth", "KeyboardInterrupt"),
        ("xarray", "KeyboardInterrupt"),
    ],
)
def test_ctrl_c_while_libraries_load_ends_in_one_line(name, swallowed, tmp_path):
    program = STOPPED_WHILE_LOADING.format(name=name, swallowed=swallowed)
    job = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (job.returncode, job.stderr) == (130, "geoae: stopped\n")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_during_the_work_ends_in_one_line(capsys, monkeypatch, tmp_path):
    def stop(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(geoae.synth, "lines", stop)
    monkeypatch.setattr(sys, "argv", ["geoae", "generate", "lines", "-o", str(tmp_path / "x.nc")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "geoae: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
