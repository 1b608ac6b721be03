"""The leaderboard: every net that was scored, by test set, with its scores' intervals, cost and machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.files.writing import write_file
from experiments.command.messages import reason
from experiments.records.cell_record import CellRecord, is_cell
from experiments.records.experiment import Experiment
from experiments.records.fingerprints import TEST_CONDITIONS, part_of_data
from experiments.records.identity import config_hash, short_name
from experiments.reporting.arms import Arm, arm_text, scores
from experiments.reporting.averages import METRICS
from experiments.reporting.formatting import Table, number, with_interval
from experiments.reporting.matrix import Matrix, build_matrix
from experiments.reporting.pages import render
from experiments.reporting.provenance import median
from experiments.statistics.bootstrap import Estimate, Resamples, can_resample, estimate
from experiments.statistics.comparisons import mean_of
from lightning_modules.metrics.table import PRIMARY

CONDITIONS = ("test_clip_length", "evaluation_seed", "difficulty", "test_strata")
RESAMPLES = 2_000
AGAIN = "; run the cell again"  # which nobody can who has but the record
GROUPED = (
    "One table a test set: scores stand beside one another only where people, places, conditions, clips, frame size "
    "and scoring are the same, by the fingerprints of the records. Within a table the lowest MAD comes first. Rows of "
    "one table may differ in what they were trained on: the column says it, where a record does. Intervals are 95 %, "
    "over people and seeds, each row by itself; whether one net is better than another is what a report says, which "
    "pairs them clip by clip."
)


@dataclass(frozen=True)
class Row:
    """One net, trained in one way, on one test set.

    Attributes:
        net: its name, and `settings` that its experiment compares or that it is run with.
        experiment: and scale and shared overrides: where its report lies, EXPERIMENT/SCALE.
        origin: "" for the records of this folder, else the folder of others.
        training: fingerprint of the data that it was trained on, or that its weights are published ones; "" where the
            record does not tell.
        figures: of the primary metrics, by key.
        cost: "parameters", "gmacs_per_frame", "train_seconds", medians over its cells.
    """

    test_set: str
    net: str
    settings: str
    experiment: str
    scale: str
    origin: str
    training: str
    seeds: int
    people: int
    figures: dict[str, Estimate]
    cost: dict[str, float | None]
    hardware: str

    @property
    def order(self) -> float:
        """By the first primary metric; those without come last."""
        value = self.figures[PRIMARY[0]].value if PRIMARY[0] in self.figures else math.nan
        return math.inf if math.isnan(value) else value


def write_leaderboard(outputs: Path, others: Sequence[Path], results: Path) -> tuple[Path, list[str]]:
    """Write `leaderboard.html`, `.md` and `.csv` into `results`.

    Args:
        outputs: of this project: EXPERIMENT/CELL.
        others: folders of records at any depth; their files must have the checksums that the records tell.
        results: the folder of reports.

    Returns:
        The page, and lines for a terminal: what was left out and why, and how many nets there are.

    Raises:
        ValueError: a folder of others is not there, or no record counts.
    """
    found, lines = list[tuple[str, CellRecord]](), list[str]()
    for origin, folder in (("", outputs), *((str(other), other) for other in others)):
        if origin and not folder.is_dir():
            raise ValueError(f"records={folder}: there is no such folder")
        for cell in _cells(folder):
            try:
                record = _checked(cell, ours=not origin)
            except ValueError as error:
                told = reason(error).removeprefix(f"{cell}/")
                lines.append(f"left out  {cell}: {told.removesuffix(AGAIN) if origin else told}")
                continue
            if record is not None:
                found.append((origin, record))
    tables, rows = _tables(found)
    if not rows:
        raise ValueError("\n".join([*lines, f"no complete record under {outputs}; smoke runs are none that counts"]))
    content = {
        "tables": [(table, [_report(row, results) for row in group]) for table, group in tables],
        "grouped": GROUPED,
        "left_out": [line.removeprefix("left out").strip() for line in lines],
        "ledger": (results / "claims.html").is_file(),
    }
    write_file(results / "leaderboard.csv", _frame(rows).to_csv(index=False).encode())
    write_file(results / "leaderboard.md", render("leaderboard.md.j2", content).encode())
    write_file(results / "leaderboard.html", render("leaderboard.html.j2", content).encode())
    return results / "leaderboard.html", [*lines, f"nets      {len(rows)} on {len(tables)} test sets"]


def _cells(folder: Path) -> Iterable[Path]:
    """Folders of cells at any depth; what lies in a cell is its own."""
    for place, names, _ in os.walk(folder):
        names.sort()
        if is_cell(Path(place)):
            names.clear()
            yield Path(place)


def _checked(folder: Path, ours: bool) -> CellRecord | None:
    """A complete record, all of its files as it tells; None for one that is not complete, or of a smoke run.

    Raises:
        ValueError: it is damaged, or is of others and lacks checksums.
    """
    record = CellRecord.load(folder)
    if record.status != "complete" or record.scale == "smoke":
        return None
    if not ours and not {"config.yaml", "metrics.parquet"} <= record.checksums.keys():
        raise ValueError("its record has no checksums, so nobody can tell whether it was changed")
    record.check()
    return record


def _tables(found: Sequence[tuple[str, CellRecord]]) -> tuple[list[tuple[Table, list[Row]]], list[Row]]:
    """A table with its rows for each test set, the largest first."""
    comparisons: dict[tuple[str, ...], list[CellRecord]] = {}
    titles: dict[str, str] = {}
    for origin, cell in found:
        test_set, title = _test_set(cell)
        titles[test_set] = title
        training = cell.trained_on or part_of_data(cell.data, "training")
        key = (test_set, origin, cell.experiment, cell.scale, cell.study, training)
        comparisons.setdefault(key, []).append(cell)
    by_set: dict[str, list[Row]] = {}
    for (test_set, origin, _, _, _, training), cells in comparisons.items():
        matrix = build_matrix(Experiment(cells[0].experiment), cells)
        draws: dict[int, Resamples | None] = {}
        by_set.setdefault(test_set, []).extend(
            _row(matrix, arm, draws, test_set, origin, training) for arm in matrix.arms
        )
    groups = sorted(by_set.items(), key=lambda item: -len(item[1]))
    ranked = [(titles[name], sorted(rows, key=lambda row: row.order)) for name, rows in groups]
    return [(_table(title, rows), rows) for title, rows in ranked], [row for _, rows in ranked for row in rows]


def _test_set(cell: CellRecord) -> tuple[str, str]:
    """A hash of all that decides what was scored and how, and what it is in words."""
    config, frames = cell.read_config(), cell.read_frames()
    given = config.get("data")
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    size = config.get("size") or data.get("test_size")
    clips = frames.groupby(["stratum", "clip", "scene"]).size()
    composed = TEST_CONDITIONS in (cell.data.get("parts") or {}) and config.get("protocol")
    counted = [[*map(str, row[:-1]), int(row[-1])] for row in clips.reset_index().itertuples(index=False)]
    shown = [size, size] if isinstance(size, int) else size
    scoring = [str(config.get("quantise", "none")), str(config.get("region", "full"))]
    what = {
        "data": part_of_data(cell.data, "test") or cell.data.get("fingerprint", "unknown"),
        "conditions": {name: data.get(name) for name in CONDITIONS},
        "composed": config["protocol"] if composed else None,
        "clips": counted,
        "size": shown,
        "scoring": scoring,
    }
    shape = "×".join(map(str, shown)) if isinstance(shown, list) else "unknown size"
    source = Path(str(config["testset"])).name if config.get("testset") else data.get("name") or _source(data)
    strata = frames["stratum"].nunique()
    title = f"{source}, {strata} conditions, {len(clips)} clips, {len(frames)} frames of {shape}"
    how = "" if scoring == ["none", "full"] else f", {', '.join(scoring)}"
    name = config_hash(what)
    return name, f"{title}{how} ({name})"


def _source(data: dict[str, Any]) -> str:
    source = (data.get("source") or {}).get("test") or {}
    return str(source.get("name", "test set"))


def _row(
    matrix: Matrix, arm: Arm, draws: dict[int, Resamples | None], test_set: str, origin: str, training: str
) -> Row:
    first = arm.cells[0]
    count = len(arm.seeds)
    if count not in draws:
        drawn = can_resample(count, matrix.clips)
        generator = np.random.default_rng(0)
        draws[count] = Resamples.draw(count, matrix.clips, RESAMPLES, generator) if drawn else None
    figures = {
        metric.key: estimate(mean_of(scores(arm, metric)), count, matrix.clips, draws[count])
        for metric in matrix.primary
        if arm.has(metric)
    }
    cost = {name: median(cell.cost.get(name) for cell in arm.cells) for name in ("parameters", "gmacs_per_frame")}
    cost["train_seconds"] = median(cell.durations.get("train_seconds") for cell in arm.cells)
    model = first.read_config().get("model")
    settings = {key: value for key, value in arm.settings.items() if key != "model"}
    machines = dict.fromkeys(
        str(cell.hardware.get("gpu") or cell.hardware.get("processor") or "not recorded") for cell in arm.cells
    )
    return Row(
        test_set=test_set,
        net=str(model["name"] if isinstance(model, dict) and "name" in model else arm.settings.get("model", "unknown")),
        settings=", ".join(filter(None, [first.study if first.experiment != "evaluate" else "", arm_text(settings)])),
        experiment=first.experiment,
        scale=",".join(filter(None, [first.scale, short_name(first.study) if first.study else ""])),
        origin=origin,
        training=training,
        seeds=count,
        people=matrix.clips.num_foregrounds,
        figures=figures,
        cost=cost,
        hardware=", ".join(machines),
    )


def _table(title: str, rows: Sequence[Row]) -> Table:
    metrics = [METRICS[key] for key in PRIMARY]
    columns = ["Net", "Settings", "Experiment, size", "Trained on", "Seeds × people",
               *(f"{metric.heading} [95 %]" for metric in metrics), "Parameters", "GMACs per frame",
               "Training (s)", "Machine", "Of"]  # fmt: skip
    texts = []
    for row in rows:
        figures = [with_interval(row.figures[m.key], signed=False) if m.key in row.figures else "—" for m in metrics]
        cost = [
            number(row.cost[name], decimals)
            for name, decimals in (("parameters", 0), ("gmacs_per_frame", 3), ("train_seconds", 0))
        ]
        texts.append([
            row.net, row.settings or "default", f"{row.experiment}, {row.scale or 'no scale'}",
            row.training or "—", f"{row.seeds} × {row.people}", *figures, *cost, row.hardware,
            row.origin or "this folder",
        ])  # fmt: skip
    return Table(title, columns, texts, text_columns=4)


def _report(row: Row, results: Path) -> str:
    """The path of a row's report beside the leaderboard; "" where there is none, as of others' records."""
    place = f"{row.experiment}/{row.scale}"
    for folder in (place, f"reference/{place}"):
        if not row.origin and (results / folder / "report.html").is_file():
            return f"{folder}/report.html"
    return ""


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One row a net, everything in it as plain numbers."""
    found = []
    for row in rows:
        plain: dict[str, Any] = {
            "test_set": row.test_set, "net": row.net, "settings": row.settings, "experiment": row.experiment,
            "scale": row.scale, "records": row.origin, "training_data": row.training, "seeds": row.seeds,
            "people": row.people,
        }  # fmt: skip
        for key, figure in row.figures.items():
            plain |= {key: figure.value, f"{key}_low": figure.low, f"{key}_high": figure.high}
        found.append(plain | row.cost | {"hardware": row.hardware})
    return pd.DataFrame(found)
