"""From one row a frame to means: what each column is called and shown as, clip means, the papers' averaging orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from experiments.statistics.bootstrap import FloatArray
from lightning_modules.metrics.figures import METRICS as COLUMNS

CLIP_COLUMNS = ["stratum", "clip", "scene"]
Order = Literal["strata", "by_frame", "clip_mean", "frame_pool"]
MAX_FRAMES_BY_FRAME = 700  # of a clip in RVM's spreadsheet; later ones are ignored there


@dataclass(frozen=True)
class Metric:
    """How a column of `metrics.parquet` is shown.

    Attributes:
        scale: factor from the raw figure to the shown one.
        unit: the factor of the shown figure, as the papers print it.
        skips_first: whether frame 0 is left out instead of counted.
        in_main_table: whether it stands in the first table of a report; all stand in the detailed ones.
    """

    key: str
    label: str
    scale: float
    unit: str
    column: str
    higher_is_better: bool = False
    skips_first: bool = False
    in_main_table: bool = True

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _metrics() -> dict[str, Metric]:
    main = ("mad", "mse", "grad", "conn", "dtssd", "fgr_mse", "epe")
    found = {}
    for key in (*main, *(key for key in COLUMNS if key not in main)):
        info = COLUMNS[key]
        found[key] = Metric(
            key, info.label, info.scale, info.unit, key, info.higher_is_better, in_main_table=key in main
        )
        if key == "dtssd":
            later = Metric("dtssd_later", f"{info.label} without frame 0", info.scale, info.unit, key, skips_first=True)
            found[later.key] = later
    return found


METRICS = _metrics()


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
    values = frames[metric.column].astype(float)
    if metric.skips_first:
        values = values.where(frames["frame"] > 0)
    means = values.groupby([frames["seed"], *(frames[name] for name in CLIP_COLUMNS)]).mean()
    return means.replace(np.inf, np.nan).unstack(CLIP_COLUMNS).sort_index(axis=1) * metric.scale


def aggregate(frames: pd.DataFrame, metric: Metric, order: Order = "strata") -> float:
    """One figure from the frames of one trained model, in shown units, averaged in a published order.

    Args:
        frames: rows of `metrics.parquet`; NaN where there is nothing to measure, such frames are in no mean.
        metric: what to average.
        order: "strata", ours: frame → clip → stratum → mean of strata. "by_frame", RVM's spreadsheet: the mean over
            clips at each frame index, then over the first 700 indices. "clip_mean": frame → clip → mean of clips.
            "frame_pool": the mean of all frames. They differ where clips differ in length.

    Raises:
        ValueError: the order is none of these.
    """
    if order not in get_args(Order):
        raise ValueError(f"order is {order!r}, not one of {', '.join(get_args(Order))}")
    values = frames[metric.column].astype(float) * metric.scale
    if metric.skips_first:
        values = values.where(frames["frame"] > 0)
    if np.isinf(values).any():
        return float("nan")
    by_clip = values.groupby([frames[name] for name in CLIP_COLUMNS]).mean()
    match order:
        case "frame_pool":
            return float(values.mean())
        case "by_frame":
            by_frame = values.groupby(frames["frame"]).mean()
            return float(by_frame[by_frame.index < MAX_FRAMES_BY_FRAME].mean())
        case "clip_mean":
            return float(by_clip.mean())
        case _:
            return float(by_clip.groupby("stratum").mean().mean())


def curve_table(frames: pd.DataFrame, metric: Metric, seeds: list[int]) -> FloatArray:
    """(seeds, clips, frames) in shown units, clips as in `score_table`; NaN where a clip has no such frame."""
    values = frames[metric.column].astype(float).replace(np.inf, np.nan)
    if metric.skips_first:
        values = values.where(frames["frame"] > 0)
    keys = [frames["seed"], *(frames[name] for name in CLIP_COLUMNS), frames["frame"]]
    table = values.groupby(keys).mean().unstack([*CLIP_COLUMNS, "frame"])
    clips, indices = score_table(frames, metric).columns, sorted(set(frames["frame"]))
    every = pd.MultiIndex.from_tuples([(*clip, index) for clip in clips for index in indices])
    return table.reindex(index=seeds, columns=every).to_numpy(dtype=float).reshape(len(seeds), len(clips), -1) * (
        metric.scale
    )
