"""The head on a stage: an egg turned in three dimensions, its face, its ears and the shadow that it throws."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.painting.canvas import Stage
from datamodules.painting.face import HALF_HEIGHT, Face
from datamodules.painting.poses import Build, Skeleton
from datamodules.painting.surface import edge, lookup, pixel_distance, smoothstep

RIM = 0.999
"""Radius at which a globe ends: what is seen further out is drawn as a part of its rim."""


def globe(
    build: Build, x: Tensor, y: Tensor, rotation: Tensor, far: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The egg's near surface (or its far one) at head coordinates (x, y).

    Returns:
        The unit vector there in the head's own axes (three tensors), its component towards the viewer,
        and how far (x, y) is from the middle as a share of the outline's distance.
    """
    u, v = x / build.half_face(y), y / HALF_HEIGHT
    radius = torch.sqrt(u * u + v * v + 1e-8)
    inner = radius.clamp(max=RIM) / radius
    u, v = u * inner, v * inner
    z = torch.sqrt((1 - u * u - v * v).clamp_min(1e-6)) * (-1 if far else 1)
    r = rotation[:, :, :, None, None]
    m = [(r[:, 0, k] * u).add_(r[:, 1, k] * v).add_(r[:, 2, k] * z) for k in range(3)]
    return m[0], m[1], m[2], z, radius


def on_globe(
    build: Build, skeleton: Skeleton, mx: Tensor, my: Tensor, mz: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor]:
    """Image point of a unit vector in the head's own axes, `reach` times as far out as the egg."""
    r = skeleton.rotation[:, :, :, None, None]
    u, v = ((r[:, k, 0] * mx).add_(r[:, k, 1] * my).add_(r[:, k, 2] * mz) for k in range(2))
    y = v * reach * HALF_HEIGHT
    return skeleton.head.forward(u * reach * build.half_face(y), y)


def sweep_of_head(stage: Stage) -> Tensor | None:
    """`Stage.sweep` of the head and of what it carries along."""
    return stage.sweep(lambda s: s.head.ends(-HALF_HEIGHT, HALF_HEIGHT))


