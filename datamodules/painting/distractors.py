"""Background that looks like a person: bystanders, statues, coats on hooks, portraits on walls."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.clothes import cloth_colour
from datamodules.painting.face import SKINS
from datamodules.painting.people import Person
from datamodules.painting.scene import Scene, hue


def add_distractor(scene: Scene, floor: float) -> None:
    """One of them, anywhere along the floor line."""
    rng = scene.rng
    x, size = rng.uniform(0.1, 0.9) * scene.aspect, rng.uniform(0.45, 0.95)
    thing = (bystander, statue, coat, portrait)[rng.choice(4, p=[0.4, 0.25, 0.15, 0.2])]
    thing(scene, x, floor, size)


def bystander(scene: Scene, x: float, floor: float, size: float) -> None:
    """Another person, further off and out of focus."""
    scene.defocus(0.004)
    cover, colour = _behind(scene, x, size)
    scene.paint(cover, colour, scene.rng.uniform(0.75, 1.0))
    scene.defocus(scene.rng.uniform(0.006, 0.018))


def statue(scene: Scene, x: float, floor: float, size: float) -> None:
    """A bust of stone, bronze or shop-window plastic."""
    rng = scene.rng
    cover, colour = _behind(scene, x, size)
    stone = np.array(
        [(0.85, 0.83, 0.78), (0.5, 0.48, 0.45), (0.42, 0.33, 0.2), SKINS[rng.integers(len(SKINS))]][rng.integers(4)]
    )
    relief = 0.45 + 0.9 * (colour.mean(0) - colour.mean(0)[cover > 0.5].mean().nan_to_num(0.5))
    scene.paint(cover, stone, (relief * 1.6).clamp(0.25, 1.25))


def _behind(scene: Scene, x: float, size: float) -> tuple[Tensor, Tensor]:
    """A still person whom the picture's lower edge cuts off."""
    return _figure(scene, x - size / 2, 1 - size * scene.rng.uniform(0.75, 1.0), size)


def _figure(scene: Scene, left: float, top: float, size: float) -> tuple[Tensor, Tensor]:
    """Cover (H, W) and colour (3, H, W) of a still person in a square of the scene."""
    pixels = max(round(size * scene.height), 24)
    clip = Person(scene.rng, pixels, 1, motion_blur=0.0).render(moves=False)
    up, across = round(top * scene.height), round(left * scene.height)
    rows = slice(min(max(up, 0), scene.height), max(min(up + pixels, scene.height), 0))
    columns = slice(min(max(across, 0), scene.width), max(min(across + pixels, scene.width), 0))
    cover, colour = torch.zeros(scene.height, scene.width), torch.zeros(3, scene.height, scene.width)
    if rows.stop > rows.start and columns.stop > columns.start:
        source = (slice(rows.start - up, rows.stop - up), slice(columns.start - across, columns.stop - across))
        cover[rows, columns] = clip.pha[0, 0][source].float() / 255
        colour[:, rows, columns] = clip.fgr[0][:, *source].float() / 255
    return cover, colour


def coat(scene: Scene, x: float, floor: float, size: float) -> None:
    """A coat and a scarf on a hook, shaped like shoulders."""
    rng = scene.rng
    tone, w, top = cloth_colour(rng), size * rng.uniform(0.16, 0.26), floor - size * 1.05
    folds = 0.85 + 0.2 * torch.sin((scene.x - x) / w * 9 + 1.5 * scene.noise((3, 5), 2))
    shape = [(x - w * 0.9, floor - size * 0.15), (x - w, top + 0.2 * size), (x - 0.02, top), (x + 0.02, top),
             (x + w, top + 0.2 * size), (x + w * 0.9, floor - size * 0.15)]  # fmt: skip
    scene.paint(scene.polygon(shape, soft=0.015), tone, folds)
    for side in (-1, 1):
        sleeve = scene.bar(
            x + side * w * 0.8, top + 0.2 * size, x + side * w * 1.02, top + 0.75 * size, 0.1 * size, 0.07 * size
        )
        scene.paint(sleeve, tone * 0.9, folds)
    if rng.random() < 0.6:
        scene.paint(scene.bar(x - 0.04, top, x - 0.02, top + 0.6 * size, 0.07 * size), cloth_colour(rng), folds)
        scene.paint(scene.ellipse(x, top - 0.02 * size, 0.08 * size, 0.07 * size), cloth_colour(rng))


def portrait(scene: Scene, x: float, floor: float, size: float) -> None:
    """A framed photograph of someone."""
    rng = scene.rng
    half, y = size * rng.uniform(0.16, 0.26), floor - size * rng.uniform(0.85, 1.05)
    edges = (x - half, y - 1.25 * half, x + half, y + 1.25 * half)
    scene.darken(scene.box(edges[0], edges[1] + 0.01, edges[2] + 0.015, edges[3] + 0.025, soft=0.04), 0.3)
    frame = 0.012 if rng.random() < 0.6 else 0.0
    scene.paint(
        scene.box(*(e + s * frame for e, s in zip(edges, (-1, -1, 1, 1), strict=True))), hue(rng, (0, 0.6), (0.1, 0.6))
    )
    inside = scene.box(*edges)
    scene.paint(inside, hue(rng, (0.0, 0.6), (0.3, 0.95)), 1.1 - 0.5 * (scene.y - y).abs() / half)
    cover, colour = _figure(scene, edges[0] - 0.25 * half, edges[1], 2.5 * half)
    scene.paint(inside * cover, colour)
