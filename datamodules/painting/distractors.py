"""Background that looks like a person: bystanders, statues, coats on hooks, portraits on walls."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.clothes import cloth_colour
from datamodules.painting.face import SKINS
from datamodules.painting.people import Person
from datamodules.painting.plate import Plate, hue


def add_distractor(plate: Plate, floor: float) -> None:
    """One of them, anywhere along the floor line."""
    rng = plate.rng
    x, size = rng.uniform(0.1, 0.9) * plate.aspect, rng.uniform(0.45, 0.95)
    thing = (bystander, statue, coat, portrait)[rng.choice(4, p=[0.4, 0.25, 0.15, 0.2])]
    thing(plate, x, floor, size)


def bystander(plate: Plate, x: float, floor: float, size: float) -> None:
    """Another person, further off and out of focus."""
    plate.defocus(0.004)
    cover, colour = _behind(plate, x, size)
    plate.paint(cover, colour, plate.rng.uniform(0.75, 1.0))
    plate.defocus(plate.rng.uniform(0.006, 0.018))


def statue(plate: Plate, x: float, floor: float, size: float) -> None:
    """A bust of stone, bronze or shop-window plastic."""
    rng = plate.rng
    cover, colour = _behind(plate, x, size)
    stone = np.array(
        [(0.85, 0.83, 0.78), (0.5, 0.48, 0.45), (0.42, 0.33, 0.2), SKINS[rng.integers(len(SKINS))]][rng.integers(4)]
    )
    relief = 0.45 + 0.9 * (colour.mean(0) - colour.mean(0)[cover > 0.5].mean().nan_to_num(0.5))
    plate.paint(cover, stone, (relief * 1.6).clamp(0.25, 1.25))


def _behind(plate: Plate, x: float, size: float) -> tuple[Tensor, Tensor]:
    """A still person whom the picture's lower edge cuts off."""
    return _figure(plate, x - size / 2, 1 - size * plate.rng.uniform(0.75, 1.0), size)


def _figure(plate: Plate, left: float, top: float, size: float) -> tuple[Tensor, Tensor]:
    """Coverage (H, W) and colour (3, H, W) of a still person in a square of the plate."""
    pixels = max(round(size * plate.height), 24)
    clip = Person(plate.rng, pixels, 1, motion_blur=0.0).render()
    up, across = round(top * plate.height), round(left * plate.height)
    rows = slice(min(max(up, 0), plate.height), max(min(up + pixels, plate.height), 0))
    columns = slice(min(max(across, 0), plate.width), max(min(across + pixels, plate.width), 0))
    cover, colour = torch.zeros(plate.height, plate.width), torch.zeros(3, plate.height, plate.width)
    if rows.stop > rows.start and columns.stop > columns.start:
        source = (slice(rows.start - up, rows.stop - up), slice(columns.start - across, columns.stop - across))
        cover[rows, columns] = clip.pha[0, 0][source].float() / 255
        colour[:, rows, columns] = clip.fgr[0][:, *source].float() / 255
    return cover, colour


def coat(plate: Plate, x: float, floor: float, size: float) -> None:
    """A coat and a scarf on a hook, shaped like shoulders."""
    rng = plate.rng
    tone, w, top = cloth_colour(rng), size * rng.uniform(0.16, 0.26), floor - size * 1.05
    folds = 0.85 + 0.2 * torch.sin((plate.x - x) / w * 9 + 1.5 * plate.noise((3, 5), 2))
    shape = [(x - w * 0.9, floor - size * 0.15), (x - w, top + 0.2 * size), (x - 0.02, top), (x + 0.02, top),
             (x + w, top + 0.2 * size), (x + w * 0.9, floor - size * 0.15)]  # fmt: skip
    plate.paint(plate.polygon(shape, soft=0.015), tone, folds)
    for side in (-1, 1):
        sleeve = plate.bar(
            x + side * w * 0.8, top + 0.2 * size, x + side * w * 1.02, top + 0.75 * size, 0.1 * size, 0.07 * size
        )
        plate.paint(sleeve, tone * 0.9, folds)
    if rng.random() < 0.6:
        plate.paint(plate.bar(x - 0.04, top, x - 0.02, top + 0.6 * size, 0.07 * size), cloth_colour(rng), folds)
        plate.paint(plate.ellipse(x, top - 0.02 * size, 0.08 * size, 0.07 * size), cloth_colour(rng))


def portrait(plate: Plate, x: float, floor: float, size: float) -> None:
    """A framed photograph of someone."""
    rng = plate.rng
    half, y = size * rng.uniform(0.16, 0.26), floor - size * rng.uniform(0.85, 1.05)
    edges = (x - half, y - 1.25 * half, x + half, y + 1.25 * half)
    plate.darken(plate.box(edges[0], edges[1] + 0.01, edges[2] + 0.015, edges[3] + 0.025, soft=0.04), 0.3)
    frame = 0.012 if rng.random() < 0.6 else 0.0
    plate.paint(
        plate.box(*(e + s * frame for e, s in zip(edges, (-1, -1, 1, 1), strict=True))), hue(rng, (0, 0.6), (0.1, 0.6))
    )
    inside = plate.box(*edges)
    plate.paint(inside, hue(rng, (0.0, 0.6), (0.3, 0.95)), 1.1 - 0.5 * (plate.y - y).abs() / half)
    cover, colour = _figure(plate, edges[0] - 0.25 * half, edges[1], 2.5 * half)
    plate.paint(inside * cover, colour)
