"""How the cells of an experiment stand: read from their folders while others work on them, changing nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from datamodules.files.writing import write_file
from experiments.records.cell_record import CellRecord, is_cell
from experiments.records.identity import short_name
from experiments.records.locks import is_locked
from experiments.records.progress import read_progress

State = Literal["complete", "running", "interrupted", "failed"]
STATES: tuple[State, ...] = get_args(State)
SIZES = "cells.json"  # beside the cells: how many each comparison has, those that have not begun included


@dataclass(frozen=True)
class Standing:
    """Where one cell stands.

    Attributes:
        comparison: scale and shared overrides, as the folder of its report is called.
        note: how far it is, or why it failed.
        share: of its present stage, from 0 to 1.
        seconds: of training and tests, of a complete one.
    """

    cell: str
    comparison: str
    state: State
    note: str = ""
    share: float = 0.0
    seconds: float = 0.0


def standings(experiment: Path) -> list[Standing]:
    """Every cell under OUTPUT_DIR/EXPERIMENT that has begun, by name; a record that cannot be read is a failed cell."""
    return [_standing(folder) for folder in sorted(experiment.iterdir()) if is_cell(folder)]


def _standing(folder: Path) -> Standing:
    try:
        record = CellRecord.load(folder)
    except ValueError as error:
        return Standing(folder.name, "", "failed", str(error))
    comparison = ",".join([record.scale, *([short_name(record.study)] if record.study else [])])
    if record.status == "failed":
        return Standing(record.cell, comparison, "failed", record.error)
    if record.status == "complete":
        return Standing(record.cell, comparison, "complete", seconds=record.seconds)
    progress = read_progress(folder)
    share = progress.done / max(1, progress.total) if progress else 0.0
    state: State = "running" if is_locked(folder) else "interrupted"
    return Standing(record.cell, comparison, state, str(progress or "starting"), share)


def note_size(experiment: Path, comparison: str, cells: int) -> None:
    """Keep how many cells a comparison has, for `waiting`."""
    experiment.mkdir(parents=True, exist_ok=True)
    write_file(experiment / SIZES, json.dumps(_sizes(experiment) | {comparison: cells}).encode())


def waiting(experiment: Path, comparison: str, begun: int) -> int:
    """How many cells of a comparison have not begun, as far as its latest start told."""
    return max(0, _sizes(experiment).get(comparison, 0) - begun)


def _sizes(experiment: Path) -> dict[str, int]:
    try:
        found = json.loads((experiment / SIZES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: size for name, size in found.items() if isinstance(size, int)} if isinstance(found, dict) else {}


def seconds_to_go(cells: Sequence[Standing], waiting: int) -> float | None:
    """Until all of a comparison are complete, if as many run at once as now; None while nothing tells.

    A cell takes what complete ones took in the mean; of a running one the share of its stage stands for the whole.
    """
    took = [cell.seconds for cell in cells if cell.state == "complete"]
    running = [cell for cell in cells if cell.state == "running"]
    if not took or not running:
        return None
    left = sum(1 - cell.share for cell in running) + waiting
    return statistics.fmean(took) * left / len(running)
