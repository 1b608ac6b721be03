"""Cells that Hydra's launchers start."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra

from experiments import run
from experiments.cells import launchers
from experiments.cells.launchers import check_launcher
from experiments.run import run_cells
from tests.experiments.in_process import run_here
from tests.experiments.one_cell import FEW

SMOKE = ["scale=smoke", "trainer.accelerator=cpu", *FEW]


def words(folder: Path, *overrides: str) -> list[str]:
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder}/cache"]
    return [*overrides, *SMOKE, *places]


def records(folder: Path) -> dict[str, dict[str, object]]:
    paths = (folder / "outputs").glob("*/*/record.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


@pytest.mark.parametrize(
    ("name", "package"), [("joblib", "hydra-joblib-launcher"), ("submitit_slurm", "hydra-submitit-launcher")]
)
def test_a_launcher_whose_package_is_missing_is_told_with_the_line_that_installs_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"get_group_options": lambda group: ["basic", name]}
    monkeypatch.setattr(GlobalHydra.instance(), "config_loader", lambda: SimpleNamespace(**known))
    check_launcher(name)
    monkeypatch.setattr(launchers, "distributions", lambda name: iter(()))
    with pytest.raises(ValueError, match=f"hydra/launcher={name} needs .*: pip install {package}$"):
        check_launcher(name)
    check_launcher("basic")


def test_a_launcher_that_nobody_knows_is_told_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(tmp_path, "+exp=brm_ablation", "seed=0", "hydra/launcher=nonsense")
    for planned in (["plan"], []):
        result = run_here(partial(run_cells, [*given, *planned], []), given, monkeypatch, capsys)
        assert result.returncode == 2
        assert result.stderr.startswith("error: hydra/launcher=nonsense: there is no such launcher; there are basic")
        assert result.stdout == ""


@pytest.mark.slow
def test_joblib_runs_cells_beside_each_other_and_a_failed_one_stops_no_other(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    # Of MODNet-V's frames sides must be multiples of 32, which training finds out.
    arms = ["+exp=brm_update", "seed=0", "model.brm_update=average", "recipe.stages.matting.size=64,72"]
    command = words(tmp_path, *arms, "logger=none", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, "-m", "experiments.run", *command]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 1
    assert "training frames of this net need sides that are multiples of 32" in result.stderr
    assert "Traceback" not in result.stderr
    sizes = {record["arm"]["recipe.stages.matting.size"]: record for record in records(tmp_path).values()}  # type: ignore[index]
    assert sizes[64]["status"] == "complete"
    assert sizes[72]["status"] == "failed"
    assert "hydra/launcher=joblib" in str(sizes[64]["command"])
    assert list((tmp_path / "results").glob("brm_update/*/report.md"))


@pytest.mark.slow
def test_cells_are_composed_whatever_is_said_to_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "+hydra.launcher.verbose=1"]
    monkeypatch.setattr(sys, "argv", ["run"])
    arms = ["+exp=brm_update", "model.brm_update=average,overwrite", "seed=0", f"output_dir={tmp_path}"]
    found = run.composed_cells([*arms, *launcher], own_process=False, pools=None)
    assert [each.cell.arm for each in found] == [{"model.brm_update": how} for how in ("average", "overwrite")]


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_multirun_is_not_shared_out_among_processes_of_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "1")
    given = words(tmp_path, "+exp=brm_ablation", "seed=0", "model.brm=true,false", "trainer.devices=2")
    result = run_here(partial(run_cells, given, []), given, monkeypatch, capsys)
    assert result.returncode != 0
    assert "add hydra.mode=RUN" in result.stderr
    assert not records(tmp_path)
