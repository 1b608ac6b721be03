"""The figures of a report, as image files in memory; nothing here touches matplotlib's global state.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; past seven arms line styles differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments.analysis import Analysis
from experiments.matrix import Arm, Matrix, Metric, seed_means
from experiments.statistics import Estimate, FloatArray

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH_INCHES = 6.4
MAX_LOSS_TERMS = 6
MAX_PANELS = 8
PER_FRAME_EXTRAS = {
    "coverage": "share of cells with\nrestored background",
    "background_psnr": "PSNR of restored\nbackground (dB)",
    "refined_share": "share of\npatches refined",
}
STRIPS = {
    "frame": "input",
    "alpha_true": "true alpha",
    "alpha_pred": "alpha",
    "background_true": "true background",
    "background_restored": "restored background",
    "coverage": "restored cells",
}
FIRST_ROWS, LAST_ROWS = ("frame", "alpha_true"), ("background_restored", "coverage")


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    return _file(figure, "png", dpi=160)


def jpeg(figure: Figure) -> bytes:
    """The figure as JPEG: for photographs, a tenth of the PNG's size."""
    return _file(figure, "jpeg", dpi=150, pil_kwargs={"quality": 85})


def _file(figure: Figure, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, bbox_inches="tight", pad_inches=0.08, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _figure(height_inches: float) -> Figure:
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def _plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")


def _style(place: int) -> dict[str, str]:
    return {"color": COLORS[place % len(COLORS)], "linestyle": LINES[place // len(COLORS) % len(LINES)]}


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)


def error_over_time(matrix: Matrix, analysis: Analysis, metrics: Sequence[Metric]) -> Figure:
    """Each metric by frame index, one line an arm with its 95 % band."""
    figure = _figure(2.6 * len(metrics) + 0.5)
    panels = figure.subplots(len(metrics), 1, squeeze=False, sharex=True)[:, 0]
    for axes, metric in zip(panels, metrics, strict=True):
        for place, arm in enumerate(matrix.arms):
            curve = analysis.curves[arm.text, metric.key]
            frames = np.arange(len(curve))
            if metric.column == "dtssd":  # 0 at frame 0 by convention, which is no measurement
                frames, curve = frames[1:], curve[1:]
            axes.plot(frames, curve[:, 0], label=_plain(arm.label), linewidth=1.8, **_style(place))
            if len(matrix.arms) <= 6:
                axes.fill_between(frames, curve[:, 1], curve[:, 2], color=COLORS[place], alpha=0.15, linewidth=0)
        axes.set_ylabel(f"{metric.label} ({metric.unit})")
        _tidy(axes)
    panels[-1].set_xlabel("frame")
    _legend(figure, panels[0])
    return figure


def seeds_of_arms(matrix: Matrix, metrics: Sequence[Metric]) -> Figure:
    """A dot a seed and arm, lines between the dots of one seed, a bar at each arm's mean."""
    rows = len(matrix.arms)
    figure = _figure(1.2 + 0.36 * rows)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    seeds = sorted({seed for arm in matrix.arms for seed in arm.seeds})
    for axes, metric in zip(panels, metrics, strict=True):
        values = [dict(zip(arm.seeds, seed_means(matrix, arm, metric), strict=True)) for arm in matrix.arms]
        for place, seed in enumerate(seeds):
            points = [(found[seed], row) for row, found in enumerate(values) if seed in found]
            x, y = zip(*points, strict=True)
            line = {"linewidth": 0.8, "alpha": 0.9} if rows <= 6 else {"linewidth": 0}
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(
                x, y, marker=marker, markersize=5, color=COLORS[place % len(COLORS)], label=f"seed {seed}", **line
            )
        means = [np.mean(list(found.values())) for found in values]
        axes.plot(means, range(rows), "|", color="black", markersize=14, markeredgewidth=2, label="mean")
        axes.set_xlabel(f"{metric.label} ({metric.unit})")
        axes.margins(x=0.12)
        _tidy(axes)
    panels[0].set_yticks(range(rows), [_plain(arm.label) for arm in matrix.arms])
    panels[0].set_ylim(rows - 0.5, -0.5)
    _legend(figure, panels[0], columns=6)
    return figure


def strata_forest(matrix: Matrix, analysis: Analysis, metrics: Sequence[Metric]) -> Figure:
    """Relative change against each arm's baseline in each stratum and on all clips, with 95 % intervals."""
    strata = ["all clips", *(matrix.clips.strata)]
    arms = [arm for arm in matrix.others if (arm.text, metrics[0].key) in analysis.comparisons]
    figure = _figure(0.9 + len(strata) * (0.22 + 0.12 * len(arms)))
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0, color="black", linewidth=1)
        for place, arm in enumerate(arms):
            found = [analysis.comparisons[arm.text, metric.key]]
            found += [analysis.strata[arm.text, metric.key, stratum] for stratum in strata[1:]]
            y = np.arange(len(strata), dtype=np.float64) + 0.7 * ((place + 0.5) / len(arms) - 0.5)
            _whiskers(axes, [one.relative for one in found], y, matrix.arms.index(arm), arm.label)
        axes.axhline(0.5, color="#999999", linewidth=0.8)
        axes.set_xlabel(f"change of {metric.label} (%), left is better")
        _tidy(axes)
    panels[0].set_yticks(range(len(strata)), [_plain(name) for name in strata])
    panels[0].set_ylim(len(strata) - 0.4, -0.6)
    _legend(figure, panels[0])
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
        label=_plain(label),
    )


