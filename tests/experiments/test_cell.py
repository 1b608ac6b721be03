"""What a cell takes over from an earlier start."""

from collections.abc import Callable

import pytest

from experiments.cells.work import _has_baselines
from experiments.records.cell_record import BASELINES, CellRecord


@pytest.mark.parametrize("damage", ["none", "flipped", "torn", "missing", "never noted"])
def test_baselines_are_taken_over_only_as_they_were_written(
    make_cell: Callable[..., CellRecord], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    record = make_cell({"model.brm": True}, 0, strata=("static",), clips=1, frames=2)
    path = record.folder / BASELINES
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if damage == "torn" else data)
    if damage == "never noted":  # killed between the table and its record
        record.checksums = {}
    assert _has_baselines(record) is (damage == "none")
    told = capsys.readouterr().out
    assert (str(path) in told) is (damage in ("flipped", "torn", "missing"))
    assert told.count("\n") <= 1
