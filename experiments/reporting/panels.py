"""Pictures of the test clips in a report: input, truth, each arm's mattes, restored backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments.reporting.arms import Arm
from experiments.reporting.matrix import Matrix
from experiments.reporting.plots import WIDTH_INCHES, figure_of_height, plain
from experiments.statistics.clips import FloatArray

MAX_PANELS, MAX_ARMS, MAX_ARMS_FIRST = 8, 8, 4
STRIPS = {
    "frame": "input",
    "alpha_true": "true alpha",
    "alpha_pred": "alpha",
    "background_true": "true background",
    "background_restored": "restored background",
    "coverage": "restored cells",
}
GAP_INCHES = 0.28  # above a row, for its name
FIRST_ROWS, LAST_ROWS = ("frame", "alpha_true"), ("background_restored", "coverage")


def matte_panels(matrix: Matrix) -> dict[str, Figure]:
    """Pictures of the test clips that every arm has, by clip: input, truth, each arm, restored backgrounds.

    Each arm shows its lowest seed. Clips are taken evenly from the sorted names, eight at most, and of many arms the
    first ones: more are no picture, and the viewer has all.
    """
    shared, arms = _shared_clips(matrix), matrix.arms[:MAX_ARMS]
    step = max(1, -(-len(shared) // MAX_PANELS))
    panels = {}
    for clip in shared[::step]:
        rows = [*_matte_rows(arms, clip), *_memory_rows(arms, clip)]
        if rows:
            panels[clip] = _panel(clip.replace("__", " · "), rows)
    return panels


def first_panel(matrix: Matrix) -> Figure | None:
    """Mattes of the last clip alone, for the head of a page; None where no pictures are."""
    shared = _shared_clips(matrix)
    rows = _matte_rows(matrix.arms[:MAX_ARMS_FIRST], shared[-1]) if shared else []
    return _panel(shared[-1].replace("__", " · "), rows) if rows else None


def _shared_clips(matrix: Matrix) -> list[str]:
    clips = [
        {path.name.removesuffix("__alpha_pred.png") for path in folder.glob("*__alpha_pred.png")}
        for folder in _folders(matrix.arms)
    ]
    return sorted(set.intersection(*clips)) if clips else []


def _folders(arms: Sequence[Arm]) -> list[Path]:
    return [arm.cells[0].folder / "media" for arm in arms]


def _matte_rows(arms: Sequence[Arm], clip: str) -> list[tuple[str, FloatArray]]:
    folders = _folders(arms)
    rows = [_first(folders, clip, kind) for kind in FIRST_ROWS]
    rows += [_strip(folder, clip, "alpha_pred", arm.label) for arm, folder in zip(arms, folders, strict=True)]
    return [row for row in rows if row is not None]


def _memory_rows(arms: Sequence[Arm], clip: str) -> list[tuple[str, FloatArray]]:
    folders = _folders(arms)
    restored = [_strip(folder, clip, kind, arm.label) for arm, folder in zip(arms, folders, strict=True)
                for kind in LAST_ROWS]  # fmt: skip
    rows = [_first(folders, clip, "background_true"), *restored] if any(restored) else []
    return [row for row in rows if row is not None]


def _first(folders: Sequence[Path], clip: str, kind: str) -> tuple[str, FloatArray] | None:
    return next((row for row in (_strip(folder, clip, kind) for folder in folders) if row), None)


def _strip(folder: Path, clip: str, kind: str, arm: str = "") -> tuple[str, FloatArray] | None:
    """What is seen and its pixels (H, W, 3) in [0, 1]; None if the file is not there or torn."""
    try:
        pixels = np.atleast_3d(imread(folder / f"{clip}__{kind}.png"))[..., :3]
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    except Exception:  # anything: Pillow tells of a broken PNG by a SyntaxError, of a bomb by an error of its own
        return None
    return f"{STRIPS[kind]}: {arm}" if arm else STRIPS[kind], pixels


def _panel(title: str, rows: Sequence[tuple[str, FloatArray]]) -> Figure:
    width = max(pixels.shape[1] for _, pixels in rows)
    gap = round(GAP_INCHES / WIDTH_INCHES * width)
    # One picture of all rows: axes of their own would take most of a report's time where there are many arms.
    picture = np.ones((sum(gap + pixels.shape[0] for _, pixels in rows), width, 3))
    figure = figure_of_height(WIDTH_INCHES * len(picture) / width + 0.35)
    figure.suptitle(plain(title), fontsize=11, x=0.01, ha="left")
    axes, top = figure.subplots(), 0
    for label, pixels in rows:
        axes.text(0, top + 0.85 * gap, plain(label), fontsize=9, va="baseline")
        top += gap + pixels.shape[0]
        picture[top - pixels.shape[0] : top, : pixels.shape[1]] = pixels
    axes.imshow(picture)
    axes.set_axis_off()
    return figure
