"""An arm of an experiment: what it is called, its cells, and its scores as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from experiments.records.cell_record import CellRecord
from experiments.reporting.averages import curve_table, score_table
from experiments.statistics.bootstrap import FloatArray
from lightning_modules.metrics.table import Metric


@dataclass
class Arm:
    """One setting of what the experiment compares, with its complete cells by seed.

    Attributes:
        text: its settings as overrides, "model.brm=true"; the arm's name in `labels` and `scores.csv`.
        label: what the report calls it.
        frames: rows of all its cells' `metrics.parquet`, and `seed`.
        states: the same of `memory.parquet`, of the cells that have one; None if none has.
    """

    text: str
    label: str
    settings: dict[str, Any]
    cells: list[CellRecord]
    frames: pd.DataFrame
    states: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)  # clip means by metric, once computed

    @property
    def seeds(self) -> list[int]:
        """Its seeds, in ascending order."""
        return [cell.seed for cell in self.cells]

    def has(self, metric: Metric) -> bool:
        """Whether the metric was measured in all its cells."""
        if metric.column not in self.frames:
            return False
        return bool(self.frames[metric.column].notna().groupby(self.frames["seed"]).any().all())


def arm_text(settings: dict[str, Any]) -> str:
    """An arm's settings as overrides, by name.

    >>> arm_text({"model.prm_k": 8, "model.brm": True})
    'model.brm=true,model.prm_k=8'
    """
    return ",".join(f"{key}={value_text(value)}" for key, value in sorted(settings.items()))


def arm_label(settings: dict[str, Any], labels: dict[str, str]) -> str:
    """What a report calls an arm: the labels of its settings, the most specific first, then what has no label.

    >>> arm_label({"model.width": 0.5, "model.brm": True}, {"model.brm=true": "with BRM"})
    'with BRM, width=0.5'
    """
    left, words = [f"{key}={value_text(value)}" for key, value in settings.items()], []
    for text in sorted(labels, key=lambda text: -text.count(",")):
        named = set(text.split(","))
        if named <= set(left):
            words.append(labels[text])
            left = [one for one in left if one not in named]
    words += [one.partition("=")[0].rpartition(".")[2] + "=" + one.partition("=")[2] for one in left]
    return ", ".join(filter(None, words)) or "default"


def value_text(value: Any) -> str:
    """A setting's value as an override has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def scores(arm: Arm, metric: Metric, seeds: Sequence[int] | None = None) -> FloatArray:
    """(seeds, clips) scores of an arm in shown units, of all its seeds or of some."""
    if metric.key not in arm.tables:
        arm.tables[metric.key] = score_table(arm.frames, metric)
    return arm.tables[metric.key].loc[list(arm.seeds if seeds is None else seeds)].to_numpy(dtype=float)


def scores_over_time(arm: Arm, metric: Metric) -> FloatArray:
    """(seeds, clips, frames) in shown units, NaN where a clip has no such frame."""
    return curve_table(arm.frames, metric, arm.seeds)
