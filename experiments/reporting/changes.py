"""What changed from one report of an experiment to another: numbers, settings, code and machine."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.command.messages import reason
from experiments.records.cell_record import CellRecord, is_cell, read_cells
from experiments.records.experiment import Experiment
from experiments.reporting.arms import scores
from experiments.reporting.averages import METRICS
from experiments.reporting.cells_file import NAME, CellFacts, facts_of, read_facts
from experiments.reporting.formatting import Table, number, percent, with_interval
from experiments.reporting.grouping import experiments_of
from experiments.reporting.matrix import build_matrix
from experiments.statistics.bootstrap import Estimate
from experiments.statistics.comparisons import overall_mean
from experiments.statistics.verdicts import Shift
from lightning_modules.metrics.table import PRIMARY

DIGITS = 6  # of a score in `scores.csv`


@dataclass(frozen=True)
class Scores:
    """One metric of one arm over all clips; `primary` of the report's experiment."""

    label: str
    primary: bool
    by_seed: dict[int, float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(list(self.by_seed.values())))


@dataclass(frozen=True)
class Side:
    """A report, or the cells of one comparison: what two of them can be told apart by.

    Attributes:
        place: its folder.
        scores: by (arm, metric).
        conditions: of the test, and how many clips each has.
        cells: None where nothing tells of them.
    """

    place: str
    scores: dict[tuple[str, str], Scores]
    conditions: dict[str, int]
    cells: list[CellFacts] | None

    @property
    def test_data(self) -> set[str]:
        """Fingerprints of what its cells were tested on."""
        return {cell.world["test data"] for cell in self.cells or () if "test data" in cell.world}


