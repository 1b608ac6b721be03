"""Small cells of the experiment that conftest invents, and changes to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.cells.cell import Cell
from experiments.records.cell_record import CellRecord, write_table

WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}


def small(make_cell: Callable[..., CellRecord], arm: dict[str, Any], seed: int, **fields: Any) -> CellRecord:
    """A complete cell of six clips of four frames."""
    return make_cell(arm, seed, **({"strata": ("static", "pan"), "clips": 3, "frames": 4} | fields))


def scores(tmp_path: Path) -> pd.DataFrame:
    """What a report has left as `scores.csv`."""
    return pd.read_csv(tmp_path / "results" / "scores.csv").set_index(["arm", "metric", "stratum"])


def rewrite(cell: CellRecord, table: pd.DataFrame) -> None:
    """Gives a complete cell another table."""
    write_table(cell.folder / "metrics.parquet", table)
    cell.save()


def measure_more(cell: CellRecord, **columns: float) -> CellRecord:
    """Adds columns to a cell's table, each in proportion to its MAD."""
    table = cell.read_frames()
    rewrite(cell, table.assign(**{name: f * table["mad"] for name, f in columns.items()}))
    return cell


def complete(cell: Cell, **fields: Any) -> CellRecord:
    """Leave the record that a finished run of the cell leaves, of one frame."""
    cell.prepare()
    record = cell.record()
    row = {"clip": ["a"], "scene": ["b"], "stratum": ["c"], "frame": [0], "mad": [0.1], "mse": [0.1], "dtssd": [0.0]}
    write_table(cell.folder / "metrics.parquet", pd.DataFrame(row))
    record.status = "complete"
    for field, value in fields.items():
        setattr(record, field, value)
    record.save()
    return record


def of_data(digest: str) -> dict[str, Any]:
    """The field of a record that says of which data it is."""
    return {"data": {"fingerprint": digest, "files": 2, "bytes": 100, "parts": {}}}
