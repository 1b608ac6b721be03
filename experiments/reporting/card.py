"""A model card: what the net of one cell is, saw in training, scores, costs, and must not be taken for."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.records.cell_record import WEIGHTS, CellRecord
from experiments.records.experiment import Experiment
from experiments.records.fingerprints import size_text
from experiments.reporting.arms import arm_text, scores, value_text
from experiments.reporting.formatting import Table, with_interval
from experiments.reporting.matrix import Matrix, build_matrix
from experiments.reporting.provenance import cost_table
from experiments.statistics.bootstrap import Resamples, can_resample, estimate
from experiments.statistics.comparisons import mean_of
from lightning_modules.metrics.table import Metric


def model_card(cell: CellRecord, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """What the template `card.md.j2` asks for.

    Args:
        cell: a complete one, trained or evaluated.
        resamples: of the bootstrap over people, from a generator of `seed`.

    Raises:
        ValueError: it is not complete, or a file of it is damaged.
    """
    if cell.status != "complete":
        raise ValueError(f"{cell.folder} is {cell.status}: a card is written of a complete cell")
    cell.check()
    config = cell.read_config()
    matrix = build_matrix(Experiment(cell.experiment), [cell])
    model = _group(config, "model")
    return {
        "name": str(model.get("name") or cell.arm.get("model") or cell.cell),
        "cell": cell,
        "arm": arm_text(cell.arm),
        "options": {name: value_text(value) for name, value in model.items() if name != "name"},
        "weights": {WEIGHTS: cell.checksums[WEIGHTS]} if WEIGHTS in cell.checksums else {},
        "stages": _stages(config, cell),
        "data": _data(config, cell),
        "scores": _scores(matrix, resamples, seed),
        "cost": cost_table(matrix),
        "limits": _limits(matrix, config, cell),
        "pretrained": bool(model.get("pretrained")),
    }


def _stages(config: dict[str, Any], cell: CellRecord) -> Table:
    rows = []
    for name, stage in (_group(config, "recipe").get("stages") or {}).items():
        if stage is not None:
            objective = (stage.get("objective") or {}).get("name", "several")
            clips = cell.steps.get(name, {}).get("clips", "—")
            rows.append([name, objective, stage.get("steps", "—"), clips, stage.get("optimizer", "—")])
    texts = [[str(each) for each in row] for row in rows]
    return Table("Training", ["Stage", "Objective", "Steps", "Clips a step", "Optimiser"], texts, text_columns=2)


def _data(config: dict[str, Any], cell: CellRecord) -> list[str]:
    """Sources by part, and the fingerprint of all that was read."""
    data = _group(config, "data")
    told = []
    for part, source in (data.get("source") or {}).items():
        places = (data.get("backgrounds") or {}).get(part) or {}
        counts = [f"{source[key]} clips" for key in ("num_clips",) if key in source]
        counts += [f"{places[key]} places" for key in ("num_scenes",) if key in places]
        told.append(f"{part}: {source.get('name')}{' (' + ', '.join(counts) + ')' if counts else ''}")
    if cell.data:
        told.append(f"fingerprint {cell.data['fingerprint']}: {size_text(cell.data)}")
    return told


def _scores(matrix: Matrix, resamples: int, seed: int) -> Table:
    """Every metric over all clips and by stratum, with an interval over people."""
    (arm,) = matrix.arms
    generator = np.random.default_rng(seed)
    groups = {"all": np.ones(len(matrix.clips), bool)}
    if len(matrix.clips.strata) > 1:
        groups |= {stratum: matrix.clips.stratum == stratum for stratum in matrix.clips.strata}
    rows, draws = [], {}
    for name, inside in groups.items():
        clips = matrix.clips.take(inside)
        draws[name] = Resamples.draw(1, clips, resamples, generator) if can_resample(1, clips) else None

    def figure(metric: Metric, name: str) -> str:
        values = scores(arm, metric)[:, groups[name]]
        return with_interval(estimate(mean_of(values), 1, matrix.clips.take(groups[name]), draws[name]), signed=False)

    for metric in (metric for metric in matrix.metrics if arm.has(metric)):
        shown = groups if metric in matrix.primary else ["all"]
        rows += [[metric.heading, name, figure(metric, name)] for name in shown]
    people = matrix.clips.num_foregrounds
    note = f"{len(matrix.clips)} clips of {people} people. 95 % intervals over people; this is one training, and what "
    note += "another seed would change is not in them."
    return Table("Scores", ["Metric", "Clips", "Mean [95 %]"], rows, note, text_columns=2)


def _limits(matrix: Matrix, config: dict[str, Any], cell: CellRecord) -> list[str]:
    data, trains = _group(config, "data"), "train_seconds" in cell.durations
    train = ((data.get("source") or {}).get("train") or {}).get("name")
    limits = []
    if trains and train == "procedural":
        limits.append("Trained on people and rooms made by code alone: it has seen no photograph of a person.")
    if size := data.get("test_size"):
        limits.append(f"Tested at {size} pixels (shorter side); other sizes are untested.")
    limits.append(f"Tested under {', '.join(matrix.clips.strata)}; on nothing else.")
    if trains and cell.scale:
        shorter = "" if cell.scale == "paper" else ": a shorter schedule and smaller frames than the paper's"
        limits.append(f"Trained at scale={cell.scale}{shorter}.")
    return limits + matrix.notes


def _group(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty where a config has none, as that of an evaluation has no recipe."""
    group = config.get(name)
    return group if isinstance(group, dict) else {}