def side_of_report(folder: Path) -> Side:
    """A folder of a report.

    Raises:
        ValueError: a file in it cannot be read.
    """
    path, found, conditions = folder / "scores.csv", {}, {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["stratum"] == "all":
                    seeds = dict(each.split(":") for each in row["by_seed"].split())
                    by_seed = {int(seed): float(value) for seed, value in seeds.items()}
                    found[row["arm"], row["metric"]] = Scores(row["label"], row["primary"] == "True", by_seed)
                else:
                    conditions[row["stratum"]] = int(row["clips"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}); build the report again") from error
    return Side(str(folder), found, conditions, read_facts(folder))


def side_of_records(place: str, description: Experiment, cells: Sequence[CellRecord]) -> Side:
    """The complete cells of one comparison."""
    matrix = build_matrix(description, cells)
    found = {}
    for arm in matrix.arms:
        for metric in (metric for metric in matrix.metrics if arm.has(metric)):
            means = overall_mean(scores(arm, metric), matrix.clips)
            by_seed = {seed: float(f"{mean:.{DIGITS}g}") for seed, mean in zip(arm.seeds, means, strict=True)}
            found[arm.text, metric.key] = Scores(arm.label, metric.key in PRIMARY, by_seed)
    conditions = {name: int((matrix.clips.stratum == name).sum()) for name in matrix.clips.strata}
    return Side(place, found, conditions, facts_of(cell for arm in matrix.arms for cell in arm.cells))


@dataclass(frozen=True)
class Changes:
    """All that differs between two sides: tables without rows where nothing does.

    Attributes:
        scores: every arm and primary metric that both have.
        notes: what only one has, and what cannot be told.
        summary: in a sentence.
    """

    before: str
    after: str
    summary: str
    notes: list[str]
    scores: Table
    settings: Table
    code: Table

    def to_text(self) -> str:
        """For a terminal: what changed alone."""
        shown = [table.to_text() for table in (self.scores, self.settings, self.code) if table.rows]
        return "\n\n".join(["\n".join([self.summary, *self.notes]), *shown]) + "\n"


def compared_pairs(before: Path, after: Path) -> tuple[dict[str, Changes], list[str]]:
    """What changed in each comparison that both folders have, by its name, and notes of those that one has.

    Args:
        before: of a report, results/EXPERIMENT/SCALE, or of records, outputs/EXPERIMENT.
        after: likewise. Where each has one comparison, these are compared whatever they are called.

    Raises:
        ValueError: a folder holds neither, or a file in it cannot be read, or they have no comparison in common.
    """
    one, other = _sides(before), _sides(after)
    if len(one) == len(other) == 1:
        return {next(iter(other)): changes(next(iter(one.values())), next(iter(other.values())))}, []
    both = [name for name in one if name in other]
    if not both:
        raise ValueError(f"{before} has {', '.join(one)} and {after} has {', '.join(other)}: nothing to compare")
    alone = [
        (folder, [name for name in found if name not in both]) for folder, found in ((before, one), (after, other))
    ]
    notes = [f"Only {folder} has {', '.join(names)}." for folder, names in alone if names]
    return {name: changes(one[name], other[name]) for name in both}, notes


def _sides(folder: Path) -> dict[str, Side]:
    if (folder / "scores.csv").is_file() and not is_cell(folder):
        return {folder.name: side_of_report(folder)}
    cells = [cell for cell in read_cells(folder) if cell.status == "complete"]
    if not cells:
        raise ValueError(f"{folder}: neither a report nor complete records; name results/EXPERIMENT/SCALE or "
                         "outputs/EXPERIMENT")  # fmt: skip
    found = experiments_of(folder.name, cells)
    return {name: side_of_records(str(folder), *described) for name, described in found.items()}


def changes(before: Side, after: Side) -> Changes:
    """What changed between two sides."""
    keys = [key for key in before.scores if key in after.scores]
    keys = [key for key in keys if before.scores[key].primary or after.scores[key].primary]
    told = {key: _shift(before, after, key) for key in keys}
    both = _cells_of_both(before, after)
    settings, code = _settings_table(both), _code_table(before, after)
    counts = Counter(told.values())
    changed = [f"{count} of {len(told)} scores {shift}" for shift, count in counts.items() if shift is not Shift.SAME]
    changed += [f"{len(settings.rows)} settings"] if settings.rows else []
    changed += [f"{len(code.rows)} facts of code, data or machine"] if code.rows else []
    notes = _notes(before, after)
    summary = f"What changed: {'; '.join(changed)}." if changed else "No difference."
    if not changed and notes:
        summary = "No difference in what both have."
    rows = [_scores_row(before, after, key, shift) for key, shift in told.items()]
    columns = ["Arm", "Metric", "Before", "After", "Difference [95 %]", "Relative", "Verdict", "Seeds"]
    note = "Mean over seeds. The interval is Student's t for two means whose spreads differ (Welch), over seeds alone: "
    note += "both were scored on the same clips. Beyond what seeds do: it leaves 0 out, as one in twenty does where "
    note += "nothing changed."
    return Changes(
        before.place, after.place, summary, notes, Table("Numbers", columns, rows, note, text_columns=2), settings, code
    )


def _shift(before: Side, after: Side, key: tuple[str, str]) -> Shift:
    one, other = before.scores[key], after.scores[key]
    data = before.test_data, after.test_data
    if before.conditions != after.conditions or (all(data) and data[0] != data[1]):
        return Shift.OTHER_TEST
    if one.by_seed == other.by_seed or (np.isnan(one.mean) and np.isnan(other.mean)):
        return Shift.SAME
    difference = _difference(one, other)
    if not math.isfinite(difference.low):
        return Shift.ONE_SEED
    return Shift.WITHIN if difference.low <= 0 <= difference.high else Shift.BEYOND


def _difference(one: Scores, other: Scores) -> Estimate:
    """Of the means, after less before, with Welch's interval where both have two seeds."""
    a, b = (np.array(list(each.by_seed.values())) for each in (one, other))
    value = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    if not (a.std() or b.std()):
        return Estimate(value, value, value)
    from scipy.stats import ttest_ind  # here: half a second, for which no other report should wait

    interval = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    return Estimate(value, float(interval.low), float(interval.high))


def _scores_row(before: Side, after: Side, key: tuple[str, str], shift: Shift) -> list[str]:
    one, other = before.scores[key], after.scores[key]
    difference = _difference(one, other)
    relative = Estimate(difference.value / one.mean if one.mean else math.nan, math.nan, math.nan)
    shown = ["—", "—"] if shift is Shift.OTHER_TEST else [with_interval(difference), percent(relative)]
    seeds = " → ".join(dict.fromkeys(str(len(each.by_seed)) for each in (one, other)))
    metric = METRICS[key[1]].heading if key[1] in METRICS else key[1]
    return [other.label, metric, number(one.mean), number(other.mean), *shown, shift.value, seeds]


def _notes(before: Side, after: Side) -> list[str]:
    notes = []
    for one, other in ((before, after), (after, before)):
        arms, theirs = {arm: each.label for (arm, _), each in one.scores.items()}, {arm for arm, _ in other.scores}
        if missing := [label for arm, label in arms.items() if arm not in theirs]:
            notes.append(f"Only {one.place} has {'; '.join(missing)}.")
        if one.cells is None:
            notes.append(f"{one.place} has no {NAME}: nothing tells of its settings, code and machine.")
        elif other.cells is not None:
            others = {(cell.arm, cell.seed) for cell in other.cells}
            cells = [cell for cell in one.cells if cell.arm in theirs and (cell.arm, cell.seed) not in others]
            if cells:
                notes.append(f"Only {one.place} has {'; '.join(_name(cell) for cell in cells)}.")
    if before.conditions != after.conditions:
        told = (", ".join(f"{name} × {clips}" for name, clips in each.conditions.items()) for each in (before, after))
        notes.append(f"The conditions of the test differ: {' → '.join(told)}.")
    return notes


def _name(cell: CellFacts) -> str:
    return ",".join(filter(None, [cell.arm, f"seed={cell.seed}"]))


def _cells_of_both(before: Side, after: Side) -> list[tuple[CellFacts, CellFacts]]:
    others = {(cell.arm, cell.seed): cell for cell in after.cells or ()}
    return [(cell, others[cell.arm, cell.seed]) for cell in before.cells or () if (cell.arm, cell.seed) in others]


def _settings_table(both: Sequence[tuple[CellFacts, CellFacts]]) -> Table:
    """Settings that differ, a row for each change, with the cells that it is in."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one, other in both:
        for key, was, now in _apart(one.settings, other.settings):
            found.setdefault((key, was, now), []).append(_name(one))
    rows = [
        [*change, f"all {len(both)}" if len(cells) == len(both) else "; ".join(cells)]
        for change, cells in found.items()
    ]
    note = "Settings that cannot change a number, such as the logger, are left out."
    return Table("Settings", ["Setting", "Before", "After", "Cells"], rows, note, text_columns=4)


def _apart(one: Mapping[str, str], other: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield key, one.get(key, "—"), other.get(key, "—")


def _code_table(before: Side, after: Side) -> Table:
    """Commit, versions, data and hardware that differ, each with all of its values."""
    one, other = (_together(side.cells or ()) for side in (before, after))
    comparable = before.cells is not None and after.cells is not None
    rows = [list(change) for change in _apart(one, other)] if comparable else []
    return Table("Code, data and machine", ["What", "Before", "After"], rows, text_columns=3)


def _together(cells: Sequence[CellFacts]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, value in cell.world.items():
            found.setdefault(name, {})[value] = None
    return {name: "; ".join(sorted(values)) for name, values in found.items()}
