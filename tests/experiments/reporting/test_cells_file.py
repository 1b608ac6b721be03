"""`cells.json`: what a report's cells were made with, kept beside it."""

from pathlib import Path

import pytest

from experiments.reporting.cells_file import CellFacts, cells_json, facts_of, flattened, read_facts
from tests.experiments.cells_on_disk import WITH, WITHOUT, small


def test_what_is_written_is_read_back_and_what_all_share_stands_once(make_cell, tmp_path: Path) -> None:
    facts = facts_of([small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)])
    assert [(each.arm, each.seed) for each in facts[::2]] == [("model.brm=true", 0), ("model.brm=false", 0)]
    (tmp_path / "cells.json").write_bytes(cells_json(facts))
    assert read_facts(tmp_path) == facts
    one = CellFacts("a", 0, {"shared": "1", "own": "2"}, {})
    other = CellFacts("b", 0, {"shared": "1", "own": "3"}, {})
    assert cells_json([one, other]).count(b'"shared": "1"') == 1


def test_a_report_without_it_has_no_facts_and_a_torn_one_is_named(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    (tmp_path / "cells.json").write_text('{"shared": {}, "cells": [3]}')
    with pytest.raises(ValueError, match=r"cells.json cannot be read .*; build the report again"):
        read_facts(tmp_path)


def test_a_cell_without_a_config_has_no_settings(make_cell) -> None:
    cell = small(make_cell, WITH, 0)
    (cell.folder / "config.yaml").unlink()
    assert facts_of([cell])[0].settings == {}


def test_nested_settings_get_dotted_names() -> None:
    assert flattened({"a": {"b": True, "c": None}, "d": 3}) == {"a.b": "true", "a.c": "null", "d": "3"}
