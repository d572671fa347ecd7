"""What belongs to a station, not to its samples: coordinates, response, orientation, its data centre."""

import os
import warnings
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import obspy
import xarray as xr

from .hearing import ReadError, line
from .segments import from_stream, to_stream

PLACE = {"latitude": "degrees", "longitude": "degrees", "elevation": "m", "depth": "m"}
DIRECTION = {"azimuth": "degrees", "dip": "degrees"}
UNITS = {"DISP": "m", "VEL": "m/s", "ACC": "m/s2"}


def with_inventory(record: xr.DataArray, inventory: Any, *, strict: bool = False) -> xr.DataArray:
    """Give each channel of a record its coordinates.

    Parameters
    ----------
    record : DataArray of dims ("channel", "time")
    inventory : obspy Inventory, or the path of a file that ObsPy reads as one (StationXML, ...)
    strict : bool
        Refuse a record of which the inventory lacks a channel.

    Returns
    -------
    DataArray
        With latitude, longitude [degrees], elevation, depth [m], azimuth (clockwise from north) and dip (down
        from horizontal) [degrees] along ``channel``, as they were at the record's start; NaN where the
        inventory has no such channel.

    Raises
    ------
    ReadError
        With strict, if the inventory lacks a channel; or it is a file that cannot be read.

    Warns
    -----
    UserWarning
        Once, naming the channels that the inventory lacks; the same stands in ``attrs["warnings"]``.

    Examples
    --------
    >>> record = with_inventory(from_stream(obspy.read()), obspy.read_inventory())
    >>> record.latitude.values.round(2).tolist(), record.dip.values.tolist()
    ([47.74, 47.74, 47.74], [-90.0, 0.0, 0.0])
    """
    record, lacking = placed(record, inventory, strict)
    if lacking:
        warnings.warn(lacking, stacklevel=2)
    return record


def placed(record: xr.DataArray, inventory: Any, strict: bool) -> tuple[xr.DataArray, str]:
    """The record with its channels' coordinates, and in words which of them the inventory lacks."""
    if "channel" not in record.coords or record["time"].dtype.kind != "M":
        raise ValueError(f"an inventory has places for channels, this has dims {record.dims}; leave it out")
    inventory = _inventory(inventory)
    moment = obspy.UTCDateTime(ns=record["time"].values[0].astype("datetime64[ns]").astype(np.int64).item())
    names = {**PLACE, **DIRECTION}
    columns: dict[str, list] = {name: [] for name in names}
    lacking = []
    for seed_id in record["channel"].values.tolist():
        try:
            found = {
                **inventory.get_coordinates(seed_id, moment),
                **inventory.get_orientation(seed_id, moment),
            }
        except Exception:  # ObsPy raises a bare Exception where nothing matches
            found = {}
            lacking.append(seed_id)
        for name, column in columns.items():
            value = found.get({"depth": "local_depth"}.get(name, name))
            column.append(np.nan if value is None else float(value))
    record = record.assign_coords(
        {name: ("channel", column, {"units": names[name]}) for name, column in columns.items()}
    )
    if not lacking:
        return record, ""
    held = dict.fromkeys(inventory.get_contents()["channels"])
    when = " (only at other times)" if held.keys() >= set(lacking) else ""
    words = (
        f"the inventory has no {_some(lacking)} at {moment}{when}; it has {_some([*held]) or 'no channel'}"
    )
    if strict:
        raise ReadError(f"{words}; give one that has all, or leave strict=True out")
    words += ". Their latitude, longitude, ... are NaN; strict=True refuses instead"
    told = "\n".join(filter(None, [record.attrs.get("warnings"), words]))
    return record.assign_attrs(warnings=told), words


def _some(names: list[str], most: int = 4) -> str:
    """Names in a row, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def remove_response(
    record: xr.DataArray, inventory: Any, output: str = "VEL", **options: Any
) -> xr.DataArray:
    """Turn counts into ground motion, through ObsPy's `Stream.remove_response`.

    Parameters
    ----------
    record : DataArray of dims ("channel", "time")
    inventory : as of `with_inventory`
    output : {"DISP", "VEL", "ACC"}
        In m, m/s or m/s2.
    **options
        For ObsPy: ``pre_filt``, ``water_level``, ``taper``, ...

    Raises
    ------
    ValueError
        For another output, or a channel that the inventory has no response for.
    """
    if output not in UNITS:
        raise ValueError(f"output={output!r} is none of {', '.join(UNITS)}")
    stream = _as_read(record)
    try:
        stream.remove_response(_inventory(inventory), output=output, **options)
    except Exception as error:
        raise ValueError(f"the response cannot be removed: {line(error)}") from error
    out = _like(stream, record, f"remove_response: {output}")
    return out.assign_attrs(units=UNITS[output])


def rotate(record: xr.DataArray, inventory: Any, method: str = "->ZNE", **options: Any) -> xr.DataArray:
    """Turn components to other directions, through ObsPy's `Stream.rotate`.

    Parameters
    ----------
    record : DataArray of dims ("channel", "time")
    inventory : as of `with_inventory`
    method : str
        "->ZNE", or with ``back_azimuth=`` [degrees] "NE->RT" or "ZNE->LQT" (with ``inclination=``), ...

    Raises
    ------
    ValueError
        Where ObsPy cannot.
    """
    stream = _as_read(record)
    try:
        stream.rotate(method, inventory=_inventory(inventory), **options)
    except Exception as error:
        raise ValueError(f"the components cannot be rotated by {method!r}: {line(error)}") from error
    return _like(stream, record, f"rotate: {method}")


def _as_read(record: xr.DataArray) -> obspy.Stream:
    """A Stream without the history, which the record that comes of it has already."""
    return to_stream(record.assign_attrs(history=""))


def _like(stream: obspy.Stream, record: xr.DataArray, words: str) -> xr.DataArray:
    out = from_stream(stream)
    kept = {name: value for name, value in record.attrs.items() if name != "segments"}
    history = "\n".join(filter(None, [record.attrs.get("history"), words]))
    return out.assign_attrs({**kept, "history": history})


def _inventory(inventory: Any) -> Any:
    if isinstance(inventory, obspy.Inventory):
        return inventory
    if not isinstance(inventory, str | os.PathLike):
        raise TypeError(
            f"inventory is a {type(inventory).__name__}; give an obspy Inventory or a file's path"
        )
    try:
        return obspy.read_inventory(os.fspath(inventory))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ReadError(f"{inventory} is no inventory that ObsPy can read: {line(error)}") from error


def from_data_centre(address: str) -> obspy.Stream:
    """Traces of a query such as "fdsn://IRIS/IU.ANMO.00.BH?/2020-01-01T00:00:00/2020-01-01T01:00:00".

    Raises
    ------
    ValueError
        For an address of another form.
    ReadError
        When the data centre answers with nothing, or not at all.
    """
    parts = urlsplit(address.replace("?", "%3F"))
    words = [word.replace("%3F", "?") for word in parts.path.strip("/").split("/")]
    codes = words[0].split(".")
    if not parts.netloc or len(words) != 3 or len(codes) != 4:
        raise ValueError(f"{address!r} is no query; write fdsn://CENTRE/NET.STA.LOC.CHA/START/END")
    from obspy.clients.fdsn import Client

    try:
        start, end = (obspy.UTCDateTime(word) for word in words[1:])
        return Client(parts.netloc).get_waveforms(*codes, start, end)
    except Exception as error:
        raise ReadError(f"{address}: {line(error)}") from error
