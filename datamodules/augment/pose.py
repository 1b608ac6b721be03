"""Poses of a flat picture, and the affines that show it on its way from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from datamodules.dice import Draws


@dataclass(frozen=True)
class Pose:
    """Where a picture is put, relative to where it lies.

    Attributes:
        degrees: rotation, clockwise.
        shift_x: to the right, in widths of the picture.
        shift_y: down, in heights of the picture.
        scale: factor of the size.
        shear_degrees: along x.
    """

    degrees: float
    shift_x: float
    shift_y: float
    scale: float
    shear_degrees: float

    @classmethod
    def drawn(cls, draws: Draws, purpose: str, scale: tuple[float, float] = (0.9, 1.1)) -> Self:
        """A random pose, in RVM's ranges but for that of the scale."""
        return cls(
            degrees=draws.number(f"{purpose} degrees", (-10, 10)),
            shift_x=draws.number(f"{purpose} shift x", (-0.1, 0.1)),
            shift_y=draws.number(f"{purpose} shift y", (-0.1, 0.1)),
            scale=draws.number(f"{purpose} scale", scale),
            shear_degrees=draws.number(f"{purpose} shear", (-5, 5)),
        )


def pose_matrices(first: Pose, last: Pose, progress: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Matrices (T, 3, 3) float64 from a pixel of the posed picture to the same point of the picture as it lies.

    Args:
        first, last: the two ends, whose shifts are whole pixels as in RVM's scripts; in between they are fractions.
        progress: of each frame, 0 at the first pose, 1 at the last.
        size: (height, width) of the picture.
    """
    height, width = size
    start, end = (
        torch.tensor(
            [p.degrees, p.shear_degrees, p.scale, round(p.shift_x * width), round(p.shift_y * height)],
            dtype=torch.float64,
        )
        for p in (first, last)
    )
    poses = torch.lerp(start, end, torch.tensor(progress, dtype=torch.float64)[:, None])
    degrees, shear, scale, *shift = poses.unbind(dim=1)
    angle = degrees.deg2rad()
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    sheared = torch.eye(2, dtype=torch.float64).repeat(len(progress), 1, 1)
    sheared[:, 0, 1] = -shear.deg2rad().tan()
    linear = torch.linalg.inv(scale[:, None, None] * rotation @ sheared)
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(progress), 1, 1)
    matrices[:, :2, :2] = linear
    matrices[:, :2, 2] = centre - (linear @ (centre + torch.stack(shift, dim=1))[..., None])[..., 0]
    return matrices
