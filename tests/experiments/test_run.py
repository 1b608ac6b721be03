"""The real command, with real processes: the whole ablation, kills, failures, bad input."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from experiments.records.cell_record import read_cells
from experiments.run import finish, run_cells
from lightning_modules.nets import build_net
from tests.experiments.in_process import run_here
from tests.experiments.one_cell import FEW, EndedCell

SMOKE = ["scale=smoke", "logger=none", *FEW]
ABLATION = ["+exp=brm_ablation", "scale=smoke", "seed=0", "model.brm=true,false"]  # that of the tour


def words(folder: Path, *overrides: str) -> list[str]:
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder.parent}/cache"]
    return [*overrides, *places]


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "experiments.run", *words(folder, *overrides)]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(command(folder, *overrides), capture_output=True, text=True, timeout=300, check=False)


def cells(folder: Path, experiment: str = "brm_ablation") -> dict[str, dict[str, object]]:
    records = (folder / "outputs" / experiment).glob("*/record.json")
    return {path.parent.name: json.loads(path.read_text()) for path in records}


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in this process; its cells and its report have processes of their own."""

    def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        given = words(folder, *overrides)
        return run_here(partial(run_cells, given, []), given, monkeypatch, capsys)

    return run


@pytest.fixture
def cells_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("spawn_cell", "ForkedCell"):
        monkeypatch.setattr(f"experiments.cells.launchers.{kind}", EndedCell)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.mark.slow
def test_the_whole_ablation_leaves_complete_records_and_a_report(tour: Path) -> None:
    records = cells(tour)
    assert len(records) == 2
    assert [cell.status for cell in read_cells(tour / "outputs" / "brm_ablation")] == ["complete"] * 2
    for name, record in records.items():
        folder = tour / "outputs" / "brm_ablation" / name
        assert (folder / "memory.parquet").is_file() == record["arm"]["model.brm"]
        assert record["memory"] == ("measured" if record["arm"]["model.brm"] else "none")
        assert record["status"] == "complete"
        assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["brm"] == record["arm"]["model.brm"]
        frames = pd.read_parquet(folder / "metrics.parquet")
        assert len(frames) == 8 * 2 * 4  # conditions × clips × frames
        assert not frames[["mad", "mse", "dtssd"]].isna().any().any()
        assert ("coverage" in frames) == record["arm"]["model.brm"]
    written = {path.name for path in (tour / "results" / "brm_ablation" / "smoke").iterdir()}
    assert {"report.html", "report.md", "report.tex", "scores.csv"} <= written


@pytest.mark.slow
def test_a_saved_model_rebuilds_its_net(tour: Path) -> None:
    path = next((tour / "outputs" / "brm_ablation").glob("model.brm=true*seed=0/model.pt"))
    saved = torch.load(path, weights_only=True)
    options = dict(saved["model"])
    net = build_net(options.pop("name"), **options)
    untrained = net.state_dict()["backbone.features.0.0.weight"].clone()
    net.load_state_dict(saved["state_dict"])
    assert not torch.equal(net.state_dict()["backbone.features.0.0.weight"], untrained)
    assert net.eval()(torch.rand(1, 2, 3, 64, 64)).alpha.isfinite().all()


