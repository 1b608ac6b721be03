"""Run records from a W&B project back onto disk, so that a report can be made where nothing was trained."""

from __future__ import annotations

import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from experiments.command.messages import reason
from experiments.logging.wandb_client import strip_key
from experiments.logging.wandb_runs import RECORD_FILES
from experiments.records.cell_record import CellRecord
from experiments.records.identity import short_name


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
    import wandb

    strip_key()
    cells: set[str] = set()
    try:
        for run in wandb.Api().runs(project, filters={"config.experiment": experiment}, order="-created_at"):
            if str(run.config.get("cell")) not in cells and (cell := _download(run, folder)):
                cells.add(cell)
    except (wandb.Error, OSError, ValueError) as error:
        raise ValueError(f"W&B project {project} cannot be read: {reason(error)}") from error
    if not cells:
        raise ValueError(f"W&B project {project} has no records of {experiment}; was it logged with this version?")
    return sorted(cells)


def _download(run: Any, folder: Path) -> str | None:
    """The cell that a run recorded, None if it left no record (it runs, or was cut off).

    Only files that a record has are taken, into the folder that the record itself names.
    """
    wanted = {file.name.rpartition("/")[2]: file for file in run.files() if _is_record_file(file.name)}
    if "record.json" not in wanted:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download") as temporary:
        root = Path(temporary)
        for file in wanted.values():
            file.download(root=temporary, replace=True)
        record = CellRecord.load((root / wanted["record.json"].name).parent)
        target = folder / short_name(record.cell, 200)
        target.mkdir(exist_ok=True)
        for name in sorted(wanted, key=lambda name: name == "record.json"):  # last: it says that the rest is there
            (root / wanted[name].name).replace(target / name)
    return record.cell


def _is_record_file(name: str) -> bool:
    """Whether a run's file is CELL/FILE of a record; the run's own config.yaml is not.

    >>> _is_record_file("seed=0/record.json"), _is_record_file("config.yaml"), _is_record_file("../record.json")
    (True, False, False)
    """
    cell, _, file = name.partition("/")
    return cell not in ("", ".", "..") and any(fnmatch(file, pattern) and "/" not in file for pattern in RECORD_FILES)
