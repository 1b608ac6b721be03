"""The figures of a report, as image files in memory; nothing here touches matplotlib's global state.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; past seven arms line styles differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.records.cell_record import CellRecord
from experiments.reporting.analysis import Analysis, in_detail
from experiments.reporting.matrix import Matrix, seed_means
from experiments.statistics.bootstrap import Estimate
from experiments.statistics.clips import FloatArray
from lightning_modules.metrics.table import Metric

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH_INCHES = 6.4
MARGIN_INCHES = 0.55  # below the panels, for ticks and their name
MAX_LOSS_TERMS = 6
PER_FRAME_EXTRAS = {
    "coverage": "share of cells with\nrestored background",
    "background_psnr": "PSNR of restored\nbackground (dB;\ndashed: one colour)",
    "refined_share": "share of\npatches refined",
}


def png(figure: Figure) -> bytes:
    """The figure as PNG, with all that stands beside its panels: names of any length, a legend of any height."""
    buffer = BytesIO()
    figure.set_dpi(160)
    # By "tight" matplotlib would draw everything once more, only to see how large it is.
    whole = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(0.08)
    figure.savefig(buffer, format="png", dpi=160, bbox_inches=whole)
    return buffer.getvalue()


def _panels(
    height_inches: float, rows: int = 1, columns: int = 1, gaps: tuple[float, float] = (0.1, 0.1), **shared: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels, row by row.

    Args:
        height_inches: of the panels together; what stands around them is added.
        gaps: between rows and between columns, as shares of a panel.
        shared: "sharex" or "sharey".
    """
    # Placed by hand: matplotlib's own layout draws everything twice more, and gives up where names or legends are long.
    whole = height_inches + MARGIN_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, whole))
    figure.subplots_adjust(left=0.1, right=1, bottom=MARGIN_INCHES / whole, top=1, hspace=gaps[0], wspace=gaps[1])
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).ravel())


def plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")


