"""The command line: each subcommand reads its words and calls the public functions.

A mistake ends with one line that says what was found, what was wanted and what to type, and exit code 2.
"""

import math
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

from .files import (
    check_denoiser,
    check_outputs,
    check_parameters,
    check_rate,
    how_many,
    labelled_data,
    labelled_traces,
    load_autoencoder,
    load_traces,
    refuse,
    signals_and_noise,
)

try:
    import typer
except KeyboardInterrupt:  # most of the start is spent here, before `main` can take care of it
    print("geoae: stopped", file=sys.stderr)
    sys.exit(130)

MESHES = ("damped_oscillations", "lines", "arrivals", "thin_beds", "gathers")
SIGNALS = ", ".join([*MESHES, "seismograms"])  # what `generate` knows
MOST = 100_000_000  # samples that `generate` makes, 0.8 GB in double precision

app = typer.Typer(
    name="geoae",
    help="Autoencoders for geoscience signals: denoise seismograms, and ask latents what they hold.\n\n"
    "Files that a command is told to write replace those of the same name.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write; replaced if it exists.")]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0, max=2**32 - 1)]
Threads = Annotated[
    int,
    typer.Option(help="Threads to compute with. Two cores gain a tenth at most; busy, they lose.", min=1),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; the best there is if left out.")]


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write into; its files are replaced.")
    ] = Path("out"),
    seed: Seed = 0,
    threads: Threads = 1,
) -> None:
    """Run the main job, one minute: latents that explain themselves, a denoised earthquake, a report.

    Example: [bold]geoae demo --seed 1[/bold]
    """
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; -o names a folder to write into, such as -o out")
    _library("demo", threads=threads).demo.demo(output, seed=seed, say=_say)


@app.command()
def denoise(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="Waveforms in any format geoae.read takes, a quoted glob pattern, or an archive's folder."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="File to write, replaced if it exists; for a folder, a folder."),
    ],
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="Trained model; the one that comes along if left out."),
    ] = None,
    noise: Annotated[Path | None, typer.Option(help="Write what was taken off, too.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page (.html) on what was done, too.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take instruments that lack components, too.")
    ] = False,
    outside: Annotated[
        str, typer.Option(help="What the model cannot see: follow what it does, drop or keep.")
    ] = "follow",
    workers: Annotated[int, typer.Option(help="Archive: processes.", min=1)] = 1,
    device: Device = None,
    threads: Threads = 1,
) -> None:
    """Take the noise off a record or a whole archive; ids, times, rates, gaps and headers stay.

    Examples: [bold]geoae denoise day.mseed -o clean.mseed --report report.html[/bold]

    [bold]geoae denoise archive/ -o clean/ --workers 2[/bold]  (stopped or killed, it goes on when run again)
    """
    geoae = _library("denoising", threads=threads)
    options: dict[str, Any] = {"partial": partial, "outside": outside, "device": device}
    if model is not None:
        check_denoiser(geoae.load(model), model)
    labelled = geoae.io.labelled_format(file)
    if Path(file).is_dir() and not labelled:
        refuse(context, ("noise", "report"), "is for single records; leave it out")
        if output.suffix.lower() in geoae.io.SUFFIXES:
            raise ValueError(f"{file} is a folder, so -o names a folder, too, such as -o {output.stem}")
        summary = geoae.denoise_archive(file, output, model, workers=workers, **options)
        _say(_typed(summary))
        raise typer.Exit(0 if summary.ok else 1)
    refuse(context, ("workers",), "is for a folder; leave it out")
    outputs = [path for path in (output, noise) if path is not None]
    read = [Path(file), *geoae.io.files(file), *([model] if model else [])]
    check_outputs(outputs, read, geoae.io.SUFFIXES)
    if report is not None:
        check_outputs([report], [*read, *outputs], [".html"])
    if report is None and not labelled and {geoae.io.written_format(path) for path in outputs} == {"MSEED"}:
        told: list[str] = []
        try:  # piece by piece, so that memory does not grow with length
            count = geoae.denoising.denoise_file(file, output, model, noise=noise, told=told, **options)
        finally:
            _warn(file, told)
    else:
        count = _denoise_at_once(geoae, file, model, outputs, report, labelled=labelled, **options)
    _say(f"{count} trace{'s' * (count != 1)} denoised: {output}")


