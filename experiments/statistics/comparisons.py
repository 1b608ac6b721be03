"""What is said of one arm against another: differences, effect sizes, tests and verdicts.

Scores are arrays `(seeds, clips)`; intervals and what is resampled are in `bootstrap.py`. Means follow one order:
frame → clip → stratum → mean of strata. After Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021, with seeds kept whole.

What libraries do not do here: `scipy.stats.bootstrap` resamples one axis, `scipy.stats.trim_mean` takes no weights,
SciPy has no Holm. Benjamini and Hochberg stands beside it: `scipy.stats` takes longer to import than to write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.statistics.bootstrap import Estimate, Resamples, Spread, Statistic, estimates
from experiments.statistics.clips import Clips, FloatArray
from experiments.statistics.verdicts import ALPHA, FEWEST_SEEDS, Verdict, WaldTest

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
        below = np.cumsum(weights, axis=1).clip(0.25, 0.75)
        return 2 * (0.75 * ordered[-1] - 0.25 * ordered[0] - below[:, :-1] @ np.diff(ordered))

    return interquartile_mean


def improvement_of(arm: FloatArray, baseline: FloatArray) -> Statistic:
    """The share of (seed, seed, clip) triples in which the arm's score is lower, ties half; both (seeds, clips)."""
    gap = arm[:, None] - baseline[None]
    better = np.where(np.isnan(gap), np.nan, (gap < 0) + 0.5 * (gap == 0)).reshape(-1, arm.shape[1])

    def improvement(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        pairs = (seeds[:, :, None] * seeds[:, None]).reshape(len(seeds), -1)
        return np.einsum("nc,nc->n", pairs @ better, clips)

    return improvement


def cliffs_delta(arm: FloatArray, baseline: FloatArray) -> float:
    """P(arm > baseline) − P(arm < baseline) over all pairs of (seeds, clips) scores."""
    return float(np.sign(arm.reshape(-1, 1) - baseline.reshape(1, -1)).mean())


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


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values of one family, in the order given; NaN stays NaN and is not counted.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    adjusted = [float("nan")] * len(p_values)
    tested = sorted((p, place) for place, p in enumerate(p_values) if not np.isnan(p))
    smallest = 1.0
    for rank, (p, place) in reversed(list(enumerate(tested, 1))):
        smallest = min(smallest, p * (len(tested) / rank))
        adjusted[place] = smallest
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
        test: of the mean log ratio, or of the difference where a score is not above zero: the interval's own t.
        higher_is_better: of the scores; else they are errors.
        adjusted_p: p within the family that the comparison belongs to, which the verdict follows; None for one alone.
        tests: in that family.
        same_weights: whether each seed's two scores are of one net, run in two ways: no training is between them.
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
    test: WaldTest
    higher_is_better: bool = False
    adjusted_p: float | None = None
    tests: int = 1
    same_weights: bool = False

    def within(self, adjusted_p: float, tests: int) -> Comparison:
        """The same comparison as one of a family of `tests`, in which its p is `adjusted_p`."""
        return replace(self, adjusted_p=adjusted_p, tests=tests)

    @property
    def p_value(self) -> float:
        """Of the test alone; NaN without one."""
        return self.test.p

    @property
    def enough_seeds(self) -> bool:
        """Whether a verdict can be given: fewer than three seeds say nothing of training, where that differs."""
        return self.same_weights or self.num_seeds >= FEWEST_SEEDS

    @property
    def verdict(self) -> Verdict:
        """What the adjusted p says, and nothing else does, where there are enough seeds."""
        p = self.p_value if self.adjusted_p is None else self.adjusted_p
        if np.isnan(p):
            return Verdict.NOT_TESTABLE
        if not self.enough_seeds:
            return Verdict.FEW_SEEDS
        if p <= ALPHA:
            return Verdict.BETTER if (self.test.value > 0) == self.higher_is_better else Verdict.WORSE
        return Verdict.SAME if self.equivalent else Verdict.NOT_SHOWN

    @property
    def excluded(self) -> tuple[float, float]:
        """Beyond which fall and rise changes are excluded at the level of the family; 0 is between if none is shown."""
        return self._as_change(*self.test.interval(self.tests))

    @property
    def smallest_effect(self) -> tuple[float, float]:
        """The smallest true fall and rise that four of five such experiments would show, as `test` counts them.

        NaN where no verdict can be given.
        """
        effect = self.test.smallest_effect(self.tests) if self.enough_seeds else float("nan")
        return self._as_change(-effect, effect)

    def _as_change(self, low: float, high: float) -> tuple[float, float]:
        """Relative changes where logs of them were tested."""
        return (float(np.expm1(low)), float(np.expm1(high))) if self.test.relative else (low, high)

    @property
    def equivalent(self) -> bool:
        """Whether the 90 % interval of the relative change lies within ±2 %: only then is it "the same"."""
        return self.relative_90.low >= -EQUIVALENCE_MARGIN and self.relative_90.high <= EQUIVALENCE_MARGIN


def compare(
    arm: FloatArray,
    baseline: FloatArray,
    clips: Clips,
    draws: Resamples | None,
    higher_is_better: bool = False,
    same_weights: bool = False,
) -> Comparison:
    """Everything that is said about `arm` against `baseline`, both (seeds, clips) with the same seeds and clips.

    Args:
        draws: for these seeds and clips; None gives a comparison without intervals.
        higher_is_better: of the scores.
        same_weights: whether no training is between the two, see `Comparison`.

    Raises:
        ValueError: the shapes do not agree.
    """
    if arm.shape != baseline.shape or arm.shape[1] != len(clips):
        raise ValueError(f"arm {arm.shape} and baseline {baseline.shape} must both be (seeds, {len(clips)} clips)")
    seeds, difference, logs = len(arm), arm - baseline, log_ratio(arm, baseline)
    better = improvement_of(-arm, -baseline) if higher_is_better else improvement_of(arm, baseline)
    by_foreground = _foreground_means(difference, clips)
    spread = by_foreground.std(ddof=1) if len(by_foreground) > 1 else 0.0
    figures = mean_of(difference), mean_of(logs), better
    sample = draws.sample(figures) if draws is not None else None
    gap, relative, probability = sample.intervals() if sample else estimates(figures, seeds, clips, None)
    return Comparison(
        num_seeds=seeds,
        num_clips=len(clips),
        num_foregrounds=len(by_foreground),
        arm=float(overall_mean(arm, clips).mean()),
        baseline=float(overall_mean(baseline, clips).mean()),
        difference=gap,
        spread=sample.spreads[0] if sample else None,
        relative=_percent(relative),
        relative_90=_percent(sample.one(1).intervals(0.90)[0] if sample else relative),
        probability=Estimate(*np.clip(probability, 0.0, 1.0).tolist()),
        effect_size=float(by_foreground.mean() / spread) if spread > 0 else float("nan"),
        cliffs_delta=cliffs_delta(arm, baseline),
        foregrounds_better=int(((by_foreground > 0) if higher_is_better else (by_foreground < 0)).sum()),
        test=_wald_test(difference, logs, clips, sample.spreads if sample else []),
        higher_is_better=higher_is_better,
        same_weights=same_weights,
    )


def _foreground_means(difference: FloatArray, clips: Clips) -> FloatArray:
    """(foregrounds,) mean of `difference` (seeds, clips) on each, its clips weighing as in the overall mean."""
    names, member = np.unique(clips.foreground, return_inverse=True)
    sums: FloatArray = np.zeros(len(names))
    np.add.at(sums, member, difference.mean(axis=0) * clips.weights)
    return sums / np.bincount(member, weights=clips.weights)


def _wald_test(difference: FloatArray, logs: FloatArray, clips: Clips, spreads: Sequence[Spread]) -> WaldTest:
    """The test of two arms from their difference and log ratio, both (seeds, clips), and the spreads of both, if any.

    The log ratio is tested, for errors differ by factors from person to person, and a change of so many per cent is
    found more often by it than by the difference.
    """
    relative = bool(np.isfinite(logs).all())
    value = float(overall_mean(logs if relative else difference, clips).mean())
    if not spreads or not np.isfinite(value):
        return WaldTest(value, np.nan, np.nan, relative)
    spread = spreads[1 if relative else 0]
    return WaldTest(value, spread.error, spread.degrees, relative)


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
    strata = clips.strata if len(clips.strata) > 1 else []
    contrasts = [mean_of(ratio * _contrast(clips, clips.stratum == stratum)) for stratum in strata]
    found = estimates(contrasts, len(arm), clips, draws)
    return {name: Estimate(*(float(np.exp(end)) for end in here)) for name, here in zip(strata, found, strict=True)}


def _contrast(clips: Clips, inside: NDArray[np.bool_]) -> FloatArray:
    """(clips,) factors that turn an overall mean into the mean in one stratum minus that in the others."""
    count = len(clips.strata)
    return np.where(inside, float(count), -count / (count - 1))
