"""The campaign sees every difference that matters, and none in what depends on time and machine."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.records.cell_record import CellRecord, write_table
from tests.campaigns.kills import cell_difference, complete_records, run_difference, stage_of


@pytest.fixture
def whole(make_cell: Callable[..., CellRecord], tmp_path: Path) -> Path:
    """A run of two small cells."""
    for brm in (True, False):
        cell = make_cell({"model.brm": brm}, 0, strata=("static",), clips=1, frames=3, media=brm)
        torch.save({"state_dict": {"weight": torch.ones(3)}}, cell.folder / "model.pt")
        target = tmp_path / "whole" / "outputs" / "brm_ablation" / cell.folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        cell.folder.rename(target)
    (tmp_path / "whole/results/brm_ablation/smoke").mkdir(parents=True)
    (tmp_path / "whole/results/brm_ablation/smoke/scores.csv").write_text("arm,mean\n")
    return tmp_path / "whole"


def other_scores(folder: Path) -> None:
    table = pd.read_parquet(folder / "metrics.parquet")
    table["mad"] = table["mad"].to_numpy() * (1 + 1e-15)
    write_table(folder / "metrics.parquet", table)


def other_weights(folder: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(3) + 1e-7}}, folder / "model.pt")


def other_losses(folder: Path) -> None:
    with (folder / "history_matting.csv").open("a") as file:
        file.write("400,0.1,0.2\n")


def no_picture(folder: Path) -> None:
    next((folder / "media").iterdir()).unlink()


def other_cost(folder: Path) -> None:
    record = CellRecord.load(folder)
    record.cost["parameters"] = 1
    record.save()


def not_done(folder: Path) -> None:
    record = CellRecord.load(folder)
    record.status, record.error = "failed", "no memory"
    record.save()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        *((other_scores, "metrics.parquet of"), (other_weights, "weights of"), (other_losses, "history_matting.csv")),
        *((no_picture, "media/"), (other_cost, "cost of the record of"), (not_done, "is failed no memory")),
    ],
)
def test_a_difference_in_a_cell_is_found(whole: Path, change: Callable[[Path], None], told: str) -> None:
    shutil.copytree(whole, whole.with_name("other"))
    assert run_difference(whole, whole.with_name("other")) == ""
    folder = next((whole.with_name("other") / "outputs/brm_ablation").glob("model.brm=true*"))
    change(folder)
    CellRecord.load(folder).save()  # with the checksums of what was written
    assert told in run_difference(whole, whole.with_name("other"))


def test_a_missing_cell_and_another_report_are_found(whole: Path) -> None:
    other = whole.with_name("other")
    shutil.copytree(whole, other)
    (other / "results/brm_ablation/smoke/scores.csv").write_text("arm,mean\na,1\n")
    assert run_difference(whole, other) == "results/brm_ablation/smoke/scores.csv"
    shutil.rmtree(next((other / "outputs/brm_ablation").glob("model.brm=true*")))
    assert run_difference(whole, other) == "cells model.brm=true,seed=0"


def test_times_and_machines_may_differ(whole: Path) -> None:
    one = CellRecord.load(next((whole / "outputs/brm_ablation").glob("model.brm=true*")))
    other = CellRecord.load(one.folder)
    other.finished, other.durations, other.hardware = "2030", {"train_seconds": 1.0}, {"gpu": "another"}
    other.cost = one.cost | {"milliseconds_per_frame": 99.0}
    assert cell_difference(one, other) == ""


def test_where_a_run_was_when_it_was_killed_is_told(whole: Path) -> None:
    other = whole.with_name("other")
    assert stage_of(other, whole) == "start"
    shutil.copytree(whole, other)
    assert stage_of(other, whole) == "report"
    folder = next((other / "outputs/brm_ablation").glob("model.brm=true*"))
    record = CellRecord.load(folder)
    record.status = "running"
    record.save()
    (folder / "progress").write_text("matting\t12\t24\tloss 0.3")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / ".matting.ckpt.0a1b2c3d.tmp").write_bytes(b"")
    assert stage_of(other, whole) == "complete / matting 12 24, writing matting.ckpt"
    assert list(complete_records(other)) == ["model.brm=false,seed=0"]
