"""Statistics of paired comparisons: intervals over seeds and clips, effect sizes, tests, curves over time.

Scores are arrays `(seeds, clips)`: one value is the mean of one clip under one trained model, and lower is better.
Frames are never the unit, for neighbouring frames are alike. A seed is one model that is scored on all clips, so
seeds are resampled whole; clips of one foreground are alike, so foregrounds are resampled, then the clips of each.

Means follow one order: frame → clip → stratum → mean of strata. After Agarwal et al., "Deep Reinforcement Learning
at the Edge of the Statistical Precipice", NeurIPS 2021, with seeds kept whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_EXACT_FOREGROUNDS = 20
SAMPLED_SIGN_FLIPS = 100_000
EQUIVALENCE_MARGIN = 0.02
# 97.5 % quantile of Student's t by number of seeds (degrees of freedom: one less).
T_QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
# How often the 95 % interval of a mean holds the truth when all of its noise is that of training, by number of
# seeds. Measured by simulation; a test repeats it.
SEED_COVERAGE = {2: 0.92, 3: 0.94, 4: 0.94, 5: 0.95}


class Estimate(NamedTuple):
    """A figure with the ends of its interval; NaN ends where no interval can be had."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Clips:
    """What the columns of a `(seeds, clips)` array are.

    Attributes:
        foreground: (clips,) name of the foreground clip: clips that share it are one cluster.
        stratum: (clips,) name of the condition.
    """

    foreground: NDArray[np.str_]
    stratum: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.foreground)

    @property
    def strata(self) -> list[str]:
        """Names of the strata, sorted."""
        return sorted(set(self.stratum.tolist()))

    @property
    def num_foregrounds(self) -> int:
        """How many clusters there are."""
        return len(set(self.foreground.tolist()))

    @property
    def weights(self) -> FloatArray:
        """(clips,), sum 1: clips of a stratum weigh the same, strata weigh the same."""
        _, member, size = np.unique(self.stratum, return_inverse=True, return_counts=True)
        return 1.0 / (len(size) * size[member])

    def take(self, columns: NDArray[np.bool_]) -> Clips:
        """The clips of some columns."""
        return Clips(self.foreground[columns], self.stratum[columns])


@dataclass(frozen=True)
class Resamples:
    """Hierarchical bootstrap draws, kept as weights, so that every statistic is taken over the same draws.

    Attributes:
        seeds: (resamples, seeds), each row sums to 1.
        clips: (resamples, clips), each row sums to 1, each stratum holds the same share of it.
    """

    seeds: FloatArray
    clips: FloatArray

    @classmethod
    def draw(cls, num_seeds: int, clips: Clips, resamples: int, generator: np.random.Generator) -> Self:
        """Draw seeds whole, foregrounds within each stratum, clips within each foreground.

        Strata that show the same foregrounds share the draw of foregrounds: a person that is hard to cut out is
        hard in all of them, and independent draws would give intervals that are too narrow.

        Raises:
            ValueError: one seed and one clip, from which no interval can be had.
        """
        if not can_resample(num_seeds, len(clips)):
            raise ValueError(f"no interval from {num_seeds} seed and {len(clips)} clip; run more seeds or clips")
        picked = generator.integers(num_seeds, size=(resamples, num_seeds))
        seeds = (picked[:, :, None] == np.arange(num_seeds)).mean(axis=1)
        return cls(seeds, _draw_clips(clips, resamples, generator))

    def mean(self, values: FloatArray) -> FloatArray:
        """(resamples,) means of `values` (seeds, clips), the spread of seeds stretched by `seed_stretch`."""
        centre = values.mean(axis=0)
        by_clip = centre + seed_stretch(len(values)) * (self.seeds @ values - centre)
        return (by_clip * self.clips).sum(axis=1)

    def take(self, columns: NDArray[np.bool_]) -> Resamples:
        """The same draws on some whole strata.

        Raises:
            ValueError: one seed and one clip are left.
        """
        clips = self.clips[:, columns]
        if not can_resample(self.seeds.shape[1], clips.shape[1]):
            raise ValueError(f"no interval from {self.seeds.shape[1]} seed and {clips.shape[1]} clip")
        return Resamples(self.seeds, clips / clips.sum(axis=1, keepdims=True))


def seed_stretch(num_seeds: int) -> float:
    """How much wider than its bootstrap the interval of a mean of so few seeds must be.

    The bootstrap divides by S where a variance asks for S − 1, and knows nothing of Student's t: with 3 seeds its
    95 % interval holds the truth in 72 % of cases. Past 10 seeds the t of 10 is kept, which errs on the safe side.
    """
    if num_seeds == 1:
        return 1.0
    t = T_QUANTILES[min(num_seeds, max(T_QUANTILES))]
    return float(np.sqrt(num_seeds / (num_seeds - 1)) * t / 1.96)


