"""Arms that are no better than a matte that no net made."""

import re

import pandas as pd
import pytest

from experiments.records.cell_record import write_table
from tests.experiments.cells_on_disk import WITH, WITHOUT

COLUMNS = ["clip", "scene", "stratum", "frame", "mad", "dtssd"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("floor", [2.0, 1e6])
def test_an_arm_that_is_in_a_primary_metric_not_below_a_floor_is_warned_of(make_cell, experiment, write, floor) -> None:
    cells = [make_cell(arm, 0, strata=("pan",), clips=2, frames=2) for arm in (WITH, WITHOUT)]
    for cell in cells:
        held = cell.read_frames()[COLUMNS].assign(method="first true matte held", mad=1e-3 * floor, dtssd=1e-6 * floor)
        whole = cell.read_baselines().assign(iou=0.5, dtssd=1e6)  # which was not measured of the floor
        write_table(cell.folder / "baselines.parquet", pd.concat([whole, held]))
        cell.save()
    text = write(experiment, cells)
    assert text.count("Warning: ") == (2 if floor == 2.0 else 0)
    held = r"\d+\.\d+ \(first true matte held \d+\.\d+\)"
    told = rf"with BRM is no better than what no net made: MAD {held}; dtSSD {held}\."
    assert bool(re.search(told, text)) is (floor == 2.0)
    assert "| first true matte held | — |" in text
    assert "| first true matte held | — | NaN" not in text