@app.command()
def train(
    context: typer.Context,
    signals: Annotated[
        str,
        typer.Argument(
            help="Labelled traces (.nc), or with NOISE a file, folder or glob of clean waveforms."
        ),
    ],
    noise: Annotated[
        str | None, typer.Argument(help="A file, folder or glob of noise: train a denoiser.")
    ] = None,
    *,
    output: Output,
    start: Annotated[
        str | None, typer.Option(help="Denoiser: a model's file to train on, or 'shipped' for geoae's own.")
    ] = None,
    without_clean: Annotated[
        bool,
        typer.Option("--without-clean", help="Denoiser: SIGNALS are noisy records, and there are no others."),
    ] = False,
    length: Annotated[int, typer.Option(help="Denoiser: samples of a window.")] = 1920,
    snr: Annotated[
        tuple[float, float], typer.Option(help="Denoiser: lowest and highest SNR of the mixes, in dB.")
    ] = (-10, 20),
    latent: Annotated[int, typer.Option(help="Autoencoder: number of latents.")] = 2,
    network: Annotated[str, typer.Option(help="Autoencoder: dense, conv or linear.")] = "dense",
    posterior: Annotated[str, typer.Option(help="Autoencoder: point, diagonal or full.")] = "diagonal",
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 100,
    restarts: Annotated[int, typer.Option(help="Trainings of which the best is kept.")] = 1,
    valid: Annotated[float, typer.Option(help="Share of traces held out.")] = 0.1,
    seed: Seed = 0,
    device: Device = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Keep the state of the training here.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between two checkpoints.")] = 60.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint if it is there.")
    ] = False,
    threads: Threads = 1,
) -> None:
    """Train a variational autoencoder on labelled traces, or a denoiser on clean waveforms and noise.

    Examples: [bold]geoae train oscillations.nc --latent 3 --restarts 4 -o vae.safetensors[/bold]

    [bold]geoae train events/ noise/ --start shipped -o mine.safetensors[/bold]

    [bold]geoae train archive/ --without-clean -o mine.safetensors[/bold]
    """
    denoiser = noise is not None or without_clean
    if noise is not None and without_clean:
        raise ValueError("--without-clean needs no NOISE, it is found in the records; leave one of them out")
    if without_clean:
        refuse(context, ("snr",), "is for clean signals; leave it out")
    if start is not None:
        refuse(context, ("length",), "is that of the model to start from; leave it out")
    if not denoiser:
        if Path(signals).is_dir():
            raise IsADirectoryError(
                f"{signals} is a folder; to train a denoiser give a folder of noise as well, or "
                "--without-clean if there are noisy records only; an autoencoder takes a file (.nc)"
            )
        refuse(context, ("start",), "is for denoisers; give NOISE as well, or leave it out")
        refuse(context, ("length", "snr"), "is for denoisers; give NOISE as well, or leave it out")
    else:
        refuse(context, ("latent", "network", "posterior"), "is for autoencoders; leave it out, or NOISE")
    if resume and checkpoint is None:
        raise ValueError("--resume goes on from a checkpoint; say from which: --checkpoint run.ckpt")
    if checkpoint is not None and checkpoint.exists() and not resume:
        raise FileExistsError(f"{checkpoint} exists; --resume goes on from it, or delete it to start anew")
    geoae = _library("train", "denoising", threads=threads)
    read = [Path(signals)] if not denoiser else [p for f in (signals, noise) if f for p in geoae.io.files(f)]
    check_outputs([output], read, [".safetensors"])
    if checkpoint is not None:
        check_outputs([checkpoint], [*read, output])
    options: dict[str, Any] = {"epochs": epochs, "restarts": restarts, "valid": valid, "seed": seed}
    options |= {"device": device, "checkpoint": checkpoint, "every": every, "resume": resume}
    if not denoiser:
        data = labelled_traces(signals)
        model: Any = geoae.autoencoder(
            like=data, latent=latent, network=network, posterior=posterior, seed=seed
        )
    else:
        first = None if start is None else geoae.pretrained() if start == "shipped" else geoae.load(start)
        length = first.config["length"] if first else length
        data, pieces = signals_and_noise(signals, noise, length, seed)
        if first:
            check_rate(first, data, signals)
        model = first or geoae.denoiser(like=data, seed=seed)
        options |= {"batch": 32, "clip": 1.0} | ({"lr": 3e-4} if first else {})
        if without_clean:
            data, options["target"] = geoae.denoising.noisy_pairs(data, seed=seed)
        else:
            options["corrupt"] = geoae.AddNoise(pieces, snr_db=snr)
    history = geoae.fit(model, data, **options)
    geoae.save(model, output)
    loss, held_out = history.loss.isel(epoch=-1).values
    _say(f"{data.sizes['trace']} traces, loss {loss:.4g}, held out {held_out:.4g}: {output}")


