"""Sweep files say what the experiments say, and run without a server as with one."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from experiments import sweep
from experiments.cells import sweep_files
from experiments.cells.launch import BUSY, CellPool
from experiments.cells.search import Search, read_score
from experiments.cells.sweep_files import Point, SweepFile, read_sweep, sweep_of
from experiments.records.cell_record import CellRecord
from experiments.records.locks import lock_cell
from experiments.sweep import Runner, composed, numbered
from tests.experiments.cells_on_disk import complete

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
EXPERIMENTS = sorted(  # that train: the others are of weights that the user names
    path.stem for path in (ROOT / "experiments/configs/exp").glob("*.yaml") if not path.stem.startswith("published_")
)
GROUPS = ("model", "recipe", "memory", "clips")  # settings that name a file of the configs
GRID = {
    "name": "brm_ablation",
    "method": "grid",
    "parameters": {"seed": {"values": [0, 1]}, "model.brm": {"values": [True, False]}},
    "command": [
        *("${env}", "${interpreter}", "-m", "experiments.run"),
        *("+exp=brm_ablation", "hydra.mode=RUN", "${args_no_hyphens}"),
    ],
}


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., SweepFile]:
    def write(**changes: Any) -> SweepFile:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
        return read_sweep(path)

    return write


def experiment_axes(name: str) -> dict[str, list[Any]]:
    params = yaml.safe_load((ROOT / f"experiments/configs/exp/{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    return {axis: [yaml.safe_load(each) for each in str(values).split(",")] for axis, values in params.items()}


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        ("{min: 1e-4, max: 1e-2, distribution: log_uniform_values}", 1e-4, 1e-2),
        ("{min: 0, max: 1.5}", 0, 1.5),
        ("{min: 0, max: 1e1, distribution: int_uniform}", 0, 10),
        ("{min: -1.e+1, max: .5E0}", -10, 0.5),
    ],
)
def test_a_range_is_of_numbers_however_they_are_written(tmp_path: Path, spec: str, low: float, high: float) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"method: random\nrun_cap: 20\nparameters:\n  x: {spec}\ncommand: [python]\n")
    drawn = [point["x"] for point in read_sweep(path).points(seed=0)]
    assert all(low <= each <= high for each in drawn)
    assert len(set(drawn)) > 5


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_has_the_sweep_that_is_made_from_it(name: str) -> None:
    path = ROOT / f"sweeps/{name}.yaml"
    kept = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert kept == sweep_of(name), f"make it: python -m experiments.sweep sweeps/{name}.yaml --make"
    file = read_sweep(path)
    assert (file.name, file.method) == (name, "grid")
    assert {axis: spec["values"] for axis, spec in file.parameters.items()} == experiment_axes(name)


def test_a_sweep_is_made_of_an_experiment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sweep", str(tmp_path / "brm_ablation.yaml"), "--make"])
    assert sweep.main() == 0
    assert (tmp_path / "brm_ablation.yaml").read_bytes() == (ROOT / "sweeps/brm_ablation.yaml").read_bytes()
    with pytest.raises(ValueError, match=r"no sweep can be made: .*exp/none.yaml"):
        sweep_of("none")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/bare.yaml").write_text("experiment: {question: Why}\n")
    monkeypatch.setattr(sweep_files, "CONFIGS", tmp_path)
    with pytest.raises(ValueError, match=r"exp/bare.yaml needs experiment.question, and axes"):
        sweep_of("bare")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sweep_file_runs_single_cells_of_an_experiment(path: Path) -> None:
    file = read_sweep(path)
    assert file.name == path.stem
    assert file.command[:4] == ["${env}", "${interpreter}", "-m", "experiments.run"]
    assert file.command[-1] == "${args_no_hyphens}"
    assert "hydra.mode=RUN" in file.command
    (name,) = (word.removeprefix("+exp=") for word in file.command if word.startswith("+exp="))
    assert set(file.parameters) == set(experiment_axes(name))


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_values_of_a_sweep_file_arrive_as_they_are_meant(path: Path) -> None:
    """None, 1e-4, yes and commas change on the way from YAML through the agent to Hydra."""
    file = read_sweep(path)
    values = {
        name: spec.get("values") or [spec.get("value", spec.get("max"))] for name, spec in file.parameters.items()
    }
    # Every value once, but for names of files, which must be texts, and for seeds.
    for place in range(max(1 if name in (*GROUPS, "seed") else len(given) for name, given in values.items())):
        point = {name: given[place % len(given)] for name, given in values.items()}
        config = composed(sweep._overrides(file.command_line(point)))
        for name, value in point.items():
            if name not in GROUPS:
                arrived = OmegaConf.select(config, name, throw_on_missing=True)
                assert (arrived, type(arrived)) == (value, type(value)), name


def test_there_is_a_random_a_bayes_and_an_early_ending_sweep() -> None:
    contents = [yaml.safe_load(path.read_text()) for path in FILES]
    assert {content["method"] for content in contents} == {"grid", "random", "bayes"}
    (stopped,) = (content for content in contents if "early_terminate" in content)
    assert stopped["early_terminate"]["type"] == "hyperband"
    assert all(content["metric"]["name"].startswith(("val/", "test/")) for content in contents)


def test_a_grid_has_every_point_once_the_last_parameter_fastest(write_sweep: Callable[..., SweepFile]) -> None:
    points = [(point["seed"], point["model.brm"]) for point in write_sweep().points(seed=0)]
    assert points == [(0, True), (0, False), (1, True), (1, False)]


def test_random_points_depend_on_the_seed_alone_and_lie_in_range(write_sweep: Callable[..., SweepFile]) -> None:
    rate = {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}
    file = write_sweep(
        method="random", run_cap=50, parameters={"rate": rate, "k": {"min": 2, "max": 4}, "q": {"values": ["a", "b"]}}
    )
    points = file.points(seed=1)
    assert points == file.points(seed=1) != file.points(seed=2)
    assert len(points) == 50
    assert all(0.001 <= point["rate"] <= 0.1 for point in points)
    assert {point["k"] for point in points} == {2, 3, 4}
    assert sum(point["rate"] < 0.01 for point in points) in range(15, 36)  # half of them on a log scale


@pytest.mark.parametrize("macro", ["${args}", "${args_no_hyphens}"])
def test_a_command_is_that_of_the_real_agent(write_sweep: Callable[..., SweepFile], macro: str) -> None:
    os.environ["SOME_FOLDER"] = "/data"
    words = ["${env}", "python", "-m", "experiments.run", "data.root=${envvar:SOME_FOLDER}/x", macro]
    point = {"seed": 0, "model.brm": False, "model.prm_xi": 0.003, "data.difficulty.gain": [0.0, 0.1]}
    theirs: list[str] = []
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in point.items()}})
    for word in create_sweep_command(list(words)):
        theirs += given[macro[2:-1]] if word == macro else ["/usr/bin/env"] if word == "${env}" else [word]
    assert write_sweep(command=words).command_line(point) == theirs


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "simplex"}, "method must be one of"),
        ({"method": "bayes"}, "needs metric"),
        ({"method": "random"}, "needs run_cap"),
        ({"parameters": {"model": {"parameters": {"brm": {"value": True}}}}}, "dotted names"),
        ({"parameters": {"seed": {"value": None}}}, "quote it"),
        ({"command": ["python", "${args_json}"]}, "args_json"),
    ],
)
def test_what_would_run_otherwise_than_it_reads_is_refused(
    write_sweep: Callable[..., SweepFile], changes: dict[str, Any], told: str
) -> None:
    def first_command() -> list[str]:
        file = write_sweep(**changes)
        return file.command_line(file.points(seed=0)[0])

    with pytest.raises(ValueError, match=told):
        first_command()


def test_points_are_chosen_by_number() -> None:
    points: list[Point] = [{"seed": seed} for seed in range(8)]
    assert [point["seed"] for point in numbered(points, "0,2,5-7")] == [0, 2, 5, 6, 7]
    for wrong in ("8", "0-8", "x", "-1"):
        with pytest.raises(ValueError, match="0 to 7"):
            numbered(points, wrong)


def test_dry_run_lists_a_command_a_point() -> None:
    command = [sys.executable, "-m", "experiments.sweep", str(ROOT / "sweeps/brm_ablation.yaml"), "--dry-run"]
    result = subprocess.run([*command, "scale=smoke"], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = result.stdout.splitlines()
    assert len(lines) == 12
    assert lines[1].endswith("+exp=brm_ablation hydra.mode=RUN model.brm=True seed=1 scale=smoke")


def test_a_missing_file_ends_with_one_line() -> None:
    command = [sys.executable, "-m", "experiments.sweep", "sweeps/none.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 2
    assert result.stderr.startswith("error: sweeps/none.yaml cannot be read as a sweep file")
    assert result.stderr.count("\n") == 1


class Cells:
    """Stands in for the processes of a sweep: each writes its record at once and ends as told."""

    def __init__(self, statuses: dict[str, list[int]]) -> None:
        self.statuses = statuses  # of a cell, one after another; 0 when there are no more
        self.started: list[str] = []
        self.gpus: list[int | None] = []
        self.groups: set[str] = set()

    def spawn(
        self, command: list[str], gpu: int | None, log: object, lock: None, **variables: str
    ) -> subprocess.Popen[bytes]:
        cell = sweep.Cell(composed(sweep._overrides(command)), sweep.HydraConfig.get(), axes=())
        status = (self.statuses.get(cell.name) or [0]).pop(0)
        self.started.append(cell.name)
        self.gpus.append(gpu)
        self.groups.add(variables["WANDB_RUN_GROUP"])
        if status == 0:
            complete(cell)
        return subprocess.Popen([sys.executable, "-c", f"import sys, time; time.sleep(0.3); sys.exit({status})"])


@pytest.fixture
def run_sweep(
    write_sweep: Callable[..., SweepFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Cells]]:
    reports = subprocess.CompletedProcess([], 0)

    def run(gpus: int = 0, **statuses: list[int]) -> tuple[int, Cells]:
        cells = Cells({name.replace("__", "=").replace("_and_", ","): told for name, told in statuses.items()})
        monkeypatch.setattr(sweep, "spawn", cells.spawn)
        monkeypatch.setattr(sweep.subprocess, "run", lambda *_, **__: reports)
        file = write_sweep()
        runner = Runner(file, ["scale=smoke", f"output_dir={tmp_path}/outputs"], CellPool(2, gpus))
        points = file.points(seed=0)
        return runner.run(points, len(points)), cells

    return run


@pytest.mark.slow
def test_a_sweep_starts_each_cell_once_and_skips_what_is_complete(
    run_sweep: Callable[..., tuple[int, Cells]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, cells = run_sweep(gpus=2)
    assert status == 0
    assert len(set(cells.started)) == len(cells.started) == 4
    assert set(cells.gpus) == {0, 1}
    assert cells.groups == {"brm_ablation"}
    status, cells = run_sweep()
    assert (status, cells.started) == (0, [])
    assert capsys.readouterr().out.count("skip      ") == 4


@pytest.mark.slow
def test_a_failing_point_stops_no_other(run_sweep: Callable[..., tuple[int, Cells]]) -> None:
    status, cells = run_sweep(**{"model.brm=true,scale=smoke,seed=0": [1]})
    assert status == 1
    assert len(cells.started) == 4


@pytest.mark.slow
def test_a_point_that_another_process_works_on_comes_last(run_sweep: Callable[..., tuple[int, Cells]]) -> None:
    cell = "model.brm=true,scale=smoke,seed=0"
    status, cells = run_sweep(**{cell: [BUSY]})
    assert status == 0
    assert cells.started[0] == cells.started[-1] == cell
    assert len(cells.started) == 5


def test_a_locked_cell_is_not_started(
    write_sweep: Callable[..., SweepFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = Cells({})
    monkeypatch.setattr(sweep, "spawn", cells.spawn)
    runner = Runner(write_sweep(), [f"output_dir={tmp_path}/outputs"], CellPool(1, 0))
    point: Point = {"seed": 0, "model.brm": True}
    folder = runner.cell(point).folder
    folder.mkdir(parents=True)
    with lock_cell(folder):
        runner.start(point)
    assert cells.started == []
    assert [runner.started[cell] for cell in runner.pool.busy] == [point]


def test_a_point_that_does_not_compose_is_told_and_stops_no_other(
    write_sweep: Callable[..., SweepFile], capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Runner(write_sweep(), [], CellPool(1, 0))
    runner.start({"seed": 0, "model.bmr": True})
    assert len(runner.errors) == 1
    assert "bmr" in capsys.readouterr().out


def bayes(write_sweep: Callable[..., SweepFile], cap: int = 24) -> SweepFile:
    return write_sweep(
        method="bayes",
        run_cap=cap,
        metric={"name": "val/mad", "goal": "minimize"},
        parameters={"seed": {"value": 0}, "weight": {"min": 0.0, "max": 10.0}},
    )


def take(search: Search) -> list[Point]:
    return list(iter(search.next, None))


def test_a_search_comes_nearer_to_the_best_point(write_sweep: Callable[..., SweepFile], tmp_path: Path) -> None:
    points = take(Search(bayes(write_sweep), tmp_path, 0, lambda point: (point["weight"] - 7) ** 2))
    assert len(points) == 24
    assert all(point["seed"] == 0 for point in points)
    late = [abs(point["weight"] - 7) for point in points[14:]]
    assert sum(late) / len(late) < 1.5  # 2.9 for even draws


def test_a_search_goes_on_where_it_was_cut_off_and_is_shared(
    write_sweep: Callable[..., SweepFile], tmp_path: Path
) -> None:
    scores: dict[float, float] = {}
    first, second = (Search(bayes(write_sweep, 6), tmp_path, 0, lambda p: scores.get(p["weight"])) for _ in range(2))
    begun = [first.next(), first.next()]
    assert [second.next(), second.next()] == begun
    rest = take(second)
    assert len(rest) == 4
    assert take(first) == rest
    weights = [point["weight"] for point in [*begun, *rest] if point]
    assert len(set(weights)) == 6


def test_processes_at_once_are_given_the_same_points_and_no_more_than_the_cap(
    write_sweep: Callable[..., SweepFile], tmp_path: Path
) -> None:
    file = bayes(write_sweep, 5)
    searches = [Search(file, tmp_path, 0, lambda point: point["weight"]) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(take, searches)
    assert len(first) == 5
    assert others == [first, first]


def test_a_process_that_is_killed_while_it_asks_costs_no_point(
    write_sweep: Callable[..., SweepFile], tmp_path: Path
) -> None:
    search = Search(bayes(write_sweep, 4), tmp_path, 0, lambda point: 1.0)
    begun = [search.next(), search.next()]
    search._trials().ask({"seed": search.space["seed"]})  # its weight was never written
    again = take(Search(bayes(write_sweep, 4), tmp_path, 0, lambda point: 1.0))
    assert again[:2] == begun
    assert len(again) == 4
    assert all(point.keys() == {"seed", "weight"} for point in again)


def test_a_score_that_came_later_is_learnt_from(write_sweep: Callable[..., SweepFile], tmp_path: Path) -> None:
    scores: dict[float, float] = {}
    search = Search(bayes(write_sweep), tmp_path, 0, lambda point: scores.get(point["weight"]))
    first = search.next()
    assert first is not None
    search.next()
    assert [trial.value for trial in search._trials().trials] == [None, None]
    scores[first["weight"]] = 3.0
    search.next()
    assert [trial.value for trial in search._trials().trials] == [3.0, None, None]


@pytest.mark.parametrize(
    "line",
    ['{"seed": 0}', '{"seed": 0, "weight": "a"}', '{"seed": 0, "weight": 1e9}', "[1]", "null", 9999 * "[", "\\xff"],
)
def test_a_journal_with_other_than_points_of_its_search_is_named(
    write_sweep: Callable[..., SweepFile], tmp_path: Path, line: str
) -> None:
    search = Search(bayes(write_sweep), tmp_path, 0, lambda point: 1.0)
    search.journal.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"\.jsonl is no journal of this search: move it away to begin anew"):
        search.next()


def test_the_score_of_a_cell_is_of_the_weights_that_are_tested(tmp_path: Path) -> None:
    (tmp_path / "history_matting.csv").write_text("step,loss,val/mad\n1,3.0,\n2,2.0,40.0\n3,2.5,50.0\n")
    record = CellRecord(tmp_path, metrics={"mad": 45.0}, status="complete")
    assert read_score(record, "val/mad") == 50.0
    assert read_score(record, "train/loss") == 2.5
    assert read_score(record, "test/mad") == 45.0
    assert read_score(CellRecord(tmp_path, status="running"), "val/mad") is None


def test_the_slurm_example_runs_one_point_a_task(tmp_path: Path) -> None:
    blocks = (ROOT / "sweeps/README.md").read_text().split("```bash\n")[1:]
    (job,) = (block.split("```")[0] for block in blocks if "#SBATCH" in block)
    array = next(line for line in job.splitlines() if "--array" in line).partition("=")[2]
    points = read_sweep(ROOT / "sweeps/brm_ablation.yaml").points(seed=0)
    assert array == f"0-{len(points) - 1}"
    (tmp_path / "srun").write_text(f'#!/bin/bash\nshift\nexec "{sys.executable}" "$@" --dry-run\n')
    (tmp_path / "srun").chmod(0o755)
    variables = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "4"}
    result = subprocess.run(["bash", "-c", job], env=variables, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[0].endswith("hydra.mode=RUN model.brm=False seed=0 scale=small")
    assert len(result.stdout.splitlines()) == 1
