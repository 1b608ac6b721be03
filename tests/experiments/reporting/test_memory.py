"""Whether memories are used, as a report says it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.records.cell_record import CellRecord, write_config, write_table
from experiments.records.experiment import Experiment
from experiments.reporting import report

COLUMNS = ["clip", "scene", "stratum", "frame", "mad", "mse", "dtssd"]
WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The Markdown of a report with few resamples and without figures."""
    monkeypatch.setattr(report, "_images", lambda *_: [])

    def write_markdown(experiment: Experiment, cells: list[CellRecord]) -> str:
        report.write_report(experiment, cells, tmp_path / "results", resamples=200)
        return (tmp_path / "results" / "report.md").read_text()

    return write_markdown


@pytest.fixture
def remember(make_cell: Callable[..., CellRecord]) -> Callable[..., CellRecord]:
    """Writes a cell whose errors are `emptied` and `foreign` times its own with the state so; None: not scored."""

    def cell(
        seed: int,
        emptied: float = 1.0,
        foreign: float | None = 1.0,
        noise: float = 0.0,
        arm: Any = WITH,
        metrics: tuple[str, ...] = ("mad", "dtssd"),
    ) -> Any:
        record = make_cell(arm, seed, strata=("pan", "static"), clips=4, frames=4)
        table, tables = record.read_frames()[COLUMNS], []
        for place, (state, factor) in enumerate({"carried": 1.0, "emptied": emptied, "foreign": foreign}.items()):
            if factor is not None:
                own = np.random.default_rng([seed, place]).normal(0, noise if place else 0.0, len(table))
                changed = {name: table[name] * factor * np.exp(own) for name in metrics}
                tables.append(table.assign(state=state, **changed))
        write_table(record.folder / "memory.parquet", pd.concat(tables))
        still, moving = [{"foreground_speed": [0.0, speed], "static_share": 1.0 - speed} for speed in (0.0, 1.0)]
        data = {"difficulty": {"static_share": 0.3}, "test_strata": {"pan": moving, "static": still}}
        write_config(record.folder / "config.yaml", {"data": data, "seed": seed})
        record.memory = "measured"
        record.save()
        return record

    return cell


def test_a_used_memory_is_told_before_all_else_with_its_interval(remember, experiment, write, tmp_path) -> None:
    text = write(experiment, [remember(seed, emptied=1.2, foreign=1.5, noise=0.02) for seed in range(3)])
    assert "**Memory.** with BRM: the memory is used: MAD is " in text
    assert "× 10⁻³ higher when it is emptied before each frame; MAD is " in text
    assert "higher with that of another clip." in text
    assert text.index("the memory is used") < text.index("**Answer.** 1 arm complete, but not the baseline")
    rows = [line for line in text.splitlines() if line.startswith("| with BRM | emptied before each frame |")]
    assert [row.split(" | ")[2] for row in rows] == [
        "all", "still background", "moving background", "still person", "moving person"
    ]  # fmt: skip
    assert text.index("## Is the memory used?") < text.index("## Scores")
    assert "Is the memory used?" in (tmp_path / "results" / "report.tex").read_text()
    assert "Is the memory used?" in (tmp_path / "results" / "report.html").read_text()
    scores = pd.read_csv(tmp_path / "results" / "scores.csv").set_index(["metric", "stratum"])
    row = scores.loc[("mad", "all")]
    assert row["emptied_difference"] == pytest.approx(0.2 * row["mean"], rel=0.05)
    assert 0 < row["emptied_low"] < row["emptied_difference"] < row["emptied_high"] < row["foreign_low"]
    assert np.isnan(scores.loc[("mse", "all"), "emptied_difference"])
    assert scores.loc[("dtssd", "pan"), "foreign_difference"] > 0


def test_a_memory_that_shows_no_use_says_what_is_excluded(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed, noise=0.1) for seed in range(3)])
    assert "with BRM: the memory is not used: no difference of MAD shown (changes beyond −" in text
    assert "% are excluded) when it is emptied before each frame;" in text


def test_a_memory_that_only_another_clips_changes_is_read_to_no_gain(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed, foreign=1.5, noise=0.02) for seed in range(3)])
    assert "with BRM: the memory is read, to no gain that is shown: no difference of MAD shown" in text


def test_a_memory_that_changes_nothing_is_not_used(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed) for seed in range(2)])
    assert "with BRM: the memory is not used: MAD is the same in every clip when it is emptied before each" in text
    assert "| with BRM | that of another clip | all | none | none | none | none | 2 |" in text


def test_a_memory_that_harms_is_told_so(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed, emptied=0.8, noise=0.01) for seed in range(3)])
    assert "with BRM: the memory is used, to its harm: MAD is " in text
    assert "× 10⁻³ lower when it is emptied before each frame" in text


def test_a_memory_that_only_steadies_the_matte_is_told_so(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed, emptied=1.3, noise=0.02, metrics=("dtssd",)) for seed in range(3)])
    assert (
        "with BRM: the memory is used, for how steady the matte is: MAD is the same in every clip and dtSSD is " in text
    )
    assert "× 10⁻² higher when it is emptied before each frame; MAD is the same in every clip with that of an" in text


def test_a_state_that_no_other_clip_could_lend_is_left_out(remember, experiment, write) -> None:
    text = write(experiment, [remember(seed, emptied=1.2, foreign=None, noise=0.01) for seed in range(2)])
    assert "higher when it is emptied before each frame.\n" in text
    assert "of another clip |" not in text


def test_records_from_before_say_that_it_was_not_measured(make_cell, remember, experiment, write) -> None:
    old = [make_cell(arm, seed, strata=("pan",), clips=2, frames=2) for arm in (WITH, WITHOUT) for seed in range(2)]
    text = write(experiment, old)
    assert "Whether the memory is used was not measured in every cell of without BRM; with BRM." in text
    assert "Is the memory used?" not in text
    old[0].memory = old[1].memory = old[2].memory = old[3].memory = "none"
    assert "was not measured" not in write(experiment, old)


def test_a_few_of_an_arms_cells_are_enough(make_cell, remember, experiment, write) -> None:
    cells = [remember(seed, emptied=1.2, noise=0.02) for seed in range(2)]
    cells.append(make_cell(WITH, 2, strata=("pan", "static"), clips=4, frames=4))
    text = write(experiment, cells)
    assert "with BRM: the memory is used" in text
    assert "not measured in every cell of with BRM." in text


def test_many_arms_are_told_in_one_sentence(remember, experiment, write) -> None:
    arms = {"a": 1.2, "b": 1.3, "c": 1.0, "d": 1.4}
    cells = [remember(0, emptied=factor, noise=0.02 * (factor > 1), arm={"model.x": name})
             for name, factor in arms.items()]  # fmt: skip
    text = write(replace(experiment, baseline={"model.x": "a"}), cells)
    assert "The memory of 4 arms, what the error rises by when it is emptied before each frame, with 95 % int" in text
    interval = r"[\d.]+ \[\+[\d.]+, \+[\d.]+\]"
    used = "; ".join(rf"x={name} \+{interval}" for name in "abd")
    told = rf"used in 3 \({used}\), no use shown in 1 \(x=c none\)"
    assert re.search(rf"by MAD \(× 10⁻³\) {told}; by dtSSD \(× 10⁻²\) {told}\.", text)


def test_a_damaged_table_is_named_and_its_cell_left_out(remember, experiment, write) -> None:
    cells = [remember(seed, emptied=1.2) for seed in range(2)]
    (cells[0].folder / "memory.parquet").write_bytes(b"torn")
    assert "memory.parquet is damaged or was changed" in write(experiment, cells)
