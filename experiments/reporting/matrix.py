"""The matrix of one experiment, arms × seeds: its complete cells with their scores on one test set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.records.cell_record import CellRecord
from experiments.records.experiment import Experiment
from experiments.records.fingerprints import shared_data
from experiments.reporting.arms import Arm, arm_label, arm_text, scores
from experiments.reporting.averages import METRICS, by_rows, mark_broken, score_tables, without_input_frames
from experiments.statistics.clips import Clips, FloatArray
from experiments.statistics.comparisons import overall_mean
from experiments.statistics.strata import CLIP_COLUMNS
from lightning_modules.metrics.table import PRIMARY, Metric

LIKE_IN_SIZE = 1.5  # the largest net by the smallest


@dataclass
class Matrix:
    """All that a report speaks about.

    Attributes:
        experiment: what is asked and compared.
        arms: the arms that have a complete cell, those of one baseline together, the baseline first.
        clips: the test clips; of length 0 if no cell is complete.
        metrics: what was measured in at least one arm; `primary` those of the pre-declared family.
        unused: cells that are not in the figures, and why.
        notes: what a reader must know to read the figures.
    """

    experiment: Experiment
    arms: list[Arm] = field(default_factory=list)
    clips: Clips = field(default_factory=lambda: Clips(np.array([], dtype=str), np.array([], dtype=str)))
    metrics: list[Metric] = field(default_factory=list)
    primary: list[Metric] = field(default_factory=list)
    unused: list[tuple[CellRecord, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    references: dict[str, dict[str, FloatArray]] | None = field(default=None, repr=False)  # once computed

    def baseline_of(self, arm: Arm) -> Arm | None:
        """The arm with the baseline's settings and, in all others, those of `arm`; None if it has no complete cell."""
        text = arm_text({**arm.settings, **self.experiment.baseline})
        return next((one for one in self.arms if one.text == text), None)

    def bound_of(self, arm: Arm) -> Arm | None:
        """The arm with the bound's settings and, in all others, those of `arm`; None if there is none."""
        settings = self.experiment.bound
        text = arm_text({**arm.settings, **settings})
        return next((one for one in self.others if settings and one.text == text), None)

    def is_baseline(self, arm: Arm) -> bool:
        """Whether `arm` is what others are compared with."""
        return self.baseline_of(arm) is arm

    @property
    def baselines(self) -> list[Arm]:
        """One an arm of the axes that the baseline does not name: one where it names them all."""
        return [arm for arm in self.arms if self.is_baseline(arm)]

    @property
    def others(self) -> list[Arm]:
        """The arms that are no baseline."""
        return [arm for arm in self.arms if not self.is_baseline(arm)]

    @property
    def baseline_name(self) -> str:
        """What the arms are compared with, in words that hold for all of them."""
        if len(self.baselines) == 1:
            return self.baselines[0].label
        return f"{arm_label(self.experiment.baseline, self.experiment.labels)} (all else alike)"

    @property
    def main_metrics(self) -> list[Metric]:
        """Those of the first table."""
        return [metric for metric in self.metrics if metric.in_main_table or metric in self.primary]

    def paired_seeds(self, arm: Arm) -> list[int]:
        """Seeds that `arm` and its baseline both have; none without a baseline."""
        baseline = self.baseline_of(arm)
        return sorted(set(arm.seeds) & set(baseline.seeds)) if baseline else []

    def same_weights(self, arm: Arm) -> bool:
        """Whether `arm` and its baseline are one net a seed, run in two ways: no training is between them."""
        baseline = self.baseline_of(arm)
        pairs = [(arm.weights[seed], baseline.weights[seed]) for seed in self.paired_seeds(arm)] if baseline else []
        return bool(pairs) and all(one is not None and one == other for one, other in pairs)


def seed_means(matrix: Matrix, arm: Arm, metric: Metric) -> FloatArray:
    """(seeds,) overall means of an arm: clip → stratum → mean of strata."""
    return overall_mean(scores(arm, metric), matrix.clips)