@app.command()
def generate(
    what: Annotated[str, typer.Argument(help=f"{SIGNALS}, or a variational model's file.")],
    output: Output,
    n: Annotated[str, typer.Option("-n", help="How many; 30x30 is a mesh of two parameters.")] = "100",
    noise: Annotated[float, typer.Option(help="Standard deviation of white noise to add.", min=0)] = 0.0,
    seed: Seed = 0,
) -> None:
    """Make traces: synthetic ones with known parameters, or draws from a trained model's prior.

    Example: [bold]geoae generate damped_oscillations -n 50x50 -o oscillations.nc[/bold]
    """
    geoae = _library("synth")
    check_outputs([output], [Path(what)], [".nc"])
    known = what in (*MESHES, "seismograms")
    if not known and not Path(what).is_file():
        raise ValueError(f"nothing called {what!r}; choose from {SIGNALS}, or give a model's file")
    count = how_many(n, mesh=what in MESHES)
    if known:

        def make(count: Any) -> Any:
            return getattr(geoae.synth, what)(count, seed=seed)
    else:
        model = load_autoencoder(_library("latent"), what)

        def make(count: Any) -> Any:
            return geoae.generate(model, count, seed=seed)

    samples = math.prod(count if isinstance(count, tuple) else [count]) * make(1).size
    if samples > MOST:
        raise ValueError(f"-n {n} makes {samples} samples; {MOST} are the most, so take fewer traces")
    traces = make(count)
    if noise:
        traces = geoae.noise.add_white(traces, noise, seed=seed + 1)
    with geoae.files.whole(output) as part:
        traces.to_netcdf(part, engine="scipy")
    _say(f"{traces.sizes['trace']} traces of {traces.sizes['time']} samples: {output}")