def _style(place: int) -> dict[str, Any]:
    return {"color": COLORS[place % len(COLORS)], "linestyle": LINES[place // len(COLORS) % len(LINES)]}


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(figure: Figure, axes: Axes, columns: int = 3, above: float | None = None) -> None:
    """Names of the lines, under the figure or so many inches above it."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
        if above is not None:
            place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1 + above / figure.get_figheight())}
        figure.legend(handles, labels, ncols=min(columns, len(labels)), frameon=False, **place)


def error_over_time(matrix: Matrix, analysis: Analysis, metrics: Sequence[Metric]) -> Figure:
    """Each metric by frame index, one line an arm with its 95 % band."""
    figure, panels = _panels(2.4 * len(metrics), rows=len(metrics), sharex=True)
    for axes, metric in zip(panels, metrics, strict=True):
        for place, arm in enumerate(matrix.arms):
            if not arm.has(metric):
                continue
            curve = analysis.curves[arm.text, metric.key]
            frames = np.arange(len(curve))
            if metric.first_frame != "measured":
                frames, curve = frames[1:], curve[1:]
            axes.plot(frames, curve[:, 0], label=plain(arm.label), linewidth=1.8, **_style(place))
            if in_detail(matrix):
                axes.fill_between(frames, curve[:, 1], curve[:, 2], color=COLORS[place], alpha=0.15, linewidth=0)
        axes.set_ylabel(metric.heading)
        _tidy(axes)
    panels[-1].set_xlabel("frame")
    _legend(figure, panels[0])
    return figure


def seeds_of_arms(matrix: Matrix, metrics: Sequence[Metric]) -> Figure:
    """A dot a seed and arm, lines between the dots of one seed, a bar at each arm's mean."""
    rows = len(matrix.arms)
    figure, panels = _panels(0.4 + 0.36 * rows, columns=len(metrics), sharey=True)
    seeds = sorted({seed for arm in matrix.arms for seed in arm.seeds})
    for axes, metric in zip(panels, metrics, strict=True):
        values = [
            dict(zip(arm.seeds, seed_means(matrix, arm, metric), strict=True)) if arm.has(metric) else {}
            for arm in matrix.arms
        ]
        for place, seed in enumerate(seeds):
            points = [(found[seed], row) for row, found in enumerate(values) if seed in found]
            x, y = zip(*points, strict=True) if points else ((), ())
            line = {"linewidth": 0.8, "alpha": 0.9} if in_detail(matrix) else {"linewidth": 0}
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(
                x, y, marker=marker, markersize=5, color=COLORS[place % len(COLORS)], label=f"seed {seed}", **line
            )
        means = [np.mean(list(found.values())) if found else np.nan for found in values]
        axes.plot(means, range(rows), "|", color="black", markersize=14, markeredgewidth=2, label="mean")
        axes.set_xlabel(metric.heading)
        axes.margins(x=0.12)
        _tidy(axes)
    panels[0].set_yticks(range(rows), [plain(arm.label) for arm in matrix.arms])
    panels[0].set_ylim(rows - 0.5, -0.5)
    _legend(figure, panels[0], columns=6)
    return figure


def strata_forest(matrix: Matrix, analysis: Analysis, metrics: Sequence[Metric]) -> Figure:
    """Relative change against each arm's baseline in each stratum and on all clips, with 95 % intervals."""
    strata = ["all clips", *(matrix.clips.strata)]
    arms = [arm for arm in matrix.others if any((arm.text, m.key) in analysis.comparisons for m in metrics)]
    figure, panels = _panels(len(strata) * (0.22 + 0.12 * len(arms)), columns=len(metrics), sharey=True)
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0, color="black", linewidth=1)
        for place, arm in enumerate(arms):
            if (arm.text, metric.key) not in analysis.comparisons:
                continue
            found = [analysis.comparisons[arm.text, metric.key]]
            found += [analysis.strata[arm.text, metric.key, stratum] for stratum in strata[1:]]
            y = np.arange(len(strata), dtype=np.float64) + 0.7 * ((place + 0.5) / len(arms) - 0.5)
            _whiskers(axes, [one.relative for one in found], y, matrix.arms.index(arm), arm.label)
        axes.axhline(0.5, color="#999999", linewidth=0.8)
        axes.set_title(f"{metric.label}, % ({'right' if metric.higher_is_better else 'left'} is better)", fontsize=10)
        _tidy(axes)
    panels[0].set_yticks(range(len(strata)), [plain(name) for name in strata])
    panels[0].set_ylim(len(strata) - 0.4, -0.6)
    _legend(figure, panels[0], above=0.3)  # what a reader sees first stands at the head of a page
    return figure


def _whiskers(axes: Axes, estimates: Sequence[Estimate], y: FloatArray, place: int, label: str) -> None:
    values = 100 * np.array(estimates)
    spread = np.nan_to_num(np.abs(values[:, 1:] - values[:, :1]).T)
    axes.errorbar(
        values[:, 0],
        y,
        xerr=spread,
        fmt=MARKERS[place % len(MARKERS)],
        markersize=4.5,
        color=COLORS[place % len(COLORS)],
        markerfacecolor="white" if place >= len(COLORS) else None,  # hollow where a colour comes again
        elinewidth=1.5,
        label=plain(label),
    )


def performance_profiles(matrix: Matrix, analysis: Analysis, metrics: Sequence[Metric]) -> Figure:
    """For each arm the share of clips whose score is at most τ, on a log axis, with 95 % bands."""
    figure, panels = _panels(2.4, columns=len(metrics), sharey=True)
    for axes, metric in zip(panels, metrics, strict=True):
        for place, arm in enumerate(matrix.arms):
            profile = analysis.profiles.get((arm.text, metric.key))
            if profile is None or not len(profile):
                continue
            thresholds = analysis.thresholds[metric.key]
            axes.plot(thresholds, profile[:, 0], label=plain(arm.label), linewidth=1.8, **_style(place))
            if in_detail(matrix):
                axes.fill_between(
                    thresholds, profile[:, 1], profile[:, 2], color=COLORS[place], alpha=0.15, linewidth=0
                )
        _log_axis(axes, analysis.thresholds[metric.key])
        axes.set_xlabel(f"τ: {metric.heading}")
        _tidy(axes)
    panels[0].set_ylabel("share of clips ≤ τ")
    _legend(figure, panels[0])
    return figure


def _log_axis(axes: Axes, values: FloatArray) -> None:
    """A log axis with plain figures; a linear one where `values` span less than a factor of three."""
    if len(values) and values[-1] > 3 * values[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def quality_against_cost(matrix: Matrix, metrics: Sequence[Metric]) -> Figure | None:
    """Each arm's mean over milliseconds per frame, a bar from its best to its worst seed; None if all cost the same.

    Arms of equal GMACs per frame cost the same: what their times differ by is noise.
    """
    cost = [arm.cells[0].cost for arm in matrix.arms]
    if (
        any("milliseconds_per_frame" not in one for one in cost)
        or len({one.get("gmacs_per_frame") for one in cost}) < 2
    ):
        return None
    figure, panels = _panels(2.4, columns=len(metrics), gaps=(0.0, 0.4))
    for axes, metric in zip(panels, metrics, strict=True):
        for place, arm in enumerate(matrix.arms):
            if not arm.has(metric):
                continue
            means = seed_means(matrix, arm, metric)
            x = float(np.median([cell.cost["milliseconds_per_frame"] for cell in arm.cells]))
            reach = [[means.mean() - means.min()], [means.max() - means.mean()]]
            axes.errorbar(
                x, means.mean(), yerr=reach, fmt=MARKERS[place % len(MARKERS)], markersize=6,
                color=COLORS[place % len(COLORS)], label=plain(arm.label), elinewidth=1.2,
            )  # fmt: skip
        axes.set_xlabel("ms per frame")
        axes.set_ylabel(metric.heading)
        axes.margins(0.15)
        _tidy(axes)
    _legend(figure, panels[0])
    return figure


def extras_over_time(matrix: Matrix) -> Figure | None:
    """Coverage and PSNR of the restored background and share of refined patches by frame; None if no arm has them."""
    found = {name: [arm for arm in matrix.arms if name in arm.frames and arm.frames[name].notna().any()]
             for name in PER_FRAME_EXTRAS}  # fmt: skip
    names = [name for name, arms in found.items() if arms]
    if not names:
        return None
    figure, panels = _panels(2.2 * len(names), rows=len(names), sharex=True)
    for axes, name in zip(panels, names, strict=True):
        for arm in found[name]:
            style, floor = _style(matrix.arms.index(arm)), f"flat_{name}"
            curve = arm.by_frame(name)
            axes.plot(curve.index, curve, label=plain(arm.label), linewidth=1.8, **style)
            if floor in arm.frames:
                curve = arm.by_frame(floor)
                axes.plot(curve.index, curve, linewidth=1.2, **style | {"linestyle": "--"})
        axes.set_ylabel(PER_FRAME_EXTRAS[name])
        _tidy(axes)
    panels[-1].set_xlabel("frame")
    _legend(figure, panels[0])
    return figure


def training_curves(matrix: Matrix) -> Figure | None:
    """Loss and its terms by step: a line for the mean of an arm, and of few arms a thin one a seed.

    None without histories.
    """
    curves = [(place, arm, [_by_step(cell) for cell in arm.cells]) for place, arm in enumerate(matrix.arms)]
    means = [_shared_mean(seeds) for _, _, seeds in curves]
    names = (str(name) for mean in means for name in mean)
    terms = [name for name in dict.fromkeys(names) if name != "epoch"][:MAX_LOSS_TERMS]
    if not terms:
        return None
    rows = (len(terms) + 1) // 2
    figure, panels = _panels(2.0 * rows, rows, 2, gaps=(0.4, 0.25))
    for axes, term in zip(panels, terms, strict=False):
        for (place, arm, seeds), mean in zip(curves, means, strict=True):
            lines = [table[term].dropna() for table in seeds if term in table] if in_detail(matrix) else []
            for line in lines:
                axes.plot(line.index, line, linewidth=0.6, alpha=0.35, **_style(place))
            if term in mean:
                line = mean[term].dropna()
                marker = "o" if len(line) == 1 else None  # a line of one point is none
                axes.plot(line.index, line, marker=marker, label=plain(arm.label), linewidth=1.8, **_style(place))
        axes.set_title(plain(term), fontsize=10)
        _tidy(axes)
    for axes in panels[len(terms) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(terms) - 2) : len(terms)]:
        axes.set_xlabel("training step")
    _legend(figure, panels[0])
    return figure


def _by_step(cell: CellRecord) -> pd.DataFrame:
    """Losses of a cell by step; without columns where it has no history."""
    history = cell.read_history()
    return pd.DataFrame() if history is None else history.groupby("step").mean(numeric_only=True)


def _shared_mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean by step over seeds; NaN where not all that know a column have that step."""
    steps = pd.concat(tables).groupby(level=0)
    counts = steps.count()
    return steps.mean().where(counts == counts.max())
