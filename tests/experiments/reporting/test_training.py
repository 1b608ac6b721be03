"""The table of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.records import CellRecord
from experiments.reporting.matrix import build_matrix
from experiments.reporting.training import training_table


def test_a_stage_of_passes_shows_the_loss_of_all_and_of_each_and_others_the_one_they_have(
    make_cell: Callable[..., CellRecord], experiment: dict[str, Any]
) -> None:
    cells = [make_cell({"model.brm": False}, seed) for seed in (0, 1)]
    for cell in cells:
        cell.steps = {"stage2": {"clips": {"matting": 2, "images": 6}}, "matting": {"clips": 8}}
        table = pd.DataFrame({"step": range(8), "loss": 9.0, "matting": [4.0] * 2 + [3.0] * 4 + [2.0 - cell.seed] * 2})
        table.assign(images=[None, 1.0] * 4).to_csv(cell.folder / "history_stage2.csv", index=False)
    rows = training_table(build_matrix(experiment, cells)).rows
    assert [row[1:] for row in rows if row[1] == "stage2"] == [
        ["stage2", "all passes", "9.000", "9.000", "+0.0 % [+0.0, +0.0]"],
        ["stage2", "matting", "4.000", "1.500", "−62.5 % [−62.5, −62.5]"],
        ["stage2", "images", "1.000", "1.000", "+0.0 %"],  # one value a quarter: no interval
    ]
    (matting,) = (row for row in rows if row[1] == "matting")
    assert matting[2] == "loss"
    assert float(matting[3]) > 2 * float(matting[4])


def test_the_interval_of_one_seed_is_that_of_welchs_test(
    make_cell: Callable[..., CellRecord], experiment: dict[str, Any]
) -> None:
    cell = make_cell({"model.brm": False}, 0)
    losses = np.random.default_rng(0).lognormal(size=24)
    pd.DataFrame({"step": range(24), "loss": losses}).to_csv(cell.folder / "history_matting.csv", index=False)
    first, last = losses[:6], losses[-6:]
    interval = stats.ttest_ind(last, first, equal_var=False).confidence_interval(0.95)
    low, high = (f"{100 * end / first.mean():+.1f}".replace("-", "−") for end in interval)
    (row,) = training_table(build_matrix(experiment, [cell])).rows
    assert row[-1].endswith(f"[{low}, {high}]")


def test_without_histories_there_are_no_rows(make_cell: Callable[..., CellRecord], experiment: dict[str, Any]) -> None:
    cell = make_cell({"model.brm": False}, 0)
    (cell.folder / "history_matting.csv").unlink()
    assert training_table(build_matrix(experiment, [cell])).rows == []
