"""Records that no experiment's file describes: one comparison for each test set."""

from pathlib import Path
from typing import Any

import pytest

from experiments.records.cell_record import CellRecord
from experiments.reporting.grouping import experiments_of


def record(name: str, arm: dict[str, Any], study: str = "VM", **fields: Any) -> CellRecord:
    return CellRecord(Path(name), cell=name, arm=arm, study=study, status="complete", **fields)


ONE = record("one", {"model": "modnet", "checkpoint": "none"})
TWO = record("two", {"model": "rvm", "checkpoint": "rvm.pth"})


def test_each_test_set_is_a_comparison_against_its_first_complete_record() -> None:
    failed, other = record("bad", {"model": "bad"}), record("three", TWO.arm, study="D646")
    failed.status = "failed"
    found = experiments_of("evaluate", [failed, ONE, TWO, other])
    assert {place: [cell.cell for cell in group] for place, (_, group) in found.items()} == {
        "VM": ["bad", "one", "two"],
        "D646": ["three"],
    }
    assert found["VM"][0].baseline == ONE.arm
    assert found["D646"][0].baseline == other.arm
    assert found["VM"][0].labels["checkpoint=none"] == "no checkpoint"


def test_records_of_other_data_are_a_set_of_their_own() -> None:
    cells = [record(name, ONE.arm, data={"fingerprint": name}) for name in ("11", "22")]
    assert list(experiments_of("evaluate", cells)) == ["VM,data=11", "VM,data=22"]


def test_a_baseline_is_named_or_refused_with_the_names_there_are() -> None:
    assert experiments_of("evaluate", [ONE, TWO], "two")["VM"][0].baseline == TWO.arm
    with pytest.raises(ValueError, match="baseline=three: no record is called so; there are one, two"):
        experiments_of("evaluate", [ONE, TWO], "three")
