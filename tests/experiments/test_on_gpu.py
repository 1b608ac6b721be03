"""Whole cells on a CUDA device, through the real command: every net and objective, precisions, compiled, killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.records.cell_record import CellRecord, read_cells

pytestmark = pytest.mark.gpu

SMALLEST = ("scale=smoke", "trainer=gpu", "trainer.num_workers=1", "logger=none", "scale.test_clips=1")


def command(folder: Path, *words: str) -> list[str]:
    folders = (f"output_dir={folder}/outputs", f"results_dir={folder}/results")
    return [sys.executable, "-m", "experiments.run", *SMALLEST, *folders, *words]


def cells(folder: Path, *words: str) -> list[CellRecord]:
    done = subprocess.run(command(folder, *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [cell for path in (folder / "outputs").iterdir() if path.name != "cache" for cell in read_cells(path)]


def test_every_net_trains_in_bf16_with_several_cells_on_one_gpu(tmp_path: Path) -> None:
    records = cells(tmp_path, "+exp=model_comparison", "seed=0", "workers=7")
    assert len(records) == 7
    for record in records:
        assert record.hardware["gpu"]
        assert 0 < record.metrics["mad"] < 1000


@pytest.mark.parametrize("options", [("trainer.precision=16-mixed",), ("trainer.precision=32-true",)])
@pytest.mark.parametrize("model", ["modnet_v", "rvm"])
def test_a_cell_trains_in_other_precisions(tmp_path: Path, model: str, options: tuple[str, ...]) -> None:
    (record,) = cells(tmp_path, f"model={model}", "hydra.mode=RUN", *options)
    assert record.status == "complete"


def test_a_compiled_cell_scores_as_an_eager_one(tmp_path: Path) -> None:
    scores = []
    for compiled in ("false", "true"):
        words = ("model=modnet_v", "hydra.mode=RUN", "trainer.precision=32-true", f"trainer.compile={compiled}")
        (record,) = cells(tmp_path / compiled, *words)
        scores.append(record.metrics["mad"])
    assert scores[0] == pytest.approx(scores[1], rel=0.02)


def test_an_evaluation_by_graphs_scores_as_one_on_a_cpu(tmp_path: Path) -> None:
    scores = {}
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        words = ("model=rvm", "scale=smoke", "scale.test_clips=2", "metrics=[mad,mse,dtssd]", "name=it")
        words = (*words, f"device={device}", f"output_dir={folder}", f"data.cache_dir={tmp_path}/cache")
        done = subprocess.run([sys.executable, "-m", "experiments.evaluate", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        scores[device] = CellRecord.load(folder / "evaluate" / "it").metrics
    assert scores["cuda"]["mad"] == pytest.approx(scores["cpu"]["mad"], rel=0.01)


def test_a_killed_cell_goes_on_and_scores_as_an_undisturbed_one(tmp_path: Path) -> None:
    words = (
        "model=modnet_v",
        "hydra.mode=RUN",
        "trainer.precision=32-true",
        "scale.steps=40",
        "trainer.checkpoint_every=2",
    )
    (whole,) = cells(tmp_path / "whole", *words)
    started = subprocess.Popen(command(tmp_path / "cut", *words), start_new_session=True)
    folder = tmp_path / "cut" / "outputs"
    while not list(folder.rglob("*.ckpt")) and started.poll() is None:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    (resumed,) = cells(tmp_path / "cut", *words)
    assert resumed.metrics["mad"] == pytest.approx(whole.metrics["mad"], rel=0.05)
