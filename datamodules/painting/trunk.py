"""Neck and trunk on a stage."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.painting.canvas import Stage
from datamodules.painting.clothes import CHART_BOTTOM, CHART_TOP, REACH, Outfit
from datamodules.painting.poses import Skeleton
from datamodules.painting.surface import edge, lookup, smoothstep


def paint_neck(stage: Stage, outfit: Outfit) -> None:
    """From under the chin down into the collar; it bends towards the head."""
    here = stage.here
    sweep = stage.sweep(lambda s: (s.torso.origin, s.head.point(0.0, 0.3)))
    box = stage.canvas.box(torch.cat([here.torso.origin, here.head.origin]), 0.45 * stage.scale, sweep)
    if box is None:
        return
    x, y = here.torso.inverse(*stage.canvas.pixels(box))
    across = x - _neck_shift(here, y)
    width = stage.build.neck * (1 + 0.35 * smoothstep(-0.28, 0.1, y) + 0.08 * smoothstep(-0.3, -0.5, y))
    distance = torch.maximum(across.abs() - width, torch.maximum(y - 0.3, -0.62 - y))
    t = (across / width).clamp(-0.98, 0.98)
    cord = torch.exp(-0.5 * ((across.abs() - 0.16 - 0.28 * y) / 0.022) ** 2) * smoothstep(-0.5, -0.2, y)
    nx, ny = (t - 0.25 * cord * across.sign()).clamp(-0.98, 0.98), torch.full_like(t, 0.12)
    nz = torch.sqrt((1 - nx * nx - ny * ny).clamp_min(0.02))
    colour = stage.light.shade(outfit.neck(across, y), (nx, ny, nz), 0.3, 0.03, 12, 1 - 0.1 * t * t)
    stage.canvas.paint(box, colour, edge(distance * stage.scale), stage.surface(_on_neck, across, y), sweep)


def _on_neck(skeleton: Skeleton, across: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return skeleton.torso.forward(across + _neck_shift(skeleton, y), y)


def _neck_shift(skeleton: Skeleton, y: Tensor) -> Tensor:
    """How far the neck's axis is off the torso's at height y, in heads."""
    at = skeleton.head.point(0.0, 0.3)[:, :, None, None]
    return skeleton.torso.inverse(at[:, 0], at[:, 1])[0] * smoothstep(0.15, -0.55, y)


def _turn(skeleton: Skeleton, y: Tensor) -> Tensor:
    """Yaw at height y: the throat lies close to the axis, so it moves less than the chest."""
    return skeleton.turn[:, None, None] * (0.25 + 0.75 * smoothstep(0.0, 0.9, y))


def paint_torso(stage: Stage, outfit: Outfit, chart: Tensor) -> None:
    """The trunk in its clothes; `chart` is `Outfit.torso_chart`."""
    here, build = stage.here, stage.build
    corners = torch.cat([here.torso.point(x, y) for x in (-1.2, 1.2) for y in (-0.3, 3.6)])
    sweep = stage.sweep(lambda s: s.torso.ends(0.0, 2.5))
    box = stage.canvas.box(corners, 2, sweep)
    if box is None:
        return
    x, y = here.torso.inverse(*stage.canvas.pixels(box))
    ax, width = x.abs(), build.half_torso(y)
    top = build.shoulder_line(ax) - outfit.raised(ax, build.neck)
    over, out = 0.92 * (top - y), ax - width
    blend = 0.22 * smoothstep(0.45, 0.8, ax / build.shoulders)
    bevel = (1 - (over - out).abs() / blend.clamp_min(1e-4)).clamp_min(0)
    distance = torch.maximum(torch.maximum(over, out) + blend * bevel**2 / 4, y - outfit.hem)
    angle = torch.asin((x / width).clamp(-0.997, 0.997))
    turned = angle - _turn(here, y)
    read = lookup(chart, turned / REACH, (y - CHART_TOP) / (CHART_BOTTOM - CHART_TOP) * 2 - 1)
    slant = torch.exp(-(y - top).clamp_min(0) / 0.16)
    nx = torch.sin(angle) * 0.92 - 2.2 * read[:, 3]
    ny = -0.75 * slant - 2.2 * read[:, 4] + 0.06
    nz = torch.cos(angle) + 0.12
    norm = torch.sqrt(nx * nx + ny * ny + nz * nz)
    normal = (nx / norm, ny / norm, nz / norm)
    colour = stage.light.shade(read[:, :3], normal, 0.18, outfit.gloss, 9, read[:, 5])

    def place(skeleton: Skeleton, angle: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        seen = (angle + _turn(skeleton, y)).clamp(-1.5, 1.5)
        return skeleton.torso.forward(build.half_torso(y) * torch.sin(seen), y)

    stage.canvas.paint(box, colour, edge(distance * stage.scale), stage.surface(place, turned, y), sweep)
