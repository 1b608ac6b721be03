import csv
import json
from collections import Counter

import pytest

from experiments import report
from experiments.records.cell_record import write_config
from tests.experiments.in_process import run_here

WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}
HOSTILE = "<script>alert(1)</script> a|b"


@pytest.fixture
def small(make_cell, tmp_path):
    """Writes cells of a folder ROOT/EXPERIMENT, by the tests' own builder, in the layout of outputs/."""

    def write(root, experiment, arm, seed, effect=1.0, **fields):
        options = {"strata": ("static", "pan"), "clips": 3, "frames": 4} | fields
        cell = make_cell(arm, seed, effect, experiment=experiment, **options)
        (tmp_path / root / experiment).mkdir(parents=True, exist_ok=True)
        return cell.folder.rename(tmp_path / root / experiment / cell.folder.name)

    return write


@pytest.fixture
def board(tmp_path, monkeypatch, capsys):
    """Runs the command on tmp_path/outputs; what it printed and the rows of its CSV."""

    def run(*words):
        paths = [f"output_dir={tmp_path / 'outputs'}", f"results_dir={tmp_path / 'results'}"]
        ended = run_here(report.main, ["leaderboard", *paths, *words], monkeypatch, capsys)
        assert ended.returncode == 0, ended.stderr
        with (tmp_path / "results" / "leaderboard.csv").open() as file:
            return ended.stdout, list(csv.DictReader(file))

    return run


def test_each_net_has_a_row_with_scores_cost_and_machine(small, board, tmp_path):
    for arm, effect in ((WITH, 0.8), (WITHOUT, 1.0)):
        for seed in (0, 1, 2):
            small("outputs", "brm_ablation", arm, seed, effect)
    page = tmp_path / "results" / "brm_ablation" / "tiny" / "report.html"
    page.parent.mkdir(parents=True)
    page.touch()
    (tmp_path / "results" / "claims.html").touch()
    told, rows = board()
    assert "nets      2 on 1 test sets" in told
    assert [row["settings"] for row in rows] == ["model.brm=true", "model.brm=false"], "the lowest MAD comes first"
    first = rows[0]
    assert float(first["mad_low"]) < float(first["mad"]) < float(first["mad_high"])
    assert (first["seeds"], first["people"], first["hardware"]) == ("3", "3", "some CPU")
    assert (float(first["parameters"]), float(first["train_seconds"])) == (1_234_567, 400)
    text = (tmp_path / "results" / "leaderboard.html").read_text()
    assert 'href="brm_ablation/tiny/report.html"' in text
    assert 'href="claims.html"' in text


def test_scores_stand_together_within_one_test_set_alone(small, board):
    small("outputs", "one", WITH, 0)
    small("outputs", "two", WITHOUT, 0)
    small("outputs", "three", WITH, 0, clips=2)
    _, rows = board()
    assert sorted(Counter(row["test_set"] for row in rows).values()) == [1, 2]


@pytest.mark.parametrize("setting", ["test_strata", "difficulty", "evaluation_seed"])
def test_another_condition_is_another_test_set(small, board, setting):
    for experiment, value in (("one", 1), ("two", 2)):
        folder = small("outputs", experiment, WITH, 0)
        write_config(folder / "config.yaml", {"model": {"name": "rvm"}, "data": {setting: value, "test_size": 96}})
        (folder / "record.json").write_text(_edited(folder / "record.json", checksums={}))
    _, rows = board()
    assert len({row["test_set"] for row in rows}) == 2
    assert {row["net"] for row in rows} == {"rvm"}


def _edited(path, **changes):
    """The record as somebody without its checksum may write it."""
    content = json.loads(path.read_text())
    del content["checksum"]
    return json.dumps(content | changes)


def test_what_tested_weights_were_trained_on_is_told_where_a_record_tells_it(small, board, tmp_path):
    for name, told in (("one", "0123456789ab"), ("two", "published weights"), ("three", "")):
        small("outputs", name, WITH, 0, trained_on=told)
    _, rows = board()
    assert sorted(row["training_data"] for row in rows) == ["", "0123456789ab", "published weights"]
    assert '<td class="text">—</td>' in (tmp_path / "results" / "leaderboard.html").read_text()


def test_smoke_runs_never_count(small, board):
    small("outputs", "one", WITH, 0)
    small("outputs", "two", WITH, 0, scale="smoke")
    _, rows = board()
    assert [row["experiment"] for row in rows] == ["one"]


def test_records_of_others_count_once_they_are_verified(small, board, tmp_path):
    small("outputs", "one", WITH, 0)
    good, changed, bare = (small(f"theirs/{name}", "one", WITH, 0) for name in ("a", "b", "c"))
    (changed / "metrics.parquet").write_bytes((changed / "metrics.parquet").read_bytes()[:-1] + b"x")
    (bare / "record.json").write_text(_edited(bare / "record.json", checksums={}))
    told, rows = board(f"records={tmp_path / 'theirs'}")
    assert [row["records"] for row in rows].count(str(tmp_path / "theirs")) == 1
    lines = [line for line in told.splitlines() if line.startswith("left out")]
    assert lines == [
        f"left out  {changed}: metrics.parquet is damaged or was changed: record.json has another checksum",
        f"left out  {bare}: its record has no checksums, so nobody can tell whether it was changed",
    ]
    assert good.exists()


def test_hostile_names_stay_text(small, board, tmp_path):
    small("outputs", "one", {"model.name": HOSTILE.replace("/", "")}, 0, hardware={"gpu": HOSTILE}, study=HOSTILE)
    board()
    for name in ("leaderboard.html", "leaderboard.md"):
        text = (tmp_path / "results" / name).read_text()
        assert "alert(1)" in text
        assert "<script" not in text


@pytest.mark.parametrize("words", [["output_dir=nowhere"], ["what=ever"], ["records=nowhere"]])
def test_what_cannot_be_done_is_told_in_a_line(words, monkeypatch, capsys):
    ended = run_here(report.main, ["leaderboard", *words], monkeypatch, capsys)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
