"""SLURM's warning that the time is up: a checkpoint, a requeued job, and the cell goes on; `scontrol` is a stand-in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cells import slurm
from tests.experiments.one_cell import FEW

STAND_IN = '#!/bin/sh\necho "$@" >> "{folder}/asked"\n'


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of task 3 of an array; the folder where `asked` lists what scontrol was asked for."""
    (tmp_path / "scontrol").write_text(STAND_IN.format(folder=tmp_path))
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    variables = {"JOB_ID": "12", "ARRAY_JOB_ID": "10", "ARRAY_TASK_ID": "3", "NTASKS": "4", "PROCID": "2"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return tmp_path


def test_a_task_of_an_array_is_requeued_by_its_own_name(job: Path) -> None:
    assert slurm.requeue()
    assert (job / "asked").read_text() == "requeue 10_3\n"


def test_a_refused_request_is_told(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "scontrol").write_text("#!/bin/sh\necho Access denied >&2; exit 1\n")
    assert not slurm.requeue()
    assert "job 10_3 could not be requeued (Access denied); submit it again" in capsys.readouterr().err


@pytest.mark.slow
def test_a_warned_cell_saves_and_its_job_is_requeued(job: Path) -> None:
    """Also: a cell on one device is trained by whichever of several tasks has it (here number 2 of 4)."""
    settings = [
        *("+exp=brm_ablation", "hydra.mode=RUN", "model.brm=false", "scale=smoke", "logger=none", "trunk=none"),
        *("scale.steps=900", "trainer.accelerator=cpu", "trainer.checkpoint_every=5", *FEW),
        *(f"output_dir={job}/outputs", f"results_dir={job}/results", f"data.cache_dir={job}/cache"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *settings], stderr=-1, text=True, start_new_session=True
    )
    pattern = "outputs/*/*/checkpoints/matting.ckpt"
    deadline = time.monotonic() + 120
    while not list(job.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGUSR1)  # SLURM warns all processes of a step
    (before,) = (path.stat().st_mtime_ns for path in job.glob(pattern))
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "job 10_3 is requeued and goes on from here" in told
    assert (job / "asked").read_text() == "requeue 10_3\n"
    assert next(job.glob(pattern)).stat().st_mtime_ns > before
