"""Things that stand and hang in rooms, each painted on a scene at a place and a size in picture heights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from datamodules.painting.clothes import cloth_colour
from datamodules.painting.scene import Scene, bricks, hue, wood
from datamodules.painting.surface import smoothstep

WOODS = ((0.45, 0.30, 0.19), (0.62, 0.45, 0.28), (0.30, 0.19, 0.12), (0.78, 0.66, 0.50), (0.86, 0.84, 0.80))


def any_wood(rng: np.random.Generator) -> np.ndarray:
    """(3,) the colour of some wood."""
    return np.array(WOODS[rng.integers(len(WOODS))]) * rng.uniform(0.85, 1.1)


def window(scene: Scene, x: float, floor: float, size: float) -> None:
    """A window with bright outdoors behind it, mostly with curtains."""
    rng = scene.rng
    w, h = size * rng.uniform(0.5, 0.9), size * rng.uniform(0.7, 1.1)
    top = max(floor - size * 1.35, 0.04)
    frame = np.array([0.9, 0.89, 0.86]) * rng.uniform(0.6, 1) if rng.random() < 0.7 else any_wood(rng)
    scene.paint(scene.box(x - w / 2 - 0.02, top - 0.02, x + w / 2 + 0.02, top + h + 0.03), frame)
    glass = scene.box(x - w / 2, top, x + w / 2, top + h)
    sky = torch.tensor(hue(rng, (0.05, 0.3), (0.8, 1.0)), dtype=torch.float32).reshape(3, 1, 1)
    down = ((scene.y - top) / h).clamp(0, 1)
    outside = sky * (1.15 - 0.25 * down) + 0.06 * scene.noise((5, 5))
    green = torch.tensor([0.30, 0.42, 0.22]).reshape(3, 1, 1) * (1 + 0.3 * scene.noise((20, 20), 3))
    trees = smoothstep(0.45, 0.6, down + 0.12 * scene.noise((6, 9), 3))
    scene.paint(glass, outside + (1.3 * green - outside) * trees)
    bars = int(rng.integers(1, 4))
    for k in range(1, bars + 1):
        at = x - w / 2 + w * k / (bars + 1)
        scene.paint(scene.bar(at, top, at, top + h, 0.012), frame)
    scene.paint(scene.bar(x - w / 2, top + h * 0.45, x + w / 2, top + h * 0.45, 0.012), frame)
    if rng.random() < 0.35:
        blind = torch.sin(scene.y * rng.uniform(250, 400)) * 0.5 + 0.5
        scene.paint(glass * smoothstep(0.2, 0.6, blind) * rng.uniform(0.5, 0.9), frame * 0.95)
    elif rng.random() < 0.8:
        cloth = cloth_colour(rng)
        for side in (-1, 1):
            rail = x + side * (w / 2 + 0.02)
            wide = rng.uniform(0.06, 0.16)
            ends = (rail - side * wide * 0.4, rail + side * wide)
            left, right = min(ends), max(ends)
            folds = 0.8 + 0.25 * torch.sin((scene.x - left) / wide * rng.uniform(14, 24) + scene.noise((2, 4), 2))
            scene.paint(scene.box(left, max(top - 0.05, 0), right, min(top + h + 0.25, floor)), cloth, folds)
    scene.glow(x, top + h / 2, size, (1.0, 0.98, 0.92), rng.uniform(0.15, 0.5))


def door(scene: Scene, x: float, floor: float, size: float) -> None:
    """A panelled door."""
    rng = scene.rng
    w, h = 0.42 * size * 1.2, 1.25 * size
    tone = any_wood(rng)
    scene.paint(scene.box(x - w / 2 - 0.02, floor - h - 0.02, x + w / 2 + 0.02, floor), tone * 0.8)
    scene.paint(scene.box(x - w / 2, floor - h, x + w / 2, floor), wood(scene, tone, upright=True))
    for top, bottom in ((0.08, 0.48), (0.56, 0.92)):
        for side in (-1, 1):
            cx = x + side * w * 0.23
            box = (cx - w * 0.17, floor - h + top * h, cx + w * 0.17, floor - h + bottom * h)
            scene.darken(scene.box(*box, soft=0.02), 0.35)
            scene.paint(
                scene.box(box[0] + 0.008, box[1] + 0.008, box[2], box[3]), wood(scene, tone * 1.02, upright=True)
            )
    scene.paint(scene.ellipse(x + w * 0.42, floor - h * 0.47, 0.012, 0.012), (0.75, 0.7, 0.55))


def bookshelf(scene: Scene, x: float, floor: float, size: float) -> None:
    """Shelves of books and a few things."""
    rng = scene.rng
    w, h = size * rng.uniform(0.5, 1.1), size * rng.uniform(0.9, 1.3)
    tone, left, top = any_wood(rng), x - w / 2, floor - h
    scene.paint(scene.box(left, top, left + w, floor), wood(scene, tone * 0.5))
    rows = int(rng.integers(3, 6))
    for r in range(rows):
        base, room = top + h * (r + 1) / rows, h / rows - 0.012
        at = left + 0.012
        while at < left + w - 0.02:
            thick, tall = rng.uniform(0.008, 0.028) * size * 1.6, room * rng.uniform(0.55, 0.93)
            if rng.random() < 0.14:
                at += thick * 2
                continue
            tilt = rng.normal(0, 0.004)
            spine = [(at, base), (at + tilt, base - tall), (at + tilt + thick, base - tall), (at + thick, base)]
            cover = scene.polygon(spine)
            side = 1 - 0.35 * (((scene.x - at) / thick - 0.5) * 2).clamp(-1, 1) ** 2
            scene.paint(cover, cloth_colour(rng), side)
            if rng.random() < 0.5:
                band = base - tall * rng.uniform(0.5, 0.85)
                scene.paint(cover * scene.box(at - 1, band, at + 1, band + 0.012), (0.85, 0.78, 0.55))
            at += thick + 0.001
        scene.darken(scene.box(left, base - room - 0.005, left + w, base - room + 0.05, soft=0.08), 0.5)
        scene.paint(scene.box(left, base - 0.008, left + w, base + 0.006), wood(scene, tone))
    for post in (left, left + w):
        scene.paint(scene.box(post - 0.008, top, post + 0.008, floor), wood(scene, tone, upright=True))


def painting(scene: Scene, x: float, floor: float, size: float) -> None:
    """A framed picture: abstract, a landscape, or blotches."""
    rng = scene.rng
    w, h = size * rng.uniform(0.2, 0.5), size * rng.uniform(0.2, 0.5)
    y = floor - size * rng.uniform(0.85, 1.1)
    scene.darken(scene.box(x - w / 2, y - h / 2 + 0.015, x + w / 2 + 0.02, y + h / 2 + 0.03, soft=0.05), 0.3)
    scene.paint(scene.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2), any_wood(rng) * rng.uniform(0.3, 1.1))
    inner = scene.box(x - w / 2 + 0.015, y - h / 2 + 0.015, x + w / 2 - 0.015, y + h / 2 - 0.015)
    scene.paint(inner, (0.92, 0.91, 0.88))
    mat = rng.choice([0.015, 0.04])
    inner = scene.box(x - w / 2 + mat, y - h / 2 + mat, x + w / 2 - mat, y + h / 2 - mat)
    one, two, three = (
        torch.tensor(hue(rng, (0.1, 0.8), (0.2, 0.95)), dtype=torch.float32).reshape(3, 1, 1) for _ in "abc"
    )
    field = scene.noise((8, 8), 4) + (scene.y - y) / h * rng.uniform(0, 8)
    art = one + (two - one) * smoothstep(-0.3, 0.3, field)
    art = art + (three - art) * smoothstep(0.4, 0.6, scene.noise((10, 10), 3))
    scene.paint(inner, art)


def plant(scene: Scene, x: float, floor: float, size: float) -> None:
    """A potted plant with broad or narrow leaves."""
    rng = scene.rng
    pot, tall = 0.13 * size, 0.2 * size
    tone = hue(rng, (0.0, 0.6), (0.3, 0.9))
    body = scene.polygon(
        [(x - pot * 0.75, floor), (x - pot, floor - tall), (x + pot, floor - tall), (x + pot * 0.75, floor)]
    )
    scene.paint(body, tone, 1.05 - 0.45 * ((scene.x - x) / pot).clamp(-1, 1) ** 2)
    green = np.array([0.22, 0.40, 0.16]) * rng.uniform(0.6, 1.4) + rng.normal(0, 0.04, 3)
    broad = rng.uniform(0.02, 0.11)
    for _ in range(int(rng.integers(12, 30))):
        angle, reach = rng.normal(0, 0.75), size * rng.uniform(0.3, 0.75)
        tx, ty = x + np.sin(angle) * reach * 0.8, floor - tall - np.cos(angle) * reach
        bx, by = x + rng.normal(0, pot * 0.4), floor - tall
        mx, my = (bx + tx) / 2 + np.sin(angle) * 0.1 * size, (by + ty) / 2 - 0.06 * size
        shade = rng.uniform(0.55, 1.25)
        scene.paint(scene.bar(bx, by, mx, my, 0.006, 0.006), green * 0.8 * shade)
        scene.paint(scene.bar(mx, my, tx, ty, broad * size, 0.003), green * shade, 1 + 0.12 * scene.noise((12, 12), 2))


def lamp(scene: Scene, x: float, floor: float, size: float) -> None:
    """A lit lamp on a stem."""
    rng = scene.rng
    tall, wide = size * rng.uniform(0.5, 1.0), size * rng.uniform(0.12, 0.2)
    scene.paint(scene.bar(x, floor, x, floor - tall, 0.014 * size + 0.004), (0.25, 0.22, 0.2))
    scene.paint(scene.ellipse(x, floor, wide * 0.6, 0.02 * size), (0.22, 0.2, 0.18))
    top = floor - tall
    shade = scene.polygon(
        [(x - wide, top), (x - wide * 0.6, top - wide * 1.4), (x + wide * 0.6, top - wide * 1.4), (x + wide, top)]
    )
    tint = np.array([1.0, 0.88, 0.66]) * rng.uniform(0.8, 1)
    scene.paint(shade, tint, 1.1 - 0.35 * ((scene.x - x) / wide).clamp(-1, 1) ** 2)
    scene.glow(x, top - wide * 0.7, 0.45 * size, (1.0, 0.8, 0.5), rng.uniform(0.2, 0.7))


def desk(scene: Scene, x: float, floor: float, size: float) -> None:
    """A table with a monitor, a mug, papers."""
    rng = scene.rng
    w, h = size * rng.uniform(0.7, 1.3), size * rng.uniform(0.4, 0.5)
    tone, top = any_wood(rng), floor - h
    for side in (-1, 1):
        scene.paint(scene.bar(x + side * w * 0.45, top, x + side * w * 0.45, floor, 0.025 * size), tone * 0.6)
    scene.paint(scene.box(x - w / 2, top, x + w / 2, top + 0.035 * size), wood(scene, tone))
    for _ in range(int(rng.integers(1, 3))):
        mx, mw = x + rng.uniform(-0.3, 0.3) * w, size * rng.uniform(0.3, 0.5)
        mh, my = mw * 0.6, top - 0.06 * size
        scene.paint(scene.bar(mx, top, mx, my - mh / 2, 0.03 * size), (0.15, 0.15, 0.16))
        scene.paint(scene.box(mx - mw / 2, my - mh, mx + mw / 2, my, 0.008), (0.07, 0.07, 0.08))
        screen = scene.box(mx - mw / 2 + 0.01, my - mh + 0.01, mx + mw / 2 - 0.01, my - 0.01)
        rows = smoothstep(0.1, 0.5, torch.sin(scene.y * 260) * 0.5 + 0.3 * scene.noise((40, 12), 2))
        shown = torch.tensor(hue(rng, (0.2, 0.7), (0.2, 0.7)), dtype=torch.float32).reshape(3, 1, 1)
        scene.paint(screen, shown + (0.9 - shown) * rows * rng.uniform(0, 0.8))
    for _ in range(int(rng.integers(1, 5))):
        at, tall = x + rng.uniform(-0.45, 0.45) * w, size * rng.uniform(0.04, 0.12)
        scene.paint(scene.box(at, top - tall, at + tall * rng.uniform(0.5, 1.6), top, 0.004), cloth_colour(rng))


def sofa(scene: Scene, x: float, floor: float, size: float) -> None:
    """A sofa with cushions."""
    rng = scene.rng
    w, h, tone = size * rng.uniform(0.9, 1.5), size * 0.45, cloth_colour(rng)
    weave = 1 + 0.05 * scene.noise((60, 60), 2)
    scene.darken(scene.box(x - w / 2, floor - 0.03, x + w / 2, floor + 0.03, soft=0.06), 0.5)
    scene.paint(scene.box(x - w / 2, floor - h, x + w / 2, floor - h * 0.2, 0.04 * size), tone * 0.85, weave)
    scene.paint(scene.box(x - w / 2, floor - h * 0.5, x + w / 2, floor, 0.03 * size), tone, weave)
    for side in (-1, 1):
        cx = x + side * w * 0.47
        scene.paint(
            scene.box(cx - 0.06 * size, floor - h * 0.7, cx + 0.06 * size, floor, 0.04 * size), tone * 0.93, weave
        )
    for _ in range(int(rng.integers(0, 4))):
        cx, r = x + rng.uniform(-0.35, 0.35) * w, 0.13 * size
        cushion = scene.box(cx - r, floor - h * 0.55 - r * 1.4, cx + r, floor - h * 0.5, 0.05 * size)
        scene.paint(cushion, cloth_colour(rng), weave * (1.1 - 0.3 * ((scene.x - cx) / r).clamp(-1, 1) ** 2))


def column(scene: Scene, x: float, floor: float, size: float) -> None:
    """A pillar of brick or plaster."""
    rng = scene.rng
    w = size * rng.uniform(0.08, 0.2)
    face = bricks(scene, np.array([0.55, 0.3, 0.22]) * rng.uniform(0.7, 1.3), 0.03, np.array([0.7, 0.68, 0.64]))
    plain = torch.tensor(hue(rng, (0, 0.2), (0.5, 0.9)), dtype=torch.float32).reshape(3, 1, 1).expand_as(face)
    t = ((scene.x - x) / w).clamp(-1, 1)
    scene.paint(scene.box(x - w, 0, x + w, floor), face if rng.random() < 0.5 else plain, 1 - 0.3 * t.abs() ** 2)


Thing = Callable[[Scene, float, float, float], None]
FURNITURE: tuple[Thing, ...] = (window, bookshelf, painting, plant, lamp, desk, sofa, door, painting, bookshelf, column)
