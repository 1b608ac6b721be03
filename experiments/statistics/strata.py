"""From one row a frame to the figures of a set: frame → mean of the clip → mean of the stratum → mean of strata."""

from __future__ import annotations

import pandas as pd

from lightning_modules.metrics.table import FIGURES, Metric

CLIP_COLUMNS = ["stratum", "clip", "scene"]


def figures(frames: pd.DataFrame, metric: Metric) -> pd.Series:
    """Raw figures of a metric, one a row of `metrics.parquet`; NaN, in no mean, where a clip's first frame has none.

    >>> frames = pd.DataFrame({"frame": [0, 1], "dtssd": [0.0, 0.5]})
    >>> figures(frames, FIGURES["dtssd_later"]).tolist()
    [nan, 0.5]
    """
    values = frames[metric.column].astype(float)
    return values.where(frames["frame"] > 0) if metric.first_frame == "undefined" else values


def stratum_means(frames: pd.DataFrame) -> pd.DataFrame:
    """Raw figures: a row a stratum, a column a metric whose column is there; NaN are left out."""
    table = frames[CLIP_COLUMNS].copy()
    for metric in FIGURES.values():
        if metric.column in frames:
            table[metric.key] = figures(frames, metric)
    means = table.groupby(CLIP_COLUMNS, sort=False).mean()
    return means.groupby("stratum", sort=False).mean()


def summarise(frames: pd.DataFrame) -> dict[str, float]:
    """The figures of a whole set in the papers' units, MAD and MSE × 1e3, dtSSD × 1e2, …: the mean of strata."""
    means = stratum_means(frames).mean()
    return {name: float(value * FIGURES[name].scale) for name, value in zip(map(str, means.index), means, strict=True)}
