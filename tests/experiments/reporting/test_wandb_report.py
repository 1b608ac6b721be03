"""A report reaches W&B where cells are logged online, and nothing keeps it from being written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from hydra.core.hydra_config import HydraConfig

from experiments import report
from experiments.cells.cell import Cell
from experiments.logging.settings import Logger
from experiments.records.cell_record import CellRecord
from experiments.reporting.wandb_report import is_online, report_artifact, send_report
from experiments.sweep import composed

pytestmark = pytest.mark.usefixtures("no_account")
OPTIONS = Logger("wandb")


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    places = [f"output_dir={tmp_path}/outputs", f"results_dir={tmp_path}/results"]
    cell = Cell(composed(["+exp=brm_ablation", "scale=smoke", *places]), HydraConfig.get(), axes=())
    (cell.report / "figures").mkdir(parents=True)
    (cell.report / "report.html").write_text("<!DOCTYPE html><p>")
    (cell.report / "scores.csv").write_text("arm,mean\na,1.5\n")
    (cell.report / "figures" / "seeds.png").write_bytes(b"image")
    return cell


def test_reports_are_sent_only_where_cells_are_logged_online(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_online(OPTIONS)
    assert is_online(replace(OPTIONS, mode="online"))
    monkeypatch.setenv("WANDB_MODE", "online")
    assert is_online(OPTIONS)
    assert not is_online(Logger("csv"))


def test_the_page_its_table_and_all_files_are_sent(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    run = SimpleNamespace(
        log=told.update, log_artifact=lambda each: told.update(artifact=each), finish=lambda: told.update(finished=True)
    )
    monkeypatch.setattr(wandb, "init", lambda **options: told.update(options) or run)
    send_report(cell, "someone/elsewhere")
    assert (told["entity"], told["project"], told["group"]) == ("someone", "elsewhere", "brm_ablation")
    assert (told["job_type"], told["tags"], told["resume"]) == ("report", ["smoke"], "allow")
    assert isinstance(told["report"], wandb.Html)
    assert told["scores"].data == [["a", 1.5]]
    assert told["artifact"].type == "report"
    assert set(told["artifact"].manifest.entries) == {"report.html", "scores.csv", "figures/seeds.png"}
    assert told["finished"]


def test_a_server_that_cannot_be_reached_costs_a_line(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("connection\nrefused")

    monkeypatch.setattr(wandb, "init", refuse)
    send_report(cell)
    assert capsys.readouterr().err == (
        "warning: W&B did not take the report (connection refused); the same command sends it again\n"
    )


def test_an_artifact_has_a_plain_name_whatever_the_overrides(cell: Cell) -> None:
    name = report_artifact("brm/../../evil,ä=1", cell.report).name
    assert name.partition(":")[0] == "report-brm-..-..-evil---1"


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_report_command_sends_it_if_asked(
    make_cell: Callable[..., CellRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    sent: list[Cell] = []
    monkeypatch.setattr(report, "write_report", lambda *_: tmp_path / "report.html")
    (tmp_path / "answer.txt").touch()
    monkeypatch.setattr(report, "send_report", lambda cell, project: sent.append(cell))
    cell = make_cell({"model.brm": True}, 0, strata=("static",), clips=1, frames=2)
    cell.folder.parent.rename(tmp_path / "brm_ablation")
    # Beside no reference: the report that the stand-in does not write is compared with none.
    words = ["report", "+exp=brm_ablation", f"output_dir={tmp_path}", f"results_dir={tmp_path}", f"logger.mode={mode}"]
    monkeypatch.setattr("sys.argv", words)
    assert report.main() == 0
    assert len(sent) == (mode == "online")
