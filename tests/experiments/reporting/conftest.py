"""Reports of a few cells."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.records.cell_record import CellRecord
from experiments.records.experiment import Experiment
from experiments.reporting import plots
from experiments.reporting.report import write_report


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Experiment, list[CellRecord]], str]:
    """Writes a report with few resamples and gives its Markdown."""

    def write_markdown(experiment: Experiment, cells: list[CellRecord]) -> str:
        write_report(experiment, cells, tmp_path / "results", resamples=200)
        return (tmp_path / "results" / "report.md").read_text()

    return write_markdown


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are put together but not rendered, which takes most of the time."""
    monkeypatch.setattr(plots, "png", lambda _: b"image")


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    """Opens a page in Chromium, without a window, and gives what that says."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += f"--disable-component-update --disable-sync --user-data-dir={tmp_path / 'browser'}"

    def open_page(page: Path, *more: str) -> str:
        command = ["chromium", *options.split(), *more, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    return open_page
