import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import records
from experiments.records import CellRecord, config_hash, read_cells, write_file


def test_a_record_comes_back_as_it_was_saved(make_cell):
    record = make_cell({"model.brm": True}, 1)
    assert CellRecord.load(record.folder) == record


def test_figures_that_json_has_no_word_for_become_null(tmp_path):
    CellRecord(folder=tmp_path, metrics={"mad": float("nan")}).save()
    assert json.loads((tmp_path / "record.json").read_text())["metrics"] == {"mad": None}


def test_complete_needs_config_and_metrics(tmp_path):
    with pytest.raises(ValueError, match=r"config\.yaml and metrics\.parquet"):
        CellRecord(folder=tmp_path, status="complete").save()
    with pytest.raises(ValueError, match="done"):
        CellRecord(folder=tmp_path, status="done").save()


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"status": "unheard of"}', '{"status": "complete", "colour": 1}'])
def test_a_torn_record_is_read_as_failed(make_cell, torn):
    record = make_cell({"model.brm": True}, 0)
    (record.folder / "record.json").write_text(torn)
    (found,) = read_cells(record.folder.parent)
    assert (found.status, found.cell) == ("failed", record.folder.name)
    assert "run the cell again" in found.error
    assert "\n" not in found.error


@pytest.mark.parametrize("damage", ["missing", "torn", "empty", "column"])
def test_a_complete_cell_with_damaged_metrics_is_read_as_failed(make_cell, damage):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / "metrics.parquet"
    table = pd.read_parquet(path)
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:200])
    else:
        records.write_table(path, table[:0] if damage == "empty" else table.drop(columns="mad"))
    (found,) = read_cells(record.folder.parent)
    assert found.status == "failed"
    assert "metrics.parquet" in found.error


def test_only_cells_of_this_config_are_read(make_cell):
    root = make_cell({"model.brm": True}, 0).folder.parent
    make_cell({"model.brm": False}, 0).folder.rename(root / "model.brm=false,seed=0~0123456789ab")
    (root / "wandb").mkdir()
    (root / "begun").mkdir()
    (root / "begun" / "config.yaml").write_text("seed: 0\n")
    assert [(cell.folder.name, cell.status) for cell in read_cells(root)] == [
        ("begun", "failed"),
        ("model.brm=true,seed=0", "complete"),
    ]
    assert read_cells(root / "nowhere") == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_file(path, b"old")

    def broken(_):
        raise OSError("disk full")

    monkeypatch.setattr(records.os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())))
def test_hash_knows_values_but_not_their_order(config):
    assert config_hash(dict(reversed(config.items()))) == config_hash(config)
    assert config_hash(config | {"one more": 1}) != config_hash(config | {"one more": 2})
    assert len(config_hash(config)) == 12


def test_tables_keep_full_precision(tmp_path):
    table = pd.DataFrame({"mad": np.random.default_rng(0).random(5)})
    records.write_table(tmp_path / "table.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_a_commit_is_dirty_with_other_code_and_not_with_other_results(monkeypatch, tmp_path):
    for path in ("code/deep/net.py", "code/config.yaml", "results/report.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("as committed")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(records, "__file__", str(tmp_path / "code" / "records.py"))
    (tmp_path / "results" / "report.md").write_text("new")
    assert re.fullmatch("[0-9a-f]{12}", records.git_commit())
    for path in ("code/deep/net.py", "code/config.yaml"):
        (tmp_path / path).write_text("changed")
        assert records.git_commit().endswith(" (dirty)")
        (tmp_path / path).write_text("as committed")


def test_commit_is_unknown_without_git(monkeypatch):
    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert records.git_commit() == "unknown"


def test_what_is_recorded_of_the_machine_is_plain():
    described = {"versions": records.describe_versions(), "hardware": records.describe_hardware()}
    assert json.loads(json.dumps(described)) == described
    assert described["hardware"].keys() == {"processor", "cores", "threads", "gpu"}
    assert "unknown" not in described["versions"].values()


def test_the_history_goes_through_all_stages_in_the_order_of_training(tmp_path: Path) -> None:
    record = records.CellRecord(tmp_path)
    assert record.read_history() is None
    records.write_config(tmp_path / "config.yaml", {"recipe": {"stages": {"second": {}, "first": {}}}})
    (tmp_path / "history_first.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    (tmp_path / "history_second.csv").write_text("step,loss,matte\n1,0.9,0.1\n3,0.8,0.1\n")
    (tmp_path / "history_torn.csv").write_text("")
    history = record.read_history()
    assert history is not None
    assert history["stage"].tolist() == ["second", "second", "first", "first"]
    assert history["step"].tolist() == [1, 3, 4, 5]
    assert history["loss"].tolist() == [0.9, 0.8, 0.5, 0.4]
