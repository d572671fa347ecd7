"""Gathers: many traces of one shot, line or survey, with what their headers say as coordinates."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from ..arrays import sample_times
from .segment import Segment
from .segments import common_rate, segment_table

# Names for the SEG-Y trace header fields that people ask for, and the field that scales them.
FIELDS = {
    "offset": "distance_from_center_of_the_source_point_to_the_center_of_the_receiver_group",
    "cdp": "ensemble_number",
    "shot": "original_field_record_number",
    "trace_number": "trace_number_within_the_original_field_record",
    "inline": "for_3d_poststack_data_this_field_is_for_in_line_number",
    "crossline": "for_3d_poststack_data_this_field_is_for_cross_line_number",
    "source_x": "source_coordinate_x",
    "source_y": "source_coordinate_y",
    "receiver_x": "group_coordinate_x",
    "receiver_y": "group_coordinate_y",
    "cdp_x": "x_coordinate_of_ensemble_position_of_this_trace",
    "cdp_y": "y_coordinate_of_ensemble_position_of_this_trace",
    "elevation": "receiver_group_elevation",
}
SCALED = {
    "_x": "scalar_to_be_applied_to_all_coordinates",
    "_y": "scalar_to_be_applied_to_all_coordinates",
    "elevation": "scalar_to_be_applied_to_all_elevations_and_depths",
}


def gather(segments: Iterable[Segment]) -> xr.DataArray:
    """Lay out segments as one gather: a row for each, whatever its id and start.

    Returns
    -------
    DataArray, dims ("trace", "time")
        ``time`` in s from the first sample of each trace, whose own time is ``start``. Coordinates of
        ``trace`` are the header fields of ``FIELDS`` that are not zero throughout, scaled as the header says.
        Shorter traces end in NaN.
    """
    segments = [segment for segment in segments if len(segment.data)]
    rate = common_rate(segments)
    npts = np.array([len(segment.data) for segment in segments])
    size = int(npts.max())
    dtype = np.result_type(*{segment.data.dtype for segment in segments}).newbyteorder("=")
    if (npts < size).any() and dtype.kind != "f":
        dtype = np.dtype(float)
    values = np.full((len(segments), size), np.nan if dtype.kind == "f" else 0, dtype)
    for row, segment in zip(values, segments, strict=True):
        row[: len(segment.data)] = segment.data
    rows = np.arange(len(segments))
    starts = [segment.start for segment in segments]
    table = {**segment_table(segments, rows, rows.tolist(), rate), "origin": starts}
    return xr.DataArray(
        values,
        {
            "time": ("time", sample_times(0.0, size, rate), {"units": "s"}),
            "id": ("trace", [segment.id for segment in segments]),
            "layer": ("trace", rows),
            "start": ("trace", np.array(starts, "datetime64[ns]")),
            **_fields([segment.header for segment in segments]),
        },
        ("trace", "time"),
        attrs={"segments": json.dumps(table)},
    )


def _fields(headers: list[dict]) -> dict[str, Any]:
    """Coordinates from trace headers, as far as they say anything."""
    coords = {}
    for name, field in FIELDS.items():
        values = _column(headers, field)
        if values.any():
            scaling = next((words for end, words in SCALED.items() if name.endswith(end)), None)
            scale = _column(headers, scaling) if scaling else np.zeros(len(values), int)
            factor = np.where(scale < 0, 1 / np.maximum(-scale, 1), np.maximum(scale, 1))
            coords[name] = ("trace", values if (factor == 1).all() else values * factor)
    return coords


def _column(headers: list[dict], field: str) -> np.ndarray:
    parts = [header.get("segy") or header.get("su") or {} for header in headers]
    return np.array([part.get("trace_header", {}).get(field, 0) for part in parts], dtype=np.int64)
