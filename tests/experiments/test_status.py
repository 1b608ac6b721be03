"""`python -m experiments.status`."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import status
from experiments.records.cell_record import CellRecord
from experiments.records.progress import Progress, write_progress
from tests.experiments.in_process import run_here


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for experiment, name, state in (("one", "a", "running"), ("one", "b", "failed"), ("two", "c", "running")):
        folder = tmp_path / experiment / name
        folder.mkdir(parents=True)
        CellRecord(folder, cell=name, scale="tiny", status=state, error="[red]no data" * (state == "failed")).save()
        write_progress(folder, Progress("matting", 3, 4))
    (tmp_path / "cache").mkdir()
    return tmp_path


def test_each_experiment_has_its_counts_and_each_unfinished_cell_its_line(outputs: Path) -> None:
    command = [sys.executable, "-m", "experiments.status", f"output_dir={outputs}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines == [
        "experiment scale complete running interrupted failed waiting to go",
        "one tiny 0 0 1 1 0 –",
        "two tiny 0 0 1 0 0 –",
        "interrupted one a: matting 3/4",
        "failed one b: [red]no data",
        "interrupted two c: matting 3/4",
    ]


def test_one_experiment_can_be_named(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(status.main, ["two", f"output_dir={outputs}"], monkeypatch, capsys)
    assert "interrupted two c" in result.stdout
    assert "one" not in result.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [(["three"], "there is no such experiment; there are one, two"), (["exp=one"], "exp=one is not understood")],
)
def test_bad_words_are_told(
    outputs: Path, words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(status.main, [*words, f"output_dir={outputs}"], monkeypatch, capsys)
    assert result.returncode == 2
    assert line in result.stderr


def test_nothing_begun_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(status.main, [f"output_dir={tmp_path}/nowhere"], monkeypatch, capsys)
    assert result.returncode == 0
    assert "no cell has begun" in result.stdout
