"""Pictures of places made by code: rooms, walls, streets, nature, blurred lights, and a nearer plane for parallax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.distractors import add_distractor, statue
from datamodules.painting.furniture import FURNITURE, any_wood, lamp, plant
from datamodules.painting.plate import Plate, bricks, hue, wood
from datamodules.painting.surface import smoothstep


def paint_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    clutter: float = 0.5,
    distractors: float = 0.3,
    parallax: float = 0.3,
) -> tuple[Tensor, Tensor | None]:
    """One background: picture (3, H, W) uint8, and the near plane (4, H, W) uint8 RGBA or None.

    Args:
        rng: all draws come from it.
        size: height and width in pixels.
        clutter: in [0, 1], how many things stand about.
        distractors: in [0, 1], the probability that the scene holds things that look like people.
        parallax: in [0, 1], the probability that something stands nearer than the rest.
    """
    plate = Plate(size, rng)
    kinds: list[Callable[[Plate, float], float]] = [room, wall, street, nature, lights, studio]
    kind = kinds[rng.choice(len(kinds), p=[0.42, 0.14, 0.14, 0.14, 0.09, 0.07])]
    floor = kind(plate, clutter)
    if rng.random() < distractors:
        for _ in range(int(rng.integers(1, 4))):
            add_distractor(plate, floor)
    _light(plate)
    return plate.finish(), _near(size, rng) if rng.random() < parallax else None


def _light(plate: Plate) -> None:
    """Falls off across the picture, with the colour of its source; grain of all scales."""
    rng = plate.rng
    angle = rng.uniform(0, 2 * np.pi)
    across = (plate.x / plate.aspect - 0.5) * np.cos(angle) + (plate.y - 0.5) * np.sin(angle)
    warm = rng.normal(0, 0.07)
    tint = torch.tensor([1 + warm, 1.0, 1 - warm], dtype=torch.float32).reshape(3, 1, 1)
    gain = rng.uniform(0.7, 1.12) * (1 + rng.uniform(0, 0.6) * across)
    plate.colour = plate.colour * tint * gain + 0.004 * plate.noise((90, 90), 1)


def _tone(colour: np.ndarray) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32).reshape(3, 1, 1)


def _wall_paint(plate: Plate) -> Tensor:
    """(3, H, W) the surface of a wall seen from the front."""
    rng = plate.rng
    base = hue(rng, (0.0, 0.35), (0.45, 0.95))
    stain = 1 + 0.02 * plate.noise((3, 3), 6, 0.7)
    kind = rng.choice(["paint", "paint", "paper", "brick", "panels", "stripes", "concrete", "tiles", "planks"])
    if kind == "brick":
        pale = rng.random() < 0.3
        brick = np.array([0.85, 0.84, 0.82]) if pale else np.array([0.56, 0.31, 0.23]) * rng.uniform(0.7, 1.25)
        return bricks(plate, brick, rng.uniform(0.025, 0.05), brick * 0.7 if pale else np.array([0.7, 0.67, 0.62]))
    if kind == "planks":
        return wood(plate, any_wood(rng), upright=True) * (1 - 0.5 * ((plate.x / 0.12 % 1) < 0.06).float())
    tone = _tone(base) * stain
    if kind == "paper":
        p = rng.uniform(0.05, 0.12)
        u, v = (plate.x / p + 0.5 * ((plate.y / p).floor() % 2)) % 1 - 0.5, plate.y / p % 1 - 0.5
        petal = torch.sqrt(u * u + v * v) / (1 + 0.4 * torch.cos(int(rng.integers(2, 7)) * torch.atan2(v, u)))
        return tone + (_tone(hue(rng, (0.1, 0.5), (0.4, 0.95))) - tone) * 0.7 * smoothstep(0.3, 0.24, petal)
    if kind == "stripes":
        return tone * (1 - 0.14 * smoothstep(0.45, 0.5, (plate.x / rng.uniform(0.05, 0.2) % 1 - 0.5).abs() * 2 - 0.02))
    if kind == "panels":
        p = rng.uniform(0.25, 0.4)
        u = ((plate.x / p % 1) - 0.5).abs() * p
        line = torch.exp(-(((u - 0.38 * p) / 0.006) ** 2)) - torch.exp(-(((u - 0.41 * p) / 0.006) ** 2))
        return tone * (1 + 0.18 * line)
    if kind == "concrete":
        return _tone(np.full(3, rng.uniform(0.4, 0.75))) * (1 + 0.07 * plate.noise((4, 4), 7, 0.8))
    if kind == "tiles":
        p = rng.uniform(0.05, 0.14)
        gap = torch.maximum(((plate.x / p % 1) - 0.5).abs(), ((plate.y / p % 1) - 0.5).abs())
        return tone * (1.05 - 0.3 * smoothstep(0.46, 0.49, gap))
    return tone


def _floor_paint(plate: Plate, horizon: float, centre: float) -> Tensor:
    """(3, H, W) a floor in perspective: boards, tiles or carpet."""
    rng = plate.rng
    depth = 0.35 / (plate.y - horizon).clamp_min(0.03)
    u = (plate.x - centre) * depth
    kind = rng.choice(["boards", "tiles", "carpet"])
    if kind == "carpet":
        return _tone(hue(rng, (0.05, 0.5), (0.25, 0.7))) * (1 + 0.06 * plate.noise((70, 40), 3))
    if kind == "boards":
        board = (u / 0.09).floor()
        tone = torch.sin(board * 91.7) * 4375.85
        return _tone(any_wood(rng)) * (0.88 + 0.2 * (tone - tone.floor()) + 0.06 * plate.noise((50, 12), 3))
    check = ((u / 0.25).floor() + (depth / 0.25).floor()) % 2
    one, two = _tone(hue(rng, (0, 0.3), (0.5, 0.9))), _tone(hue(rng, (0, 0.4), (0.2, 0.8)))
    return one + (two - one) * check * rng.uniform(0.15, 1)


def room(plate: Plate, clutter: float) -> float:
    """A room in one-point perspective: walls, floor, ceiling, furniture along the back wall."""
    rng, a = plate.rng, plate.aspect
    left, right = rng.uniform(-0.3, 0.25) * a, rng.uniform(0.75, 1.3) * a
    ceiling, floor = rng.uniform(-0.15, 0.14), rng.uniform(0.66, 0.95)
    vx, vy = rng.uniform(0.35, 0.65) * a, rng.uniform(0.35, 0.55)
    everywhere = torch.ones_like(plate.x)
    paint = _wall_paint(plate)
    plate.paint(everywhere, paint)
    grow = 2.5

    def out(x: float, y: float) -> tuple[float, float]:
        return vx + (x - vx) * grow, vy + (y - vy) * grow

    corners = {"l": [(left, floor), out(left, floor), out(left, ceiling), (left, ceiling)],
               "r": [(right, ceiling), out(right, ceiling), out(right, floor), (right, floor)]}  # fmt: skip
    side = _tone(hue(rng, (0.0, 0.3), (0.5, 0.9))) if rng.random() < 0.4 else paint
    for key, shade in (("l", rng.uniform(0.7, 1.0)), ("r", rng.uniform(0.7, 1.0))):
        plate.paint(plate.polygon(corners[key]), side.expand(3, *plate.x.shape), shade)
    plate.paint(plate.polygon([(left, ceiling), out(left, ceiling), out(right, ceiling), (right, ceiling)]),
                np.array([0.88, 0.87, 0.85]) * rng.uniform(0.8, 1.05))  # fmt: skip
    ground = plate.polygon([(right, floor), out(right, floor), out(left, floor), (left, floor)])
    plate.paint(ground, _floor_paint(plate, vy, vx))
    plate.paint(plate.box(left, floor - 0.025, right, floor), (0.85, 0.84, 0.82))
    for x0, y0, x1, y1 in (
        (left, ceiling, left, floor),
        (right, ceiling, right, floor),
        (left, ceiling, right, ceiling),
    ):
        plate.darken(plate.bar(x0, y0, x1, y1, 0.05) * 0.6 + 0.4 * plate.bar(x0, y0, x1, y1, 0.12), 0.14)
    count = round(1 + clutter * rng.uniform(2, 7))
    for _ in range(count):
        thing = FURNITURE[rng.integers(len(FURNITURE))]
        thing(plate, rng.uniform(max(left, 0), min(right, a)), floor + rng.uniform(0, 0.03), rng.uniform(0.4, 0.85))
    return floor + 0.08


def wall(plate: Plate, clutter: float) -> float:
    """A wall close by, with little on it."""
    rng = plate.rng
    plate.paint(torch.ones_like(plate.x), _wall_paint(plate))
    for _ in range(round(clutter * rng.uniform(0, 5))):
        thing = FURNITURE[rng.choice([0, 2, 2, 1, 7])]
        thing(plate, rng.uniform(0, 1) * plate.aspect, rng.uniform(0.9, 1.2), rng.uniform(0.6, 1.1))
    return 1.05


def _sky(plate: Plate) -> None:
    rng = plate.rng
    high, low = hue(rng, (0.2, 0.6), (0.5, 0.9)), hue(rng, (0.0, 0.35), (0.8, 1.0))
    if rng.random() < 0.75:
        high, low = np.array([0.42, 0.60, 0.86]) * rng.uniform(0.8, 1.1), np.array([0.84, 0.90, 0.96])
    blend = smoothstep(0, 0.75, plate.y)
    plate.paint(torch.ones_like(plate.x), _tone(high) + (_tone(low) - _tone(high)) * blend)
    clouds = smoothstep(rng.uniform(-0.2, 0.8), 1.6, plate.noise((4, 2.5), 6, 0.6))
    plate.paint(clouds * (1 - 0.5 * plate.y), np.array([0.97, 0.96, 0.95]) * rng.uniform(0.75, 1))


def _foliage(plate: Plate, cover: Tensor, green: np.ndarray, cells: float) -> None:
    clumps = plate.noise((cells / 3, cells / 3 * plate.aspect), 3, 0.6)
    leaves = 0.95 + 0.16 * plate.noise((cells, cells * plate.aspect), 3, 0.8) + 0.14 * clumps
    sunny = torch.tensor([0.10, 0.09, -0.02]).reshape(3, 1, 1) * smoothstep(0.2, 1.6, clumps)
    plate.paint(cover, _tone(green) * leaves.clamp(0.35, 1.6) + sunny)


def nature(plate: Plate, clutter: float) -> float:
    """Sky, hills, trees, a meadow or a path."""
    rng, a = plate.rng, plate.aspect
    _sky(plate)
    horizon = rng.uniform(0.4, 0.7)
    for layer in range(int(rng.integers(1, 4))):
        ridge = horizon - 0.12 + 0.06 * layer + 0.05 * plate.noise((1, rng.uniform(2, 6)), 4)[:1]
        green = np.array([0.30, 0.40, 0.30]) * (0.7 + 0.1 * layer) + 0.16 * (2 - layer) * np.array([0.6, 0.8, 1])
        _foliage(plate, plate.edge(ridge - plate.y, 0.01), green, 14 + 8 * layer)
    grass = np.array([0.36, 0.45, 0.18]) * rng.uniform(0.6, 1.2) if rng.random() < 0.8 else np.array([0.7, 0.62, 0.48])
    _foliage(plate, plate.edge(horizon + 0.02 - plate.y, 0.02), grass, 40)
    if rng.random() < 0.5:
        vx, wide = rng.uniform(0.2, 0.8) * a, rng.uniform(0.2, 0.6)
        path = plate.polygon([(vx, horizon + 0.02), (vx + wide, 1.1), (vx - wide, 1.1)], soft=0.03)
        plate.paint(path, np.array([0.62, 0.55, 0.45]) * rng.uniform(0.7, 1.1), 1 + 0.08 * plate.noise((30, 30), 3))
    for _ in range(round(clutter * rng.uniform(1, 9))):
        x, floor, size = rng.uniform(0, a), horizon + rng.uniform(0.0, 0.25), rng.uniform(0.4, 1.0)
        bark, top = np.array([0.27, 0.21, 0.16]) * rng.uniform(0.6, 1.4), floor - size * 0.45
        plate.paint(plate.bar(x, floor, x + rng.normal(0, 0.03), top, 0.07 * size, 0.03 * size), bark,
                    1 + 0.2 * plate.noise((12, 60), 2))  # fmt: skip
        crown = torch.sqrt(((plate.x - x) / 0.32) ** 2 + ((plate.y - top + 0.1 * size) / 0.34) ** 2) / size
        green = np.array([0.25, 0.38, 0.14]) * rng.uniform(0.5, 1.4) + np.array([0.25, 0.1, 0]) * rng.random() ** 4
        _foliage(plate, plate.edge((crown - 1) * 0.2 + 0.05 * plate.noise((9, 9), 4, 0.8), 0.012), green, 24)
    return min(horizon + 0.35, 1.02)


def street(plate: Plate, clutter: float) -> float:
    """Facades with windows, a pavement, sky above."""
    rng, a = plate.rng, plate.aspect
    _sky(plate)
    floor = rng.uniform(0.72, 0.95)
    x = -0.1
    while x < a + 0.1:
        wide, top = rng.uniform(0.2, 0.6), rng.uniform(-0.2, 0.3)
        face = plate.box(x, top, x + wide, floor)
        body = bricks(plate, hue(rng, (0.1, 0.5), (0.35, 0.85)), rng.uniform(0.015, 0.03), np.array([0.6, 0.58, 0.55]))
        plain = _tone(hue(rng, (0.0, 0.4), (0.4, 0.9))) * (1 + 0.04 * plate.noise((6, 6), 5, 0.7))
        plate.paint(face, body if rng.random() < 0.45 else plain)
        across, down = rng.uniform(0.07, 0.14), rng.uniform(0.13, 0.22)
        u, v = (plate.x - x) / across % 1 - 0.5, (plate.y - top) / down % 1 - 0.5
        size_u, size_v = rng.uniform(0.2, 0.42), rng.uniform(0.25, 0.42)
        inset = torch.maximum((u.abs() - size_u) * across, (v.abs() - size_v) * down)
        whole = (((plate.x - x) / across).floor() < int(wide / across)) & (plate.y < floor - 0.16)
        plate.paint(face * plate.edge(inset - 0.008) * whole, (0.86, 0.85, 0.82))
        reflect = 0.25 + 0.3 * (plate.noise((7, 7), 3)).clamp(0, 1)
        lit = torch.sin(((plate.x - x) / across).floor() * 37.7 + ((plate.y - top) / down).floor() * 91.1) > 0.6
        pane = _tone(np.array([0.55, 0.66, 0.78])) * reflect + _tone(np.array([0.7, 0.5, 0.25])) * (
            lit * rng.uniform(0, 0.8)
        )
        plate.paint(face * plate.edge(inset) * whole, pane)
        shop = plate.box(x + 0.02, floor - 0.14, x + wide - 0.02, floor - 0.01)
        plate.paint(shop, (0.16, 0.17, 0.19), 1 + 0.6 * plate.noise((14, 14), 3).clamp(0, 2))
        plate.paint(plate.box(x + 0.02, floor - 0.175, x + wide - 0.02, floor - 0.14), hue(rng, (0.3, 0.9), (0.3, 0.8)))
        x += wide
    plate.paint(plate.edge(floor - plate.y), np.array([0.45, 0.44, 0.43]) * rng.uniform(0.6, 1.2),
                1 + 0.07 * plate.noise((50, 30), 4, 0.8))  # fmt: skip
    for _ in range(round(clutter * rng.uniform(0, 5))):
        at = rng.uniform(0, a)
        if rng.random() < 0.4:
            plant(plate, at, floor + 0.04, rng.uniform(0.3, 0.7))
        elif rng.random() < 0.5:
            plate.paint(plate.bar(at, floor + 0.05, at, 0.1, 0.022, 0.014), (0.18, 0.19, 0.2))
        else:
            w, h, tone = rng.uniform(0.25, 0.4), rng.uniform(0.07, 0.1), hue(rng, (0.0, 0.9), (0.2, 0.9))
            plate.paint(plate.box(at - w * 0.6, floor - h * 1.7, at + w * 0.5, floor - h * 0.6, 0.05), tone * 0.5)
            plate.paint(plate.box(at - w, floor - h, at + w, floor + 0.03, 0.03), tone, 1.1 - (plate.y - floor + h) * 4)
            for s in (-0.6, 0.6):
                plate.paint(plate.ellipse(at + s * w, floor + 0.02, 0.045, 0.045), (0.07, 0.07, 0.07))
    return floor + 0.1


def lights(plate: Plate, clutter: float) -> float:
    """Far lights, out of focus."""
    rng = plate.rng
    dark = hue(rng, (0.2, 0.7), (0.05, 0.45))
    plate.paint(torch.ones_like(plate.x), dark, 1 + 0.35 * plate.noise((2, 2), 3) * rng.uniform(0.3, 1))
    kind = hue(rng, (0.3, 0.8), (0.7, 1.0))
    for _ in range(round(12 + 60 * clutter * rng.random())):
        r = rng.uniform(0.012, 0.07) * rng.uniform(0.6, 1.5)
        tint = torch.tensor(0.6 * kind + 0.4 * hue(rng, (0.1, 0.9), (0.6, 1.0)), dtype=torch.float32).reshape(3, 1, 1)
        x, y = rng.uniform(0, plate.aspect), rng.beta(2, 2)
        disc = plate.ellipse(x, y, r, r, soft=0.008) * rng.uniform(0.1, 0.6)
        rim = plate.ellipse(x, y, r * 0.86, r * 0.86, soft=0.01)
        plate.colour = plate.colour + tint * disc * (1 - 0.25 * rim)
    return 1.05


def studio(plate: Plate, clutter: float) -> float:
    """A backdrop: mottled cloth or a plain gradient, sometimes a green screen."""
    rng = plate.rng
    base = hue(rng, (0.0, 0.6), (0.15, 0.9)) if rng.random() < 0.8 else np.array([0.1, 0.65, 0.2])
    r = torch.sqrt(((plate.x - 0.5 * plate.aspect) / plate.aspect) ** 2 + (plate.y - rng.uniform(0.3, 0.6)) ** 2)
    mottle = plate.noise((3, 3), 5, 0.6) * rng.choice([0.0, 0.12])
    plate.paint(torch.ones_like(plate.x), base, 1.15 - rng.uniform(0.2, 0.9) * r + mottle)
    folds = plate.noise((1, rng.uniform(5, 14)), 2) * rng.choice([0.0, 0.08], p=[0.6, 0.4])
    plate.colour = plate.colour * (1 + folds)
    return 1.05


def _near(size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """(4, H, W) uint8: a few things close to the camera on a clear plate."""
    plate = Plate(size, rng)
    for _ in range(int(rng.integers(1, 3))):
        x, floor = rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1.0)]) * plate.aspect, rng.uniform(1.0, 1.15)
        kind = rng.choice(["plant", "lamp", "chair", "edge", "table", "statue"], p=[0.25, 0.2, 0.2, 0.15, 0.15, 0.05])
        tone = any_wood(rng)
        if kind == "plant":
            plant(plate, x, floor, rng.uniform(0.5, 0.9))
        elif kind == "lamp":
            lamp(plate, x, floor, rng.uniform(0.6, 0.9))
        elif kind == "statue":
            statue(plate, x, floor, rng.uniform(0.6, 0.9))
        elif kind == "edge":
            w = rng.uniform(0.04, 0.12)
            plate.paint(plate.box(x - w, -0.1, x + w, 1.1), wood(plate, tone, upright=True))
        elif kind == "table":
            plate.paint(plate.box(-0.1, floor - 0.22, plate.aspect + 0.1, 1.2), wood(plate, tone))
        else:
            for k in range(4):
                plate.paint(
                    plate.bar(x - 0.12 + 0.08 * k, 1.1, x - 0.12 + 0.08 * k, floor - 0.4, 0.022),
                    wood(plate, tone, True),
                )
            plate.paint(plate.box(x - 0.16, floor - 0.46, x + 0.16, floor - 0.36, 0.03), wood(plate, tone))
    plate.defocus(rng.uniform(0.0, 0.015))
    alpha = (plate.alpha.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return torch.cat([plate.finish(), alpha[None]])
