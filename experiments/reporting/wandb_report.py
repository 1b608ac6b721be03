"""The report of an experiment as a run of Weights & Biases: the page, its table, and all its files as an artifact."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.cells.cell import Cell
from experiments.command.messages import reason
from experiments.logging.settings import Logger
from experiments.logging.wandb_client import client_settings, logging_mode, warn
from experiments.records.identity import config_hash

ARTIFACT_TYPE = "report"


def is_online(logger: Logger) -> bool:
    """Whether reports go to W&B: where cells are logged online. Offline a report lies in `results/` alone."""
    return logger.name == "wandb" and logging_mode(logger) == "online"


def send_report(cell: Cell, project: str | None = None) -> None:
    """Log the report of a cell's comparison to the group of its experiment; to the same run when it is written anew.

    A server that cannot be reached, or dies, costs at most `logger.init_timeout` or `logger.finish_timeout` seconds
    and a line on standard error.

    Args:
        cell: its report is written.
        project: PROJECT or ENTITY/PROJECT; None for `logger.project`.
    """
    import wandb

    options, name, folder = cell.settings.logger, cell.experiment.name, cell.report.resolve()
    entity, _, plain_project = (project or options.project).rpartition("/")
    try:
        run = wandb.init(
            entity=entity or None,
            project=plain_project,
            dir=cell.folder.parent.resolve(),
            resume="allow",
            name=f"report {folder.name}",
            id=config_hash({"report": [name, folder.name]}),
            group=name,
            job_type="report",
            tags=[cell.scale],
            config={"experiment": name, "scale": cell.scale, "overrides": cell.study},
            mode="online",
            settings=client_settings(options),
        )
        page = wandb.Html(str(folder / "report.html"), inject=False)
        run.log({"report": page, "scores": wandb.Table(dataframe=pd.read_csv(folder / "scores.csv"))})
        run.log_artifact(report_artifact(f"{name}-{folder.name}", folder))
        run.finish()
    except Exception as error:  # of many kinds; the report is written, whatever became of its copy
        wandb.teardown()
        warn(f"W&B did not take the report ({reason(error)}); the same command sends it again")


def report_artifact(name: str, folder: Path) -> Any:
    """Page, Markdown, LaTeX, table and figures; the files are not copied."""
    import wandb

    plain = re.sub(r"[^\w.-]", "-", f"report-{name}", flags=re.ASCII)
    artifact = wandb.Artifact(plain[:128], type=ARTIFACT_TYPE)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="immutable")
    return artifact
