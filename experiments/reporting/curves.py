"""Curves with intervals: error over time and where it settles, and the share of clips below each error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.statistics.bootstrap import Resamples, Statistic, estimates
from experiments.statistics.clips import Clips, FloatArray
from experiments.statistics.comparisons import mean_of

DRAWS = 1000  # for each point of a curve: they decide only how unequal the arms of its interval are


def curve_over_time(values: FloatArray, clips: Clips, draws: Resamples | None) -> FloatArray:
    """(frames, 3): mean, low and high end of its 95 % band at each frame index.

    Args:
        values: (seeds, clips, frames), NaN where a clip has no such frame; a frame that no clip has gives NaN.
    """
    some = draws.first(DRAWS) if draws is not None else None
    each = [_mean_of_present(values[:, :, frame]) for frame in range(values.shape[2])]
    return np.array(estimates(each, len(values), clips, some)).reshape(-1, 3)


def _mean_of_present(values: FloatArray) -> Statistic:
    """The mean of those `values` (seeds, clips) that are not NaN; NaN where none is."""
    present = np.isfinite(values)
    if present.all():
        return mean_of(values)
    total, weight = mean_of(np.where(present, values, 0.0)), mean_of(present.astype(float))

    def mean(seeds: FloatArray, clips: FloatArray) -> FloatArray:
        share = weight(seeds, clips)
        return np.divide(total(seeds, clips), share, out=np.full(len(share), np.nan), where=share > 0)

    return mean


class Settling(NamedTuple):
    """How an error-over-time curve starts and where it settles.

    Attributes:
        start: value at the first frame that has one.
        plateau: mean of the later frames: from frame 15 on, or of the second half of clips shorter than 30 frames.
        frame: first frame within 5 % of the plateau; NaN if there is none.
    """

    start: float
    plateau: float
    frame: float


def settling(curve: FloatArray) -> Settling:
    """Start and plateau of `curve` (frames,); NaN of a curve without values there."""
    later = curve[min(15, len(curve) // 2) :]
    finite = np.flatnonzero(np.isfinite(curve))
    if not np.isfinite(later).any():
        return Settling(float(curve[finite[0]]) if len(finite) else np.nan, np.nan, np.nan)
    plateau = float(np.nanmean(later))
    close = np.flatnonzero(np.abs(curve - plateau) <= 0.05 * plateau)
    return Settling(float(curve[finite[0]]), plateau, float(close[0]) if len(close) else np.nan)


def performance_profile(
    values: FloatArray, clips: Clips, draws: Resamples | None, thresholds: FloatArray
) -> FloatArray:
    """(thresholds, 3): share of scores (seeds, clips) at or below each threshold, and its 95 % band within [0, 1].

    Strata weigh the same. NaN where a score is NaN.
    """
    some = draws.first(DRAWS) if draws is not None else None
    shares = [mean_of(np.where(np.isnan(values), np.nan, values <= threshold)) for threshold in thresholds]
    return np.clip(np.array(estimates(shares, len(values), clips, some)).reshape(-1, 3), 0.0, 1.0)


def profile_thresholds(scores: FloatArray, count: int = 40) -> FloatArray:
    """(count,) thresholds on a log grid that spans all positive `scores`, any shape; empty if there are none."""
    positive = scores[np.isfinite(scores) & (scores > 0)]
    return np.geomspace(positive.min(), positive.max(), count) if positive.size else np.empty(0)
