"""What the statistics say about an experiment: every comparison, interval, test and curve that its report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments.matrix import METRICS, Arm, Matrix, Metric, scores, scores_over_time
from experiments.statistics import (
    Comparison,
    Estimate,
    FloatArray,
    Resamples,
    can_resample,
    compare,
    curve_over_time,
    holm,
    interaction,
    interquartile_mean,
)


@dataclass
class Analysis:
    """What the statistics say about an experiment; keys are arm texts, metric keys and stratum names.

    Attributes:
        comparisons: by (arm, metric), on all clips; `adjusted` its p by Holm, primary metrics only.
        strata: by (arm, metric, stratum).
        interactions: by (arm, metric), then stratum.
        interquartile: by (arm, metric), the baseline too; `curves` likewise, (frames, 3).
    """

    resamples: int
    seed: int
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    adjusted: dict[tuple[str, str], float] = field(default_factory=dict)
    strata: dict[tuple[str, str, str], Comparison] = field(default_factory=dict)
    interactions: dict[tuple[str, str], dict[str, Estimate]] = field(default_factory=dict)
    interquartile: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    curves: dict[tuple[str, str], FloatArray] = field(default_factory=dict)


def analyse(matrix: Matrix, resamples: int, seed: int) -> Analysis:
    """All intervals, tests and curves of a matrix, from one generator started with `seed`."""
    analysis = Analysis(resamples, seed)
    generator = np.random.default_rng(seed)
    draws: dict[int, Resamples | None] = {}
    for num_seeds in sorted(
        {number for arm in matrix.arms for number in (len(arm.seeds), len(matrix.paired_seeds(arm)))}
    ):
        possible = can_resample(num_seeds, len(matrix.clips))
        draws[num_seeds] = Resamples.draw(num_seeds, matrix.clips, resamples, generator) if possible else None
    compared = [metric for metric in matrix.metrics if not metric.skips_first]
    for arm in matrix.arms:
        for metric in compared:
            own = draws[len(arm.seeds)]
            analysis.interquartile[arm.text, metric.key] = interquartile_mean(scores(arm, metric), matrix.clips, own)
            analysis.curves[arm.text, metric.key] = curve_over_time(scores_over_time(arm, metric), matrix.clips, own)
            baseline, paired = matrix.baseline_of(arm), matrix.paired_seeds(arm)
            if baseline and baseline is not arm and paired:
                _compare(analysis, matrix, (arm, baseline), metric, draws[len(paired)], generator)
    family = [key for key in analysis.comparisons if METRICS[key[1]] in matrix.primary]
    adjusted = holm([analysis.comparisons[key].p_value for key in family])
    analysis.adjusted = dict(zip(family, adjusted, strict=True))
    return analysis


def _compare(
    analysis: Analysis,
    matrix: Matrix,
    arms: tuple[Arm, Arm],
    metric: Metric,
    draws: Resamples | None,
    generator: np.random.Generator,
) -> None:
    arm, baseline = arms
    clips, seeds = matrix.clips, matrix.paired_seeds(arm)
    one, other = scores(arm, metric, seeds), scores(baseline, metric, seeds)
    analysis.comparisons[arm.text, metric.key] = compare(one, other, clips, draws, generator)
    inside = {stratum: clips.stratum == stratum for stratum in clips.strata}
    every = all(can_resample(len(seeds), int(columns.sum())) for columns in inside.values())
    analysis.interactions[arm.text, metric.key] = interaction(one, other, clips, draws if every else None)
    for stratum, columns in inside.items():
        part = draws.take(columns) if draws and can_resample(len(seeds), int(columns.sum())) else None
        analysis.strata[arm.text, metric.key, stratum] = compare(
            one[:, columns], other[:, columns], clips.take(columns), part, generator
        )
