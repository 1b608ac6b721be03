"""An arm of an experiment: what it is called, its cells, and its scores as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.records.cell_record import CellRecord
from experiments.reporting.averages import METRICS, by_rows, curve_table, score_tables
from experiments.statistics.clips import FloatArray
from lightning_modules.metrics.table import METRICS as COLUMNS
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

    def by_frame(self, name: str) -> pd.Series[float]:
        """A column of `frames` by frame number: mean of strata, seeds and clips, NaN where no clip has a figure."""
        values = self.frames[["stratum", "frame", name]].replace([np.inf, -np.inf], np.nan)
        return values.groupby(["stratum", "frame"])[name].mean().groupby("frame").mean()

    @property
    def seeds(self) -> list[int]:
        """Its seeds, in ascending order."""
        return [cell.seed for cell in self.cells]

    @property
    def weights(self) -> dict[int, str | None]:
        """By seed the SHA-256 of the weights that were tested as they were; None of those that its cell trained."""
        return {cell.seed: tested_weights(cell) for cell in self.cells}

    @property
    def tested(self) -> str:
        """File or published name of the weights that were tested as they were; "" where none are named."""
        model = self.cells[0].read_config().get("model")
        return str(model.get("weights", "")) if isinstance(model, dict) else ""

    def has(self, metric: Metric) -> bool:
        """Whether the metric was measured in all its cells."""
        return metric.column in self._measured

    @cached_property
    def _measured(self) -> set[str]:
        """Columns of metrics with figures in all its cells."""
        columns = [name for name in COLUMNS if name in self.frames]
        known = self.frames.groupby("seed")[columns].count() > 0
        return set(known.columns[known.all()])

    @cached_property
    def scores(self) -> dict[str, FloatArray]:
        """(seeds, clips) in shown units, by metric."""
        metrics = [metric for metric in METRICS.values() if metric.column in self.frames]
        tables = score_tables(self.frames, metrics)
        return {key: by_rows(table.loc[self.seeds]) for key, table in tables.items()}


def tested_weights(cell: CellRecord) -> str | None:
    """SHA-256 of the weights that a cell of `model=checkpoint`, or an evaluation, tested as they were; else None."""
    try:
        config = cell.read_config()
    except ValueError:
        return None
    model = config.get("model")
    found = model.get("weights_sha256") if isinstance(model, dict) else None
    return found or config.get("checkpoint_sha256")


def arm_text(settings: Mapping[str, Any]) -> str:
    """An arm's settings as overrides, by name.

    >>> arm_text({"model.prm_k": 8, "model.brm": True})
    'model.brm=true,model.prm_k=8'
    """
    return ",".join(f"{key}={value_text(value)}" for key, value in sorted(settings.items()))


def arm_label(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
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
    known = arm.scores[metric.key]
    return known if seeds is None else known[[arm.seeds.index(seed) for seed in seeds]]


def scores_over_time(arm: Arm, metric: Metric) -> FloatArray:
    """(seeds, clips, frames) in shown units, NaN where a clip has no such frame."""
    return curve_table(arm.frames, metric, arm.seeds)