@app.command()
def attribute(
    model: Annotated[Path, typer.Argument(help="Trained autoencoder.")],
    data: Annotated[Path, typer.Argument(help="Labelled traces (.nc).")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="Ask about this one; all if left out.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Another training of the same model: how often do they agree?")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of white noise in the traces: R2 against what it leaves to know."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the table (.nc), too.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the figures (.html), too.")] = None,
    seed: Seed = 0,
    threads: Threads = 1,
) -> None:
    """Say which latent captures which parameter.

    Examples: [bold]geoae attribute vae.safetensors oscillations.nc -p k -p b --report out.html[/bold]

    [bold]geoae attribute vae.safetensors oscillations.nc --run vae2.safetensors --noise 0.05[/bold]
    """
    geoae = _library("latent", threads=threads)
    read = [model, data, *(run or [])]
    for path, suffix in ((output, ".nc"), (report, ".html")):
        if path is not None:
            check_outputs([path], read, [suffix])
    traces, runs = labelled_traces(data), [load_autoencoder(geoae, path) for path in (model, *(run or []))]
    trained = runs[0]
    check_parameters(traces, data, parameter)
    found = (traces.sizes.get("channel", 1), traces.sizes["time"])
    wanted = (trained.config.get("channels", found[0]), trained.config.get("length", found[1]))
    if found != wanted:
        shapes = " and ".join(f"{c} channels of {n} samples" for c, n in (found, wanted))
        raise ValueError(f"{data} and {model} do not fit: {shapes}; give traces like those it was trained on")
    ceiling = None if noise is None else geoae.synth.ceiling(traces, noise, seed=seed)
    codes = geoae.encode(traces, runs if run else trained)
    table = geoae.latent.attribute(codes, parameter or None, ceiling=ceiling, seed=seed)
    _show_table(table.isel(run=0) if run else table)
    _say(str(geoae.latent.verdict(table)))
    if output is not None:
        with geoae.files.whole(output) as part:
            table.to_netcdf(part, engine="scipy")
    if report is not None:
        page = geoae.latent.section(f"{model.name} on {data.name}", traces, trained, table)
        geoae.plot.report(report, "Which latent captures what", [page])
        _say(f"Figures: {report}")


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="A model, labelled traces, or waveforms: file, folder, glob.")],
    picture: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw what the waveforms cover (.png, .svg, .pdf).")
    ] = None,
) -> None:
    """Say what a file holds: a model's words, training and card, or ids, rates, spans and gaps of waveforms.

    Example: [bold]geoae info day.mseed -o day.png[/bold]
    """
    import json

    geoae = _library("model" if file.endswith(".safetensors") else "io")
    path = Path(file)
    if picture is not None:
        check_outputs([picture], [path], [".png", ".svg", ".pdf"])
    if path.suffix in (".safetensors", ".nc") and not path.exists():
        raise FileNotFoundError(f"no file {file}")
    model = path.suffix == ".safetensors"
    labelled = not model and geoae.io.labelled_format(path)
    if picture is not None and (model or labelled):
        raise ValueError(f"-o draws what a recorder's files cover, and {file} is none; leave it out")
    if model:
        _say(json.dumps(geoae.model.about(path), indent=2))
    elif labelled:
        _say(str(load_traces(path) if path.suffix == ".nc" else geoae.read(path)))
    else:
        table = geoae.io.coverage(file)
        _say(geoae.io.coverage_text(table))
        if picture is not None:
            _library("plot").plot.coverage(table).savefig(picture)
            _say(f"drawn: {picture}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Waveforms: a file, folder or glob of any format.")],
    target: Annotated[
        Path, typer.Argument(help="File to write, replaced if it exists; its suffix says the format.")
    ],
    select: Annotated[str | None, typer.Option(help="Only the ids that match, such as '*.HH?'.")] = None,
    overlap: Annotated[
        str | None, typer.Option(help="Where segments differ: first, last, mean or layers.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="MiniSEED: STEIM1, STEIM2, INT32, ...")] = None,
    reclen: Annotated[int | None, typer.Option(help="MiniSEED: bytes of a record.")] = None,
) -> None:
    """Write waveforms of any format as MiniSEED, SAC, SEG-Y, SU, NetCDF or zarr.

    Example: [bold]geoae convert survey.sgy survey.nc[/bold]
    """
    geoae = _library("io")
    check_outputs([target], geoae.io.files(source), geoae.io.SUFFIXES)
    record = geoae.read(source, select=select, overlap=overlap)
    _warn(source, record.attrs.get("warnings", "").splitlines())
    geoae.write(record, target, encoding=encoding, reclen=reclen)
    counts = [f"{n} {'sample' if dim == 'time' else dim}{'s' * (n != 1)}" for dim, n in record.sizes.items()]
    _say(f"{', '.join(counts)}: {target}")


@app.command()
def scan(
    archive: Annotated[str, typer.Argument(help="Folder of waveforms, an SDS archive for instance.")],
    manifest: Annotated[
        Path, typer.Option("-o", "--output", help="Manifest (.json) to compare with and to write.")
    ],
) -> None:
    """Take stock of an archive: what it holds, what was damaged since the last time, how its clocks drift.

    Example: [bold]geoae scan archive/ -o archive.json[/bold]
    """
    geoae = _library("io")
    check_outputs([manifest], [], [".json"])
    found = geoae.io.scan(archive, manifest, say=_say)
    for name, clock in found["clocks"].items():
        if abs(clock["drift"]) > max(1.0, 3 * clock["error"]):
            _say(f"{name}: clock drifts by {clock['drift']:.2f} ppm (+- {clock['error']:.2f})")
    counts = ", ".join(f"{len(found[key])} {key}" for key in ("files", "unread", "damage"))
    _say(f"{counts}: {manifest}")


# --------------------------------------------------------------------------------------------- plumbing


def main() -> None:
    """Run the command line; what a user can mend ends in one line and exit code 2, Ctrl-C in one and 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop_at_once)
    # Not app(), which would put mistakes into a box, and say nothing on Ctrl-C.
    command = typer.main.get_command(app)
    try:
        with command.make_context("geoae", sys.argv[1:] or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except KeyboardInterrupt as stop:
        notes = getattr(stop, "__notes__", ["stopped"])
        # The model that Python code still holds is gone when the command ends.
        without = (
            note.replace("the model has the best weights so far", "no model was written") for note in notes
        )
        _end(130, *map(_typed, without))
    except UsageError as error:
        asked = f"; see: {error.ctx.command_path} --help" if error.ctx else ""
        _end(2, error.format_message().rstrip(".") + asked)
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, KeyError, OSError, ImportError) as error:
        if isinstance(error, OSError) and error.strerror and error.filename:  # the system's, not ours
            _end(2, f"{os.fsdecode(error.filename)}: {error.strerror}")
        _end(2, _typed(error.args[0] if isinstance(error, KeyError) and error.args else error))


UsageError: Any = typer.BadParameter.__mro__[1]  # click's, or that of the click that typer carries


def _end(code: int, *words: Any) -> NoReturn:
    print("geoae:", " ".join(" ".join(map(str, words)).split()), file=sys.stderr)
    sys.exit(code)


def _typed(words: Any) -> str:
    """Words for Python as they are typed here."""
    return str(words).replace("partial=True", "--partial").replace("resume=True", "--resume")


def _stop_at_once(*_: Any) -> NoReturn:
    """Stop while libraries load: an exception raised inside an import can get lost in it."""
    os.write(2, b"geoae: stopped\n")
    os._exit(130)


def _library(*rooms: str, threads: int | None = None) -> Any:
    """Load what a command needs; from then on Ctrl-C is an exception that the work can answer."""
    for room in rooms:
        import_module(f"geoae.{room}")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if signal.getsignal(signal.SIGINT) is _stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return import_module("geoae")


def _say(line: str) -> None:
    print(line, flush=True)


def _warn(file: str, told: Sequence[str], most: int = 3) -> None:
    """Tell of what was suspicious, and was read all the same."""
    different = [*dict.fromkeys(told)]
    for words in different[:most]:
        print(f"geoae: {file}: {words}", file=sys.stderr)
    if len(different) > most:
        print(f"geoae: {file}: {len(different) - most} more such warnings", file=sys.stderr)


def _denoise_at_once(
    geoae: Any,
    file: str,
    model: Path | None,
    outputs: Sequence[Path],
    report: Path | None,
    *,
    labelled: bool,
    **options: Any,
) -> int:
    """Denoise what has to be in memory whole, for a report looks at all of it, or a format has no parts."""
    told: list[str] = []
    record: Any = (
        labelled_data(geoae, file, outputs, report) if labelled else geoae.io.read_stream(file, told=told)
    )
    _warn(file, told)
    count = record.size // record.sizes["time"] if hasattr(record, "sizes") else len(record)
    for path in outputs:
        geoae.io.written_format(path, count)
    wanted = {"return_noise": len(outputs) > 1, "report": report is not None}
    out = geoae.denoise(record, model, **wanted, **options)
    signal, *more = out if any(wanted.values()) else (out,)
    for path in outputs:
        geoae.write(signal if path is outputs[0] else more.pop(0), path)
    if report is not None:
        geoae.denoising.write_report(report, record, signal, *more)
    return count


def _show_table(table: Any) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = Table(
        "latent", escape("KL [nats]"), *(f"R2 of {escape(str(name))}" for name in table["parameter"].values)
    )
    for i in table["latent"].values:
        row = table.sel(latent=i)
        cells = [
            f"{float(r2):z.2f} [{float(low):z.2f}, {float(high):z.2f}]" if row["active"] else "-"
            for r2, low, high in zip(row["r2"], row["r2_low"], row["r2_high"], strict=True)
        ]
        rows.add_row(f"z{i}", f"{float(row['kl']):.3f}", *cells)
    Console().print(rows)
