"""What training did to the losses, stage by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.records import CellRecord
from experiments.reporting.formatting import Table, number
from experiments.reporting.matrix import Matrix


def training_table(matrix: Matrix) -> Table:
    """Each loss that is minimised at the start and at the end of its stage, by arm; no rows without histories."""
    rows = []
    for arm in matrix.arms:
        found = pd.DataFrame([row for cell in arm.cells for row in _starts_and_ends(cell)])
        for (stage, loss), seeds in found.groupby(["stage", "loss"], sort=False) if len(found) else []:
            start, end = seeds["start"].mean(), seeds["end"].mean()
            change = f"{number(100 * (end / start - 1), 1, signed=True)} %" if start else "—"
            rows.append([arm.label, str(stage), str(loss), number(start, 3), number(end, 3), change])
    note = "Mean over the first and the last quarter of a stage's steps and over seeds. Clips, and in some recipes "
    note += (
        "sizes, differ from step to step, so that a difference of a few per cent may be chance. Losses of different "
    )
    note += "stages or recipes are not comparable."
    return Table("Training", ["Arm", "Stage", "Loss", "Start", "End", "Change"], rows, note, text_columns=3)


def _starts_and_ends(cell: CellRecord) -> list[dict[str, str | float]]:
    """Stage, loss, start and end: of the loss, or where passes take turns of the loss of each."""
    history, rows = cell.read_history(), []
    for stage, table in history.groupby("stage", sort=False) if history is not None else []:
        clips = cell.steps.get(str(stage), {}).get("clips")
        for loss in clips if isinstance(clips, dict) else ["loss"]:
            values = table[loss].dropna().to_numpy() if loss in table else np.empty(0)
            quarter = max(1, len(values) // 4)
            if len(values) > 1:
                ends = {"start": float(values[:quarter].mean()), "end": float(values[-quarter:].mean())}
                rows.append({"stage": str(stage), "loss": loss, **ends})
    return rows
