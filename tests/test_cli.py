"""The command line: what each subcommand does, and that a mistake ends in one line and exit code 2."""

import signal
import subprocess
import sys
import time

import numpy as np
import obspy
import pytest
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


def test_generate_train_attribute_and_info(tmp_path):
    traces, model, table = (tmp_path / name for name in ("x.nc", "vae.safetensors", "table.nc"))
    assert run("generate", "damped_oscillations", "-n", "10x10", "-o", traces).exit_code == 0
    assert xr.load_dataarray(traces).sizes["trace"] == 100
    trained = run("train", traces, "--latent", 3, "--epochs", 30, "-o", model)
    assert trained.exit_code == 0, trained.exception
    asked = run("attribute", model, traces, "-p", "k", "-o", table)
    assert asked.exit_code == 0, asked.exception
    assert "R2 of k" in asked.output
    assert "k: " in asked.output
    assert xr.load_dataset(table)["r2"].shape == (3, 1)
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
    assert f"resume=True goes on from {state}" in complaint
    assert "Traceback" not in complaint
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


def test_a_length_off_the_grid_ends_in_one_line(vertical, tmp_path, capsys, monkeypatch):
    words = ("train", vertical, vertical, "--length", 1000, "-o", tmp_path / "m.safetensors")
    assert "length 1000 is not a multiple of stride = 16; try 1008" in complaint(capsys, monkeypatch, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("generate", "waves", "-o", "x.nc"),
            "nothing called 'waves'; choose from damped_oscillations, lines, seismograms",
        ),
        (("generate", "lines", "-n", "3x", "-o", "x.nc"), "-n is ''; it is a whole number from 1 up"),
        (
            ("generate", "lines", "-o", "away/x.nc"),
            "no folder away to write x.nc into; make it with: mkdir -p away",
        ),
        (("info", "nothing"), "no file nothing"),
        (("attribute", "nothing", "x.nc"), "no file x.nc"),
    ],
)
def test_other_mistakes_end_in_one_line(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in complaint(capsys, monkeypatch, *words)
    assert not list(tmp_path.iterdir())