def can_resample(num_seeds: int, num_clips: int) -> bool:
    """Whether an interval can be had: not from one seed and one clip, which would give one of zero width."""
    return num_seeds >= 1 and num_clips >= 1 and num_seeds * num_clips > 1


def _draw_clips(clips: Clips, resamples: int, generator: np.random.Generator) -> FloatArray:
    weights = np.zeros((resamples, len(clips)))
    rows = np.arange(resamples)
    shared: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for stratum in clips.strata:
        columns = np.flatnonzero(clips.stratum == stratum)
        names, member = np.unique(clips.foreground[columns], return_inverse=True)
        sizes = np.bincount(member)
        by_foreground = columns[np.argsort(member, kind="stable")]
        starts = np.cumsum(sizes) - sizes
        key = tuple(names.tolist())
        if key not in shared:
            shared[key] = generator.integers(len(names), size=(resamples, len(names)))
        for foreground in shared[key].T:
            size = sizes[foreground]
            for place in range(int(sizes.max())):
                clip = starts[foreground] + (generator.random(resamples) * size).astype(np.int64)
                weights[rows, by_foreground[clip]] += place < size
        weights[:, columns] /= weights[:, columns].sum(axis=1, keepdims=True) * len(clips.strata)
    return weights


def interval(draws: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """Ends of the percentile interval of bootstrap draws (resamples,); NaN if any draw is."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def overall_mean(values: FloatArray, clips: Clips) -> FloatArray:
    """(seeds,) mean of each seed's `values` (seeds, clips): clip → stratum → mean of strata."""
    return values @ clips.weights


def interquartile_mean(values: FloatArray, clips: Clips, draws: Resamples | None) -> Estimate:
    """Mean of the middle half of all `values` (seeds, clips), strata weighing the same.

    Its interval is that of the plain bootstrap: `seed_stretch` is for means.
    """
    order = np.argsort(values, axis=None)
    ordered = values.ravel()[order]
    equal = np.broadcast_to(clips.weights / len(values), values.shape).reshape(1, -1)[:, order]
    value = float(_middle_half_mean(ordered, equal)[0])
    if draws is None:
        return Estimate(value, np.nan, np.nan)
    weights = np.einsum("rs,rc->rsc", draws.seeds, draws.clips).reshape(len(draws.seeds), -1)
    return Estimate(value, *interval(_middle_half_mean(ordered, weights[:, order])))


def _middle_half_mean(ordered: FloatArray, weights: FloatArray) -> FloatArray:
    upper = np.cumsum(weights, axis=1).clip(0.25, 0.75)
    share = np.diff(upper, axis=1, prepend=0.25)
    return (share @ ordered) / 0.5


def probability_of_improvement(arm: FloatArray, baseline: FloatArray, clips: Clips) -> float:
    """Share of (seed, seed, clip) triples in which the arm's error is lower, ties half; both (seeds, clips)."""
    if not (np.isfinite(arm).all() and np.isfinite(baseline).all()):
        return float("nan")
    gap = arm[:, None] - baseline[None]
    return float(((gap < 0) + 0.5 * (gap == 0)).mean(axis=(0, 1)) @ clips.weights)


def cliffs_delta(arm: FloatArray, baseline: FloatArray) -> float:
    """P(arm > baseline) − P(arm < baseline) over all pairs of (seeds, clips) scores; below 0 the arm is better."""
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
    """One arm against the baseline on the same seeds and clips; lower scores are better.

    Attributes:
        difference: mean of arm − baseline, with its 95 % interval.
        relative: exp(mean log ratio) − 1, with its 95 % interval; NaN if a score is zero.
        relative_90: the same with the 90 % interval, on which equivalence is decided.
        probability: `probability_of_improvement`.
        effect_size: mean over standard deviation of the foregrounds' differences.
        cliffs_delta: of the pooled scores; below 0 the arm is better.
        foregrounds_better: on how many foregrounds the arm's error is lower.
        p_value: sign-flip test over foregrounds, not adjusted.
    """

    num_seeds: int
    num_clips: int
    num_foregrounds: int
    difference: Estimate
    relative: Estimate
    relative_90: Estimate
    probability: float
    effect_size: float
    cliffs_delta: float
    foregrounds_better: int
    p_value: float

    @property
    def verdict(self) -> str:
        """What the 95 % interval says: "helps", "hurts", "not distinguishable", or "no verdict" if there is none."""
        if not np.isfinite(self.difference).all():
            return "no verdict"
        if self.difference.high < 0:
            return "helps"
        return "hurts" if self.difference.low > 0 else "not distinguishable"

    @property
    def equivalent(self) -> bool:
        """Whether the 90 % interval of the relative change lies within ±2 %: only then is it "the same"."""
        return self.relative_90.low >= -EQUIVALENCE_MARGIN and self.relative_90.high <= EQUIVALENCE_MARGIN


def compare(
    arm: FloatArray, baseline: FloatArray, clips: Clips, draws: Resamples | None, generator: np.random.Generator
) -> Comparison:
    """Everything that is said about `arm` against `baseline`, both (seeds, clips) with the same seeds and clips.

    Args:
        draws: for these seeds and clips; None gives a comparison without intervals.
        generator: for the sign-flip test where it is not exact.

    Raises:
        ValueError: the shapes do not agree.
    """
    if arm.shape != baseline.shape or arm.shape[1] != len(clips):
        raise ValueError(f"arm {arm.shape} and baseline {baseline.shape} must both be (seeds, {len(clips)} clips)")
    difference = arm - baseline
    ratio = log_ratio(arm, baseline)
    names, member = np.unique(clips.foreground, return_inverse=True)
    # A foreground's share of the overall difference; the shares add up to it.
    contributions: FloatArray = np.zeros(len(names))
    np.add.at(contributions, member, difference.mean(axis=0) * clips.weights)
    by_foreground = contributions / np.bincount(member, weights=clips.weights)
    spread = by_foreground.std(ddof=1) if len(names) > 1 else 0.0
    return Comparison(
        num_seeds=len(arm),
        num_clips=len(clips),
        num_foregrounds=len(names),
        difference=estimate(difference, clips, draws),
        relative=_percent(estimate(ratio, clips, draws)),
        relative_90=_percent(estimate(ratio, clips, draws, level=0.90)),
        probability=probability_of_improvement(arm, baseline, clips),
        effect_size=float(by_foreground.mean() / spread) if spread > 0 else float("nan"),
        cliffs_delta=cliffs_delta(arm, baseline),
        foregrounds_better=int((by_foreground < 0).sum()),
        p_value=sign_flip_p_value(contributions, generator),
    )


def estimate(values: FloatArray, clips: Clips, draws: Resamples | None, level: float = 0.95) -> Estimate:
    """Overall mean of `values` (seeds, clips) with its bootstrap interval, NaN ends without draws."""
    value = float(overall_mean(values, clips).mean())
    low, high = interval(draws.mean(values), level) if draws is not None else (np.nan, np.nan)
    return Estimate(value, low, high)


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
        inside = clips.stratum == stratum
        here = estimate_contrast(ratio, clips, draws, inside)
        found[stratum] = Estimate(*(float(np.exp(value)) for value in here))
    return found


def estimate_contrast(values: FloatArray, clips: Clips, draws: Resamples | None, inside: NDArray[np.bool_]) -> Estimate:
    """Mean of `values` (seeds, clips) in the strata `inside` (clips,) minus that in the others, with interval."""
    value = float(overall_mean(values[:, inside], clips.take(inside)).mean())
    value -= float(overall_mean(values[:, ~inside], clips.take(~inside)).mean())
    if draws is None:
        return Estimate(value, np.nan, np.nan)
    gap = draws.take(inside).mean(values[:, inside]) - draws.take(~inside).mean(values[:, ~inside])
    return Estimate(value, *interval(gap))


def curve_over_time(values: FloatArray, clips: Clips, draws: Resamples | None) -> FloatArray:
    """(frames, 3): mean, low and high end of its 95 % band at each frame index.

    Args:
        values: (seeds, clips, frames), NaN where a clip has no such frame; a frame that no clip has gives NaN.
    """
    curve = np.full((values.shape[2], 3), np.nan)
    for frame in range(values.shape[2]):
        present = np.isfinite(values[:, :, frame])
        filled = np.where(present, values[:, :, frame], 0.0)
        weight = float(overall_mean(present.astype(float), clips).mean())
        if weight == 0:
            continue
        curve[frame, 0] = overall_mean(filled, clips).mean() / weight
        if draws is not None:
            drawn_weight = draws.mean(present.astype(float))
            kept = drawn_weight > 0
            curve[frame, 1:] = interval(draws.mean(filled)[kept] / drawn_weight[kept])
    return curve


class Settling(NamedTuple):
    """How an error-over-time curve starts and where it settles.

    Attributes:
        start: value at the first frame.
        plateau: mean of the later frames: from frame 15 on, or of the second half of clips shorter than 30 frames.
        frame: first frame within 5 % of the plateau; NaN if there is none.
    """

    start: float
    plateau: float
    frame: float


def settling(curve: FloatArray) -> Settling:
    """Start and plateau of `curve` (frames,)."""
    plateau = float(np.nanmean(curve[min(15, len(curve) // 2) :]))
    close = np.flatnonzero(np.abs(curve - plateau) <= 0.05 * plateau)
    return Settling(float(curve[0]), plateau, float(close[0]) if len(close) else float("nan"))
