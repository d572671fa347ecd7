"""A model along the values of one instrument: windows, the sampling rate, and what the model cannot see.

There are no labels here: values come as (channel, time) with the absolute index of their first sample.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import scipy  # its signal package costs 60 MB once it is asked for
import torch
from scipy import fft
from scipy.ndimage import uniform_filter1d

from .. import nn as net
from ..arrays import through_windows
from ..model import Model

TERMS = 64  # largest denominator of a ratio of rates; off by a few hundredths of a percent at most
HALF = 32  # half the resampling filter, in samples of the slower rate
NEAR = 5  # how far below the band, as a factor, data may follow it
OUTSIDE = ("follow", "drop", "keep")


@dataclass(frozen=True)
class Pass:
    """How one model passes along values of one sampling rate.

    Parameters
    ----------
    model : Model
        In evaluation mode, on its device.
    rate : float
        Samples per second of the values.
    hop : int
        Samples between windows, at the model's rate.
    batch : int
        Windows at a time. They are grouped by absolute time, so that a network sees the same batches however
        the values are cut.
    outside : str
        What becomes of that which the model cannot see; see `geoae.denoise`.
    std : bool
        Give the standard deviation of the error that the model predicts, instead of the signal.
    """

    model: Model
    rate: float
    hop: int
    batch: int
    outside: str = "follow"
    std: bool = False

    @cached_property
    def length(self) -> int:
        """Samples of a window at the model's rate."""
        return self.model.config["length"]

    @cached_property
    def ratio(self) -> Fraction:
        """The model's rate over the data's, as a fraction small enough to filter by.

        A rate beside it, such as 99.98 Hz, counts as its neighbour: the model then hears everything 0.02 %
        too high, and no sample moves, because the way back takes the same ratio.
        """
        wanted = self.model.trained.get("rate") or self.rate
        return max(Fraction(wanted / self.rate).limit_denominator(TERMS), Fraction(1, TERMS))

    @cached_property
    def span(self) -> int:
        """Samples of a window at the data's rate."""
        return -(-self.length * self.ratio.denominator // self.ratio.numerator)

    @cached_property
    def reach(self) -> int:
        """Samples on either side that decide: one window to see, one to find gaps in, and filters."""
        if self.ratio == 1:
            return 2 * self.span
        return 2 * self.span + 3 * HALF * (1 + -(-self.ratio.denominator // self.ratio.numerator))

    def __call__(self, values: np.ndarray, phase: int) -> np.ndarray:
        """Denoise (channel, n) values, the first of them at absolute sample `phase`; NaN stays NaN.

        A gap of a window or more ends a piece, and what lies on either side is mirrored, as at the ends
        of a record.
        """
        out = np.full(values.shape, np.nan)
        along = self._at_its_rate if self.ratio == 1 else self._at_the_models_rate
        for first, last in _pieces(~np.isnan(values).all(0), self.span):
            out[:, first:last] = along(values[:, first:last].astype(float), phase + first)
        return out

    def _at_its_rate(self, x: np.ndarray, phase: int) -> np.ndarray:
        return self._through_windows(x, phase)[: len(x)]

    def _at_the_models_rate(self, x: np.ndarray, phase: int) -> np.ndarray:
        """Resample, denoise, resample back; what is lost on the way follows the model's gain."""
        up, down = self.ratio.numerator, self.ratio.denominator
        n, missing = x.shape[-1], np.isnan(x)
        whole = _bridged(x)
        first, last = phase * up // down, -(-(phase + n - 1) * up // down) + 1
        slow = _resampled(whole, phase, up, down, first, last)
        nearest = ((2 * down * np.arange(first, last) + up) // (2 * up) - phase).clip(0, n - 1)
        out = self._through_windows(np.where(missing[:, nearest], np.nan, slow), first)
        here = (np.arange(phase, phase + n) * (up / down) - first).clip(0, last - first - 1)
        between = [np.interp(here, np.arange(last - first), row) for row in np.nan_to_num(out)]
        if self.std:
            return np.where(missing, np.nan, between[: len(x)])
        kept = np.where(np.isnan(out[: len(x)]), slow, out[: len(x)])
        kept, seen = (_resampled(y, first, down, up, phase, phase + n) for y in (kept, slow))
        return np.where(missing, np.nan, kept + between[-1] * (whole - seen))

    def _through_windows(self, x: np.ndarray, phase: int) -> np.ndarray:
        return through_windows(
            self._windows, x, self.length, self.hop, phase=phase, batch=self.batch, aligned=True
        )

    @torch.no_grad()
    def _windows(self, x: np.ndarray) -> np.ndarray:
        """Model on float64 windows (window, channel, length), and as one more channel the gain it gave.

        Each window's mean and size are off before single precision could lose a signal beside them, and so is
        what lies below the model's band. The mean is given back by a model that has no such limit.
        """
        if not isinstance(self.model.scale, net.TraceScale) or self.model.scale.kind == "none":
            y = self._model(x)
            return np.concatenate([y, self._gain(x, y)], 1)
        present = ~np.isnan(x)
        mean = np.where(present, x, 0).sum(-1, keepdims=True) / np.maximum(present.sum(-1, keepdims=True), 1)
        band = x - mean
        far, near = self._below(band)
        band = band - far - near
        size = np.nan_to_num(np.abs(band)).max((1, 2), keepdims=True)
        size[size == 0] = 1.0
        y = self._model(band / size) * size
        if self.std:
            return np.concatenate([y, y[:, :1]], 1)
        y = np.where(np.nan_to_num(np.abs(band)).max(-1, keepdims=True) == 0, band, y)
        gain = self._gain(band, y)
        kept = far + mean if self.outside == "keep" or not self._low else 0.0
        return np.concatenate([y + gain * near + kept, gain], 1)

    def _model(self, x: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(x).to(next(self.model.parameters()))
        y = self.model.estimate(seen)[1] if self.std else self.model(seen)
        assert y is not None, "a model that tells no error is refused before"
        return y.cpu().numpy()

    @property
    def _low(self) -> float:
        """Lowest frequency [Hz] of the model's band, 0 if it hears everything."""
        return (self.model.trained.get("band") or [0.0])[0] if self.model.trained.get("rate") else 0.0

    def _below(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What lies far below the model's band and what lies near below it.

        The band is parted off as a two-pole Butterworth filter run both ways would do it, and so are the two
        parts below it, a factor `NEAR` lower.
        """
        if not self._low:
            return np.zeros(1), np.zeros(1)
        n = x.shape[-1]
        frequency = np.arange(n) * (self.model.trained["rate"] / (2 * n))  # of cosines on a mirrored window
        below, far = (1 / (1 + (frequency / f) ** 4) for f in (self._low, self._low / NEAR))
        cosines = fft.dct(np.nan_to_num(x), norm="ortho") * below
        return fft.idct(cosines * far, norm="ortho"), fft.idct(cosines * (1 - far), norm="ortho")

    def _gain(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Share of the power that the model kept, over one second and all components, (window, 1, length)."""
        if self.outside != "follow":
            return np.full((len(x), 1, x.shape[-1]), float(self.outside == "keep"))
        seconds = max(round(self.model.trained.get("rate") or self.rate), 1)
        before, after = (
            uniform_filter1d(np.nan_to_num(v * v).sum(1, keepdims=True), seconds, mode="nearest")
            for v in (x, y)
        )
        silent = before <= 1e-12 * before.max(-1, keepdims=True)  # rounding left by a moving sum
        return np.where(silent, 1.0, (after / np.where(silent, 1.0, before)).clip(0, 1))


def _pieces(present: np.ndarray, length: int) -> list[tuple[int, int]]:
    """First and last (exclusive) samples of what lies between gaps of `length` or more."""
    there = np.flatnonzero(present)
    if not len(there):
        return []
    breaks = np.flatnonzero(np.diff(there) > length)
    return list(zip(there[np.r_[0, breaks + 1]], there[np.r_[breaks, -1]] + 1, strict=True))


def _bridged(x: np.ndarray) -> np.ndarray:
    """Straight lines over the gaps, so that a filter finds no step; zeros where a channel is all gap."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    out, index = np.where(missing, 0.0, x), np.arange(x.shape[-1])
    for row, gap in zip(out, missing, strict=True):
        if gap.any() and not gap.all():
            row[gap] = np.interp(index[gap], index[~gap], row[~gap])
    return out


@lru_cache(maxsize=16)
def _filter(up: int, down: int) -> np.ndarray:
    """Low-pass at the lower Nyquist frequency whose phases each sum to one, so that an offset stays exact."""
    slower = max(up, down)
    taps = scipy.signal.firwin(2 * HALF * slower + 1, 1 / slower, window=("kaiser", 8.0))
    phase = np.arange(-HALF * slower, HALF * slower + 1) % up
    sums = np.bincount(phase, taps, up)
    return taps / (up * sums[phase])


def _resampled(x: np.ndarray, phase: int, up: int, down: int, first: int, last: int) -> np.ndarray:
    """Samples `first` to `last` (exclusive) at rate up/down, of values that begin at absolute sample `phase`.

    The ends are held. Every number depends on its neighbours alone, not on where the values were cut.
    """
    margin = HALF * -(-max(up, down) // up) + 1
    begin = (phase - margin) // down * down  # where a sample of the new rate stands on one of the old
    after = -(-last * down // up) + margin - (phase + x.shape[-1])
    padded = np.pad(x, ((0, 0), (phase - begin, max(after, 0))), mode="edge")
    out = scipy.signal.resample_poly(padded, up, down, axis=-1, window=_filter(up, down))
    start = first - begin // down * up
    return out[:, start : start + last - first]
