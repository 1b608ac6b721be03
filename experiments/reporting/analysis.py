"""What the statistics say about an experiment: every comparison, interval, test and curve that its report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from experiments.reporting.arms import Arm, scores, scores_over_time
from experiments.reporting.averages import METRICS
from experiments.reporting.curves import DRAWS, curve_over_time, performance_profile, profile_thresholds
from experiments.reporting.matrix import Matrix
from experiments.reporting.memory import (
    EVERYWHERE,
    MOVING_PERSON,
    STILL_PERSON,
    StateEffect,
    clip_kinds,
    state_effects,
    state_seeds,
)
from experiments.statistics.bootstrap import Estimate, Part, Resamples, can_resample, estimate, part_of
from experiments.statistics.clips import FloatArray
from experiments.statistics.comparisons import (
    Comparison,
    benjamini_hochberg,
    compare,
    holm,
    interaction,
    interquartile_mean_of,
    mean_of,
    ratio_of,
)
from experiments.statistics.verdicts import Verdict
from lightning_modules.metrics.table import Metric

Key = TypeVar("Key")
MAX_ARMS_IN_DETAIL = 6  # of more, bands and lines of seeds hide each other
SETTLES = (METRICS["mad"], METRICS["dtssd_later"])  # analysis A1: the metrics whose start and plateau are told


@dataclass
class Analysis:
    """What the statistics say about an experiment; keys are arm texts, metric keys and stratum names.

    Attributes:
        primary: metric keys of the declared family.
        comparisons: by (arm, metric), on all clips.
            Those of the primary metrics are adjusted by Holm as the declared family, arms × primary metrics; the
            others, which are exploratory, by Benjamini and Hochberg.
        strata: by (arm, metric, stratum), of the primary metrics, adjusted together by Benjamini and Hochberg.
        interactions: by (arm, metric), then stratum.
        shares: by (arm, metric), of the gain of the arm that is the bound, of the primary metrics; of each over all
            clips and those whose person stands still or moves.
        interquartile: by (arm, metric), the baseline too.
        curves: by (arm, metric), (frames, 3), of the primary metrics and of `SETTLES`; bands are NaN but `in_detail`.
        states: by (arm, how the state is replaced, metric, condition), of arms with a state.
        profiles: by metric (thresholds,) and by (arm, metric) (thresholds, 3), of the primary metrics; likewise.
    """

    resamples: int
    seed: int
    primary: frozenset[str] = frozenset()
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    strata: dict[tuple[str, str, str], Comparison] = field(default_factory=dict)
    interactions: dict[tuple[str, str], dict[str, Estimate]] = field(default_factory=dict)
    states: dict[tuple[str, str, str, str], StateEffect] = field(default_factory=dict)
    shares: dict[tuple[str, str], dict[str, Estimate]] = field(default_factory=dict)
    interquartile: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    curves: dict[tuple[str, str], FloatArray] = field(default_factory=dict)
    thresholds: dict[str, FloatArray] = field(default_factory=dict)
    profiles: dict[tuple[str, str], FloatArray] = field(default_factory=dict)

    @property
    def family(self) -> dict[tuple[str, str], Comparison]:
        """The declared comparisons, arms × primary metrics."""
        return {key: found for key, found in self.comparisons.items() if key[1] in self.primary}

    @property
    def exploratory(self) -> dict[tuple[str, str], Comparison]:
        """The comparisons of all other metrics, on all clips."""
        return {key: found for key, found in self.comparisons.items() if key[1] not in self.primary}


def in_detail(matrix: Matrix) -> bool:
    """Whether figures show the band and the seeds of each arm."""
    return len(matrix.arms) <= MAX_ARMS_IN_DETAIL


def analyse(matrix: Matrix, resamples: int, seed: int) -> Analysis:
    """All intervals, tests and curves of a matrix, from one generator started with `seed`."""
    analysis = Analysis(resamples, seed, frozenset(metric.key for metric in matrix.primary))
    generator = np.random.default_rng(seed)
    draws: dict[int, Resamples | None] = {}
    strata: dict[int, dict[str, Part]] = {}
    for num_seeds in sorted(
        {
            len(seeds)
            for arm in matrix.arms
            for seeds in (arm.seeds, matrix.paired_seeds(arm), state_seeds(arm) or arm.seeds)
        }
    ):
        possible = can_resample(num_seeds, matrix.clips)
        draws[num_seeds] = Resamples.draw(num_seeds, matrix.clips, resamples, generator) if possible else None
        strata[num_seeds] = _strata(matrix, num_seeds, draws[num_seeds])
    for arm in matrix.arms:
        for metric in matrix.metrics:
            if not arm.has(metric):
                continue
            own, baseline, paired = draws[len(arm.seeds)], matrix.baseline_of(arm), matrix.paired_seeds(arm)
            values = scores(arm, metric)
            some = own.first(DRAWS) if own is not None else None  # each draw sorts all scores
            middle = estimate(interquartile_mean_of(values), len(values), matrix.clips, some)
            analysis.interquartile[arm.text, metric.key] = middle
            if metric in matrix.primary or metric in SETTLES:
                curve = curve_over_time(scores_over_time(arm, metric), matrix.clips, own if in_detail(matrix) else None)
                analysis.curves[arm.text, metric.key] = curve
            if baseline and baseline is not arm and paired and baseline.has(metric):
                _compare(analysis, matrix, (arm, baseline), metric, draws[len(paired)], strata[len(paired)])
    _adjust(analysis)
    for arm in matrix.others:
        for metric in matrix.primary:
            _share(analysis, matrix, arm, metric, draws)
    for metric in matrix.primary:
        _profile(analysis, matrix, metric, draws)
    analysis.states = state_effects(matrix, draws)
    return analysis


def _strata(matrix: Matrix, num_seeds: int, draws: Resamples | None) -> dict[str, Part]:
    clips, some = matrix.clips, draws.first(DRAWS) if draws else None
    return {name: part_of(clips.stratum == name, num_seeds, clips, some) for name in clips.strata}


def _compare(
    analysis: Analysis,
    matrix: Matrix,
    arms: tuple[Arm, Arm],
    metric: Metric,
    draws: Resamples | None,
    strata: Mapping[str, Part],
) -> None:
    arm, baseline = arms
    clips, seeds, higher = matrix.clips, matrix.paired_seeds(arm), metric.higher_is_better
    one, other, same = scores(arm, metric, seeds), scores(baseline, metric, seeds), matrix.same_weights(arm)
    analysis.comparisons[arm.text, metric.key] = compare(one, other, clips, draws, higher, same)
    if metric not in matrix.primary:
        return
    analysis.interactions[arm.text, metric.key] = interaction(one, other, clips, draws.first(DRAWS) if draws else None)
    for stratum, (inside, part, drawn) in strata.items():
        found = compare(one[:, inside], other[:, inside], part, drawn, higher, same)
        analysis.strata[arm.text, metric.key, stratum] = found


def _share(analysis: Analysis, matrix: Matrix, arm: Arm, metric: Metric, draws: dict[int, Resamples | None]) -> None:
    """What an arm gains of what the bound gains over their baseline, on the seeds that all three have."""
    bound, baseline = matrix.bound_of(arm), matrix.baseline_of(arm)
    if (
        bound is None
        or baseline is None
        or bound is arm
        or not all(each.has(metric) for each in (arm, bound, baseline))
    ):
        return
    seeds = sorted(set(matrix.paired_seeds(arm)) & set(bound.seeds))
    gain = analysis.comparisons.get((bound.text, metric.key))
    if gain is None or gain.verdict is not Verdict.BETTER or len(seeds) not in draws:
        return
    floor, some, whole = (scores(each, metric, seeds) for each in (baseline, arm, bound))
    kinds = clip_kinds(matrix)
    masks = {EVERYWHERE: np.ones(len(matrix.clips), bool)}
    masks |= {kind: kinds[kind] for kind in (STILL_PERSON, MOVING_PERSON) if kind in kinds}
    analysis.shares[arm.text, metric.key] = {}
    for kind, mask in masks.items():
        part, of_bound = part_of(mask, len(seeds), matrix.clips, draws[len(seeds)]), (whole - floor)[:, mask]
        mean_gain = estimate(mean_of(of_bound), len(seeds), part.clips, part.draws)
        if kind != EVERYWHERE and mean_gain.low <= 0 <= mean_gain.high:
            continue  # of next to nothing there is no share
        ratio = ratio_of((some - floor)[:, mask], of_bound)
        analysis.shares[arm.text, metric.key][kind] = estimate(ratio, len(seeds), part.clips, part.draws)


def _adjust(analysis: Analysis) -> None:
    """Give every comparison the p of its family, which its verdict follows."""
    analysis.comparisons |= _adjusted(analysis.family, holm)
    analysis.comparisons |= _adjusted(analysis.exploratory, benjamini_hochberg)
    analysis.strata = _adjusted(analysis.strata, benjamini_hochberg)


def _adjusted(
    family: Mapping[Key, Comparison], adjust: Callable[[Sequence[float]], list[float]]
) -> dict[Key, Comparison]:
    p_values = [found.p_value for found in family.values()]
    tests = max(1, sum(not np.isnan(p) for p in p_values))
    adjusted = zip(family.items(), adjust(p_values), strict=True)
    return {key: found.within(p, tests) for (key, found), p in adjusted}


def _profile(analysis: Analysis, matrix: Matrix, metric: Metric, draws: dict[int, Resamples | None]) -> None:
    values = {arm.text: scores(arm, metric) for arm in matrix.arms if arm.has(metric)}
    thresholds = profile_thresholds(np.concatenate([found.ravel() for found in values.values()]))
    analysis.thresholds[metric.key] = thresholds
    for text, found in values.items():
        own = draws[len(found)] if in_detail(matrix) else None
        analysis.profiles[text, metric.key] = performance_profile(found, matrix.clips, own, thresholds)
