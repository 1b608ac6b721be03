"""What training did to the losses, stage by stage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from experiments.bootstrap import Estimate, FloatArray
from experiments.records import CellRecord
from experiments.reporting.formatting import Table, number, percent
from experiments.reporting.matrix import Matrix

NOTE = (
    "Means over the first and the last quarter of a stage's steps and over seeds; of all passes: over steps of any "
    "pass. The interval tells what of the change may be chance, for clips, and in some recipes sizes, differ from step "
    "to step. Losses of different stages or recipes are not comparable."
)


def training_table(matrix: Matrix) -> Table:
    """What a stage minimises at its start and at its end, by arm; no rows without histories."""
    rows = []
    for arm in matrix.arms:
        found = pd.DataFrame([row for cell in arm.cells for row in _quarters(cell)])
        for (stage, loss), seeds in found.groupby(["stage", "loss"], sort=False) if len(found) else []:
            start, end = (float(np.mean([values.mean() for values in seeds[part]])) for part in ("first", "last"))
            ends = [number(start, 3), number(end, 3), percent(_change(start, end, [*seeds["first"], *seeds["last"]]))]
            rows.append([arm.label, str(stage), str(loss), *ends])
    return Table("Training", ["Arm", "Stage", "Loss", "Start", "End", "Change [95 %]"], rows, NOTE, text_columns=3)


def _quarters(cell: CellRecord) -> list[dict[str, object]]:
    """Stage, loss and its values in both quarters: the loss of all steps, and where passes take turns that of each."""
    history, rows = cell.read_history(), []
    for stage, table in history.groupby("stage", sort=False) if history is not None else []:
        clips = cell.steps.get(str(stage), {}).get("clips")
        names = {"loss": "all passes"} | {name: name for name in clips} if isinstance(clips, dict) else {"loss": "loss"}
        for column, loss in names.items():
            values = table[column].dropna().to_numpy() if column in table else np.empty(0)
            quarter = max(1, len(values) // 4)
            if len(values) > 1:
                rows.append({"stage": str(stage), "loss": loss, "first": values[:quarter], "last": values[-quarter:]})
    return rows


def _change(start: float, end: float, quarters: list[FloatArray]) -> Estimate:
    """The share by which a loss changes, with the interval of Welch's t from how its values scatter in each quarter.

    Args:
        start, end: means over seeds.
        quarters: of each seed the first, then of each the last; with a single value there is no interval.
    """
    sizes = np.array([len(values) for values in quarters])
    if not start or sizes.min() < 2:
        return Estimate(end / start - 1 if start else math.nan, math.nan, math.nan)
    variances = np.array([values.var(ddof=1) for values in quarters]) / sizes / (len(quarters) / 2) ** 2
    freedom = variances.sum() ** 2 / max((variances**2 / (sizes - 1)).sum(), np.finfo(float).tiny)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum()) if variances.any() else 0.0
    return Estimate(end / start - 1, (end - half) / start - 1, (end + half) / start - 1)
