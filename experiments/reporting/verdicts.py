"""The answer to an experiment's question in sentences made from its numbers."""

from __future__ import annotations

import math

from experiments.reporting.analysis import Analysis
from experiments.reporting.arms import Arm
from experiments.reporting.formatting import number, percent, with_interval
from experiments.reporting.matrix import Matrix
from experiments.reporting.tables import verdict_text
from experiments.statistics.bootstrap import Estimate, can_resample
from experiments.statistics.comparisons import Comparison
from lightning_modules.metrics.table import Metric

MAX_ARMS_TOLD_ALONE = 3
SEEDS_FOR_A_CLAIM = 5
SIGNIFICANCE = 0.05
VERDICTS = {
    "helps": "better",
    "hurts": "worse",
    "not distinguishable": "not distinguishable",
    "no verdict": "no verdict",
}


def headline(matrix: Matrix, analysis: Analysis) -> list[str]:
    """What the experiment found, the answer first and then what limits it."""
    if not matrix.arms:
        return ["No cell is complete: there is no result yet."]
    if not matrix.baselines:
        return [f"{_cells(len(matrix.arms), 'arm')} complete, but not the baseline: no comparison can be made."]
    arms = [arm for arm in matrix.others if any((arm.text, m.key) in analysis.comparisons for m in matrix.primary)]
    if not arms:
        shown = "; ".join(arm.label for arm in matrix.arms)
        return [f"Only {shown} can be shown: there is nothing to compare it with."]
    if len(arms) <= MAX_ARMS_TOLD_ALONE:
        told = [sentence for arm in arms for sentence in _about_arm(matrix, analysis, arm)]
    else:
        told = [_about_metric(matrix, analysis, metric, arms) for metric in matrix.primary]
    told = [*_about_bound(matrix, analysis, arms), *told]
    return told + _limits(matrix, analysis, arms)


def _about_arm(matrix: Matrix, analysis: Analysis, arm: Arm) -> list[str]:
    baseline = matrix.baseline_of(arm)
    assert baseline is not None
    by_phrase: dict[str, list[str]] = {}
    figures = []
    metrics = [metric for metric in matrix.primary if (arm.text, metric.key) in analysis.comparisons]
    for metric in metrics:
        found = analysis.comparisons[arm.text, metric.key]
        by_phrase.setdefault(_phrase(found), []).append(metric.label)
        figures.append(f"{metric.label} {with_interval(found.difference)} {metric.unit}, {percent(found.relative)}")
    verdicts = "; ".join(f"{phrase} in {' and '.join(labels)}" for phrase, labels in by_phrase.items())
    first = f"{arm.label} against {baseline.label}, {_cells(len(matrix.paired_seeds(arm)), 'seed')}: {verdicts}."
    told = [first, f"Differences with 95 % intervals: {'; '.join(figures)}."]
    if len(matrix.clips.strata) == 1:
        return told
    strata = "; ".join(_about_strata(matrix, analysis, arm, metric) for metric in metrics)
    return [*told, f"By stratum: {strata}."]


def _about_bound(matrix: Matrix, analysis: Analysis, arms: list[Arm]) -> list[str]:
    """The share of what could be gained that each arm gains, where the experiment has an arm that shows it."""
    told = []
    for arm in arms:
        bound = matrix.bound_of(arm)
        if bound is None or bound is arm:
            continue
        shares = {metric: analysis.shares.get((arm.text, metric.key)) for metric in matrix.primary}
        known = [f"{_share_text(share)} in {metric.label}" for metric, share in shares.items() if share]
        if known:
            told.append(f"Of what {bound.label} gains, {arm.label} gains {' and '.join(known)}.")
        if missing := [metric.label for metric, share in shares.items() if share is None]:
            nothing = f"there is nothing that {arm.label} could have a share of"
            told.append(f"{bound.label} shows no clear gain in {' and '.join(missing)}: {nothing}.")
    return told


def _share_text(share: Estimate) -> str:
    value, low, high = (number(100 * each, 0) for each in share)
    return f"{value} %" if math.isnan(share.low) else f"{value} % [{low}, {high}]"


def _phrase(found: Comparison) -> str:
    text = verdict_text(found)
    for verdict, phrase in VERDICTS.items():
        text = text.replace(verdict, phrase)
    return text


def _about_strata(matrix: Matrix, analysis: Analysis, arm: Arm, metric: Metric) -> str:
    by_verdict: dict[str, list[str]] = {}
    for stratum in matrix.clips.strata:
        by_verdict.setdefault(analysis.strata[arm.text, metric.key, stratum].verdict, []).append(stratum)
    told = [f"{VERDICTS[verdict]} in {', '.join(by_verdict[verdict])}" for verdict in VERDICTS if verdict in by_verdict]
    if len(by_verdict) == 1:
        told = [f"{VERDICTS[next(iter(by_verdict))]} in every one"]
    return f"{metric.label} {', '.join(told)}"


def _about_metric(matrix: Matrix, analysis: Analysis, metric: Metric, arms: list[Arm]) -> str:
    by_verdict: dict[str, list[str]] = {}
    for arm in arms:
        if (arm.text, metric.key) in analysis.comparisons:
            by_verdict.setdefault(analysis.comparisons[arm.text, metric.key].verdict, []).append(arm.label)
    told = [
        f"{len(labels)} {VERDICTS[verdict]} ({'; '.join(labels)})"
        for verdict, labels in sorted(by_verdict.items(), key=lambda item: list(VERDICTS).index(item[0]))
    ]
    return f"{metric.label} of {len(arms)} arms against {matrix.baseline_name}: {', '.join(told)}."


def _limits(matrix: Matrix, analysis: Analysis, arms: list[Arm]) -> list[str]:
    limits = []
    doubtful = []
    for (text, key), p in analysis.adjusted.items():
        if analysis.comparisons[text, key].verdict in ("helps", "hurts") and not p <= SIGNIFICANCE:
            label = next(arm.label for arm in arms if arm.text == text)
            metric = next(metric.label for metric in matrix.primary if metric.key == key)
            doubtful.append(f"{label} in {metric} (p = {p:.3f})")
    if doubtful:
        told = "; ".join(doubtful) if len(doubtful) <= MAX_ARMS_TOLD_ALONE else f"{len(doubtful)} of these differences"
        foregrounds = _cells(matrix.clips.num_foregrounds, "foreground")
        tests = sum(not math.isnan(p) for p in analysis.adjusted.values())
        smallest = tests * 2 / 2**matrix.clips.num_foregrounds
        if smallest > SIGNIFICANCE:
            limits.append(
                f"By the sign-flip test {told} cannot be confirmed with {foregrounds}: after Holm's correction for "
                f"{_cells(tests, 'test')} the smallest possible p is {min(1.0, smallest):.3f}."
            )
        else:
            limits.append(f"After Holm's correction the sign-flip test over {foregrounds} does not confirm {told}.")
    fewest = min(len(matrix.paired_seeds(arm)) for arm in arms)
    if not can_resample(fewest, matrix.clips):
        clips = "1 clip" if len(matrix.clips) == 1 else "1 clip in each stratum"
        limits.append(f"1 seed and {clips}: no interval can be had, so there is no verdict.")
    elif fewest == 1:
        limits.append("1 seed: interval over clips only, so the noise of training is not in it.")
    elif fewest < SEEDS_FOR_A_CLAIM:
        limits.append(
            f"{fewest} seeds are few: the intervals are as wide as Student's t asks for so few, and a claim asks for "
            f"{SEEDS_FOR_A_CLAIM}."
        )
    return limits


def _cells(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
