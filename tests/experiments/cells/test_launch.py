"""Cells as child processes: places, failures, progress lines."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.cells.launch import CellPool, why_ended
from experiments.records.cell_record import CellRecord

Spawn = Callable[[int | None, object], subprocess.Popen[bytes]]


def script(folder: Path, name: str, text: str, gpus: list[int | None] | None = None) -> tuple[str, Path, Spawn]:
    """A cell whose process runs a script; `gpus` takes the GPU that it is given."""
    cell = folder / name
    cell.mkdir()

    def spawn(gpu: int | None, log: object) -> subprocess.Popen[bytes]:
        if gpus is not None:
            gpus.append(gpu)
        return subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=log, stderr=log)  # type: ignore[call-overload]

    return name, cell, spawn


def test_a_failure_is_named_with_its_last_line_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = CellPool(workers=2, gpus=0)
    pool.start(*script(tmp_path, "bad", "raise ValueError('no such model')"))
    good = script(tmp_path, "good", "print('done')")
    CellRecord(good[1], metrics={"mad": 71.177, "dtssd": 12.49, "iou": None}).save()
    pool.start(*good)
    why = "ValueError: no such model"
    assert {cell: told.partition(" (log")[0] for cell, told in pool.finish().items()} == {"bad": why}
    printed = capsys.readouterr().out
    assert "FAILED    bad: ValueError: no such model" in printed
    assert "complete  good: MAD 71.18, dtSSD 12.49" in printed


def test_no_more_cells_run_at_once_than_there_are_places(tmp_path: Path) -> None:
    pool, gpus = CellPool(workers=2, gpus=2), list[int | None]()
    for index in range(5):
        pool.start(*script(tmp_path, str(index), "import time; time.sleep(0.3)", gpus))
        assert len(pool.running) <= 2
        assert len({item.slot for item in pool.running}) == len(pool.running)
    assert pool.finish() == {}
    assert set(gpus) == {0, 1}


def test_jobs_of_a_launcher_are_spread_over_the_gpus_by_number(tmp_path: Path) -> None:
    gpus: list[int | None] = []
    for number in range(3):
        pool = CellPool(workers=1, gpus=2, first_gpu=number, bars=False)
        pool.start(*script(tmp_path, str(number), "", gpus))
        pool.finish()
    assert gpus == [0, 1, 0]


def test_stopping_ends_all_cells(tmp_path: Path) -> None:
    pool = CellPool(workers=2, gpus=0)
    for name in ("one", "two"):
        pool.start(*script(tmp_path, name, "import time; time.sleep(60)"))
    begin = time.monotonic()
    pool.stop()
    assert time.monotonic() - begin < 5
    assert all(item.process.poll() is not None for item in pool.running)


def test_a_signal_is_told_as_one(tmp_path: Path) -> None:
    assert "ended by signal 9; the same command resumes it" in why_ended(tmp_path, -9)


def test_the_bar_of_all_cells_counts_those_that_ended_and_tells_the_time_to_go(tmp_path: Path) -> None:
    pool = CellPool(workers=1, gpus=0)
    pool.expect(4)
    pool.count()  # complete already
    pool.start(*script(tmp_path, "a", ""))
    pool.start(*script(tmp_path, "b", "import time; time.sleep(60)"))  # waits for a
    pool.took = [120.0]
    pool.wait()
    assert pool.progress.tasks[0].fields["note"] == "2/4, 4 min to go"
    pool.stop()


def test_what_a_cell_warns_of_is_told_in_the_terminal_once_for_all_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = CellPool(workers=1, gpus=0)
    text = "import sys; print('warning: W&B cannot be reached (refused): logging offline', file=sys.stderr); print('x')"
    for name in ("one", "two"):
        pool.start(*script(tmp_path, name, text))
    assert pool.finish() == {}
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert told == ["warning   one: W&B cannot be reached (refused): logging offline"]
