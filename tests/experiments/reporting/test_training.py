"""The table of losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from experiments.records.cell_record import CellRecord
from experiments.records.experiment import Experiment
from experiments.reporting.matrix import build_matrix
from experiments.reporting.training import training_table, validation_table


def test_a_stage_of_passes_shows_the_loss_of_all_and_of_each_and_others_the_one_they_have(
    make_cell: Callable[..., CellRecord], experiment: Experiment
) -> None:
    cells = [make_cell({"model.brm": False}, seed) for seed in (0, 1)]
    for cell in cells:
        cell.steps = {"stage2": {"clips": {"matting": 2, "images": 6}}, "matting": {"clips": 8}}
        table = pd.DataFrame({"step": range(8), "loss": 9.0, "matting": [4.0] * 2 + [3.0] * 4 + [2.0 - cell.seed] * 2})
        table.assign(images=[None, 1.0] * 4).to_csv(cell.folder / "history_stage2.csv", index=False)
        cell.save()
    rows = training_table(build_matrix(experiment, cells)).rows
    assert [row[1:] for row in rows if row[1] == "stage2"] == [
        ["stage2", "all passes", "9.000", "9.000", "+0.0 % [+0.0, +0.0]"],
        ["stage2", "matting", "4.000", "1.500", "−62.5 % [−62.5, −62.5]"],
        ["stage2", "images", "1.000", "1.000", "+0.0 %"],  # one value a quarter: no interval
    ]
    (matting,) = (row for row in rows if row[1] == "matting")
    assert matting[2] == "loss"
    assert float(matting[3]) > 2 * float(matting[4])


def test_the_interval_knows_the_scatter_of_both_ends_and_all_seeds(
    make_cell: Callable[..., CellRecord], experiment: Experiment
) -> None:
    cells = [make_cell({"model.brm": False}, seed) for seed in (0, 1)]
    ends = []
    for cell, scatter in zip(cells, (0.1, 0.9), strict=True):
        losses = np.random.default_rng(cell.seed).lognormal(sigma=scatter, size=24)
        pd.DataFrame({"step": range(24), "loss": losses}).to_csv(cell.folder / "history_matting.csv", index=False)
        cell.save()
        ends.append((losses[:6], losses[-6:]))
    start, end = (np.mean([quarters[place].mean() for quarters in ends]) for place in (0, 1))
    squares = [(end / start) ** 2 * stats.sem(first) ** 2 / 4 for first, _ in ends]
    squares += [stats.sem(last) ** 2 / 4 for _, last in ends]
    freedom = sum(squares) ** 2 / sum(square**2 / 5 for square in squares)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(squares)) / start
    low, high = (f"{100 * (end / start - 1 + side):+.1f}".replace("-", "−") for side in (-half, half))
    (row,) = training_table(build_matrix(experiment, cells)).rows
    assert row[-1].endswith(f"[{low}, {high}]")


def test_a_recipe_of_a_single_pass_has_one_loss(make_cell: Callable[..., CellRecord], experiment: Experiment) -> None:
    cell = make_cell({"model.brm": False}, 0)
    cell.steps = {"matting": {"clips": {"matting": 2}}}
    table = pd.DataFrame({"step": range(8), "loss": 1.0, "matting": 1.0})
    for history in (table, table.drop(columns="matting")):
        history.to_csv(cell.folder / "history_matting.csv", index=False)
        cell.save()
        assert [row[2] for row in training_table(build_matrix(experiment, [cell])).rows] == ["loss"]


def test_without_histories_there_are_no_rows(make_cell: Callable[..., CellRecord], experiment: Experiment) -> None:
    cell = make_cell({"model.brm": False}, 0)
    (cell.folder / "history_matting.csv").unlink()
    cell.save()
    assert training_table(build_matrix(experiment, [cell])).rows == []


def test_validation_is_of_the_last_row_and_names_the_arm_to_take(
    make_cell: Callable[..., CellRecord], experiment: Experiment
) -> None:
    arms = {True: (90.0, 70.0, 80.0), False: (60.0, 100.0, 110.0)}  # MAD half way, and at the end of both seeds
    cells = [make_cell({"model.brm": brm}, seed) for brm in arms for seed in (0, 1)]
    for cell in cells:
        half_way, *ends = arms[cell.arm["model.brm"]]
        table = pd.DataFrame({"step": [4, 8], "loss": 1.0, "val/mad": [half_way, ends[cell.seed]]})
        table.assign(**{"val/mse": 1.0, "val/dtssd": 2.0}).to_csv(cell.folder / "history_matting.csv", index=False)
        cell.save()
    table = validation_table(build_matrix(experiment, cells))
    assert {row[0]: row[1:3] for row in table.rows} == {
        "without BRM": ["2", "105.00 ± 7.07"],
        "with BRM": ["2", "75.00 ± 7.07"],
    }
    assert table.note.endswith("Lowest MAD: with BRM.")


def test_without_scores_of_what_training_left_there_is_no_validation(
    make_cell: Callable[..., CellRecord], experiment: Experiment
) -> None:
    cell = make_cell({"model.brm": False}, 0)
    table = pd.DataFrame({"step": [4, 8], "loss": 1.0, "val/mad": [5.0, None], "val/mse": 1.0, "val/dtssd": 1.0})
    table.to_csv(cell.folder / "history_matting.csv", index=False)
    cell.save()
    assert not validation_table(build_matrix(experiment, [cell])).rows
