"""An attribution table in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Answer:
    """Where one parameter is in the code.

    Attributes
    ----------
    latents : tuple of int
        The latents that capture it; empty when it is not in the code.
    relation : str
        ``one``, ``either`` (each by itself), ``together``, ``none``.
    effect : float
        R2 of the answer on traces held out: of the latent, or of the whole code.
    interval : (float, float)
    p_value : float
        Corrected for the number of questions.
    """

    parameter: str
    latents: tuple[int, ...]
    relation: str
    effect: float
    interval: tuple[float, float]
    p_value: float

    def __str__(self) -> str:
        """One plain sentence."""
        effect = f"R2 {self.effect:z.2f} [{self.interval[0]:z.2f}, {self.interval[1]:z.2f}]"
        if self.relation == "none":
            return f"{self.parameter}: not in the code ({effect})"
        names = [f"z{i}" for i in self.latents]
        joined = {"either": " or ".join(names), "together": f"{' and '.join(names)} together"}
        return f"{self.parameter}: {joined.get(self.relation, names[0])} ({effect})"


class Verdict(Mapping[str, Answer]):
    """Parameter to `Answer`; prints as plain sentences, with the latents that hold nothing at the end."""

    def __init__(self, answers: Mapping[str, Answer], notes: Sequence[str]):
        self.answers, self.notes = dict(answers), tuple(notes)

    def __getitem__(self, parameter: str) -> Answer:
        return self.answers[parameter]

    def __iter__(self):
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.answers.values()), *self.notes])

    __repr__ = __str__


def verdict(table: xr.Dataset) -> Verdict:
    """Put an attribution table into words.

    Parameters
    ----------
    table : Dataset
        From `attribute`.

    Returns
    -------
    verdict : Verdict
        A mapping from parameter to `Answer`, whose ``str`` is plain sentences.
    """
    answers = {str(name): _in_words(table.sel(parameter=name)) for name in table["parameter"].values}
    return Verdict(answers, _notes(table))


def _in_words(column: xr.Dataset) -> Answer:
    relation = str(column["relation"].values)
    latents = tuple(int(i) for i in np.flatnonzero(column["answer"].values))
    if relation in ("one", "either"):
        best = column.isel(latent=max(latents, key=lambda i: float(column["r2"][i])))
        values = [best[name] for name in ("r2", "r2_low", "r2_high", "p_value")]
    else:
        values = [column[name] for name in ("r2_all", "r2_all_low", "r2_all_high", "p_value_all")]
    effect, low, high, p = (float(v) for v in values)
    return Answer(str(column["parameter"].values), latents, relation, effect, (low, high), p)


def _notes(table: xr.Dataset) -> list[str]:
    notes = []
    for i in table["latent"].values:
        row = table.sel(latent=i)
        nats = "" if row["kl"].isnull() else f" (KL {float(row['kl']):.3f} nats)"
        if not row["active"]:
            notes.append(f"z{i}: inactive{nats}")
        elif not row["answer"].any():
            notes.append(f"z{i}: active{nats}, but the answer to none of these questions")
    return notes
