"""That nothing of a run is lost or doubled where the server dies in its midst, or where its process does."""

import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb

from datamodules.video import write_video
from experiments.logging.cell_logger import read_rows
from experiments.logging.settings import Logger
from experiments.logging.wandb_runs import start_wandb
from experiments.records.cell_record import CellRecord
from tests.campaigns.wandb_answers import Run
from tests.campaigns.wandb_server import WandbServer

pytestmark = pytest.mark.slow
FORKED = multiprocessing.get_context("fork")  # without a second import of everything
CONFIG: dict[str, Any] = {
    "model": {"name": "modnet_v"},
    "recipe": {"stages": {"matting": {"steps": 400}}},
    "seed": 0,
}
WANDB = Logger("wandb", "tests", "online", init_timeout=30, finish_timeout=3)


def log_until_killed(record: CellRecord, options: Logger, killed: Event) -> None:
    """What a cell's process does that logs 13 rows, and is killed."""
    logger = start_wandb(options, CONFIG, record)
    logger.log_history(rows_of(record)[:13])
    killed.wait(300)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def server(no_account: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with WandbServer() as server:
        for name, value in (server.variables | {"WANDB_DATA_DIR": str(tmp_path / "data")}).items():
            monkeypatch.setenv(name, value)
        yield server
        wandb.teardown()  # while it still answers


@pytest.fixture
def record(make_cell: Callable[..., CellRecord]) -> CellRecord:
    """A complete cell with a history of 26 rows, one of them with scores too."""
    cell = make_cell({"model.brm": True}, 0, media=True, frames=6, metrics={"mad": 71.2})
    write_video(cell.folder / "media" / "static__person_0.mp4", torch.rand(4, 3, 32, 96), fps=12)
    rows = [f"{step},{1 / step},{50.0 if step == 10 else ''}\n" for step in range(1, 27)]
    (cell.folder / "history_matting.csv").write_text("step,loss,val/mad\n" + "".join(rows))
    return cell


def rows_of(record: CellRecord) -> list[dict[str, float]]:
    return read_rows(record.folder / "history_matting.csv")


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def uploaded(server: WandbServer) -> list[Run]:
    """The run, once the rows of the first 13 steps are with the server."""
    return [run for run in server.store.runs.values() if len(run.history) == 14]


def check_whole(server: WandbServer, run: Run, cell: str) -> None:
    """The server has each row once, in order, and all that a run holds besides."""
    assert [row["_step"] for row in run.history] == list(range(28))
    assert [row["trainer/global_step"] for row in run.history if "train/loss" in row] == list(range(1, 27))
    assert [row["trainer/global_step"] for row in run.history if "val/mad" in row] == [10]
    assert run.history[-1]["test/mad"] == run.summary["test/mad"] == 71.2
    assert run.summary["val/mad"] == 50.0
    assert (run.summary["clips"]["nrows"], run.summary["mattes"]["count"]) == (24, 6)
    assert run.summary["videos"]["_type"] == "videos"
    assert run.state == "finished"
    for part in ("media/table/clips", "media/images/mattes", "media/videos/videos", f"{cell}/record.json"):
        assert any(name.startswith(part) and content for name, content in run.files.items()), part
    kept = {artifact.name: artifact for artifact in server.store.artifacts}
    assert {artifact.state for artifact in kept.values()} == {"COMMITTED"}
    assert {"record.json", "metrics.parquet", "history_matting.csv"} <= set(kept[f"record-{run.name}"].files)
    assert server.unknown == []


def test_the_printed_command_brings_all_of_a_run_whose_server_died(
    server: WandbServer, record: CellRecord, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger, rows = start_wandb(WANDB, CONFIG, record), rows_of(record)
    logger.log_history(rows[:13])
    wait_for(lambda: bool(uploaded(server)))
    server.stop()
    logger.log_history(rows[13:])
    logger.close(record)
    server.start()
    ((run_id, command),) = re.findall(r"is sent, as run (\S+), by: (wandb sync .*)", capfd.readouterr().err)
    subprocess.run(shlex.split(command), check=True, timeout=300, cwd=tmp_path)
    check_whole(server, server.run(run_id), record.folder.name)


def test_a_cell_that_was_killed_and_goes_on_has_each_row_once(server: WandbServer, record: CellRecord) -> None:
    options = replace(WANDB, finish_timeout=120)
    killed = FORKED.Event()
    cell = FORKED.Process(target=log_until_killed, args=(record, options, killed))
    cell.start()
    wait_for(lambda: bool(uploaded(server)))
    killed.set()
    cell.join(300)
    assert cell.exitcode == -signal.SIGKILL
    logger, rows = start_wandb(options, CONFIG, record), rows_of(record)
    logger.log_earlier(rows[:9])  # those of its checkpoint
    logger.log_history(rows[9:])
    logger.close(record)
    (run,) = server.store.runs.values()
    check_whole(server, run, record.folder.name)
