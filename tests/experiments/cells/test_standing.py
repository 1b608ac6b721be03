"""How cells stand, read from their folders."""

import json
from pathlib import Path

import pytest

from experiments.cells.standing import Standing, note_size, seconds_to_go, standings, waiting
from experiments.records.cell_record import CellRecord
from experiments.records.locks import lock_cell
from experiments.records.progress import Progress, write_progress


def begin(root: Path, name: str, **fields: object) -> Path:
    (root / name).mkdir(parents=True)
    CellRecord(root / name, cell=name, scale="tiny", **fields).save()  # type: ignore[arg-type]
    return root / name


def test_a_cell_is_running_while_a_process_has_its_lock_and_interrupted_afterwards(tmp_path: Path) -> None:
    folder = begin(tmp_path, "a")
    write_progress(folder, Progress("matting", 3, 4, "loss 0.5"))
    with lock_cell(folder):
        assert standings(tmp_path) == [Standing("a", "tiny", "running", "matting 3/4 loss 0.5", 0.75)]
    assert standings(tmp_path) == [Standing("a", "tiny", "interrupted", "matting 3/4 loss 0.5", 0.75)]


def test_looking_at_a_cell_that_works_takes_nothing_from_it(tmp_path: Path) -> None:
    folder = begin(tmp_path, "a")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with lock_cell(folder) as lock:
        assert lock is not None
        standings(tmp_path)
        with lock_cell(folder) as second:
            assert second is None
    assert {path: path.read_bytes() for path in folder.iterdir() if path.name != "lock"} == before


def test_failed_torn_and_complete_cells_are_told_apart(tmp_path: Path) -> None:
    begin(tmp_path, "a", status="failed", error="no such data", study="model.hidden=4")
    begin(tmp_path, "b")
    (tmp_path / "b/record.json").write_text("{")
    (tmp_path / "c").mkdir()
    for name in ("config.yaml", "metrics.parquet"):
        (tmp_path / "c" / name).touch()
    CellRecord(
        tmp_path / "c", cell="c", scale="tiny", status="complete", durations={"train_seconds": 3.0, "test_seconds": 4.0}
    ).save()
    (tmp_path / "cache").mkdir()
    failed, torn, complete = standings(tmp_path)
    assert (failed.state, failed.comparison, failed.note) == ("failed", "tiny,model.hidden=4", "no such data")
    assert torn.state == "failed"
    assert "record.json cannot be read" in torn.note
    assert (complete.state, complete.seconds) == ("complete", 7.0)


def test_cells_that_have_not_begun_are_those_that_the_last_start_counted(tmp_path: Path) -> None:
    assert waiting(tmp_path, "tiny", 3) == 0
    note_size(tmp_path, "tiny", 10)
    note_size(tmp_path, "small", 4)
    note_size(tmp_path, "tiny", 8)
    assert (waiting(tmp_path, "tiny", 3), waiting(tmp_path, "small", 5)) == (5, 0)
    (tmp_path / "cells.json").write_text(json.dumps(["no", "sizes"]))
    assert waiting(tmp_path, "tiny", 3) == 0


@pytest.mark.parametrize(
    ("cells", "left", "expected"),
    [
        ([("complete", 0, 10.0), ("complete", 0, 20.0), ("running", 0.5, 0)], 1, 22.5),
        ([("complete", 0, 10.0), ("running", 0.5, 0), ("running", 0.5, 0)], 2, 15.0),
        ([("complete", 0, 10.0)], 2, None),
        ([("running", 0.5, 0)], 2, None),
    ],
)
def test_the_time_to_go_is_that_of_the_complete_cells(
    cells: list[tuple[str, float, float]], left: int, expected: float | None
) -> None:
    found = [Standing("a", "tiny", state, "", share, seconds) for state, share, seconds in cells]  # type: ignore[arg-type]
    assert seconds_to_go(found, left) == expected
