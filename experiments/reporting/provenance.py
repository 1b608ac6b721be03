"""Tables of where the figures come from: cells, cost, protocol, machine, time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.records.cell_record import PUBLISHED_WEIGHTS, CellRecord
from experiments.records.fingerprints import size_text
from experiments.records.locks import is_locked
from experiments.reporting.analysis import Analysis
from experiments.reporting.arms import tested_weights
from experiments.reporting.curves import DRAWS
from experiments.reporting.formatting import Table, counted, number
from experiments.reporting.matrix import Matrix

FLOAT_SCORING = "float (mattes straight from the model, not rounded to 8 bits)"
DISK_SCORING = "disk8 (mattes brought to 8 bits first, as files hold them: {quantise})"
WHOLE_FRAME, UNKNOWN_REGION = "whole frame", "unknown region of the true alpha's trimap alone"
INTERVALS = (
    "95 %, as wide as Student's t with the error from leaving out each seed, each foreground and both (degrees of "
    "freedom by Satterthwaite, at most 2.5 times those of the scarcer of seeds and foregrounds), as lopsided as the "
    "percentile bootstrap with {resamples} resamples ({draws} where there are many: conditions, curves, interquartile "
    "means), generator seed {seed}: seeds whole, then foregrounds, then "
    "clips of each foreground, within strata; a table of how often they "
    "hold the truth: python -m tests.campaigns.coverage"
)


def cost_table(matrix: Matrix) -> Table:
    """What each arm costs: median over its cells, the peak of memory."""
    rows = []
    for arm in matrix.arms:
        figures = [median(cell.cost.get(key) for cell in arm.cells)
                   for key in ("parameters", "gmacs_per_frame", "milliseconds_per_frame")]  # fmt: skip
        seconds = median(cell.durations.get("train_seconds") for cell in arm.cells)
        memory = [cell.peak_memory_gib for cell in arm.cells if cell.peak_memory_gib is not None]
        rows.append([
            arm.label, number(figures[0], 0), number(figures[1], 3), number(figures[2], 2),
            number(None if seconds is None else seconds / 60, 1), number(max(memory, default=None), 2),
        ])  # fmt: skip
    frames = sorted({str(cell.cost["frame"]) for arm in matrix.arms for cell in arm.cells if "frame" in cell.cost})
    note = f"Per frame of {', '.join(frames)} pixels, one at a time, state carried. " if frames else ""
    note += "Training has that of a shared trunk in it. "
    note += "Times of cells that ran side by side on one machine share it: compare them with care."
    columns = ["Arm", "Parameters", "GMACs per frame", "ms per frame", "Training (min)", "Peak memory (GiB)"]
    return Table("Cost", columns, rows, note)


def cost_sentence(matrix: Matrix) -> str:
    """What the arms cost, in a line; "" where nothing was measured."""
    told = []
    for key, unit, decimals in (("parameters", "parameters", 0), ("milliseconds_per_frame", "ms a frame", 1)):
        figures = [median(cell.cost.get(key) for cell in arm.cells) for arm in matrix.arms]
        measured = sorted(figure for figure in figures if figure is not None)
        if measured:
            ends = dict.fromkeys(number(figure, decimals) for figure in (measured[0], measured[-1]))
            told.append(f"{' to '.join(ends)} {unit}")
    cells = [cell for arm in matrix.arms for cell in arm.cells]
    if not told or not cells:
        return ""
    minutes = number(total_minutes(cells), 1)
    return f"Cost: {', '.join(told)}; {len(cells)} cells, {minutes} minutes of training and testing, all added."


def subtitle(matrix: Matrix, cells: Sequence[CellRecord]) -> str:
    """How large the experiment is, in a line: scale, data, people, arms, seeds, steps, date."""
    parts = [f"scale {scale}" for scale in sorted({cell.scale for cell in cells if cell.scale})]
    if matrix.arms:
        first = matrix.arms[0].cells[0]
        source = _config(first, "data", "source", "test")
        parts += [f"{source['name']} people".replace("_", " ")] if "name" in source else []
        clips = matrix.clips
        parts.append(f"{clips.num_foregrounds} people in {len(clips)} test clips of {len(clips.strata)} conditions")
        seeds = sorted({len(arm.seeds) for arm in matrix.arms})
        fewest = f"{seeds[0]} to " if len(seeds) > 1 else ""
        parts.append(f"{counted(len(matrix.arms), 'arm')} × {fewest}{counted(seeds[-1], 'seed')}")
        stages = [stage for stage in _config(first, "recipe", "stages").values() if isinstance(stage, dict)]
        steps = sum(stage["steps"] for stage in stages if isinstance(stage.get("steps"), int))
        parts += [f"{steps} training steps"] if steps else []
        parts += [told] if (told := _trunk(matrix)) else []
    finished = max((cell.finished for cell in cells), default="")
    return " · ".join(parts + ([f"last cell finished {finished[:10]}"] if finished else []))


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    present = [value for value in values if value is not None]
    return float(np.median(present)) if present else None


def cells_table(matrix: Matrix) -> Table:
    """Every cell whose figures are in the report."""
    rows = []
    for cell in (cell for arm in matrix.arms for cell in arm.cells):
        minutes = number(cell.seconds / 60, 1)
        rows.append([cell.cell, cell.config_hash, cell.git_commit, cell.started, minutes])
    return Table("Cells", ["Cell", "Config", "Commit", "Started", "Minutes"], rows, text_columns=4)


def unused_table(matrix: Matrix) -> Table:
    """Cells that are not in the figures."""
    rows = [[cell.cell or cell.folder.name, _standing(cell), reason] for cell, reason in matrix.unused]
    return Table("Cells that are not in the figures", ["Cell", "Status", "Why"], rows, text_columns=3)


def _standing(cell: CellRecord) -> str:
    """Its status; of one that nobody works on, that it was interrupted."""
    return "interrupted" if cell.status == "running" and not is_locked(cell.folder) else cell.status


def how_measured(matrix: Matrix, analysis: Analysis) -> list[tuple[str, str]]:
    """Everything that a reader needs to judge or repeat the figures: (what, how)."""
    used = [cell for arm in matrix.arms for cell in arm.cells]
    every = used + [cell for cell, _ in matrix.unused]
    facts = [
        ("Scoring", _distinct(_scoring(cell) for cell in used) or f"{FLOAT_SCORING}; {WHOLE_FRAME}"),
        ("Units", "; ".join(f"{m.label} {m.unit}" for m in matrix.metrics if m.unit and not m.derived)),
        ("Conventions", "; ".join(m.convention for m in matrix.metrics if m.convention)),
        ("Averaging", "frame → mean of the clip → mean of the stratum → mean of strata, in float64"),
    ]
    if matrix.arms:
        clips, frames = matrix.clips, matrix.arms[0].frames["frame"].nunique()
        size = f"{len(clips)} clips of {clips.num_foregrounds} foregrounds in {len(clips.strata)} strata"
        facts.append(("Test set", f"{size}, at most {frames} frames a clip"))
        facts.append(("Data", _distinct(_data(cell) for cell in used)))
        seeds = _distinct(f"{arm.label}: {', '.join(map(str, arm.seeds))}" for arm in matrix.arms)
        facts.append(("Seeds", seeds))
        facts += [("Trunk", told)] if (told := _trunk(matrix)) else []
        if weights := _distinct(_weights(cell) for cell in used):
            facts.append(("Weights", weights))
        facts.append(
            (
                "Intervals",
                INTERVALS.format(
                    resamples=analysis.resamples, draws=min(DRAWS, analysis.resamples), seed=analysis.seed
                ),
            )
        )
        family = f"{len(analysis.family)} tests (arms × primary metrics), Holm"
        if analysis.exploratory:
            family += f"; {len(analysis.exploratory)} exploratory ones, Benjamini and Hochberg"
        facts.append(("Family", family))
        trained = any("train_seconds" in cell.durations for cell in used)
        scored = "the last step of each is scored" if trained else "each is scored as its checkpoint is"
        facts.append(("Arms run", f"{len(matrix.arms)}; every one is in the tables, {scored}"))
    facts.append(("Command", _distinct(cell.command for cell in used) or _distinct(cell.command for cell in every)))
    facts.append(("Versions", _distinct(_pairs(cell.versions) for cell in every)))
    facts.append(("Commit", _distinct(cell.git_commit for cell in every)))
    facts.append(("Hardware", _distinct(_pairs(cell.hardware) for cell in every)))
    facts.append(("Time", f"{total_minutes(every):.1f} minutes of training and testing, all cells added"))
    return [(what, how or "not recorded") for what, how in facts]


def _trunk(matrix: Matrix) -> str:
    """What of their training the arms share, in words; "" where each cell trained all by itself."""
    cells = [cell for arm in matrix.arms for cell in arm.cells]
    trunks = [(cell.seed, stage["trunk"]) for cell in cells for stage in cell.steps.values() if "trunk" in stage]
    told = "; ".join(dict.fromkeys(trunk["told"] for _, trunk in trunks))
    kinds = {(seed, trunk["identity"]) for seed, trunk in trunks}
    if not told:
        return ""
    shared = len(trunks) == len(cells) and len(kinds) == len({seed for seed, _ in kinds})
    return f"{told}, {'trained once a seed for all arms' if shared else 'which not all arms of a seed share'}"


def _scoring(cell: CellRecord) -> str:
    """How a cell's mattes were scored, as its config says; cells of experiments say nothing and score floats."""
    config = _config(cell)
    quantise = config.get("quantise", "none")
    scoring = FLOAT_SCORING if quantise == "none" else DISK_SCORING.format(quantise=quantise)
    return f"{scoring}; {UNKNOWN_REGION if config.get('region') == 'unknown' else WHOLE_FRAME}"


def _config(cell: CellRecord, *groups: str) -> dict[str, Any]:
    """The config of a cell, or a group of groups in it; empty where it cannot be read or has none."""
    try:
        config: Any = cell.read_config()
    except ValueError:
        return {}
    for group in groups:
        config = config.get(group) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else {}


def _data(cell: CellRecord) -> str:
    return f"fingerprint {cell.data['fingerprint']}: {size_text(cell.data)}" if cell.data else ""


def _weights(cell: CellRecord) -> str:
    """Weights that a cell tested as they were: file or published name, net, SHA-256; "" where it trained its own."""
    model = _config(cell, "model")
    if "weights" not in model:
        return ""
    training = f", trained on data {cell.trained_on}" if cell.trained_on not in ("", PUBLISHED_WEIGHTS) else ""
    return f"{model['weights']} ({model['name']}), SHA-256 {tested_weights(cell)}{training}"


def total_minutes(cells: Iterable[CellRecord]) -> float:
    """Training and testing time of all cells together."""
    return sum(cell.seconds for cell in cells) / 60


def _pairs(items: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in items.items() if value != "")


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
