"""Another output size for every batch: the square is scaled down, then cropped in the middle."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from datamodules.batch import Layers


def random_size(side: int, generator: torch.Generator) -> tuple[int, int]:
    """Height and width, each uniform in [side/2, side − 1].

    Source: RVM, section 4.3: h, w ~ U(256, 512) and U(1024, 2048); the upper end excluded as in the official code.
    """
    height, width = torch.randint(max(side // 2, 1), max(side, 2), (2,), generator=generator).tolist()
    return height, width


def to_square(side: int, size: tuple[int, int]) -> Tensor:
    """The matrix (3, 3) float64 from pixels of the output to those of the square that it shows.

    The square is scaled to the longer side of the output, and the middle of that is the output.

    Args:
        side: of the square, pixels.
        size: (height, width) of the output.

    >>> to_square(8, (4, 2)) @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    tensor([2.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    scale = side / max(size)
    matrix = torch.eye(3, dtype=torch.float64)
    for axis, length in enumerate((size[1], size[0])):
        cropped = round((max(size) - length) / 2)
        matrix[axis, axis] = scale
        matrix[axis, 2] = (cropped + 0.5) * scale - 0.5
    return matrix


def at_size(layers: Layers, side: int, size: tuple[int, int]) -> Layers:
    """Layers of a clip drawn for a square, to be composited at (height, width): pixels stay, affines change."""
    return replace(
        seen_through(layers, to_square(side, size)),
        camouflage_shift=layers.camouflage_shift * (max(size) / side),
        size=size,
    )


def seen_through(layers: Layers, matrix: Tensor) -> Layers:
    """Layers of a clip for another output, whose pixels `matrix` (3, 3) float64 sends to those of the present one."""

    def moved(affine: Tensor) -> Tensor:
        return (affine.double() @ matrix).to(affine.dtype)

    return replace(
        layers,
        fgr_affine=moved(layers.fgr_affine),
        bgr_affine=moved(layers.bgr_affine),
        near_affine=None if layers.near_affine is None else moved(layers.near_affine),
    )
