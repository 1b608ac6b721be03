"""From one row a frame to means of clips, over time, and by the papers' averaging orders."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from experiments.statistics.bootstrap import FloatArray
from experiments.statistics.strata import CLIP_COLUMNS, figures
from lightning_modules.metrics.table import FIGURES, Metric
from lightning_modules.metrics.table import METRICS as COLUMNS

Order = Literal["strata", "by_frame", "clip_mean", "frame_pool"]
MAX_FRAMES_BY_FRAME = 700  # of a clip in RVM's spreadsheet; later ones are ignored there


# The rows of the table of metrics in the order of a report: those of its first table come first.
METRICS = dict(sorted(FIGURES.items(), key=lambda item: not item[1].in_main_table))


def mark_broken(table: pd.DataFrame, undefined: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table with infinity for figures that broke and NaN for frames on which there is nothing to measure.

    Args:
        table: rows of one trained model or method.
        undefined: bool, the rows and metric columns of `table`: where there is nothing to measure. By default
            where a metric is NaN although MAD is not: a matte that is NaN has no score at all.

    A column without any figure stays so if MAD has all of its own: the net has no such output.
    """
    columns = [key for key in COLUMNS if key in table]
    if undefined is None:
        undefined = pd.DataFrame({name: table["mad"].notna() for name in columns})
    if table["mad"].notna().all():
        columns = [name for name in columns if table[name].notna().any()]
    broken = {name: table[name].where(table[name].notna() | undefined[name], np.inf) for name in columns}
    return table.assign(**broken)


def score_table(frames: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """(seeds, clips) clip means in shown units; columns are stratum, clip, scene, sorted.

    A frame with NaN is left out of its clip's mean; one with infinity makes it NaN.
    """
    means = figures(frames, metric).groupby([frames["seed"], *(frames[name] for name in CLIP_COLUMNS)]).mean()
    return means.replace(np.inf, np.nan).unstack(CLIP_COLUMNS).sort_index(axis=1) * metric.scale


def averages(frames: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Figures of trained models, in shown units, averaged in the orders that are published; they differ with lengths.

    Args:
        frames: rows of `metrics.parquet`, of a model each `seed`; NaN where there is nothing to measure, such frames
            are in no mean.
        metric: what to average.

    Returns:
        A row a seed, NaN where a frame is infinite. A column each `Order`: "strata", ours: frame → clip → stratum →
        mean of strata. "by_frame", RVM's spreadsheet: the mean over clips at each frame index, then over the first 700
        indices. "clip_mean": frame → clip → mean of clips. "frame_pool": the mean of all frames.
    """
    values, seed = figures(frames, metric) * metric.scale, frames["seed"]
    clips = values.groupby([seed, *(frames[name] for name in CLIP_COLUMNS)]).mean()
    early = frames["frame"] < MAX_FRAMES_BY_FRAME
    found = {
        "strata": clips.groupby(["seed", "stratum"]).mean().groupby("seed").mean(),
        "by_frame": values[early].groupby([seed[early], frames["frame"][early]]).mean().groupby("seed").mean(),
        "clip_mean": clips.groupby("seed").mean(),
        "frame_pool": values.groupby(seed).mean(),
    }
    return pd.DataFrame(found).mask(np.isinf(values).groupby(seed).any())


def curve_table(frames: pd.DataFrame, metric: Metric, seeds: list[int]) -> FloatArray:
    """(seeds, clips, frames) in shown units, clips as in `score_table`; NaN where a clip has no such frame."""
    values = figures(frames, metric).replace(np.inf, np.nan)
    keys = [frames["seed"], *(frames[name] for name in CLIP_COLUMNS), frames["frame"]]
    table = values.groupby(keys).mean().unstack([*CLIP_COLUMNS, "frame"])
    clips, indices = score_table(frames, metric).columns, sorted(set(frames["frame"]))
    every = pd.MultiIndex.from_tuples([(*clip, index) for clip in clips for index in indices])
    return table.reindex(index=seeds, columns=every).to_numpy(dtype=float).reshape(len(seeds), len(clips), -1) * (
        metric.scale
    )
