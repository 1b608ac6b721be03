"""Cells that Hydra's launchers start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMOKE = ["scale=smoke", "logger=none", "scale.test_clips=1", "scale.val_clips=1", "trainer.accelerator=cpu"]


def run(folder: Path, *overrides: str, **variables: str) -> subprocess.CompletedProcess[str]:
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder}/cache"]
    command = [sys.executable, "-m", "experiments.run", *overrides, *SMOKE, *places]
    environment = os.environ | variables
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def records(folder: Path) -> dict[str, dict[str, object]]:
    paths = (folder / "outputs").glob("*/*/record.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


@pytest.mark.slow
def test_joblib_runs_cells_beside_each_other_and_a_failed_one_stops_no_other(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arms = ["+exp=brm_update", "seed=0", "model.brm_update=average,nonsense"]
    result = run(tmp_path, *arms, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert result.returncode == 1
    assert "brm_update must be one of" in result.stderr
    assert "Traceback" not in result.stderr
    status = {record["arm"]["model.brm_update"]: record for record in records(tmp_path).values()}  # type: ignore[index]
    assert status["average"]["status"] == "complete"
    assert status["nonsense"]["status"] == "failed"
    assert "hydra/launcher=joblib" in str(status["average"]["command"])
    assert list((tmp_path / "results").glob("brm_update/*/report.md"))


def test_a_multirun_is_not_shared_out_among_processes_of_torchrun(tmp_path: Path) -> None:
    result = run(tmp_path, "+exp=brm_ablation", "trainer.devices=2", TORCHELASTIC_RUN_ID="1", RANK="1")
    assert result.returncode != 0
    assert "add hydra.mode=RUN" in result.stderr
    assert not records(tmp_path)
