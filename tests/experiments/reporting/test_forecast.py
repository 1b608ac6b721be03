"""What a command would do is told from the cells that ran."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from experiments.cells.cell import Cell
from experiments.command.messages import duration
from experiments.records.cell_record import CellRecord, write_config
from experiments.records.experiment import Experiment
from experiments.reporting.forecast import plan, seconds_of
from experiments.reporting.report import write_report
from experiments.training.settings import Settings
from experiments.training.trunk import trunk_place
from tests.experiments.training.composed import settings_of

CONFIG = {"model": {"brm": True}, "data": {"cache_dir": "nowhere"}}


@dataclass
class Planned:
    """What a plan asks of a cell."""

    folder: Path
    arm: dict[str, Any]
    seed: int
    experiment: Experiment
    complete: bool = False
    scale: str = "tiny"
    study: str = ""
    trains: bool = True
    config: dict[str, Any] = field(default_factory=lambda: CONFIG)
    settings: Settings | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def report(self) -> Path:
        return self.folder.parents[1] / "results" / "brm_ablation" / self.scale

    def is_complete(self) -> bool:
        return self.complete

    def difference(self, record: CellRecord) -> str:
        return "" if record.config_hash == "0123456789ab" else "the record is of another config"


@pytest.fixture
def planned(make_cell: Callable[..., CellRecord], experiment: Experiment, tmp_path: Path) -> Callable[..., str]:
    """The plan for both arms, of which the first seeds are complete: each in ten minutes, with 1.5 GiB."""

    def lines(seeds: int, complete: int, workers: int = 2, config: dict[str, Any] = CONFIG, effect: float = 1.1) -> str:
        cells = []
        for seed in range(seeds):
            for brm in (True, False):
                name = f"model.brm={str(brm).lower()},seed={seed}"
                cell = Planned(tmp_path / "outputs" / name, {"model.brm": brm}, seed, experiment, seed < complete)
                cells.append(cell)
                if seed < complete:
                    done = make_cell({"model.brm": brm}, seed, effect=effect if brm else 1.0, clips=8, frames=3)
                    write_config(done.folder / "config.yaml", config | {"seed": seed})
                    done.save()
        return plan(cast(list[Cell], cells), workers).replace("\n          ", " ")  # each line whole

    return lines


def test_time_memory_and_effect_are_those_of_the_cells_that_ran(planned: Callable[..., str]) -> None:
    told = planned(seeds=5, complete=3)
    assert "complete  6: model.brm=true,seed=0; " in told
    assert "to run    4: model.brm=true,seed=3; model.brm=false,seed=3; " in told
    assert "time      about 20 min, 2 at once" in told
    assert "other settings" not in told
    assert "memory    1.5 GiB a cell, 3.0 GiB for 2 at once" in told
    assert "would be shown by four of five such experiments of 5 seeds and 2 tests" in told


def test_a_trunk_counts_once_a_seed_for_the_cell_that_will_train_it(
    make_cell: Callable[..., CellRecord], experiment: Experiment, tmp_path: Path
) -> None:
    cells = []
    for seed in range(3):
        for place, brm in enumerate((True, False)):
            settings = settings_of("scale=smoke", "model.prm=false", "recipe.stages.refinement=null",
                                   "+trunk=without_brm", f"model.brm={str(brm).lower()}", f"seed={seed}")  # fmt: skip
            name = f"model.brm={str(brm).lower()},seed={seed}"
            cell = Planned(
                tmp_path / "outputs" / name, {"model.brm": brm}, seed, experiment, seed < 1, settings=settings
            )
            cells.append(cell)
            if seed < 1:
                done = make_cell({"model.brm": brm}, seed, clips=8, frames=3)
                done.steps = {"matting": {"trunk": {"steps": 4, "told": "", "identity": "a"}}}
                # Ten minutes each, of which the trunk is six of the first one's.
                done.durations = {"train_seconds": 480.0, "test_seconds": 60.0} | (
                    {"found_seconds": 360.0} if place else {}
                )
                write_config(done.folder / "config.yaml", CONFIG | {"seed": seed})
                done.save()
    told = plan(cast(list[Cell], cells), 1)
    own = seconds_of(CellRecord.load(cells[0].folder)) - 360, seconds_of(CellRecord.load(cells[1].folder))
    assert f"about {duration(2 * (sum(own) + 360))}, 1 at once" in told
    for cell in cells[2:4]:
        weights = trunk_place(cell.settings, "matting", cell.folder) / "checkpoints/matting.pt"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
    assert f"about {duration(2 * sum(own) + 360)}, 1 at once" in plan(cast(list[Cell], cells), 1)


def test_cells_of_other_settings_are_told_to_be_such(planned: Callable[..., str]) -> None:
    told = planned(seeds=3, complete=1, config=CONFIG | {"model": {"brm": False}})
    assert "; all of them with other settings than now" in told


def test_what_nothing_is_known_of_is_said_to_be_unknown(planned: Callable[..., str]) -> None:
    told = planned(seeds=3, complete=0)
    assert told.count("unknown: no cell of this experiment, scale and settings is complete here") == 3
    assert "effect    unknown: it takes two seeds" in told


@pytest.fixture
def committed(
    make_cell: Callable[..., CellRecord], experiment: Experiment, tmp_path: Path, undrawn: None
) -> Callable[[], list[Planned]]:
    """Writes the report of three seeds as the committed one, and gives four seeds' cells, none of which ran here."""

    def cells() -> list[Planned]:
        arms = [(brm, seed) for seed in range(3) for brm in (True, False)]
        ran = [make_cell({"model.brm": brm}, seed, effect=1.1 if brm else 1.0, clips=8, frames=3) for brm, seed in arms]
        for cell, (brm, seed) in zip(ran, arms, strict=True):
            write_config(cell.folder / "config.yaml", CONFIG | {"model": {"brm": brm}, "seed": seed})
            cell.save()
        write_report(experiment, ran, tmp_path / "results/reference/brm_ablation/tiny", resamples=200)
        shutil.rmtree(tmp_path / "outputs")
        return [
            Planned(tmp_path / "outputs" / f"model.brm={str(brm).lower()},seed={seed}", {"model.brm": brm}, seed,
                    experiment, config=CONFIG | {"model": {"brm": brm}, "seed": seed})
            for brm in (True, False) for seed in range(4)
        ]  # fmt: skip

    return cells


