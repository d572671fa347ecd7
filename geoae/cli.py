"""The command line: each subcommand reads its words and calls the public functions.

A mistake ends with one line that says what was found, what was wanted and what to type, and exit code 2.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="geoae",
    help="Autoencoders for geoscience signals: denoise seismograms, and ask latents what they hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; the best there is if left out.")]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("out"),
    seed: Seed = 0,
    threads: Annotated[
        int, typer.Option(help="Threads to compute with; models this small are fastest on one.")
    ] = 1,
) -> None:
    """Run the main job, one minute: latents that explain themselves, a denoised earthquake, a report.

    Example: [bold]geoae demo --seed 1[/bold]
    """
    import torch

    from .demo import demo as run

    torch.set_num_threads(threads)
    run(output, seed=seed, say=_say)


@app.command()
def denoise(
    file: Annotated[
        str, typer.Argument(help="Waveforms in any format ObsPy reads, or a quoted glob pattern.")
    ],
    output: Output,
    model: Annotated[Path, typer.Option("-m", "--model", help="Trained model.")],
    noise: Annotated[Path | None, typer.Option(help="Write what was taken off, too.")] = None,
    device: Device = None,
) -> None:
    """Take the noise off a record; ids, times, gaps and headers stay.

    Example: [bold]geoae denoise day.mseed -m mine.safetensors -o clean.mseed[/bold]
    """
    import geoae

    _check_outputs(output, noise)
    trained = geoae.load(model)
    signal, taken = geoae.denoise(geoae.io.read_stream(file), trained, return_noise=True, device=device)
    geoae.write(signal, output)
    if noise is not None:
        geoae.write(taken, noise)
    _say(f"{len(signal)} traces denoised: {output}")


@app.command()
def train(
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
) -> None:
    """Train a variational autoencoder on labelled traces, or a denoiser on clean waveforms and noise.

    Examples: [bold]geoae train oscillations.nc --latent 3 --restarts 4 -o vae.safetensors[/bold]

    [bold]geoae train events/ noise/ -o mine.safetensors[/bold]
    """
    import geoae

    _check_outputs(output)
    options: dict[str, Any] = {"epochs": epochs, "restarts": restarts, "valid": valid, "seed": seed}
    options |= {"device": device, "checkpoint": checkpoint, "every": every, "resume": resume}
    if noise is None:
        data = _traces(signals)
        model: Any = geoae.autoencoder(
            like=data, latent=latent, network=network, posterior=posterior, seed=seed
        )
    else:
        channels = geoae.denoiser(length, seed=seed).config[
            "channels"
        ]  # says at once if the length will not do
        data = geoae.io.read_traces(signals, length, channels)
        model = geoae.denoiser(like=data, seed=seed)
        options |= {
            "corrupt": geoae.AddNoise(geoae.io.read_traces(noise, length, channels), snr_db=snr),
            "clip": 1.0,
        }
    try:
        history = geoae.fit(model, data, batch=128 if noise is None else 32, **options)
    except KeyboardInterrupt as stop:
        print("geoae:", *stop.__notes__, file=sys.stderr)
        raise
    geoae.save(model, output)
    loss, held_out = history.loss.isel(epoch=-1).values
    _say(f"{data.sizes['trace']} traces, loss {loss:.4g}, held out {held_out:.4g}: {output}")


@app.command()
def generate(
    what: Annotated[
        str, typer.Argument(help="damped_oscillations, lines, seismograms, or a variational model's file.")
    ],
    output: Output,
    n: Annotated[str, typer.Option("-n", help="How many; 30x30 is a mesh of two parameters.")] = "100",
    seed: Seed = 0,
) -> None:
    """Make traces: synthetic ones with known parameters, or draws from a trained model's prior.

    Example: [bold]geoae generate damped_oscillations -n 50x50 -o oscillations.nc[/bold]
    """
    import geoae

    _check_outputs(output)
    makers: dict[str, Any] = {
        "damped_oscillations": geoae.synth.damped_oscillations,
        "lines": geoae.synth.lines,
    }
    if what in makers:
        traces = makers[what](_count(n), seed=seed)
    elif what == "seismograms":
        traces = geoae.synth.seismograms(_whole(n), seed=seed)
    elif Path(what).is_file():
        traces = geoae.generate(_autoencoder(what), _whole(n), seed=seed)
    else:
        raise ValueError(
            f"nothing called {what!r}; choose from {', '.join(makers)}, seismograms, or give a model's file"
        )
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
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the table (.nc), too.")] = None,
    seed: Seed = 0,
) -> None:
    """Say which latent captures which parameter.

    Example: [bold]geoae attribute vae.safetensors oscillations.nc -p k -p b[/bold]
    """
    import geoae

    _check_outputs(output)
    codes = geoae.encode(_traces(data), _autoencoder(model))
    names = parameter or [
        str(name) for name, c in codes.coords.items() if c.dims == ("trace",) and name != "trace"
    ]
    table = geoae.latent.attribute(codes, names, seed=seed)
    _show_table(table)
    _say(str(geoae.latent.verdict(table)))
    if output is not None:
        with geoae.files.whole(output) as part:
            table.to_netcdf(part, engine="scipy")


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A model, or waveforms.")]) -> None:
    """Say what a file holds: a model's words, training and card, or the traces of a record.

    Example: [bold]geoae info mine.safetensors[/bold]
    """
    import json

    import geoae

    if not file.exists():
        raise FileNotFoundError(f"no file {file}")
    if file.suffix == ".safetensors":
        _say(json.dumps(geoae.model.about(file), indent=2))
    elif file.suffix == ".nc":
        _say(str(_traces(file)))
    else:
        _say(str(geoae.io.read_stream(file)))


# --------------------------------------------------------------------------------------------- plumbing


def main() -> None:
    """Run the command line; what a user can mend ends in one line and exit code 2."""
    try:
        app()
    except (ValueError, KeyError, OSError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print("geoae:", " ".join(str(text).split()), file=sys.stderr)
        sys.exit(2)


def _say(line: str) -> None:
    print(line, flush=True)


def _check_outputs(*paths: Path | None) -> None:
    """Refuse a folder that is not there before the work, not after it."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(
                f"no folder {path.parent} to write {path.name} into; make it with: mkdir -p {path.parent}"
            )


