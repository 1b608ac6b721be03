"""One cell on two devices: the same training as on one, and what becomes of it when a process ends. Real processes."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.experiments.one_cell import OneCell

pytestmark = pytest.mark.slow
CELL = OneCell(("model.brm=false", "trainer.accelerator=cpu"))
TWO = ["trainer.devices=2"]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((CELL.cell_of(folder) / "record.json").read_text())


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # In double precision what is left of the difference is that of float32 losses over one clip and over two, which
    # norms over so small a batch enlarge from step to step: few steps, where a wrong mean is off by far more.
    precise = ("scale.steps=4", "trainer.precision=64-true", "trunk=none")
    assert CELL.run_here(tmp_path / "one", *precise) == 0
    assert "stage matting: 2 clips a step = 1 device(s) × 2 × 1 accumulated" in capsys.readouterr().out
    result = CELL.run(tmp_path / "two", *precise, *TWO)
    assert result.returncode == 0, result.stderr
    assert "stage matting: 2 clips a step = 2 device(s) × 1 × 1 accumulated" in result.stdout
    one, two = (pd.read_csv(CELL.cell_of(tmp_path / name) / "history_matting.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-6)
    one, two = (pd.read_parquet(CELL.cell_of(tmp_path / name) / "metrics.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.drop(columns="iou"), two.drop(columns="iou"), rtol=1e-3, atol=1e-4)
    pd.testing.assert_series_equal(one["iou"], two["iou"], rtol=1e-2)  # which counts pixels, a few of them here
    of_one, of_two = (record(tmp_path / name)["steps"]["matting"] for name in ("one", "two"))
    assert of_two.items() >= {"clips": 2, "devices": 2, "clips_per_device": 1, "accumulated_batches": 1}.items()
    assert of_two["learning_rate"] == of_one["learning_rate"]


def test_a_cell_of_two_processes_has_a_trunk_of_its_own(tmp_path: Path) -> None:
    result = CELL.run(tmp_path, *TWO)
    assert result.returncode == 0, result.stderr
    cell = CELL.cell_of(tmp_path)
    assert (cell / "trunk/checkpoints/matting.pt").is_file()
    assert {path.name for path in cell.parent.iterdir() if path.is_dir()} == {cell.name, "baselines"}
    assert (
        record(tmp_path)["steps"]["matting"]["trunk"]["told"] == "the first 3 of 4 steps are those of model.brm=false"
    )


def second_process(first: int) -> int:
    """The process that the first one of a cell has started."""
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    (found,) = (int(pid) for pid in children if "experiments.cell" in Path(f"/proc/{pid}/cmdline").read_text())
    return found


def started(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A training of two processes that has written a checkpoint of its own, and the number of the first of them."""

    def written() -> list[int]:
        return [path.stat().st_mtime_ns for path in folder.glob("outputs/*/*/checkpoints/matting.ckpt")]

    before, deadline = written(), time.monotonic() + 200
    steps = ["scale.steps=400", "trainer.checkpoint_every=2", "trunk=none"]
    process = subprocess.Popen(
        CELL.command(folder, *TWO, *steps), stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    while written() in ([], before) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process, int((CELL.cell_of(folder) / "lock").read_text().split()[1])


def test_a_killed_process_ends_the_cell_with_one_line_and_it_can_go_on(tmp_path: Path) -> None:
    process, first = started(tmp_path)
    second = second_process(first)
    os.kill(second, signal.SIGKILL)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode != 0
    told = [line for line in stderr.splitlines() if line.strip()]
    assert len(told) == 1, stderr
    # The second is also watched by Lightning, which may kill the first before that has told of its own accord.
    assert re.search(r"process 2 of 2 ended by signal 9|ended by signal 9", told[0])
    assert "the same command" in told[0]
    assert record(tmp_path)["status"] != "complete"
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in (first, second)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in (first, second))
    assert_goes_on(tmp_path)


def assert_goes_on(folder: Path) -> None:
    """The same command resumes at the checkpoint and ends as asked to: with a checkpoint of both, and without error."""
    process, first = started(folder)
    process.terminate()
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "the same command goes on from here" in stderr
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{first}").exists()
