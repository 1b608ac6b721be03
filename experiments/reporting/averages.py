"""From one row a frame to means of clips, over time, and by the papers' averaging orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from experiments.statistics.clips import FloatArray
from experiments.statistics.strata import CLIP_COLUMNS, figures
from lightning_modules.metrics.table import FIGURES, Metric
from lightning_modules.metrics.table import METRICS as COLUMNS

CLIP_KEY = ["seed", *CLIP_COLUMNS]  # of a clip under one trained model
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
    known = table[[key for key in COLUMNS if key in table]].notna()
    if known["mad"].all():
        known = known.loc[:, known.any()]
    nothing = known[["mad"]] if undefined is None else undefined[known.columns]
    fine = known | nothing.to_numpy()
    return table.assign(**{name: table[name].where(fine[name], np.inf) for name in fine.columns[~fine.all()]})


def without_input_frames(table: pd.DataFrame) -> pd.DataFrame:
    """The table without figures of the foreground where the net gave none and the input frame was scored in its place.

    Such a figure is one of the clip and of no net; `experiments.evaluate` shows it, as RVM's tables do.
    """
    of_colour = [name for name, metric in COLUMNS.items() if "foreground" in metric.needs and name in table]
    if "foreground_predicted" not in table or not of_colour:
        return table
    predicted = table["foreground_predicted"].astype(bool)
    return table if predicted.all() else table.assign(**{name: table[name].where(predicted) for name in of_colour})


def score_table(frames: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """(seeds, clips) clip means in shown units; columns are stratum, clip, scene, sorted.

    A frame with NaN is left out of its clip's mean; one with infinity makes it NaN.
    """
    return score_tables(frames, [metric])[metric.key]


def score_tables(frames: pd.DataFrame, metrics: Sequence[Metric]) -> dict[str, pd.DataFrame]:
    """`score_table` of each metric, by key, for the work of one."""
    means = _means(_figures(frames, CLIP_KEY, metrics), CLIP_KEY).replace(np.inf, np.nan)
    means *= [metric.scale for metric in metrics]
    seeds, *clips = means.index.codes  # type: ignore[attr-defined]  # sorted by seed, then by clip
    num_seeds = len(np.unique(seeds))
    grid = np.array(clips).reshape(len(clips), num_seeds, -1) if num_seeds and len(means) % num_seeds == 0 else None
    if grid is not None and (grid == grid[:, :1]).all():  # each seed has the same clips, and nothing is to be sorted
        count = grid.shape[2]
        rows = means.index[::count].get_level_values("seed")
        columns = means.index[:count].droplevel(0)  # type: ignore[arg-type]
        return {str(key): pd.DataFrame(means[key].to_numpy().reshape(-1, count), rows, columns) for key in means}
    tables = means.unstack(CLIP_COLUMNS).sort_index(axis=1)
    return {metric.key: pd.DataFrame(tables[metric.key]) for metric in metrics}


def by_rows(table: pd.DataFrame) -> FloatArray:
    """The figures of a table, row by row in memory, on whose order the last digits of sums depend."""
    return np.ascontiguousarray(table, dtype=float)


def _figures(frames: pd.DataFrame, columns: list[str], metrics: Sequence[Metric]) -> pd.DataFrame:
    """Some columns of `frames`, and the raw figures of each metric under its key."""
    return pd.concat(
        [frames[columns], pd.DataFrame({metric.key: figures(frames, metric) for metric in metrics})], axis=1
    )


def _means(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean of each group, of all other columns; a column's last digits do not depend on the others."""
    grouped = table.groupby(by, observed=True)  # where names are categories: those that are there
    return pd.DataFrame({name: grouped[name].mean() for name in map(str, table) if name not in by})


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
    return averages_of(frames, [metric])[metric.key]


def averages_of(frames: pd.DataFrame, metrics: Sequence[Metric]) -> dict[str, pd.DataFrame]:
    """`averages` of each metric, by key, for the work of one."""
    values = _figures(frames, [*CLIP_KEY, "frame"], metrics)
    keys = [metric.key for metric in metrics]
    values[keys] *= [metric.scale for metric in metrics]
    early = values[values["frame"] < MAX_FRAMES_BY_FRAME]
    clips = _means(values.drop(columns="frame"), CLIP_KEY)
    found: dict[Order, pd.DataFrame] = {
        "strata": _means(_means(clips, ["seed", "stratum"]), ["seed"]),
        "by_frame": _means(_means(early[["seed", "frame", *keys]], ["seed", "frame"]), ["seed"]),
        "clip_mean": _means(clips, ["seed"]),
        "frame_pool": _means(values[["seed", *keys]], ["seed"]),
    }
    broken = values[keys].isin([np.inf, -np.inf]).groupby(values["seed"].to_numpy()).any()
    return {key: pd.DataFrame({order: means[key] for order, means in found.items()}).mask(broken[key]) for key in keys}


def curve_table(frames: pd.DataFrame, metric: Metric, seeds: list[int]) -> FloatArray:
    """(seeds, clips, frames) in shown units, clips as in `score_table`; NaN where a clip has no such frame."""
    seed = pd.Index(seeds).get_indexer(pd.Index(frames["seed"]))
    clip = frames.groupby(CLIP_COLUMNS).ngroup().to_numpy()
    frame, indices = pd.factorize(frames["frame"], sort=True)
    values = figures(frames, metric).replace(np.inf, np.nan).to_numpy()
    known = np.isfinite(values) & (seed >= 0)
    place = seed[known], clip[known], frame[known]
    total, count = np.zeros((2, len(seeds), clip.max() + 1, len(indices)))
    np.add.at(total, place, values[known])
    np.add.at(count, place, 1.0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0) * metric.scale
