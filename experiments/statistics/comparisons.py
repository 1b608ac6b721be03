"""What is said of one arm against another: differences, effect sizes, tests and verdicts.

Scores are arrays `(seeds, clips)`; intervals and what is resampled are in `bootstrap.py`. Means follow one order:
frame → clip → stratum → mean of strata. After Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021, with seeds kept whole.

What libraries do not do here: `scipy.stats.bootstrap` resamples one axis, `scipy.stats.trim_mean` takes no weights,
`scipy.stats.permutation_test` walks through sign flips in Python (a million for 20 foregrounds), SciPy has no Holm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.statistics.bootstrap import (
    Clips,
    Estimate,
    FloatArray,
    Resamples,
    Spread,
    Statistic,
    estimate,
    jackknife,
)

MAX_EXACT_FOREGROUNDS = 20
SAMPLED_SIGN_FLIPS = 100_000
EQUIVALENCE_MARGIN = 0.02


def overall_mean(values: FloatArray, clips: Clips) -> FloatArray:
    """(seeds,) mean of each seed's `values` (seeds, clips): clip → stratum → mean of strata."""
    return values @ clips.weights


def mean_of(values: FloatArray) -> Statistic:
    """The mean of `values` (seeds, clips)."""

    def mean(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        return np.einsum("nc,nc->n", seeds @ values, clips)

    return mean


def ratio_of(part: FloatArray, whole: FloatArray) -> Statistic:
    """The mean of `part` over that of `whole`, both (seeds, clips)."""
    over, under = mean_of(part), mean_of(whole)

    def ratio(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        return over(seeds, clips) / under(seeds, clips)

    return ratio


def interquartile_mean_of(values: FloatArray) -> Statistic:
    """The mean of the middle half of all `values` (seeds, clips), by weight."""
    order = np.argsort(values, axis=None)
    ordered = values.ravel()[order]

    def interquartile_mean(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        weights = np.einsum("ns,nc->nsc", seeds, clips).reshape(len(seeds), -1)[:, order]
        share = np.diff(np.cumsum(weights, axis=1).clip(0.25, 0.75), axis=1, prepend=0.25)
        return (share @ ordered) / 0.5

    return interquartile_mean


def improvement_of(arm: FloatArray, baseline: FloatArray) -> Statistic:
    """The share of (seed, seed, clip) triples in which the arm's score is lower, ties half; both (seeds, clips)."""
    gap = arm[:, None] - baseline[None]
    better = np.where(np.isnan(gap), np.nan, (gap < 0) + 0.5 * (gap == 0)).reshape(-1, arm.shape[1])

    def improvement(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        pairs = np.einsum("ns,nr->nsr", seeds, seeds).reshape(len(seeds), -1)
        return np.einsum("nc,nc->n", pairs @ better, clips)

    return improvement


def cliffs_delta(arm: FloatArray, baseline: FloatArray) -> float:
    """P(arm > baseline) − P(arm < baseline) over all pairs of (seeds, clips) scores."""
    return float(np.sign(arm.reshape(-1, 1) - baseline.reshape(1, -1)).mean())


def sign_flip_p_value(contributions: FloatArray, generator: np.random.Generator) -> float:
    """Two-sided p of the sum of `contributions` (foregrounds,) when each could as well have had the other sign.

    Exact up to 20 foregrounds, else from 100 000 drawn flips. With n foregrounds it is never below 2 / 2^n.
    It treats the trained models as given: noise of training is in the interval, not in this p.
    """
    if not np.isfinite(contributions).all():
        return float("nan")
    observed = abs(contributions.sum())
    just_below = observed - 1e-12 * np.abs(contributions).sum()  # sums in another order differ in the last digit
    if len(contributions) > MAX_EXACT_FOREGROUNDS:
        hits = 0
        for _ in range(10):
            signs = generator.choice([-1.0, 1.0], size=(SAMPLED_SIGN_FLIPS // 10, len(contributions)))
            hits += int((np.abs(signs @ contributions) >= just_below).sum())
        return (hits + 1) / (SAMPLED_SIGN_FLIPS + 1)
    sums = contributions[:1]  # its other sign gives the same sums mirrored
    for value in contributions[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float((np.abs(sums) >= just_below).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of one family, in the order given; NaN stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [float("nan")] * len(p_values)
    tested = sorted((p, place) for place, p in enumerate(p_values) if not np.isnan(p))
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline on the same seeds and clips.

    Attributes:
        arm: overall mean; `baseline` likewise.
        difference: mean of arm − baseline, with its 95 % interval.
        spread: standard error of the difference, and that from seeds and from clips alone; None without intervals.
        relative: exp(mean log ratio) − 1, with its 95 % interval; NaN if a score is zero.
        relative_90: the same with the 90 % interval, on which equivalence is decided.
        probability: that the arm is better, `improvement_of`, with its 95 % interval.
        effect_size: mean over standard deviation of the foregrounds' differences.
        cliffs_delta: of the pooled scores.
        foregrounds_better: on how many foregrounds the arm is better.
        p_value: sign-flip test over foregrounds, not adjusted.
        higher_is_better: of the scores; else they are errors.
    """

    num_seeds: int
    num_clips: int
    num_foregrounds: int
    arm: float
    baseline: float
    difference: Estimate
    spread: Spread | None
    relative: Estimate
    relative_90: Estimate
    probability: Estimate
    effect_size: float
    cliffs_delta: float
    foregrounds_better: int
    p_value: float
    higher_is_better: bool = False

    @property
    def verdict(self) -> str:
        """What the 95 % interval says: "helps", "hurts", "not distinguishable", or "no verdict" if there is none."""
        if not np.isfinite(self.difference).all():
            return "no verdict"
        if self.difference.low <= 0 <= self.difference.high:
            return "not distinguishable"
        return "helps" if (self.difference.low > 0) == self.higher_is_better else "hurts"

    @property
    def equivalent(self) -> bool:
        """Whether the 90 % interval of the relative change lies within ±2 %: only then is it "the same"."""
        return self.relative_90.low >= -EQUIVALENCE_MARGIN and self.relative_90.high <= EQUIVALENCE_MARGIN


def compare(
    arm: FloatArray,
    baseline: FloatArray,
    clips: Clips,
    draws: Resamples | None,
    generator: np.random.Generator,
    higher_is_better: bool = False,
) -> Comparison:
    """Everything that is said about `arm` against `baseline`, both (seeds, clips) with the same seeds and clips.

    Args:
        draws: for these seeds and clips; None gives a comparison without intervals.
        generator: for the sign-flip test where it is not exact.
        higher_is_better: of the scores.

    Raises:
        ValueError: the shapes do not agree.
    """
    if arm.shape != baseline.shape or arm.shape[1] != len(clips):
        raise ValueError(f"arm {arm.shape} and baseline {baseline.shape} must both be (seeds, {len(clips)} clips)")
    seeds, difference, ratio = len(arm), arm - baseline, mean_of(log_ratio(arm, baseline))
    better = improvement_of(-arm, -baseline) if higher_is_better else improvement_of(arm, baseline)
    contributions, by_foreground = _foregrounds(difference, clips)
    spread = by_foreground.std(ddof=1) if len(by_foreground) > 1 else 0.0
    return Comparison(
        num_seeds=seeds,
        num_clips=len(clips),
        num_foregrounds=len(by_foreground),
        arm=float(overall_mean(arm, clips).mean()),
        baseline=float(overall_mean(baseline, clips).mean()),
        difference=estimate(mean_of(difference), seeds, clips, draws),
        spread=jackknife(mean_of(difference), seeds, clips) if draws is not None else None,
        relative=_percent(estimate(ratio, seeds, clips, draws)),
        relative_90=_percent(estimate(ratio, seeds, clips, draws, level=0.90)),
        probability=Estimate(*np.clip(estimate(better, seeds, clips, draws), 0.0, 1.0).tolist()),
        effect_size=float(by_foreground.mean() / spread) if spread > 0 else float("nan"),
        cliffs_delta=cliffs_delta(arm, baseline),
        foregrounds_better=int(((by_foreground > 0) if higher_is_better else (by_foreground < 0)).sum()),
        p_value=sign_flip_p_value(contributions, generator),
        higher_is_better=higher_is_better,
    )


def _foregrounds(difference: FloatArray, clips: Clips) -> tuple[FloatArray, FloatArray]:
    """(foregrounds,) shares of the overall mean of `difference` (seeds, clips), which add up to it, and own means."""
    names, member = np.unique(clips.foreground, return_inverse=True)
    contributions: FloatArray = np.zeros(len(names))
    np.add.at(contributions, member, difference.mean(axis=0) * clips.weights)
    return contributions, contributions / np.bincount(member, weights=clips.weights)


def log_ratio(arm: FloatArray, baseline: FloatArray) -> FloatArray:
    """log(arm / baseline), both (seeds, clips); all NaN if one score is not above zero."""
    if not ((arm > 0).all() and (baseline > 0).all()):
        return np.full(arm.shape, np.nan)
    return np.log(arm) - np.log(baseline)


def _percent(logs: Estimate) -> Estimate:
    return Estimate(*(float(np.expm1(value)) for value in logs))


def interaction(arm: FloatArray, baseline: FloatArray, clips: Clips, draws: Resamples | None) -> dict[str, Estimate]:
    """By stratum: the ratio arm / baseline there over that in the other strata; 1 where the effect is alike.

    Args:
        arm: (seeds, clips); `baseline` the same seeds and clips.
    """
    ratio = log_ratio(arm, baseline)
    found: dict[str, Estimate] = {}
    for stratum in clips.strata if len(clips.strata) > 1 else []:
        here = estimate(mean_of(ratio * _contrast(clips, clips.stratum == stratum)), len(arm), clips, draws)
        found[stratum] = Estimate(*(float(np.exp(value)) for value in here))
    return found


def _contrast(clips: Clips, inside: NDArray[np.bool_]) -> FloatArray:
    """(clips,) factors that turn an overall mean into the mean in one stratum minus that in the others."""
    count = len(clips.strata)
    return np.where(inside, float(count), -count / (count - 1))
