"""Run records from a W&B project back onto disk, so that a report can be made where nothing was trained."""

from __future__ import annotations

import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import wandb

from experiments.records import CellRecord
from experiments.study import short_name
from experiments.wandb_runs import ARTIFACT_TYPE, RECORD_FILES, one_line


def download_records(project: str, experiment: str, folder: Path) -> list[str]:
    """Write the newest record of each cell of an experiment into FOLDER/CELL.

    Args:
        project: ENTITY/PROJECT, or PROJECT of the default entity.
        experiment: its name.
        folder: like `outputs/EXPERIMENT`; cells that are there already are replaced by those of the project.

    Returns:
        Names of the cells, sorted.

    Raises:
        ValueError: the server cannot be reached, or the project has no such record.
    """
    try:
        runs = wandb.Api().runs(project, filters={"config.experiment": experiment}, order="-created_at")
        found = {artifact.metadata["cell"]: artifact for run in reversed(list(runs)) if (artifact := _newest(run))}
        for artifact in found.values():
            _download(artifact, folder)
    except (wandb.Error, OSError, ValueError) as error:
        raise ValueError(f"W&B project {project} cannot be read: {one_line(error)}") from error
    if not found:
        raise ValueError(f"W&B project {project} has no records of {experiment}; was it logged with this version?")
    return sorted(found)


def _newest(run: Any) -> Any:
    """The run's last record artifact, None if it left none."""
    records = [artifact for artifact in run.logged_artifacts() if artifact.type == ARTIFACT_TYPE]
    return max(records, key=lambda artifact: int(artifact.version.removeprefix("v")), default=None)


def _download(artifact: Any, folder: Path) -> None:
    """Only files that a record has, under the name that the record itself gives its cell."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download") as temporary:
        for name in artifact.manifest.entries:
            if ".." not in Path(name).parts and any(fnmatch(name, pattern) for pattern in RECORD_FILES):
                artifact.get_entry(name).download(root=temporary, skip_cache=True)
        record = CellRecord.load(Path(temporary))
        target = folder / short_name(record.cell, 200)
        for path in sorted(Path(temporary).rglob("*")):
            if path.is_file() and path.name != "record.json":
                _move(path, target / path.relative_to(temporary))
        _move(Path(temporary) / "record.json", target / "record.json")  # last: it says that the rest is there


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
