"""An attribution table in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

TIED = 0.5  # R2 of one parameter from another from which a design cannot tell them apart
WEAK = 0.5  # R2 below which a latent holds a part of a parameter only
UNKNOWABLE = 0.1  # largest R2 that the signals allow, below which nothing can be asked of a code


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
    ceiling : float
        The largest R2 that the signals allow; NaN where nobody said.
    agreement, runs : float, int
        Share of the trainings with this answer, NaN where only one was asked; how many were asked.
    """

    parameter: str
    latents: tuple[int, ...]
    relation: str
    effect: float
    interval: tuple[float, float]
    p_value: float
    ceiling: float = np.nan
    agreement: float = np.nan
    runs: int = 1

    def __str__(self) -> str:
        """One plain sentence."""
        effect = f"R2 {self.effect:z.2f} [{self.interval[0]:z.2f}, {self.interval[1]:z.2f}]"
        if self.ceiling < UNKNOWABLE:
            return f"{self.parameter}: cannot be known from these signals (R2 {self.ceiling:.2f} at best)"
        if np.isfinite(self.ceiling):
            effect += f", {self.effect / self.ceiling:.0%} of the {self.ceiling:.2f} that the signals allow"
        if self.runs > 1:
            effect += f"; {round(self.agreement * self.runs)} of {self.runs} trainings agree"
        if self.relation == "none":
            return f"{self.parameter}: not in the code ({effect})"
        names = [f"z{i}" for i in self.latents]
        joined = {"either": " or ".join(names), "together": f"{' and '.join(names)} together"}
        where = joined.get(self.relation, names[0]) + (", in part" if self.effect < WEAK else "")
        return f"{self.parameter}: {where} ({effect})"


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
        From `attribute`. Of several runs the first speaks, which is the one that the training kept, and each
        answer says how many agree.

    Returns
    -------
    verdict : Verdict
        A mapping from parameter to `Answer`, whose ``str`` is plain sentences. Its ``notes`` name the latents
        that hold nothing, and parameters that the traces tie together so that no code could tell them apart.
    """
    if not isinstance(table, xr.Dataset) or "answer" not in table:
        raise TypeError(
            "that is no table of answers; use geoae.latent.attribute(codes, ['k', 'b']) to make one"
        )
    runs = table.sizes.get("run", 1)
    if "run" in table.dims:
        table = table.isel(run=0)
    answers = {str(name): _in_words(table.sel(parameter=name), runs) for name in table["parameter"].values}
    return Verdict(answers, [*_about_latents(table), *_about_design(table)])


def _in_words(column: xr.Dataset, runs: int) -> Answer:
    relation = str(column["relation"].values)
    latents = tuple(int(i) for i in column["latent"].values[column["answer"].values])
    if relation in ("one", "either"):
        best = column.sel(latent=max(latents, key=lambda i: float(column["r2"].sel(latent=i))))
        values = [best[name] for name in ("r2", "r2_low", "r2_high", "p_value")]
    else:
        values = [column[name] for name in ("r2_all", "r2_all_low", "r2_all_high", "p_value_all")]
    effect, low, high, p = (float(v) for v in values)
    ceiling, agreement = (
        float(column[name]) if name in column else np.nan for name in ("ceiling", "agreement")
    )
    name = str(column["parameter"].values)
    return Answer(name, latents, relation, effect, (low, high), p, ceiling, agreement, runs)


def _about_latents(table: xr.Dataset) -> list[str]:
    notes = []
    for i in table["latent"].values:
        row = table.sel(latent=i)
        nats = "" if row["kl"].isnull() else f" (KL {float(row['kl']):.3f} nats)"
        if not row["active"]:
            notes.append(f"z{i}: inactive{nats}")
        elif not row["answer"].any():
            notes.append(f"z{i}: active{nats}, but the answer to none of these questions")
    if not table.attrs.get("trained", True):
        notes.append("the model was never trained: whatever its latents show, it has learned nothing")
    elif not table["active"].any():
        notes.append("no latent is active: the code has collapsed")
    return notes


def _about_design(table: xr.Dataset) -> list[str]:
    if "design" not in table:
        return []
    names, r2 = table["parameter"].values, table["design"].values
    return [
        f"{names[i]} and {names[j]} go together in these traces (R2 {max(r2[i, j], r2[j, i]):.2f}): "
        "what holds one seems to hold the other, and these traces cannot tell which"
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if max(r2[i, j], r2[j, i]) >= TIED
    ]