def build_matrix(experiment: Experiment, cells: Sequence[CellRecord]) -> Matrix:
    """Sort cells into arms, leaving out those that cannot be compared and saying why.

    Raises:
        ValueError: a primary metric is not known, or the cells are of several scales.
    """
    primary = experiment.primary or PRIMARY
    unknown = [key for key in primary if key not in METRICS]
    if unknown:
        raise ValueError(f"primary metric {', '.join(unknown)} is not known; choose from {', '.join(METRICS)}")
    scales = sorted({cell.scale for cell in cells if cell.scale})
    if len(scales) > 1:
        raise ValueError(f"cells of the scales {', '.join(scales)} do not belong in one report; pass those of one")
    matrix = Matrix(experiment)
    tables = _usable(cells, matrix)
    if not tables:
        return matrix
    undefined = _undefined([table for _, table in tables])
    matrix.notes += _undefined_notes(undefined)
    tables = [(cell, mark_broken(table, undefined)) for cell, table in tables]
    matrix.clips = _clips(tables[0][1])
    matrix.arms = _arms(tables, experiment.labels)
    matrix.metrics = [metric for metric in METRICS.values() if any(arm.has(metric) for arm in matrix.arms)]
    matrix.primary = [metric for metric in matrix.metrics if metric.key in primary] or matrix.metrics[:1]
    absent = [METRICS[key].label for key in primary if METRICS[key] not in matrix.metrics]
    matrix.notes += [f"{label} was not measured." for label in absent] + _absent_notes(matrix)
    free = {
        arm.text: {key: value for key, value in arm.settings.items() if key not in matrix.experiment.baseline}
        for arm in matrix.arms
    }
    matrix.arms = sorted(
        matrix.arms, key=lambda arm: (_natural(free[arm.text]), not matrix.is_baseline(arm), _natural(arm.settings))
    )
    matrix.notes += _baseline_notes(matrix) + _nan_notes(matrix) + _seed_notes(matrix) + _memory_notes(matrix)
    matrix.notes += _size_notes(matrix)
    return matrix


def _usable(cells: Sequence[CellRecord], matrix: Matrix) -> list[tuple[CellRecord, pd.DataFrame]]:
    """Complete cells and their tables, one an arm and seed, all on the same test set."""
    tables: dict[tuple[str, int], tuple[CellRecord, pd.DataFrame]] = {}
    known: list[_Rows] = []
    for cell in sorted(cells, key=lambda cell: cell.finished, reverse=True):
        place = (arm_text(cell.arm), cell.seed)
        if cell.status != "complete":
            matrix.unused.append(
                (cell, cell.error or ("not finished" if cell.status == "running" else "no error told"))
            )
        elif place in tables:
            matrix.unused.append((cell, "the same arm and seed were run again later"))
        else:
            try:
                cell.check()
                table = without_input_frames(cell.read_frames())
            except ValueError as error:
                matrix.unused.append((cell, str(error)))
                continue
            tables[place] = (cell, _named(table, cell.seed, known))
    _leave_out_other_data(tables, matrix)
    sets = {place: _test_set(table) for place, (_, table) in tables.items()}
    most_common = Counter(sets.values()).most_common(1)
    for place, test_set in sets.items():
        if test_set != most_common[0][0]:
            matrix.unused.append((tables.pop(place)[0], "tested on other clips or frames than the other cells"))
    return list(tables.values())


def _leave_out_other_data(tables: dict[tuple[str, int], tuple[CellRecord, pd.DataFrame]], matrix: Matrix) -> None:
    """Keep the cells of the data that most of them saw, and those that do not say what they saw, with a note."""
    seen = {place: shared_data(cell.data) for place, (cell, _) in tables.items()}
    known = Counter(data for data in seen.values() if data is not None).most_common(1)
    if not known:
        return
    for place, data in seen.items():
        if data is None:
            matrix.notes.append(f"{tables[place][0].cell}: its record does not say what data it is of.")
        elif data != known[0][0]:
            matrix.unused.append((tables.pop(place)[0], f"of other data ({data}) than the other cells ({known[0][0]})"))


@dataclass(frozen=True)
class _Rows:
    """Clips and frames of a table's rows as they stand there, the clips' names as categories, and their order."""

    told: pd.DataFrame
    names: dict[str, pd.Series[Any]]
    order: NDArray[np.intp]


