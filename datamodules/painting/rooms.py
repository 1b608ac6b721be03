"""Pictures of places made by code: rooms, walls, streets, nature, blurred lights, and a nearer plane for parallax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.distractors import add_distractor, statue
from datamodules.painting.furniture import FURNITURE, any_wood, lamp, plant
from datamodules.painting.scene import Scene, bricks, hue, wood
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
    scene = Scene(size, rng)
    kinds: list[Callable[[Scene, float], float]] = [room, wall, street, nature, lights, studio]
    kind = kinds[rng.choice(len(kinds), p=[0.42, 0.14, 0.14, 0.14, 0.09, 0.07])]
    floor = kind(scene, clutter)
    if rng.random() < distractors:
        for _ in range(int(rng.integers(1, 4))):
            add_distractor(scene, floor)
    _light(scene)
    return scene.finish(), _near(size, rng) if rng.random() < parallax else None


def _light(scene: Scene) -> None:
    """Falls off across the picture, with the colour of its source; grain of all scales."""
    rng = scene.rng
    angle = rng.uniform(0, 2 * np.pi)
    across = (scene.x / scene.aspect - 0.5) * np.cos(angle) + (scene.y - 0.5) * np.sin(angle)
    warm = rng.normal(0, 0.07)
    tint = torch.tensor([1 + warm, 1.0, 1 - warm], dtype=torch.float32).reshape(3, 1, 1)
    gain = rng.uniform(0.7, 1.12) * (1 + rng.uniform(0, 0.6) * across)
    scene.colour = scene.colour * tint * gain + 0.004 * scene.noise((90, 90), 1)


def _tone(colour: np.ndarray) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32).reshape(3, 1, 1)


def _wall_paint(scene: Scene) -> Tensor:
    """(3, H, W) the surface of a wall seen from the front."""
    rng = scene.rng
    base = hue(rng, (0.0, 0.35), (0.45, 0.95))
    stain = 1 + 0.02 * scene.noise((3, 3), 6, 0.7)
    kind = rng.choice(["paint", "paint", "paper", "brick", "panels", "stripes", "concrete", "tiles", "planks"])
    if kind == "brick":
        pale = rng.random() < 0.3
        brick = np.array([0.85, 0.84, 0.82]) if pale else np.array([0.56, 0.31, 0.23]) * rng.uniform(0.7, 1.25)
        return bricks(scene, brick, rng.uniform(0.025, 0.05), brick * 0.7 if pale else np.array([0.7, 0.67, 0.62]))
    if kind == "planks":
        return wood(scene, any_wood(rng), upright=True) * (1 - 0.5 * ((scene.x / 0.12 % 1) < 0.06).float())
    tone = _tone(base) * stain
    if kind == "paper":
        p = rng.uniform(0.05, 0.12)
        u, v = (scene.x / p + 0.5 * ((scene.y / p).floor() % 2)) % 1 - 0.5, scene.y / p % 1 - 0.5
        petal = torch.sqrt(u * u + v * v) / (1 + 0.4 * torch.cos(int(rng.integers(2, 7)) * torch.atan2(v, u)))
        return tone + (_tone(hue(rng, (0.1, 0.5), (0.4, 0.95))) - tone) * 0.7 * smoothstep(0.3, 0.24, petal)
    if kind == "stripes":
        return tone * (1 - 0.14 * smoothstep(0.45, 0.5, (scene.x / rng.uniform(0.05, 0.2) % 1 - 0.5).abs() * 2 - 0.02))
    if kind == "panels":
        p = rng.uniform(0.25, 0.4)
        u = ((scene.x / p % 1) - 0.5).abs() * p
        line = torch.exp(-(((u - 0.38 * p) / 0.006) ** 2)) - torch.exp(-(((u - 0.41 * p) / 0.006) ** 2))
        return tone * (1 + 0.18 * line)
    if kind == "concrete":
        return _tone(np.full(3, rng.uniform(0.4, 0.75))) * (1 + 0.07 * scene.noise((4, 4), 7, 0.8))
    if kind == "tiles":
        p = rng.uniform(0.05, 0.14)
        gap = torch.maximum(((scene.x / p % 1) - 0.5).abs(), ((scene.y / p % 1) - 0.5).abs())
        return tone * (1.05 - 0.3 * smoothstep(0.46, 0.49, gap))
    return tone


def _floor_paint(scene: Scene, horizon: float, centre: float) -> Tensor:
    """(3, H, W) a floor in perspective: boards, tiles or carpet."""
    rng = scene.rng
    depth = 0.35 / (scene.y - horizon).clamp_min(0.03)
    u = (scene.x - centre) * depth
    kind = rng.choice(["boards", "tiles", "carpet"])
    if kind == "carpet":
        return _tone(hue(rng, (0.05, 0.5), (0.25, 0.7))) * (1 + 0.06 * scene.noise((70, 40), 3))
    if kind == "boards":
        board = (u / 0.09).floor()
        tone = torch.sin(board * 91.7) * 4375.85
        return _tone(any_wood(rng)) * (0.88 + 0.2 * (tone - tone.floor()) + 0.06 * scene.noise((50, 12), 3))
    check = ((u / 0.25).floor() + (depth / 0.25).floor()) % 2
    one, two = _tone(hue(rng, (0, 0.3), (0.5, 0.9))), _tone(hue(rng, (0, 0.4), (0.2, 0.8)))
    return one + (two - one) * check * rng.uniform(0.15, 1)


def room(scene: Scene, clutter: float) -> float:
    """A room in one-point perspective: walls, floor, ceiling, furniture along the back wall."""
    rng, a = scene.rng, scene.aspect
    left, right = rng.uniform(-0.3, 0.25) * a, rng.uniform(0.75, 1.3) * a
    ceiling, floor = rng.uniform(-0.15, 0.14), rng.uniform(0.66, 0.95)
    vx, vy = rng.uniform(0.35, 0.65) * a, rng.uniform(0.35, 0.55)
    everywhere = torch.ones_like(scene.x)
    paint = _wall_paint(scene)
    scene.paint(everywhere, paint)
    grow = 2.5

    def out(x: float, y: float) -> tuple[float, float]:
        return vx + (x - vx) * grow, vy + (y - vy) * grow

    corners = {"l": [(left, floor), out(left, floor), out(left, ceiling), (left, ceiling)],
               "r": [(right, ceiling), out(right, ceiling), out(right, floor), (right, floor)]}  # fmt: skip
    side = _tone(hue(rng, (0.0, 0.3), (0.5, 0.9))) if rng.random() < 0.4 else paint
    for key, shade in (("l", rng.uniform(0.7, 1.0)), ("r", rng.uniform(0.7, 1.0))):
        scene.paint(scene.polygon(corners[key]), side.expand(3, *scene.x.shape), shade)
    scene.paint(scene.polygon([(left, ceiling), out(left, ceiling), out(right, ceiling), (right, ceiling)]),
                np.array([0.88, 0.87, 0.85]) * rng.uniform(0.8, 1.05))  # fmt: skip
    ground = scene.polygon([(right, floor), out(right, floor), out(left, floor), (left, floor)])
    scene.paint(ground, _floor_paint(scene, vy, vx))
    scene.paint(scene.box(left, floor - 0.025, right, floor), (0.85, 0.84, 0.82))
    for x0, y0, x1, y1 in (
        (left, ceiling, left, floor),
        (right, ceiling, right, floor),
        (left, ceiling, right, ceiling),
    ):
        scene.darken(scene.bar(x0, y0, x1, y1, 0.05) * 0.6 + 0.4 * scene.bar(x0, y0, x1, y1, 0.12), 0.14)
    count = round(1 + clutter * rng.uniform(2, 7))
    for _ in range(count):
        thing = FURNITURE[rng.integers(len(FURNITURE))]
        thing(scene, rng.uniform(max(left, 0), min(right, a)), floor + rng.uniform(0, 0.03), rng.uniform(0.4, 0.85))
    return floor + 0.08


def wall(scene: Scene, clutter: float) -> float:
    """A wall close by, with little on it."""
    rng = scene.rng
    scene.paint(torch.ones_like(scene.x), _wall_paint(scene))
    for _ in range(round(clutter * rng.uniform(0, 5))):
        thing = FURNITURE[rng.choice([0, 2, 2, 1, 7])]
        thing(scene, rng.uniform(0, 1) * scene.aspect, rng.uniform(0.9, 1.2), rng.uniform(0.6, 1.1))
    return 1.05


def _sky(scene: Scene) -> None:
    rng = scene.rng
    high, low = hue(rng, (0.2, 0.6), (0.5, 0.9)), hue(rng, (0.0, 0.35), (0.8, 1.0))
    if rng.random() < 0.75:
        high, low = np.array([0.42, 0.60, 0.86]) * rng.uniform(0.8, 1.1), np.array([0.84, 0.90, 0.96])
    blend = smoothstep(0, 0.75, scene.y)
    scene.paint(torch.ones_like(scene.x), _tone(high) + (_tone(low) - _tone(high)) * blend)
    clouds = smoothstep(rng.uniform(-0.2, 0.8), 1.6, scene.noise((4, 2.5), 6, 0.6))
    scene.paint(clouds * (1 - 0.5 * scene.y), np.array([0.97, 0.96, 0.95]) * rng.uniform(0.75, 1))


def _foliage(scene: Scene, cover: Tensor, green: np.ndarray, cells: float) -> None:
    clumps = scene.noise((cells / 3, cells / 3 * scene.aspect), 3, 0.6)
    leaves = 0.95 + 0.16 * scene.noise((cells, cells * scene.aspect), 3, 0.8) + 0.14 * clumps
    sunny = torch.tensor([0.10, 0.09, -0.02]).reshape(3, 1, 1) * smoothstep(0.2, 1.6, clumps)
    scene.paint(cover, _tone(green) * leaves.clamp(0.35, 1.6) + sunny)


def nature(scene: Scene, clutter: float) -> float:
    """Sky, hills, trees, a meadow or a path."""
    rng, a = scene.rng, scene.aspect
    _sky(scene)
    horizon = rng.uniform(0.4, 0.7)
    for layer in range(int(rng.integers(1, 4))):
        ridge = horizon - 0.12 + 0.06 * layer + 0.05 * scene.noise((1, rng.uniform(2, 6)), 4)[:1]
        green = np.array([0.30, 0.40, 0.30]) * (0.7 + 0.1 * layer) + 0.16 * (2 - layer) * np.array([0.6, 0.8, 1])
        _foliage(scene, scene.edge(ridge - scene.y, 0.01), green, 14 + 8 * layer)
    grass = np.array([0.36, 0.45, 0.18]) * rng.uniform(0.6, 1.2) if rng.random() < 0.8 else np.array([0.7, 0.62, 0.48])
    _foliage(scene, scene.edge(horizon + 0.02 - scene.y, 0.02), grass, 40)
    if rng.random() < 0.5:
        vx, wide = rng.uniform(0.2, 0.8) * a, rng.uniform(0.2, 0.6)
        path = scene.polygon([(vx, horizon + 0.02), (vx + wide, 1.1), (vx - wide, 1.1)], soft=0.03)
        scene.paint(path, np.array([0.62, 0.55, 0.45]) * rng.uniform(0.7, 1.1), 1 + 0.08 * scene.noise((30, 30), 3))
    for _ in range(round(clutter * rng.uniform(1, 9))):
        x, floor, size = rng.uniform(0, a), horizon + rng.uniform(0.0, 0.25), rng.uniform(0.4, 1.0)
        bark, top = np.array([0.27, 0.21, 0.16]) * rng.uniform(0.6, 1.4), floor - size * 0.45
        scene.paint(scene.bar(x, floor, x + rng.normal(0, 0.03), top, 0.07 * size, 0.03 * size), bark,
                    1 + 0.2 * scene.noise((12, 60), 2))  # fmt: skip
        crown = torch.sqrt(((scene.x - x) / 0.32) ** 2 + ((scene.y - top + 0.1 * size) / 0.34) ** 2) / size
        green = np.array([0.25, 0.38, 0.14]) * rng.uniform(0.5, 1.4) + np.array([0.25, 0.1, 0]) * rng.random() ** 4
        _foliage(scene, scene.edge((crown - 1) * 0.2 + 0.05 * scene.noise((9, 9), 4, 0.8), 0.012), green, 24)
    return min(horizon + 0.35, 1.02)


def street(scene: Scene, clutter: float) -> float:
    """Facades with windows, a pavement, sky above."""
    rng, a = scene.rng, scene.aspect
    _sky(scene)
    floor = rng.uniform(0.72, 0.95)
    x = -0.1
    while x < a + 0.1:
        wide, top = rng.uniform(0.2, 0.6), rng.uniform(-0.2, 0.3)
        face = scene.box(x, top, x + wide, floor)
        body = bricks(scene, hue(rng, (0.1, 0.5), (0.35, 0.85)), rng.uniform(0.015, 0.03), np.array([0.6, 0.58, 0.55]))
        plain = _tone(hue(rng, (0.0, 0.4), (0.4, 0.9))) * (1 + 0.04 * scene.noise((6, 6), 5, 0.7))
        scene.paint(face, body if rng.random() < 0.45 else plain)
        across, down = rng.uniform(0.07, 0.14), rng.uniform(0.13, 0.22)
        u, v = (scene.x - x) / across % 1 - 0.5, (scene.y - top) / down % 1 - 0.5
        size_u, size_v = rng.uniform(0.2, 0.42), rng.uniform(0.25, 0.42)
        inset = torch.maximum((u.abs() - size_u) * across, (v.abs() - size_v) * down)
        whole = (((scene.x - x) / across).floor() < int(wide / across)) & (scene.y < floor - 0.16)
        scene.paint(face * scene.edge(inset - 0.008) * whole, (0.86, 0.85, 0.82))
        reflect = 0.25 + 0.3 * (scene.noise((7, 7), 3)).clamp(0, 1)
        lit = torch.sin(((scene.x - x) / across).floor() * 37.7 + ((scene.y - top) / down).floor() * 91.1) > 0.6
        pane = _tone(np.array([0.55, 0.66, 0.78])) * reflect + _tone(np.array([0.7, 0.5, 0.25])) * (
            lit * rng.uniform(0, 0.8)
        )
        scene.paint(face * scene.edge(inset) * whole, pane)
        shop = scene.box(x + 0.02, floor - 0.14, x + wide - 0.02, floor - 0.01)
        scene.paint(shop, (0.16, 0.17, 0.19), 1 + 0.6 * scene.noise((14, 14), 3).clamp(0, 2))
        scene.paint(scene.box(x + 0.02, floor - 0.175, x + wide - 0.02, floor - 0.14), hue(rng, (0.3, 0.9), (0.3, 0.8)))
        x += wide
    scene.paint(scene.edge(floor - scene.y), np.array([0.45, 0.44, 0.43]) * rng.uniform(0.6, 1.2),
                1 + 0.07 * scene.noise((50, 30), 4, 0.8))  # fmt: skip
    for _ in range(round(clutter * rng.uniform(0, 5))):
        at = rng.uniform(0, a)
        if rng.random() < 0.4:
            plant(scene, at, floor + 0.04, rng.uniform(0.3, 0.7))
        elif rng.random() < 0.5:
            scene.paint(scene.bar(at, floor + 0.05, at, 0.1, 0.022, 0.014), (0.18, 0.19, 0.2))
        else:
            w, h, tone = rng.uniform(0.25, 0.4), rng.uniform(0.07, 0.1), hue(rng, (0.0, 0.9), (0.2, 0.9))
            scene.paint(scene.box(at - w * 0.6, floor - h * 1.7, at + w * 0.5, floor - h * 0.6, 0.05), tone * 0.5)
            scene.paint(scene.box(at - w, floor - h, at + w, floor + 0.03, 0.03), tone, 1.1 - (scene.y - floor + h) * 4)
            for s in (-0.6, 0.6):
                scene.paint(scene.ellipse(at + s * w, floor + 0.02, 0.045, 0.045), (0.07, 0.07, 0.07))
    return floor + 0.1


def lights(scene: Scene, clutter: float) -> float:
    """Far lights, out of focus."""
    rng = scene.rng
    dark = hue(rng, (0.2, 0.7), (0.05, 0.45))
    scene.paint(torch.ones_like(scene.x), dark, 1 + 0.35 * scene.noise((2, 2), 3) * rng.uniform(0.3, 1))
    kind = hue(rng, (0.3, 0.8), (0.7, 1.0))
    for _ in range(round(12 + 60 * clutter * rng.random())):
        r = rng.uniform(0.012, 0.07) * rng.uniform(0.6, 1.5)
        tint = torch.tensor(0.6 * kind + 0.4 * hue(rng, (0.1, 0.9), (0.6, 1.0)), dtype=torch.float32).reshape(3, 1, 1)
        x, y = rng.uniform(0, scene.aspect), rng.beta(2, 2)
        disc = scene.ellipse(x, y, r, r, soft=0.008) * rng.uniform(0.1, 0.6)
        rim = scene.ellipse(x, y, r * 0.86, r * 0.86, soft=0.01)
        scene.colour = scene.colour + tint * disc * (1 - 0.25 * rim)
    return 1.05


def studio(scene: Scene, clutter: float) -> float:
    """A backdrop: mottled cloth or a plain gradient, sometimes a green screen."""
    rng = scene.rng
    base = hue(rng, (0.0, 0.6), (0.15, 0.9)) if rng.random() < 0.8 else np.array([0.1, 0.65, 0.2])
    r = torch.sqrt(((scene.x - 0.5 * scene.aspect) / scene.aspect) ** 2 + (scene.y - rng.uniform(0.3, 0.6)) ** 2)
    mottle = scene.noise((3, 3), 5, 0.6) * rng.choice([0.0, 0.12])
    scene.paint(torch.ones_like(scene.x), base, 1.15 - rng.uniform(0.2, 0.9) * r + mottle)
    folds = scene.noise((1, rng.uniform(5, 14)), 2) * rng.choice([0.0, 0.08], p=[0.6, 0.4])
    scene.colour = scene.colour * (1 + folds)
    return 1.05


def _near(size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """(4, H, W) uint8: a few things close to the camera on a clear scene."""
    scene = Scene(size, rng)
    for _ in range(int(rng.integers(1, 3))):
        x, floor = rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1.0)]) * scene.aspect, rng.uniform(1.0, 1.15)
        kind = rng.choice(["plant", "lamp", "chair", "edge", "table", "statue"], p=[0.25, 0.2, 0.2, 0.15, 0.15, 0.05])
        tone = any_wood(rng)
        if kind == "plant":
            plant(scene, x, floor, rng.uniform(0.5, 0.9))
        elif kind == "lamp":
            lamp(scene, x, floor, rng.uniform(0.6, 0.9))
        elif kind == "statue":
            statue(scene, x, floor, rng.uniform(0.6, 0.9))
        elif kind == "edge":
            w = rng.uniform(0.04, 0.12)
            scene.paint(scene.box(x - w, -0.1, x + w, 1.1), wood(scene, tone, upright=True))
        elif kind == "table":
            scene.paint(scene.box(-0.1, floor - 0.22, scene.aspect + 0.1, 1.2), wood(scene, tone))
        else:
            for k in range(4):
                scene.paint(
                    scene.bar(x - 0.12 + 0.08 * k, 1.1, x - 0.12 + 0.08 * k, floor - 0.4, 0.022),
                    wood(scene, tone, True),
                )
            scene.paint(scene.box(x - 0.16, floor - 0.46, x + 0.16, floor - 0.36, 0.03), wood(scene, tone))
    scene.defocus(rng.uniform(0.0, 0.015))
    alpha = (scene.alpha.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return torch.cat([scene.finish(), alpha[None]])
