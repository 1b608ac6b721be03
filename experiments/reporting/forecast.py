"""What a command would do, before it does it: cells, time, memory, disk, and the smallest effect that it could show.

Time, memory, disk and effect are those of cells of the same experiment, scale and shared settings that ran here. Where
there are none, a committed report of the same settings tells what they were on its machine; else they are unknown, and
said to be.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cells.cell import Cell
from experiments.command.messages import duration
from experiments.records.cell_record import CellRecord, read_cells
from experiments.reporting.arms import Arm, arm_text, scores
from experiments.reporting.averages import METRICS
from experiments.reporting.cells_file import flattened
from experiments.reporting.formatting import counted, filled, two_ends
from experiments.reporting.matrix import Matrix, build_matrix
from experiments.reporting.reference import Reference
from experiments.statistics.bootstrap import jackknife
from experiments.statistics.comparisons import log_ratio, mean_of
from experiments.statistics.verdicts import FEWEST_SEEDS, WaldTest
from experiments.training.settings import effective, settings_hash
from lightning_modules.metrics.table import Metric

UNKNOWN = "unknown: no cell of this experiment, scale and settings is complete here"
# Of its own clock a cell that was interrupted tells also how long it lay still: beyond a start and so much more than
# it trained and tested.
START_SECONDS, LONGEST_WALL = 180.0, 2.0


def plan(cells: Sequence[Cell], workers: int) -> str:
    """Lines for a terminal.

    Args:
        cells: all cells of a command, of one comparison.
        workers: cells at once.
    """
    first = cells[0]
    states = {cell.name: _state(cell) for cell in cells}
    to_go = [cell for cell in cells if states[cell.name] != "complete"]
    records, note = _records(cells)
    reference = None if records else _reference(cells)
    workers = min(workers, max(1, len(to_go)))
    lines = [f"plan      {first.experiment.name} at {first.scale}: {counted(len(cells), 'cell')}; nothing is started"]
    for state in ("complete", "to resume", "to run"):
        if named := [cell for cell, found in states.items() if found == state]:
            lines.append(f"{state:<10}{len(named)}: {'; '.join(named)}")
    time = f"{_time(to_go, records, workers)}{note}" if reference is None else _time_there(to_go, reference, workers)
    peaks = [record.peak_memory_gib for record in records] if reference is None else [reference.memory_gib]
    lines.append(f"time      {time}")
    lines.append(f"memory    {_memory(peaks, workers, '' if reference is None else ', as there')}")
    lines.append(f"disk      {_disk(records, len(to_go), Path(str(first.config['data']['cache_dir'])))}")
    return "\n".join(filled(line, 10) for line in [*lines, f"effect    {_effect(cells, records, reference)}"])


def before_start(cells: Sequence[Cell], workers: int) -> str:
    """Lines for a terminal, told before the first cell starts: cells, how long, where the report is.

    Quick for many cells: a complete record counts as it stands, `plan` checks its files.
    """
    first = cells[0]
    records = [record for cell in cells if (record := _recorded(cell)) is not None]
    complete = [record for record in records if record.status == "complete"]
    to_go, places = len(cells) - len(complete), min(workers, max(1, len(cells) - len(complete)))
    told = f", {len(complete)} of them complete before" if complete else ""
    time = "told once a cell is complete"
    if to_go and complete:
        time = f"about {duration(_makespan([statistics.median(map(seconds_of, complete))] * to_go, places))}"
    elif not to_go:
        time = "none: every cell is complete"
    return "\n".join([
        f"cells     {len(cells)} of {first.experiment.name} at {first.scale}{told}; {places} at once",
        f"time      {time}",
        f"report    {first.report}/report.html",
    ])  # fmt: skip


def _recorded(cell: Cell) -> CellRecord | None:
    try:
        return CellRecord.load(cell.folder)
    except ValueError:
        return None


def _records(cells: Sequence[Cell]) -> tuple[list[CellRecord], str]:
    """Complete cells of the comparison, those of these very settings where there are some, and else a note."""
    first = cells[0]
    complete = [
        record
        for record in read_cells(first.folder.parent)
        if record.status == "complete" and (record.scale, record.study) == (first.scale, first.study)
    ]
    settings = {_without_seed(cell.config) for cell in cells}
    alike = [record for record in complete if _settings_of(record) in settings]
    return alike or complete, "" if alike or not complete else "; all of them with other settings than now"


def _reference(cells: Sequence[Cell]) -> Reference | None:
    """The committed report, if each of these cells has the settings of one of its own, but for the seed."""
    reference = Reference.of(cells[0].report)
    there = [] if reference is None else [settings | {"seed": ""} for settings in reference.settings]
    same = all(flattened(effective(cell.config)) | {"seed": ""} in there for cell in cells)
    return reference if same else None


def _settings_of(record: CellRecord) -> str:
    try:
        return _without_seed(record.read_config())
    except ValueError:  # a report leaves such a record out, too
        return ""


def _without_seed(config: dict[str, Any]) -> str:
    return settings_hash(config | {"seed": 0})


def _state(cell: Cell) -> str:
    if cell.is_complete():
        return "complete"
    try:
        record = CellRecord.load(cell.folder)
    except ValueError:
        return "to run"
    begun = any((cell.folder / "checkpoints").glob("*"))
    return "to resume" if begun and not cell.difference(record) else "to run"


def _time(to_go: Sequence[Cell], records: Sequence[CellRecord], workers: int) -> str:
    if not to_go:
        return "none: every cell is complete"
    if not records:
        return UNKNOWN
    took: dict[str, list[float]] = {}
    trunk = _trunk_seconds(records)
    for record in records:
        trained = any("trunk" in stage for stage in record.steps.values()) and "found_seconds" not in record.durations
        took.setdefault(arm_text(record.arm), []).append(seconds_of(record) - (trunk if trained else 0.0))
    everywhere = [seconds for found in took.values() for seconds in found]
    each = [statistics.median(took.get(arm_text(cell.arm), everywhere)) for cell in to_go]
    if trunk:
        each = [own + (trunk if trains else 0.0) for own, trains in zip(each, _train_trunks(to_go), strict=True)]
    like = sum(arm_text(cell.arm) not in took for cell in to_go)
    told = f"about {duration(_makespan(each, workers))}"
    told += f", {workers} at once: the median of the arm's complete cells ({len(records)} in all)"
    return f"{told}; {like} of arms that have none like the other arms" if like else told


def _time_there(to_go: Sequence[Cell], reference: Reference, workers: int) -> str:
    """Of seeds that the reference lacks as of its middle cell."""
    middle = statistics.median(reference.minutes.values())
    each = [60 * reference.minutes.get(cell.name, middle) for cell in to_go]
    told = f"about {duration(_makespan(each, workers))}, {workers} at once"
    return f"{told}, as on the machine of {reference.place} ({reference.machine})"


def _trunk_seconds(records: Sequence[CellRecord]) -> float:
    """What a trunk took that other cells found; 0 where none did."""
    found = [record.durations["found_seconds"] for record in records if "found_seconds" in record.durations]
    return statistics.median(found) if found else 0.0


def _train_trunks(cells: Sequence[Cell]) -> list[bool]:
    """Which of the cells will train a trunk, if they start in this order."""
    from experiments.training.trunk import trunk_place  # here: it imports torch

    there, trains = set[Path](), list[bool]()
    for cell in cells:
        named = [name for name, stage in cell.settings.stages.items() if stage.trunk is not None]
        places = {trunk_place(cell.settings, name, cell.folder) / "checkpoints" / f"{name}.pt" for name in named}
        trains.append(any(not place.is_file() for place in places - there))
        there |= places
    return trains


def seconds_of(record: CellRecord) -> float:
    """From a complete cell's start to its end; of one that lay still or waited for a trunk, training and test alone."""
    worked = record.seconds
    if "found_seconds" in record.durations:
        return worked
    wall = (datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)).total_seconds()
    return wall if worked <= wall <= START_SECONDS + LONGEST_WALL * worked else worked


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Until the last has ended when each starts, in order, as soon as a place is free.

    >>> _makespan([3, 2, 2], 2)
    4
    """
    ends: list[float] = [0] * workers
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _memory(measured: Sequence[float | None], workers: int, where: str) -> str:
    peaks = [each for each in measured if each is not None]
    if not peaks:
        return UNKNOWN
    return f"{max(peaks):.1f} GiB a cell, {workers * max(peaks):.1f} GiB for {workers} at once{where}"


def _disk(records: Sequence[CellRecord], cells: int, cache: Path) -> str:
    held = (
        f"the cache {cache} holds {_size(cache) / 1e6:.0f} MB" if cache.is_dir() else f"the cache {cache} is yet empty"
    )
    if not records:
        return f"{UNKNOWN}; {held}"
    each = statistics.median(_size(record.folder) for record in records) / 1e6
    return f"{cells * each:.0f} MB for {cells} cells of {each:.1f} MB; {held}"


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a running cell moves its files into place
            total += path.stat().st_size if path.is_file() else 0
    return total


def _effect(cells: Sequence[Cell], records: Sequence[CellRecord], reference: Reference | None) -> str:
    """The smallest change of each primary metric that four of five such experiments show.

    Told is that of the most varied arm. Bounds are left out: they differ from the baseline by far, and by more in some
    clips than in others.
    """
    seeds = len({cell.seed for cell in cells})
    trains = cells[0].trains
    if trains and seeds < FEWEST_SEEDS:
        return f"none can be shown with {seeds} seed{'' if seeds == 1 else 's'}: it takes {FEWEST_SEEDS}"
    matrix = build_matrix(cells[0].experiment, records)
    compared = {arm_text(cell.arm) for cell in cells if cell.arm != {**cell.arm, **matrix.experiment.baseline}}
    tests = max(1, len(compared) * len(matrix.primary))
    told = []
    for metric in matrix.primary:
        arms = [arm for arm in matrix.others if matrix.bound_of(arm) is not arm]
        shown = [each for arm in arms if (each := _smallest(matrix, arm, metric, seeds, tests)) is not None]
        if shown:
            told.append(f"{metric.label} {_two_ends(np.expm1([-max(shown), max(shown)]).tolist())}")
    if not told and reference is not None:
        bound = set(arm_text(cells[0].experiment.bound).split(","))
        for name, by_arm in reference.smallest.items():
            ends = [both for arm, both in by_arm.items() if not bound <= set(arm.split(","))]
            told += [f"{METRICS[name].label} {_two_ends(min(ends))}"] if ends else []
        if told:
            where = f"as {reference.place} tells of its own"
            return f"{', '.join(told)} would be shown by four of five such experiments, {where}"
    if not told:
        needed = "two seeds of an arm and of the baseline" if trains else "an arm and the baseline"
        return f"unknown: it takes {needed} that are complete here"
    size = counted(seeds, "seed") if trains else "these weights"
    return f"{', '.join(told)} would be shown by four of five such experiments of {size} and {tests} tests"


def _two_ends(ends: Iterable[float]) -> str:
    return two_ends(ends, "%", " / ")


def _smallest(matrix: Matrix, arm: Arm, metric: Metric, seeds: int, tests: int) -> float | None:
    """As a log ratio; None where fewer than two seeds that training tells apart are paired, or a score is zero."""
    baseline, paired, same = matrix.baseline_of(arm), matrix.paired_seeds(arm), matrix.same_weights(arm)
    if baseline is None or len(paired) < (1 if same else 2) or not (arm.has(metric) and baseline.has(metric)):
        return None
    logs = log_ratio(scores(arm, metric, paired), scores(baseline, metric, paired))
    spread = jackknife(mean_of(logs), len(paired), matrix.clips)
    if not spread.error > 0 or not np.isfinite(spread.clips):
        return None
    error, degrees = spread.error, spread.degrees
    if not same:
        error, degrees = spread.planned(len(paired), seeds, matrix.clips.num_foregrounds)
    return WaldTest(0.0, error, degrees, True).smallest_effect(tests)
