"""What the viewer of a report plays: sheets of frames of a few clips of each condition, the same clips for all arms."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.records.cell_record import SHEET_FRAMES
from experiments.reporting.arms import Arm
from experiments.reporting.averages import METRICS
from experiments.reporting.formatting import number
from experiments.reporting.matrix import Matrix

SHARED = ("frame", "alpha_true", "background_true")  # layers that are alike for all arms
OWN = ("alpha_pred", "background_restored", "flow")
MAX_BYTES = 12_000_000  # of all sheets; in base64 they fill 16 MB of the page


@dataclass(frozen=True)
class _Shown:
    """A clip that all arms have pictures of, and why it was chosen: "hardest", "median" or "easiest"."""

    stratum: str
    clip: str
    choice: str


def viewer(matrix: Matrix) -> dict[str, Any] | None:
    """Clips with their sheets as data URIs, as `viewer.js` wants them; None where no pictures were kept.

    Of each condition the clip with the highest, the middle and the lowest MAD, mean of arms and seeds, among those
    that cells keep pictures of. Each arm shows its lowest seed. Middle ones come first where not all have room.
    """
    shown = _choose(matrix)
    clips, left = [], MAX_BYTES
    for one in sorted(shown, key=lambda one: ("median", "hardest", "easiest").index(one.choice)):
        clip, size = _clip(matrix, one)
        if size > left:
            break
        left -= size
        clips.append(clip)
    if not clips:
        return None
    order = {stratum: place for place, stratum in enumerate(matrix.clips.strata)}
    clips.sort(key=lambda clip: order[clip["condition"]])
    return {"clips": clips, "arms": [arm.label for arm in matrix.arms], "left_out": len(shown) - len(clips)}


def _choose(matrix: Matrix) -> list[_Shown]:
    if not matrix.arms:
        return []
    drawn = set.intersection(*({path.name for path in _media(arm).glob("*__alpha_pred.webp")} for arm in matrix.arms))
    errors = pd.concat([arm.frames[["stratum", "clip", "mad"]] for arm in matrix.arms])
    found = []
    means = errors.groupby(["stratum", "clip"], observed=True)["mad"].mean().sort_values()
    for stratum, group in means.groupby("stratum", sort=False):
        names = [str(clip) for _, clip in group.index if f"{_stem(str(stratum), str(clip))}__alpha_pred.webp" in drawn]
        places = {"hardest": len(names) - 1, "median": (len(names) - 1) // 2, "easiest": 0}
        taken: set[str] = set()
        for choice in ("median", "hardest", "easiest"):
            if names and names[places[choice]] not in taken:
                taken.add(names[places[choice]])
                found.append(_Shown(str(stratum), names[places[choice]], choice))
    return found


def _clip(matrix: Matrix, one: _Shown) -> tuple[dict[str, Any], int]:
    """The clip as the page holds it, and how many bytes its sheets have."""
    stem = _stem(one.stratum, one.clip)
    layers = _sheets([_media(arm) for arm in matrix.arms], stem, SHARED)
    arms = [_sheets([_media(arm)], stem, OWN) for arm in matrix.arms]
    inside = [
        arm.frames[
            (arm.frames["stratum"] == one.stratum)
            & (arm.frames["clip"] == one.clip)
            & (arm.frames["seed"] == arm.cells[0].seed)
        ]
        for arm in matrix.arms
    ]
    mad = METRICS["mad"]
    errors = [number(mad.scale * float(rows["mad"].mean())) for rows in inside]
    size = sum(map(len, layers.values())) + sum(len(data) for arm in arms for data in arm.values())
    clip = {
        "condition": one.stratum,
        "name": one.clip,
        "choice": one.choice,
        "frames": min(SHEET_FRAMES, int(inside[0]["frame"].nunique())),
        "layers": {name: _uri(data) for name, data in layers.items()},
        "arms": [
            {"error": f"{mad.label} {error}", "layers": {name: _uri(data) for name, data in arm.items()}}
            for arm, error in zip(arms, errors, strict=True)
        ],
    }
    return clip, size


def _sheets(folders: Sequence[Path], stem: str, names: Sequence[str]) -> dict[str, bytes]:
    """Each layer's sheet from the first folder that has it."""
    found = {}
    for name in names:
        path = next(
            (folder / f"{stem}__{name}.webp" for folder in folders if (folder / f"{stem}__{name}.webp").is_file()), None
        )
        if path is not None:
            found[name] = path.read_bytes()
    return found


def _stem(stratum: str, clip: str) -> str:
    return f"{stratum}__{clip}".replace("/", "-")


def _media(arm: Arm) -> Path:
    return arm.cells[0].folder / "media"


def _uri(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