def paint_face(stage: Stage, face: Face) -> None:
    """The head's front and sides, without hair."""
    here, build = stage.here, stage.build
    sweep = sweep_of_head(stage)
    box = stage.canvas.box(here.head.origin, 0.62 * stage.scale, sweep)
    if box is None:
        return
    x, y = here.head.inverse(*stage.canvas.pixels(box))

    def look(x: Tensor, y: Tensor, height: Tensor) -> tuple[Tensor, ...]:
        reach = 1 + 2 * height
        mx, my, mz, z, radius = globe(build, x / reach, y / reach, here.rotation)
        # The charts show the front half; beyond its rim the rim goes on.
        rim = torch.where(mz < 0, 1 / torch.sqrt(mx * mx + my * my + 1e-8), torch.ones_like(mz))
        return mx, my, mz, z, radius, mx * rim, my * rim

    # A point that stands out is seen further from the centre: solved by repetition, at every second pixel.
    rough_x, rough_y = here.head.inverse(*stage.canvas.pixels(box, 2))
    height = torch.zeros_like(rough_x)
    for _ in range(2):
        _, _, mz, _, _, u, v = look(rough_x, rough_y, height)
        height = lookup(face.relief[None], u, v)[:, 0] * smoothstep(-0.1, 0.25, mz)
    height = stage.canvas.every_pixel(height, box)
    mx, my, mz, z, radius, u, v = look(x, y, height)
    chart = lookup(face.chart, u, v)
    change = torch.where(my < 0.2, here.blink[:, None, None], here.talk[:, None, None])[:, None]
    colour, dx, dy, creases, gloss = (chart[:, :7] + change * (chart[:, 7:] - chart[:, :7])).split((3, 1, 1, 1, 1), 1)
    front = 2.4 * smoothstep(-0.1, 0.3, mz)
    normal = torch.stack([mx / 0.36 - dx[:, 0] * front, my / 0.5 - dy[:, 0] * front, mz / 0.42], 1)
    normal = torch.einsum("nij,njhw->nihw", here.rotation, normal)
    nx, ny, nz = (normal / (normal * normal).sum(1, keepdim=True).sqrt_()).unbind(1)
    occlusion = creases[:, 0] * (0.75 + 0.25 * smoothstep(0.75, 0.3, my * (1 - 0.4 * z)))
    colour = stage.light.shade(colour, (nx, ny, nz), 0.35, gloss[:, 0], 14, occlusion)

    def place(skeleton: Skeleton, mx: Tensor, my: Tensor, mz: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        return on_globe(build, skeleton, mx, my, mz, reach)

    cover = edge(pixel_distance(radius - 1))
    stage.canvas.paint(box, colour, cover, stage.surface(place, mx, my, mz, 1 + 2 * height), sweep)


def cast_shadow(stage: Stage) -> None:
    """The head's shadow on neck and chest, which are painted already."""
    box = stage.canvas.box(stage.here.head.origin, 1.1 * stage.scale)
    if box is None:
        return
    x, y = stage.here.head.inverse(*stage.canvas.pixels(box))
    x, y = x + 0.12 * stage.light.direction[0], y - 0.13
    distance = torch.sqrt((x / stage.build.half_face(y)) ** 2 + (y / HALF_HEIGHT) ** 2) - 1
    stage.canvas.darken(box, 0.42 * smoothstep(0.22, -0.2, distance))


def paint_ears(stage: Stage, skin: Tensor, front: bool) -> None:
    """Both ears: behind the face's outline, or those that lie before it when the head turns."""
    for side in (-1, 1):
        _paint_ear(stage, skin, side, front)


def _paint_ear(stage: Stage, skin: Tensor, side: int, front: bool) -> None:
    root = torch.tensor([0.98 * side, 0.12, -0.12], device=skin.device)

    def centre(skeleton: Skeleton) -> Tensor:
        at = skeleton.rotation @ root
        return torch.stack([at[:, 0] * stage.build.face, at[:, 1] * HALF_HEIGHT, at[:, 2]], -1)[:, :, None, None]

    def place(skeleton: Skeleton, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        at = centre(skeleton)
        return skeleton.head.forward(x + at[:, 0], y + at[:, 1])

    at = centre(stage.here)
    shown = smoothstep(0.0, 0.12, at[:, 2])
    if front and not shown.any():
        return
    sweep = sweep_of_head(stage)
    box = stage.canvas.box(torch.stack(stage.here.head.forward(at[:, 0], at[:, 1]), -1), 0.2 * stage.scale, sweep)
    if box is None:
        return
    x, y = stage.here.head.inverse(*stage.canvas.pixels(box))
    x, y = x - at[:, 0], y - at[:, 1]
    u, v = (x + 0.25 * side * y) / 0.062, y / 0.115
    radius = torch.sqrt(u * u + v * v + 1e-8)
    hollow = torch.exp(-(((radius - 0.35) / 0.3) ** 2))
    nx, ny = (u * 0.5 + 0.3 * side).clamp(-0.9, 0.9), (0.4 * v).clamp(-0.8, 0.8)
    nz = torch.sqrt((1 - nx * nx - ny * ny).clamp_min(0.05))
    warm = skin * torch.tensor([1.0, 0.9, 0.88], device=skin.device)
    colour = warm[None, :, None, None].expand(len(x), 3, *x.shape[1:])
    shaded = stage.light.shade(colour, (nx, ny, nz), 0.4, 0.03, 12, 1 - 0.45 * hollow)
    cover = edge((radius - 1) * 0.075 * stage.scale) * (shown if front else 1.0)
    stage.canvas.paint(box, shaded, cover, stage.surface(place, x, y), sweep)