def _named(table: pd.DataFrame, seed: int, known: list[_Rows]) -> pd.DataFrame:
    """Rows by condition, clip, scene and frame; names are categories, which sort and group far sooner than text.

    `known` gets those of the table: hundreds of cells are of the same clips and frames, which are sorted once.
    """
    told = table[[*CLIP_COLUMNS, "frame"]]
    rows = next((rows for rows in known if rows.told.equals(told)), None)
    if rows is None:
        names = {name: table[name].astype(str).astype("category") for name in CLIP_COLUMNS}
        ranks = [names[name].cat.codes.to_numpy() for name in reversed(CLIP_COLUMNS)]
        rows = _Rows(told, names, np.lexsort((table["frame"].to_numpy(), *ranks)))
        known.append(rows)
    return table.assign(seed=seed, **rows.names).iloc[rows.order].reset_index(drop=True)


def _undefined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Where no cell has a figure, or a single one has none beside its MAD: there is nothing to measure."""
    if len(tables) == 1:
        marked = mark_broken(tables[0])
        return pd.DataFrame({m.column: marked[m.column].isna() for m in METRICS.values() if m.column in marked})
    found = {}
    for name in dict.fromkeys(metric.column for metric in METRICS.values()):
        known = [table[name].isna() for table in tables if name in table]
        if known:
            found[name] = np.logical_and.reduce([one for one in known if not one.all()] or known)
    return pd.DataFrame(found)


def _test_set(table: pd.DataFrame) -> frozenset[Any]:
    return frozenset(table.groupby(CLIP_COLUMNS).size().items())


def _clips(table: pd.DataFrame) -> Clips:
    clips = table[CLIP_COLUMNS].drop_duplicates().sort_values(CLIP_COLUMNS)  # the order of `score_table`
    return Clips(clips["clip"].to_numpy(dtype=str), clips["stratum"].to_numpy(dtype=str))


def _arms(tables: list[tuple[CellRecord, pd.DataFrame]], labels: Mapping[str, str]) -> list[Arm]:
    arms: dict[str, list[tuple[CellRecord, pd.DataFrame]]] = {}
    for cell, table in sorted(tables, key=lambda item: item[0].seed):
        arms.setdefault(arm_text(cell.arm), []).append((cell, table))
    found, known = [], list[_Rows]()
    for text, members in arms.items():
        settings = members[0][0].arm
        frames = pd.concat([table for _, table in members], ignore_index=True)
        cells = [cell for cell, _ in members]
        found.append(Arm(text, arm_label(settings, labels), settings, cells, frames, _states(cells, known)))
    return found


def _states(cells: Sequence[CellRecord], known: list[_Rows]) -> pd.DataFrame | None:
    tables = [(cell, cell.read_memory()) for cell in cells]
    named = [mark_broken(_named(table, cell.seed, known)) for cell, table in tables if table is not None]
    return pd.concat(named, ignore_index=True) if named else None


def _natural(settings: dict[str, Any]) -> list[tuple[int, float, str]]:
    """Sort key: numbers by size, other values by name."""
    return [
        (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value)) for value in settings.values()
    ]


def _baseline_notes(matrix: Matrix) -> list[str]:
    if not matrix.experiment.baseline and len(matrix.arms) > 1:
        return ["The experiment names no baseline: nothing is compared."]
    alone = [arm for arm in matrix.arms if matrix.baseline_of(arm) is None]
    missing: dict[str, list[str]] = {}
    for arm in alone:
        missing.setdefault(arm_text({**arm.settings, **matrix.experiment.baseline}), []).append(arm.label)
    return [
        f"The baseline {text} has no complete cell: "
        + ("nothing is compared." if alone == matrix.arms else f"{'; '.join(labels)} cannot be compared.")
        for text, labels in missing.items()
    ]


def _absent_notes(matrix: Matrix) -> list[str]:
    notes = []
    colourless = [arm.label for arm in matrix.arms if not arm.frames.get("foreground_predicted", pd.Series(True)).any()]
    for metric in matrix.metrics:
        # A net without flow has no end-point error in any cell, as the scores show.
        asked = [arm for arm in matrix.arms if metric.column in arm.frames or "flow" not in metric.needs]
        asked = [arm for arm in asked if arm.label not in colourless or "foreground" not in metric.needs]
        without = [arm.label for arm in asked if not arm.has(metric)]
        if without and not metric.derived:
            notes.append(f"{metric.label} was not measured in every cell of {'; '.join(without)}.")
    if colourless and any("foreground" in metric.needs for metric in matrix.metrics):
        notes.append(f"No foreground is predicted by {'; '.join(colourless)}: none is scored.")
    return notes


def _memory_notes(matrix: Matrix) -> list[str]:
    untold = [arm.label for arm in matrix.arms if any(cell.memory == "" for cell in arm.cells)]
    return [f"Whether the memory is used was not measured in every cell of {'; '.join(untold)}."] if untold else []


def _size_notes(matrix: Matrix) -> list[str]:
    """That nets of unlike size are compared."""
    sizes = [(max(cell.cost.get("parameters") or 0 for cell in arm.cells), arm.label) for arm in matrix.arms]
    known = [(count, label) for count, label in sizes if count]
    if not known or max(known)[0] <= LIKE_IN_SIZE * min(known)[0]:
        return []
    ends = [f"{count / 1e6:.2f} ({label})" for count, label in (min(known), max(known))]
    return [f"Arms differ in size, from {' to '.join(ends)} million parameters: that, too, may make their difference."]


def _undefined_notes(undefined: pd.DataFrame) -> list[str]:
    counts = {name: int(column.sum()) for name, column in undefined.items() if 0 < column.sum() < len(undefined)}
    return [
        f"{METRICS[str(name)].label} has nothing to measure in {count} of {len(undefined)} frames: they are left out."
        for name, count in counts.items()
    ]


def _nan_notes(matrix: Matrix) -> list[str]:
    notes = []
    for arm in matrix.arms:
        for metric in matrix.metrics:
            if not arm.has(metric) or metric.derived:
                continue
            bad = arm.frames.loc[np.isinf(arm.frames[metric.column]), "seed"]
            if len(bad):
                seeds = ", ".join(str(seed) for seed in sorted(set(bad)))
                notes.append(
                    f"{metric.label} of {arm.label} is NaN in {len(bad)} frames (seed {seeds}): it has no mean."
                )
    return notes


def _seed_notes(matrix: Matrix) -> list[str]:
    notes = []
    for arm in matrix.others:
        baseline, common = matrix.baseline_of(arm), matrix.paired_seeds(arm)
        if baseline is None:
            continue
        if not common:
            notes.append(f"{arm.label} has no seed in common with {baseline.label}: it is not compared.")
        elif arm.seeds != baseline.seeds:
            seeds = ", ".join(str(seed) for seed in common)
            notes.append(f"{arm.label} and {baseline.label} have different seeds: they are compared on {seeds} only.")
    return notes


def reference_means(matrix: Matrix) -> dict[str, dict[str, FloatArray]]:
    """Overall means of `baselines.parquet` ("constant alpha", "untrained", …): method → metric → (cells,)."""
    if matrix.references is None:
        matrix.references = _reference_means(matrix)
    return matrix.references


def _reference_means(matrix: Matrix) -> dict[str, dict[str, FloatArray]]:
    tables, words = list[pd.DataFrame](), [*CLIP_COLUMNS, "method"]
    told = names = pd.DataFrame()
    for cell in (cell for arm in matrix.arms for cell in arm.cells):
        with suppress(ValueError):
            table = cell.read_baselines()
            if table is not None and "method" in table:
                if not table[words].equals(told):  # a million names, which take longest to split and sort
                    told = table[words]
                    names = told.astype("category")
                # What is told apart by seeds elsewhere are cells here.
                tables.append(without_input_frames(table.assign(seed=len(tables), **names)))
    found: dict[str, dict[str, FloatArray]] = {}
    together = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=words)
    together[words] = together[words].astype("category")  # where cells are of other clips
    for method, rows in together.groupby("method", observed=True):
        by_metric = found.setdefault(str(method), {})
        # Not of the flow: some estimators are never trained.
        metrics = [metric for metric in matrix.metrics if metric.column in rows and "flow" not in metric.needs]
        measured = rows.groupby("seed")[list({metric.column for metric in metrics})].count() > 0
        for key, table in score_tables(mark_broken(rows), metrics).items():
            means = table[measured[METRICS[key].column]]
            if len(means):
                strata, clips = (means.columns.get_level_values(name).to_numpy(str) for name in ("stratum", "clip"))
                by_metric[key] = overall_mean(by_rows(means), Clips(clips, strata))
    return found