@pytest.mark.slow
def test_wandb_has_the_run_offline_without_an_account(tour: Path) -> None:
    runs = list((tour / "outputs" / "brm_ablation").glob("*/wandb/offline-run-*/run-*.wandb"))
    assert len(runs) == 2
    assert all(path.stat().st_size > 1000 for path in runs)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_complete_cells_are_skipped(
    tour: Path, root: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shutil.copytree(tour, root / "again")
    again = here(root / "again", *ABLATION)
    assert again.returncode == 0
    assert again.stdout.count("skip ") == 2
    assert "start " not in again.stdout


@pytest.mark.slow
def test_a_cell_is_one_commands_and_ends_with_it(
    root: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (root / "twice").mkdir()
    arms = ["+exp=brm_ablation", "seed=0", *SMOKE, "scale.steps=5000"]
    first = subprocess.Popen(command(root / "twice", *arms, "model.brm=true,false"))
    outputs = root / "twice/outputs/brm_ablation"
    deadline = time.monotonic() + 120
    while len(list(outputs.glob("*/progress"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    second = here(root / "twice", *arms, "hydra.mode=RUN", "model.brm=true")
    assert second.returncode == 75
    assert re.search(r"process \d+ on \S+ since [-\d: ]+ works on this cell; wait for it or stop it", second.stderr)
    children = [int((path.parent / "lock").read_text().split()[1]) for path in outputs.glob("*/progress")]
    first.kill()  # the command alone, not its group
    first.wait()
    assert len(children) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.usefixtures("cells_here")
def test_a_failing_cell_is_told_and_stops_no_other(
    root: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """With the default logger, too, which holds the run of the failed cell."""
    # Of MODNet-V's frames sides must be multiples of 32, which training finds out.
    arms, why = ["model.brm_update=average", "recipe.stages.matting.size=72,64"], "sides that are multiples of 32"
    result = here(root / "failing", "+exp=brm_update", *arms, "seed=0", "scale=smoke", *FEW)
    assert result.returncode == 1
    assert why in result.stdout
    found = cells(root / "failing", "brm_update").values()
    sizes = {record["arm"]["recipe.stages.matting.size"]: record for record in found}  # type: ignore[index]
    assert {size: record["status"] for size, record in sizes.items()} == {72: "failed", 64: "complete"}
    assert why in str(sizes[72]["error"])
    assert "size=72" in next((root / "failing/results/brm_update").glob("*/report.md")).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_impossible_cell_is_told_before_any_other_starts(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = here(tmp_path, "+exp=brm_update", "model.brm_update=average,foo", "seed=0", *SMOKE)
    check_line(result, "net 'modnet_v': brm_update must be")
    assert not cells(tmp_path, "brm_update")


@pytest.mark.parametrize("planned", [["plan"], []])
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.brm=maybe"], "error: net 'modnet_v': brm must be one of "),
        (["data=video_mattes", "data.root=/nowhere", "data.scenes=/nowhere"], "error: data.root=/nowhere: there is no"),
        (["data.source.train.num_clips=0"], "error: num_clips is 0; it must lie in [1, "),
        (["scale=tinyy"], "Could not find 'scale/tinyy'; Available options in 'scale': paper; small; smoke; tiny"),
    ],
)
def test_what_no_cell_can_start_with_ends_the_plan_and_the_run_with_one_line(
    tmp_path: Path,
    here: Callable[..., subprocess.CompletedProcess[str]],
    overrides: list[str],
    told: str,
    planned: list[str],
) -> None:
    result = here(tmp_path, "+exp=brm_ablation", "seed=0", "logger=none", *overrides, *planned)
    check_line(result, told)
    assert result.returncode == 2
    assert not cells(tmp_path)


def test_a_plan_tells_the_cells_and_starts_none(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = here(tmp_path, *ABLATION, "plan")
    assert result.returncode == 0, result.stderr
    assert "plan      brm_ablation at smoke: 2 cells; nothing is started" in result.stdout
    assert re.search(r"to run    2: .*model.brm=true,.*; .*model.brm=false,", result.stdout)
    assert result.stdout.count("unknown: no cell of this experiment") == 3
    assert "effect    none can be shown with 1 seed: it takes 3" in result.stdout
    assert not cells(tmp_path)


def bad_inputs(folder: Path) -> dict[str, list[str]]:
    """Overrides of one cell each, and what its line must name."""
    scenes = folder / "scenes"
    scenes.mkdir(parents=True, exist_ok=True)
    for index in range(8):
        Image.fromarray(np.full((80, 80, 3), 20 * index, np.uint8)).save(scenes / f"place{index}.png")
    broken = folder / "broken"
    broken.mkdir()
    for index in range(8):
        for kind in ("rgb", "pha"):
            (broken / f"person{index}_{kind}.mp4").write_bytes(b"no video")
    images, videos = "data=image_mattes", "data=video_mattes"
    return {
        "no workers": ["hydra.mode=MULTIRUN", "seed=0", "model.brm=true,false", "workers=0", "workers"],
        "unknown key": ["model.bmr=true", "bmr"],
        "missing folder": [images, f"data.root={folder}/nowhere", f"data.scenes={scenes}", "nowhere"],
        "broken video": [videos, f"data.root={broken}", f"data.scenes={scenes}", "person"],
        "nan loss": [
            "recipe.stages.matting.learning_rate=1e30",
            "recipe.stages.matting.gradient_clip_norm=null",
            "became",
        ],
    }


def check_line(ended: subprocess.CompletedProcess[str], named: str) -> None:
    assert ended.returncode != 0
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    assert named in lines[0]
    assert "Traceback" not in ended.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("cells_here", "no_report")
@pytest.mark.parametrize("case", ["no workers", "unknown key", "missing folder", "broken video"])
def test_bad_input_ends_the_command_with_one_clear_line(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]], case: str
) -> None:
    *overrides, named = bad_inputs(tmp_path / "data")[case]
    check_line(here(tmp_path, "+exp=brm_ablation", "hydra.mode=RUN", *SMOKE, *overrides), named)


@pytest.mark.slow
def test_bad_input_ends_a_process_of_a_cell_with_one_clear_line(tmp_path: Path, root: Path) -> None:
    *overrides, named = bad_inputs(tmp_path / "data")["nan loss"]
    check_line(run(root / "bad", "+exp=brm_ablation", "hydra.mode=RUN", *SMOKE, "scale.steps=20", *overrides), named)


@pytest.mark.slow
def test_the_report_is_asked_for_in_the_users_own_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[list[str]]()

    def take(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", take)
    assert finish(["-m", "--config-dir", "mine", "+exp=mine", "hydra.mode=MULTIRUN", "seed=0,1"], [], []) == 0
    assert asked == [["--config-dir", "mine", "+exp=mine", "seed=0,1"]]


def test_help_says_what_the_command_does() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "experiments.run", "--help"], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0
    assert "+exp=brm_ablation plan " in result.stdout
    assert "brm_update" in result.stdout
