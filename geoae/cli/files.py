"""What was typed and the files it names: read, or refused in words that say what to type."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import check_writable

EXAMPLE = "'geoae generate lines -o lines.nc' makes one that will do"


def refuse(context: Any, options: Iterable[str], why: str) -> None:
    """Refuse options that would do nothing."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ValueError(f"--{name} {why}")


def check_outputs(paths: Sequence[Path], read: Iterable[Path], suffixes: Iterable[str] = ()) -> None:
    """Refuse before the work what could not be written after it, or would overwrite what is read."""
    taken = {path.resolve() for path in read}
    for path in paths:
        if path.resolve() in taken:
            raise ValueError(f"{path} is already read from or written to; give another name to write to")
        taken.add(path.resolve())
        if path.suffix.lower() == ".zarr" and path.exists():
            raise FileExistsError(f"{path} exists; delete it, or give another name")
        if path.is_dir():
            raise IsADirectoryError(
                f"{path} is a folder; name a file in it: {path / 'name'}{[*suffixes, ''][0]}"
            )
        if suffixes and path.suffix.lower() not in suffixes:
            raise ValueError(f"cannot write {path.name!r}; end it with {', '.join(suffixes)}")
        check_writable(path)


def labelled_data(geoae: Any, file: str, outputs: Sequence[Path], report: Path | None) -> Any:
    """What a file with labels holds: as it is where the outputs keep labels, else as a Stream."""
    data = geoae.read(file)
    many = f"{file} holds dims {', '.join(map(str, data.dims))}"
    if report is not None and data.ndim > 2:
        raise ValueError(f"{many}, and --report is for one record; leave it out")
    if {geoae.io.written_format(path) for path in outputs} <= {"NETCDF", "ZARR"}:
        return data
    if set(data.dims) != {"channel", "time"}:
        raise ValueError(f"{many}, not channel, time alone; such traces are written as .nc or .zarr")
    return geoae.to_stream(data)


def _resampling(rate: float) -> str:
    """What to type to bring a file to another rate."""
    steps = f"g.write(g.arrays.resample(g.read('IN'), {rate:.12g}), 'OUT.mseed')"
    return f'resample the file first: python -c "import geoae as g; {steps}"'


def signals_and_noise(signals: str, noise: str | None, length: int, seed: int) -> tuple[Any, Any]:
    """Windows to train a denoiser on, at one rate; without noise None in its place."""
    import geoae

    channels = geoae.denoiser(length, seed=seed).config["channels"]  # says at once if the length will not do
    data = geoae.io.read_traces(signals, length, channels)
    if noise is None:
        return data, None
    pieces = geoae.io.read_traces(noise, length, channels)
    rate, other = map(geoae.arrays.sampling_rate, (data, pieces))
    if abs(rate / other - 1) > 1e-4:
        found = f"{signals} has {rate:.12g} Hz and {noise} {other:.12g} Hz"
        raise ValueError(f"{found}; {_resampling(min(rate, other))}")
    return data, pieces


def check_rate(model: Any, data: Any, name: str) -> None:
    """Refuse to train a model on at another rate than its own."""
    import geoae

    rate, wanted = geoae.arrays.sampling_rate(data), model.trained.get("rate")
    if wanted and abs(rate / wanted - 1) > 1e-4:
        raise ValueError(f"{name} has {rate:.12g} Hz, the model {wanted:.12g} Hz; {_resampling(wanted)}")


def labelled_traces(path: str | Path) -> Any:
    """Labelled traces from a NetCDF file, with an axis to lie on."""
    traces = load_traces(path)
    if "time" not in traces.dims or "time" not in traces.coords or traces["time"].dtype.kind not in "Mfiu":
        found = f"{path} has dims {', '.join(map(str, traces.dims))} and no 'time' axis of numbers"
        raise ValueError(f"{found}; {EXAMPLE}")
    if set(traces.dims) <= {"channel", "time"}:
        found = f"{path} is one record, not labelled traces"
        raise ValueError(f"{found}; {EXAMPLE}, and a denoiser is trained with NOISE or --without-clean")
    return traces


def load_traces(path: str | Path) -> Any:
    """What a NetCDF file holds."""
    import xarray as xr

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return xr.load_dataarray(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a NetCDF file of traces; {EXAMPLE}") from error


def check_parameters(traces: Any, path: Path, asked: list[str] | None) -> None:
    """Refuse to ask traces that carry no parameters, or not this one."""
    known = [str(name) for name, c in traces.coords.items() if c.dims == ("trace",) and name != "trace"]
    if not known:
        raise ValueError(f"{path} carries no parameter, a coordinate along 'trace'; {EXAMPLE}")
    for name in asked or []:
        if name not in known:
            raise ValueError(f"no parameter {name!r} in {path}; choose from {', '.join(known)}")


def load_autoencoder(geoae: Any, path: str | Path) -> Any:
    """Load a model that has latents."""
    model = geoae.load(path)
    if not isinstance(model, geoae.Autoencoder):
        raise ValueError(f"{path} is a denoiser, which has no latents; train an autoencoder")
    return model


def check_denoiser(model: Any, path: Path) -> None:
    """Refuse a model that was trained to repeat what it is given."""
    if not model.trained.get("noisy", True):
        raise ValueError(
            f"{path} was trained to repeat its traces, not to take noise off them; "
            "'geoae train clean/ noise/ -o mine.safetensors' makes one that does"
        )


def how_many(n: str, *, mesh: bool) -> Any:
    """A number of traces, or the sides of a mesh."""
    sides = n.split("x") if mesh else [n]
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        more = (
            ", or for a mesh two of them such as 30x30"
            if mesh
            else "; only signals with a formula make a mesh"
        )
        raise ValueError(f"-n is {n!r}; it is a whole number from 1 up{more}")
    return tuple(map(int, sides)) if len(sides) > 1 else int(n)
