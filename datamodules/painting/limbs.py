"""Arms, hands and legs on a stage: tapered tubes clothed by charts, hands of bones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.canvas import Stage
from datamodules.painting.poses import Segment, Similarity, Skeleton
from datamodules.painting.surface import edge, lookup, smoothstep


def paint_leg(stage: Stage, chart: Tensor, side: int) -> None:
    """A thigh, from the hip out of the picture."""

    def ends(skeleton: Skeleton) -> Segment:
        return skeleton.torso.point(side * 0.29, 2.5), skeleton.torso.point(side * 0.32, 4.6)

    _paint_tube(stage, chart, ends, radii=(0.38, 0.31), rows=(0.0, 1.0), shadow=0.0)


def paint_arm(stage: Stage, chart: Tensor, hand: Tensor, skin: Tensor, side: int, bare: bool) -> None:
    """Upper arm, forearm and hand of the picture's left (0) or right (1); `bare` forearms are thinner."""
    r = stage.build.arm
    radii = (r * 1.12, r * 0.92, r * (0.62 if bare else 0.72))

    def bone(k: int) -> Callable[[Skeleton], Segment]:
        return lambda skeleton: (skeleton.arms[side][:, k], skeleton.arms[side][:, k + 1])

    _paint_tube(stage, chart, bone(0), radii[:2], rows=(0.0, 1.0), grown=True)
    _paint_tube(stage, chart, bone(1), radii[1:], rows=(1.0, 2.0))
    _paint_hand(stage, hand, skin, side, bone(2))