def _traces(path: str | Path) -> Any:
    """Labelled traces from a NetCDF file."""
    import xarray as xr

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return xr.load_dataarray(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a NetCDF file of traces; 'geoae generate lines -o lines.nc' makes one"
        ) from error


def _autoencoder(path: str | Path) -> Any:
    """Load a model that has latents."""
    import geoae

    model = geoae.load(path)
    if not isinstance(model, geoae.Autoencoder):
        raise ValueError(f"{path} is a denoiser, which has no latents; train an autoencoder")
    return model


def _count(n: str) -> int | tuple[int, ...]:
    sides = tuple(_whole(side) for side in n.split("x"))
    return sides if len(sides) > 1 else sides[0]


def _whole(n: str) -> int:
    if not n.isdecimal() or int(n) < 1:
        raise ValueError(
            f"-n is {n!r}; it is a whole number from 1 up, or for a mesh two of them such as 30x30"
        )
    return int(n)


def _show_table(table: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = Table("latent", "KL [nats]", *(f"R2 of {name}" for name in table["parameter"].values))
    for i in table["latent"].values:
        row = table.sel(latent=i)
        cells = [
            f"{float(r2):.2f} [{float(low):.2f}, {float(high):.2f}]" if row["active"] else "-"
            for r2, low, high in zip(row["r2"], row["r2_low"], row["r2_high"], strict=True)
        ]
        rows.add_row(f"z{i}", f"{float(row['kl']):.3f}", *cells)
    Console().print(rows)
