"""Whether nets use their memory: what a score changes by when the state is emptied or another clip's, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.reporting.arms import Arm
from experiments.reporting.averages import METRICS, by_rows, score_tables
from experiments.reporting.formatting import Table, decimals_for, number, percent, two_ends, with_interval
from experiments.reporting.matrix import Matrix
from experiments.statistics.bootstrap import Estimate, Part, Resamples, estimates, part_of
from experiments.statistics.clips import Clips, FloatArray
from experiments.statistics.comparisons import log_ratio, mean_of
from experiments.statistics.strata import CLIP_COLUMNS
from experiments.statistics.verdicts import MemoryUse

CARRIED = "carried"
REPLACED = {"emptied": "emptied before each frame", "foreign": "that of another clip"}
MEASURED = (METRICS["mad"], METRICS["dtssd"])
EVERYWHERE = "all"
STILL, MOVING = "still background", "moving background"
STILL_PERSON, MOVING_PERSON = "still person", "moving person"
MAX_ARMS_TOLD_ALONE = 3


@dataclass(frozen=True)
class StateEffect:
    """What replacing the state does to one score, on the same weights, clips and frames.

    Attributes:
        difference: mean of replaced − carried, with its 95 % interval.
        relative: exp(mean log ratio) − 1, with its 95 % interval; NaN if a score is zero.
        changes: whether any clip scores otherwise than before.
    """

    difference: Estimate
    relative: Estimate
    changes: bool

    @property
    def verdict(self) -> MemoryUse:
        """What the interval says of the memory."""
        if not self.changes:
            return MemoryUse.NOT_SHOWN
        if not np.isfinite(self.difference).all():
            return MemoryUse.NOT_KNOWN
        if self.difference.low <= 0 <= self.difference.high:
            return MemoryUse.NOT_SHOWN
        return MemoryUse.USED if self.difference.low > 0 else MemoryUse.HARMFUL


def state_seeds(arm: Arm) -> list[int]:
    """Seeds of an arm whose cells measured whether the memory is used."""
    return [] if arm.states is None else sorted(arm.states["seed"].unique().tolist())


def state_effects(
    matrix: Matrix, draws: Mapping[int, Resamples | None]
) -> dict[tuple[str, str, str, str], StateEffect]:
    """By arm, how the state is replaced, metric and condition: `EVERYWHERE`, a stratum, or one of `clip_kinds`.

    Args:
        draws: by number of seeds, over the matrix's clips.
    """
    found = {}
    masks = {EVERYWHERE: np.ones(len(matrix.clips), bool)} | clip_kinds(matrix)
    masks |= {stratum: matrix.clips.stratum == stratum for stratum in matrix.clips.strata}
    known = [arm for arm in matrix.arms if arm.states is not None]
    parts = {
        count: {name: part_of(inside, count, matrix.clips, draws[count]) for name, inside in masks.items()}
        for count in {len(state_seeds(arm)) for arm in known}
    }
    for arm in known:
        scored = {state: _scores(arm, state, matrix.clips) for state in (CARRIED, *REPLACED)}
        for metric in MEASURED:
            carried = scored[CARRIED].get(metric.key)
            for replaced in REPLACED:
                other = scored[replaced].get(metric.key)
                if carried is None or other is None:
                    continue
                for name, part in parts[len(state_seeds(arm))].items():
                    found[arm.text, replaced, metric.key, name] = _effect(carried, other, part)
    return found


def _scores(arm: Arm, state: str, clips: Clips) -> dict[str, FloatArray]:
    """By metric (seeds, clips) of an arm with its state so; none unless every clip was scored."""
    assert arm.states is not None
    rows, found = arm.states[arm.states["state"] == state], {}
    for key, table in score_tables(rows, MEASURED).items() if len(rows) else ():
        strata, names = (table.columns.get_level_values(name).tolist() for name in CLIP_COLUMNS[:2])
        same = (strata, names) == (clips.stratum.tolist(), clips.foreground.tolist())
        if same and len(table) == len(state_seeds(arm)):
            found[key] = by_rows(table)
    return found


def _effect(carried: FloatArray, other: FloatArray, part: Part) -> StateEffect:
    carried, other = carried[:, part.inside], other[:, part.inside]
    figures = mean_of(other - carried), mean_of(log_ratio(other, carried))
    difference, logs = estimates(figures, len(carried), part.clips, part.draws)
    return StateEffect(
        difference,
        Estimate(*(float(np.expm1(value)) for value in logs)),
        bool((other != carried).any()),
    )


def clip_kinds(matrix: Matrix) -> dict[str, NDArray[np.bool_]]:
    """Which clips have a background, and a person, that stands still or moves, as the config of a cell says."""
    named: dict[str, list[str]] = {kind: [] for kind in (STILL, MOVING, STILL_PERSON, MOVING_PERSON)}
    try:
        data = matrix.arms[0].cells[0].read_config()["data"]
        for name, changes in data["test_strata"].items():
            drawn = {**data["difficulty"], **changes}
            if drawn["static_share"] in (0, 1):
                named[STILL if drawn["static_share"] else MOVING].append(name)
            moves = drawn.get("absence_share", 0) > 0 or drawn["foreground_speed"][1] > 0
            named[MOVING_PERSON if moves else STILL_PERSON].append(name)
    except (KeyError, TypeError, AttributeError, IndexError):
        return {}
    masks = {what: np.isin(matrix.clips.stratum, names) for what, names in named.items()}
    return {what: mask for what, mask in masks.items() if mask.any() and not mask.all()}


def memory_table(matrix: Matrix, effects: Mapping[tuple[str, str, str, str], StateEffect]) -> Table:
    """What replacing the state does to each arm that has one, over all clips and by what moves in them."""
    kinds = (STILL, MOVING, STILL_PERSON, MOVING_PERSON)
    conditions = [EVERYWHERE, *(name for name in kinds if any(key[3] == name for key in effects))]
    if len(conditions) == 1 and len(matrix.clips.strata) > 1:
        conditions += matrix.clips.strata
    rows = []
    for arm in matrix.arms:
        for replaced, words in REPLACED.items():
            for name in conditions:
                cells = [effects.get((arm.text, replaced, metric.key, name)) for metric in MEASURED]
                if all(cells):
                    figures = [f(e) for e in cells if e for f in (_difference, _relative)]
                    rows.append([arm.label, words, name, *figures, str(len(state_seeds(arm)))])
    columns = ["Arm", "State", "Clips"]
    columns += [f"{m.label} {what} [95 %]" for m in MEASURED for what in ("difference", "change")]
    note = "The same weights and frames, with the state that the net carries from frame to frame replaced, minus with "
    note += "it carried: above 0 the memory helps. Of another clip: the state that the clip before, in the order of "
    note += "condition, person and place, had at the same frame. Intervals over people and, from two seeds on, seeds; "
    note += "no noise of training is in the difference of one seed, since nothing is trained anew."
    return Table("Is the memory used?", [*columns, "Seeds"], rows, note, text_columns=3)


def _difference(effect: StateEffect) -> str:
    return with_interval(effect.difference) if effect.changes else "none"


def _relative(effect: StateEffect) -> str:
    return percent(effect.relative) if effect.changes else "none"


def memory_sentences(matrix: Matrix, effects: Mapping[tuple[str, str, str, str], StateEffect]) -> list[str]:
    """For each arm with a state whether it is used; for many arms in one sentence."""
    known = [arm for arm in matrix.arms if (arm.text, "emptied", "mad", EVERYWHERE) in effects]
    if len(known) <= MAX_ARMS_TOLD_ALONE:
        return [_about_arm(arm, effects) for arm in known]
    told = []
    for metric in MEASURED:
        by_verdict: dict[MemoryUse, list[str]] = {}
        for arm in known:
            if (effect := effects.get((arm.text, "emptied", metric.key, EVERYWHERE))) is not None:
                by_verdict.setdefault(effect.verdict, []).append(f"{arm.label} {_difference(effect)}")
        verdicts = (f"{verdict} in {len(labels)} ({'; '.join(labels)})" for verdict, labels in by_verdict.items())
        told += [f"by {metric.label} ({metric.unit}) {', '.join(verdicts)}"] if by_verdict else []
    what = "what the error rises by when it is emptied before each frame, with 95 % intervals"
    return [f"The memory of {len(known)} arms, {what}: {'; '.join(told)}."]


def _about_arm(arm: Arm, effects: Mapping[tuple[str, str, str, str], StateEffect]) -> str:
    emptied = effects[arm.text, "emptied", "mad", EVERYWHERE]
    foreign = effects.get((arm.text, "foreign", "mad", EVERYWHERE))
    steadiness = effects.get((arm.text, "emptied", "dtssd", EVERYWHERE))
    answer, told, shown = emptied.verdict.answer, _change(emptied), (MemoryUse.USED, MemoryUse.HARMFUL)
    if emptied.verdict is MemoryUse.NOT_SHOWN:
        if steadiness is not None and steadiness.verdict in shown:
            answer = f"{steadiness.verdict.answer}, for how steady the matte is"
            told += f" and {_change(steadiness, 'dtssd')}"
        elif foreign is not None and foreign.verdict in shown:
            answer = "the memory is read, to no gain that is shown"
    told = f"{arm.label}: {answer}: {told} when it is emptied before each frame"
    return f"{told}; {_change(foreign)} with that of another clip." if foreign else f"{told}."


def _change(effect: StateEffect, key: str = "mad") -> str:
    """What a score does, in words: "MAD is 3.10 [2.00, 4.20] × 10⁻³ higher"."""
    metric, found = METRICS[key], effect.difference
    if not effect.changes:
        return f"{metric.label} is the same in every clip"
    if effect.verdict is MemoryUse.NOT_KNOWN:
        value = "NaN" if math.isnan(found.value) else number(found.value, decimals_for(found), signed=True)
        return f"{metric.label} differs by {value} {metric.unit}, without an interval"
    if effect.verdict is MemoryUse.NOT_SHOWN:
        return f"no difference of {metric.label} shown ({_excluded(effect)})"
    if effect.verdict is MemoryUse.USED:
        return f"{metric.label} is {with_interval(found, signed=False)} {metric.unit} higher"
    lower = Estimate(-found.value, -found.high, -found.low)
    return f"{metric.label} is {with_interval(lower, signed=False)} {metric.unit} lower"


def _excluded(effect: StateEffect) -> str:
    """Which changes the interval rules out: relative ones where they are known, and no more sure than the verdict."""
    known = np.isfinite(effect.relative).all() and effect.relative.low <= 0 <= effect.relative.high
    told = two_ends(effect.relative[1:], "%") if known else two_ends(effect.difference[1:], MEASURED[0].unit)
    return f"changes beyond {told} are excluded"
