"""Reports of a few cells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.records.cell_record import CellRecord
from experiments.reporting import plots
from experiments.reporting.report import write_report


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any], list[CellRecord]], str]:
    """Writes a report with few resamples and gives its Markdown."""

    def write_markdown(experiment: dict[str, Any], cells: list[CellRecord]) -> str:
        write_report(experiment, cells, tmp_path / "results", resamples=200)
        return (tmp_path / "results" / "report.md").read_text()

    return write_markdown


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are put together but not rendered, which takes most of the time."""
    monkeypatch.setattr(plots, "png", lambda _: b"image")
