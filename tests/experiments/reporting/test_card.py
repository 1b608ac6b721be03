"""The model card of a cell."""

import pytest

from experiments import report
from tests.experiments.in_process import run_here


def test_a_card_says_what_it_is_scores_with_intervals_and_limits(make_cell, monkeypatch, capsys):
    cell = make_cell({"model.brm": True}, 3)
    result = run_here(report.main, [f"card={cell.folder}"], monkeypatch, capsys)
    assert result.returncode == 0, result.stderr
    text = (cell.folder / "card.md").read_text()
    assert text.startswith("# ")
    (mad,) = [line for line in text.splitlines() if line.startswith("| MAD (× 10⁻³) | all |")]
    assert mad.count("[") == 1
    assert "24 clips of 4 people" in text
    assert "arm model.brm=true, seed 3" in text
    assert "Trained at scale=tiny: a shorter schedule" in text
    assert "1 234 567" in text


def test_a_card_of_tested_weights_says_nothing_of_a_training(make_cell, monkeypatch, capsys):
    cell = make_cell({"model": "rvm"}, 0, durations={"test_seconds": 1.0})
    assert run_here(report.main, [f"card={cell.folder}"], monkeypatch, capsys).returncode == 0
    assert "Trained" not in (cell.folder / "card.md").read_text()


def test_hostile_names_stay_text(make_cell, monkeypatch, capsys):
    cell = make_cell({"model.brm": True}, 0, experiment="<script>|`x`")
    run_here(report.main, [f"card={cell.folder}"], monkeypatch, capsys)
    assert "&lt;script&gt;\\|\\`x\\`" in (cell.folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda cell: (cell.folder / "record.json").unlink(), "record.json cannot be read"),
        (lambda cell: (cell.folder / "metrics.parquet").write_bytes(b""), "metrics.parquet"),
        (lambda cell: setattr(cell, "status", "running") or cell.save(), "a card is written of a complete cell"),
    ],
)
def test_no_card_is_written_of_what_is_damaged_or_unfinished(make_cell, monkeypatch, capsys, change, line):
    cell = make_cell({"model.brm": True}, 0)
    change(cell)
    result = run_here(report.main, [f"card={cell.folder}"], monkeypatch, capsys)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert line in result.stderr
    assert not (cell.folder / "card.md").exists()
