import json
from dataclasses import replace

import pytest

from experiments import report
from experiments.records.cell_record import write_config
from experiments.reporting.changes import compared_pairs
from experiments.reporting.report import write_report
from tests.experiments.in_process import run_here

WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}
HOSTILE = '<script>alert(1)</script> a|b "quoted"'


@pytest.fixture
def cells(make_cell, tmp_path):
    """Writes six cells into a folder of their own; `effect` is that of the arm with BRM."""

    def write(name, effect, seeds=3, **fields):
        for arm in (WITH, WITHOUT):
            for seed in range(seeds):
                make_cell(arm, seed, effect if arm is WITH else 1.0, ("static", "pan"), 3, 4, **fields)
        return (tmp_path / "outputs").rename(tmp_path / name)

    return write


@pytest.fixture
def drawn_nothing(monkeypatch):
    monkeypatch.setattr("experiments.reporting.report._images", lambda *_: [])


def only(before, after):
    pairs, notes = compared_pairs(before, after)
    (found,) = pairs.values()
    assert not notes
    return found


def test_the_same_inputs_give_no_difference(cells):
    folder = cells("one", 0.9)
    found = only(folder, folder)
    assert found.summary == "No difference."
    assert not [*found.notes, *found.settings.rows, *found.code.rows]
    assert {row[-2] for row in found.scores.rows} == {"the same"}


@pytest.mark.parametrize(("effect", "verdict"), [(0.5, "beyond what seeds do"), (0.899, "within what seeds do")])
def test_a_change_is_told_with_its_interval_over_seeds(cells, effect, verdict):
    found = only(cells("one", 0.9), cells("two", effect))
    rows = {(row[0], row[1].split()[0]): row for row in found.scores.rows}
    assert rows["brm=true", "MAD"][-2] == verdict
    assert rows["brm=false", "MAD"][-2] == "the same"
    assert "[" in rows["brm=true", "MAD"][4]
    assert "2 of 4 scores" in found.summary


def test_one_seed_tells_nothing_of_what_seeds_do(cells):
    found = only(cells("one", 0.9, seeds=1), cells("two", 0.5, seeds=1))
    assert {row[-2] for row in found.scores.rows} == {"the same", "one seed: not known"}


def test_settings_that_differ_are_named_by_cell_and_those_without_effect_are_not(cells):
    before, after = cells("one", 0.9), cells("two", 0.9)
    for folder in after.iterdir():
        steps = 90 if "brm=true" in folder.name else 60
        write_config(folder / "config.yaml", {"model": {"brm": True}, "seed": 0, "steps": steps, "logger": "none"})
        (folder / "record.json").write_text(_without_checksums(folder / "record.json"))
    rows = {(row[0], row[2]): row for row in only(before, after).settings.rows}
    assert rows["steps", "90"][1] == "—"
    assert rows["steps", "90"][3] == "model.brm=true,seed=0; model.brm=true,seed=1; model.brm=true,seed=2"
    assert not any("logger" in key for key, _ in rows)


def _without_checksums(path):
    content = json.loads(path.read_text())
    del content["checksum"]
    return json.dumps(content | {"checksums": {}})


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_nothing")
def test_a_report_tells_what_records_tell(cells, experiment, tmp_path):
    from experiments.records.cell_record import read_cells

    folder = cells("one", 0.9)
    write_report(experiment, read_cells(folder), tmp_path / "tiny", resamples=50)
    assert only(folder, tmp_path / "tiny").summary == "No difference."
    changed = [replace(cell, git_commit="fff", hardware={"gpu": HOSTILE}) for cell in read_cells(folder)]
    write_report(experiment, changed, tmp_path / "other", resamples=50)
    rows = {row[0]: row for row in only(tmp_path / "tiny", tmp_path / "other").code.rows}
    assert rows["commit"][1:] == ["abc123 (dirty)", "fff"]
    assert rows["gpu"][2] == HOSTILE
    (tmp_path / "other" / "cells.json").unlink()
    found = only(tmp_path / "tiny", tmp_path / "other")
    assert any("has no cells.json" in note for note in found.notes)
    assert found.summary == "No difference in what both have."


def test_what_only_one_has_is_named(cells, make_cell, tmp_path):
    before, after = cells("one", 0.9), cells("two", 0.9)
    make_cell({"model.brm": "oracle"}, 0, 0.2, ("static", "pan"), 3, 4).folder.rename(after / "oracle")
    next(before.glob("*true,seed=2")).rename(tmp_path / "away")
    assert only(before, after).notes == [f"Only {after} has brm=oracle.", f"Only {after} has model.brm=true,seed=2."]


def test_scores_of_other_test_data_are_not_compared(cells):
    def data(digest):
        part = {"digest": digest, "files": 0, "bytes": 0}
        return {"fingerprint": digest, "files": 0, "bytes": 0, "parts": {"people of test": part}}

    found = only(cells("one", 0.9, data=data("a")), cells("two", 0.5, data=data("b")))
    assert {row[-2] for row in found.scores.rows} == {"another test set: not compared"}
    assert [row[0] for row in found.code.rows] == ["test data"]


def test_hostile_names_stay_text_on_the_page(cells, monkeypatch, capsys, tmp_path):
    before, after = cells("one", 0.9), cells("two", 0.9, git_commit=HOSTILE, versions={HOSTILE: HOSTILE})
    ended = run_here(report.main, ["compare", str(before), str(after), f"output={tmp_path}"], monkeypatch, capsys)
    assert ended.returncode == 0
    assert "2 facts" in ended.stdout or "facts of code" in ended.stdout
    page, markdown = ((tmp_path / name).read_text() for name in ("compare.html", "compare.md"))
    assert "<script" not in page
    assert "<script" not in markdown
    assert "a\\|b" in markdown


@pytest.mark.parametrize("words", [["compare"], ["compare", "nowhere", "nowhere"], ["compare", "a", "b", "c"]])
def test_what_cannot_be_compared_is_told_in_a_line(words, monkeypatch, capsys):
    ended = run_here(report.main, words, monkeypatch, capsys)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
