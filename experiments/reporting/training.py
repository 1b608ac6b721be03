"""What training did to the losses, stage by stage, and how what it leaves does on the validation clips."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from experiments.records.cell_record import CellRecord
from experiments.reporting.formatting import Table, mean_and_spread, number, percent
from experiments.reporting.matrix import Matrix
from experiments.statistics.bootstrap import Estimate
from experiments.statistics.clips import FloatArray
from lightning_modules.metrics.table import ALWAYS, METRICS

NOTE = (
    "Means over the first and the last quarter of a stage's steps and over seeds; “all passes”: of all steps, of any "
    "pass. The interval holds for these seeds and tells what of the change may be chance because clips, and in some "
    "recipes sizes, differ from step to step; it takes steps as independent. Losses of different stages or recipes are "
    "not comparable."
)


def training_table(matrix: Matrix) -> Table:
    """What a stage minimises at its start and at its end, by arm; a stage of a single row tells nothing."""
    rows = []
    for arm in matrix.arms:
        found = pd.DataFrame([row for cell in arm.cells for row in _quarters(cell)])
        for (stage, loss), seeds in found.groupby(["stage", "loss"], sort=False) if len(found) else []:
            start, end = (float(np.mean([values.mean() for values in seeds[part]])) for part in ("first", "last"))
            ends = [number(start, 3), number(end, 3), percent(_change(start, end, [*seeds["first"], *seeds["last"]]))]
            rows.append([arm.label, str(stage), str(loss), *ends])
    return Table("Training", ["Arm", "Stage", "Loss", "Start", "End", "Change [95 %]"], rows, NOTE, text_columns=3)


def validation_table(matrix: Matrix) -> Table:
    """Errors on the validation clips of the weights that are tested, by arm; none of records that have none of them."""
    scores = [metric for metric in METRICS.values() if metric.key in ALWAYS]
    rows, means = [], {}
    for arm in matrix.arms:
        left = pd.DataFrame([_last_row(cell) for cell in arm.cells]).dropna(axis="columns", how="any")
        if all(f"val/{metric.key}" in left for metric in scores):
            figures = [mean_and_spread(left[f"val/{metric.key}"].to_numpy()) for metric in scores]
            rows.append([arm.label, str(len(left)), *figures])
            means[arm.label] = float(left["val/mad"].mean())
    note = "Clips that neither training nor a test has: whoever chooses a setting chooses by them."
    if len(means) > 1:
        note += f" Lowest MAD: {min(means, key=means.__getitem__)}."
    return Table("Validation", ["Arm", "Seeds", *(metric.heading for metric in scores)], rows, note)


def _last_row(cell: CellRecord) -> dict[str, float]:
    """The last row of the history."""
    history = cell.read_history()
    return {} if history is None else {str(name): value for name, value in history.iloc[-1].items()}


def _quarters(cell: CellRecord) -> list[dict[str, object]]:
    """Stage, loss and its values in both quarters: the loss of all steps, and where passes take turns that of each."""
    history, rows = cell.read_history(), []
    for stage, table in history.groupby("stage", sort=False) if history is not None else []:
        clips = cell.steps.get(str(stage), {}).get("clips")
        passes = [name for name in clips if name in table] if isinstance(clips, dict) else []
        names = {"loss": "all passes"} | {name: name for name in passes} if len(passes) > 1 else {"loss": "loss"}
        for column, loss in names.items():
            values = table[column].dropna().to_numpy()
            quarter = max(1, len(values) // 4)
            if len(values) > 1:
                rows.append({"stage": str(stage), "loss": loss, "first": values[:quarter], "last": values[-quarter:]})
    return rows


def _change(start: float, end: float, quarters: list[FloatArray]) -> Estimate:
    """The share by which a loss changes, with an interval as Welch's from how its values scatter in each quarter.

    Args:
        start, end: means over seeds.
        quarters: of each seed the first, then of each the last; with a single value there is no interval.
    """
    sizes = np.array([len(values) for values in quarters])
    if not start or sizes.min() < 2:
        return Estimate(end / start - 1 if start else math.nan, math.nan, math.nan)
    # Of end / start, by the delta method; a mean over seeds has the sum of their variances over their number squared.
    slopes = np.repeat([end / start, 1.0], len(quarters) // 2) / start / (len(quarters) / 2)
    variances = slopes**2 * [values.var(ddof=1) for values in quarters] / sizes
    freedom = variances.sum() ** 2 / max((variances**2 / (sizes - 1)).sum(), np.finfo(float).tiny)
    half = stdtrit(freedom, 0.975) * math.sqrt(variances.sum()) if variances.any() else 0.0
    return Estimate(end / start - 1, end / start - 1 - half, end / start - 1 + half)