def extras_over_time(matrix: Matrix) -> Figure | None:
    """Coverage and PSNR of the restored background and share of refined patches by frame; None if no arm has them."""
    found = {name: [arm for arm in matrix.arms if name in arm.frames and arm.frames[name].notna().any()]
             for name in PER_FRAME_EXTRAS}  # fmt: skip
    names = [name for name, arms in found.items() if arms]
    if not names:
        return None
    figure = _figure(2.4 * len(names) + 0.5)
    panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        for arm in found[name]:
            values = arm.frames.replace([np.inf, -np.inf], np.nan)
            curve = values.groupby(["stratum", "frame"])[name].mean().groupby("frame").mean()
            axes.plot(curve.index, curve, label=_plain(arm.label), linewidth=1.8, **_style(matrix.arms.index(arm)))
        axes.set_ylabel(PER_FRAME_EXTRAS[name])
        _tidy(axes)
    panels[-1].set_xlabel("frame")
    _legend(figure, panels[0])
    return figure


def training_curves(matrix: Matrix) -> Figure | None:
    """Loss and its terms by step: a thin line a seed, a thick one for the mean of an arm; None without histories."""
    histories = [(place, arm, cell.read_history()) for place, arm in enumerate(matrix.arms) for cell in arm.cells]
    known = [(place, arm, table) for place, arm, table in histories if table is not None]
    numeric = (name for _, _, table in known for name in table.select_dtypes("number").columns)
    terms = [name for name in dict.fromkeys(numeric) if name not in ("step", "epoch")][:MAX_LOSS_TERMS]
    if not terms:
        return None
    rows = (len(terms) + 1) // 2
    figure = _figure(2.2 * rows + 0.7)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, term in zip(panels, terms, strict=False):
        for place, arm in enumerate(matrix.arms):
            seeds = [table.groupby("step")[term].mean() for _, one, table in known if one is arm and term in table]
            for values in seeds:
                axes.plot(values.index, values, linewidth=0.6, alpha=0.35, **_style(place))
            if seeds:
                mean = pd.concat(seeds, axis=1).sort_index().dropna().mean(axis=1)
                axes.plot(mean.index, mean, label=_plain(arm.label), linewidth=1.8, **_style(place))
        axes.set_title(_plain(term), fontsize=10)
        _tidy(axes)
    for axes in panels[len(terms) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(terms) - 2) : len(terms)]:
        axes.set_xlabel("training step")
    _legend(figure, panels[0])
    return figure


def matte_panels(matrix: Matrix) -> dict[str, Figure]:
    """Pictures of the test clips that every arm has, by clip: input, truth, each arm, restored backgrounds.

    Each arm shows its lowest seed. Clips are taken evenly from the sorted names, eight at most.
    """
    folders = [arm.cells[0].folder / "media" for arm in matrix.arms]
    clips = [
        {path.name.removesuffix("__alpha_pred.png") for path in folder.glob("*__alpha_pred.png")} for folder in folders
    ]
    shared = sorted(set.intersection(*clips)) if clips else []
    step = max(1, -(-len(shared) // MAX_PANELS))
    panels = {}
    for clip in shared[::step]:
        rows = _panel_rows(matrix.arms, folders, clip)
        if rows:
            panels[clip] = _panel(clip.replace("__", " · "), rows)
    return panels


def _panel_rows(arms: Sequence[Arm], folders: Sequence[Path], clip: str) -> list[tuple[str, FloatArray]]:
    rows = [_first(folders, clip, kind) for kind in FIRST_ROWS]
    rows += [_strip(folder, clip, "alpha_pred", arm.label) for arm, folder in zip(arms, folders, strict=True)]
    restored = [_strip(folder, clip, kind, arm.label) for arm, folder in zip(arms, folders, strict=True)
                for kind in LAST_ROWS]  # fmt: skip
    if any(restored):
        rows += [_first(folders, clip, "background_true"), *restored]
    return [row for row in rows if row is not None]


def _first(folders: Sequence[Path], clip: str, kind: str) -> tuple[str, FloatArray] | None:
    return next((row for row in (_strip(folder, clip, kind) for folder in folders) if row), None)


def _strip(folder: Path, clip: str, kind: str, arm: str = "") -> tuple[str, FloatArray] | None:
    """What is seen and its pixels (H, W, 3) in [0, 1]; None if the file is not there or torn."""
    try:
        pixels = imread(folder / f"{clip}__{kind}.png")
    except (OSError, SyntaxError):  # Pillow calls a broken PNG a SyntaxError
        return None
    pixels = np.atleast_3d(pixels)[..., :3]
    return f"{STRIPS[kind]}: {arm}" if arm else STRIPS[kind], np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _panel(title: str, rows: Sequence[tuple[str, FloatArray]]) -> Figure:
    heights = [WIDTH_INCHES * pixels.shape[0] / pixels.shape[1] for _, pixels in rows]
    figure = _figure(sum(heights) + 0.28 * len(rows) + 0.35)
    figure.suptitle(_plain(title), fontsize=11, x=0.01, ha="left")
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, pixels) in zip(panels, rows, strict=True):
        axes.imshow(pixels)
        axes.set_title(_plain(label), fontsize=9, loc="left", pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#bbbbbb")
    return figure