def _along(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the way from a to b (N, 2), and distance from the line in pixels (right-hand side positive)."""
    axis = b - a
    length = axis.norm(dim=-1).clamp_min(1e-3)[:, None, None]
    tx, ty = axis[:, 0, None, None] / length, axis[:, 1, None, None] / length
    dx, dy = x - a[:, 0, None, None], y - a[:, 1, None, None]
    return (dx * tx + dy * ty) / length, dx * ty - dy * tx


def _paint_tube(
    stage: Stage,
    chart: Tensor,
    ends: Callable[[Skeleton], Segment],
    radii: tuple[float, float],
    rows: tuple[float, float],
    shadow: float = 0.38,
    grown: bool = False,
) -> None:
    """A tapered tube with its shadow on what is behind.

    Args:
        chart: what clothes it, see `Outfit.arm_chart`; `rows` are the chart's heights at both ends.
        ends: where a skeleton has it.
        radii: at both ends, in heads.
        grown: it grows out of the body at its first end: no edge and no shadow there.
    """
    (a, b), sweep = ends(stage.here), stage.sweep(ends)
    box = stage.canvas.box(torch.cat([a, b]), (max(radii) + 0.1) * stage.scale, sweep)
    if box is None:
        return
    x, y = stage.canvas.pixels(box)
    length = (b - a).norm(dim=-1)[:, None, None] / stage.scale

    def measure(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        along, across = _along(x, y, a, b)
        across = across / stage.scale
        t = along.clamp(0, 1)
        radius = radii[0] + (radii[1] - radii[0]) * t
        return along, across, radius, torch.sqrt(across**2 + ((along - t) * length) ** 2 + 1e-8) - radius

    if shadow:
        lx, ly, _ = stage.light.direction
        shift = 0.07 * stage.scale
        along, _, _, distance = measure(x + shift * lx, y + shift * (ly - 0.3))
        fade = smoothstep(0.05, 0.6, along) if grown else 1.0
        stage.canvas.darken(box, shadow * smoothstep(0.13, -0.08, distance) * fade)
    along, across, radius, distance = measure(x, y)
    s = (across / radius).clamp(-0.99, 0.99)
    read = lookup(chart, torch.asin(s) / 1.57, (rows[0] + (rows[1] - rows[0]) * along + 0.15) / 2.3 * 2 - 1)
    tx, ty = ((b - a) / (b - a).norm(dim=-1, keepdim=True))[:, :, None, None].unbind(1)
    cross, down = s - 1.8 * read[:, 3], -1.8 * read[:, 4]
    nx, ny, nz = cross * ty + down * tx, down * ty - cross * tx, torch.sqrt((1 - s * s).clamp_min(0.02))
    norm = torch.sqrt(nx * nx + ny * ny + nz * nz)
    colour = stage.light.shade(read[:, :3], (nx / norm, ny / norm, nz / norm), 0.22, 0.03, 10, read[:, 5])
    cover = edge(distance * stage.scale)
    if grown:
        solid = smoothstep(0.97, 1.0, stage.canvas.alpha[(slice(None), 0, *box)])
        cover = cover * (1 - smoothstep(0.25, 0.02, along) * solid)
    places = (ends(stage.before), ends(stage.rest))
    stage.canvas.paint(box, colour, cover, stage.surface(_on_tube, along, across * stage.scale, at=places), sweep)


def _on_tube(ends: Segment, along: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Image point of tube coordinates, `across` in pixels."""
    a, b = ends
    ax, ay = a[:, :, None, None].unbind(1)
    dx, dy = (b - a)[:, :, None, None].unbind(1)
    length = torch.sqrt(dx * dx + dy * dy).clamp_min(1e-3)
    return ax + along * dx + across * dy / length, ay + along * dy - across * dx / length


def _paint_hand(stage: Stage, chart: Tensor, skin: Tensor, side: int, ends: Callable[[Skeleton], Segment]) -> None:
    def wrist(skeleton: Skeleton) -> Similarity:
        start, end = ends(skeleton)
        step = end - start
        return Similarity(start, torch.atan2(-step[:, 0], step[:, 1]), stage.scale)

    here, places, sweep = wrist(stage.here), (wrist(stage.before), wrist(stage.rest)), stage.sweep(ends)
    box = stage.canvas.box(here.point(0, 0.35), 0.6 * stage.scale, sweep)
    if box is None:
        return
    x, y = here.inverse(*stage.canvas.pixels(box))
    mirror = 1 if side else -1
    u, v = mirror * x / 0.42, (y - 0.33) / 0.45
    distance, nx, ny, creases = lookup(chart, u, v).unbind(1)
    distance = distance + ((u.abs() > 1) | (v.abs() > 1)).float()
    stage.canvas.darken(box, 0.35 * smoothstep(0.1, -0.05, distance))
    nx = mirror * nx
    cos, sin = torch.cos(here.angle)[:, None, None], torch.sin(here.angle)[:, None, None]
    normal = (nx * cos - ny * sin, nx * sin + ny * cos, torch.sqrt((1 - nx * nx - ny * ny).clamp_min(0.05)))
    warm = (skin * torch.tensor([1.0, 0.95, 0.93], device=skin.device))[None, :, None, None]
    colour = stage.light.shade(warm.expand(len(x), 3, *x.shape[1:]), normal, 0.35, 0.04, 12, creases)
    surface = stage.surface(Similarity.forward, x, y, at=places)
    stage.canvas.paint(box, colour, edge(distance * stage.scale), surface, sweep)


def hand_chart(rng: np.random.Generator, n: int) -> Tensor:
    """(4, n, n) a hand's signed distance in heads, normals across and along, creases; wrist above, thumb left."""
    x = (torch.linspace(-1, 1, n) * 0.42)[None, :].expand(n, n)
    y = (torch.linspace(-1, 1, n) * 0.45 + 0.33)[:, None].expand(n, n)
    spread, curl = rng.uniform(0.02, 0.22), rng.uniform(0.45, 1.0)
    bones = [((0.0, 0.02), (0.0, 0.28), 0.115, 0.15)]
    for k, length in enumerate((0.30, 0.35, 0.33, 0.26)):
        angle = spread * (k - 1.4)
        root = (-0.108 + 0.072 * k, 0.30 + 0.02 * (k in (1, 2)))
        reach = length * (curl + rng.normal(0, 0.06))
        bones.append((root, (root[0] + reach * np.sin(angle), root[1] + reach * np.cos(angle)), 0.043, 0.034))
    thumb = rng.uniform(0.25, 0.9)
    bones.append(((-0.09, 0.1), (-0.09 - 0.26 * np.sin(thumb), 0.1 + 0.26 * np.cos(thumb)), 0.055, 0.036))
    total, nx, ny = torch.full((n, n), 9.0), torch.zeros(n, n), torch.zeros(n, n)
    creases = torch.ones(n, n)
    for (ax, ay), (bx, by), r0, r1 in bones:
        length = float(np.hypot(bx - ax, by - ay))
        tx, ty = (bx - ax) / length, (by - ay) / length
        along = ((x - ax) * tx + (y - ay) * ty).clamp(0, length)
        dx, dy = x - ax - along * tx, y - ay - along * ty
        radius = r0 + (r1 - r0) * along / length
        distance = torch.sqrt(dx * dx + dy * dy + 1e-8) - radius
        creases = torch.minimum(creases, (0.55 + 14 * (distance - total).abs()).clamp(max=1))
        nearer = distance < total
        nx, ny = torch.where(nearer, 0.9 * dx / radius, nx), torch.where(nearer, 0.9 * dy / radius, ny)
        total = torch.minimum(total, distance)
    creases = torch.where(total < 0, creases, torch.ones_like(creases))
    return torch.stack([total, nx.clamp(-0.9, 0.9), ny.clamp(-0.9, 0.9), creases])