def test_where_nothing_ran_a_committed_report_of_the_same_settings_tells_its_figures_as_of_another_machine(
    committed: Callable[[], list[Planned]], tmp_path: Path
) -> None:
    told = plan(cast(list[Cell], committed()), 2).replace("\n          ", " ")
    place = tmp_path / "results/reference/brm_ablation/tiny"
    # Seven minutes a cell, those of the fourth seed too.
    assert f"time      about 28 min, 2 at once, as on the machine of {place} (some CPU, 2 cores)\n" in told
    assert "memory    1.5 GiB a cell, 3.0 GiB for 2 at once, as there\n" in told
    assert "disk      unknown: no cell of this experiment" in told
    assert re.search(rf"effect    MAD −\d.* / \+\d.* % would be shown by four of five .*, as {place} tells", told)


def test_what_a_bound_could_show_is_not_told_as_what_the_arms_could(committed: Callable[[], list[Planned]]) -> None:
    cells = committed()
    for cell in cells:
        cell.experiment = replace(cell.experiment, bound={"model.brm": True})
    assert "effect    unknown: " in plan(cast(list[Cell], cells), 2)


def test_a_committed_report_of_other_settings_tells_nothing(committed: Callable[[], list[Planned]]) -> None:
    cells = committed()
    cells[-1].config = cells[-1].config | {"scale": {"steps": 300}}
    told = plan(cast(list[Cell], cells), 2)
    assert told.count("unknown: no cell of this experiment, scale and settings is complete") == 3
    assert "as on the machine of" not in told


def test_a_cell_that_was_cut_off_is_resumed_and_one_of_another_config_is_not(
    tmp_path: Path, experiment: Experiment
) -> None:
    cells = []
    for number, config_hash in enumerate(("0123456789ab", "ba9876543210")):
        cell = Planned(tmp_path / "outputs" / f"seed={number}", {}, number, experiment)
        (cell.folder / "checkpoints").mkdir(parents=True)
        (cell.folder / "checkpoints" / "last.ckpt").touch()
        CellRecord(cell.folder, cell=cell.name, config_hash=config_hash, scale="tiny").save()
        cells.append(cell)
    told = plan(cast(list[Cell], cells), 1)
    assert "to resume 1: seed=0\n" in told
    assert "to run    1: seed=1\n" in told


def test_a_cell_that_lay_still_is_counted_by_its_work(tmp_path: Path) -> None:
    at = {"started": "2026-01-01T00:00:00+00:00", "durations": {"train_seconds": 400.0, "test_seconds": 20.0}}
    assert seconds_of(CellRecord(tmp_path, finished="2026-01-01T00:10:00+00:00", **at)) == 600  # type: ignore[arg-type]
    small = at | {"durations": {"train_seconds": 1.0, "test_seconds": 1.0}}  # most of it is its start
    assert seconds_of(CellRecord(tmp_path, finished="2026-01-01T00:00:30+00:00", **small)) == 30  # type: ignore[arg-type]
    assert seconds_of(CellRecord(tmp_path, finished="2026-01-01T09:10:00+00:00", **at)) == 420  # type: ignore[arg-type]
