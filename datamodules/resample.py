"""Layers seen through affines: the one resampling of every pixel, a batch at once, on any device.

Affines are few numbers, and on the CPU: what to do is decided by looking at them, for which no device is waited for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# An affine that takes more source pixels than this per output pixel would alias under bilinear sampling.
MAX_SHRINK_WITHOUT_FILTER = 1.5


def resample(
    pictures: Tensor, affine: Tensor, height: int, width: int, padding: str, defocus: Tensor | None = None
) -> Tensor:
    """Pictures seen through affines, bilinear; area-averaged first in clips that are out of focus or shrink a lot.

    Args:
        pictures: (B, T, C, h, w) float, or (B, 1, C, h, w) for stills; overwritten where they must be averaged.
        affine: (B, T, 2, 3) output → picture pixel, on the CPU.
        height: of the output, pixels.
        width: of the output, pixels.
        padding: outside of the picture: "zeros" or "border" (the nearest border pixel).
        defocus: (B,) side of the square that a point is spread over, picture pixels, on the CPU; None: none is.

    Returns:
        (B, T, C, height, width).
    """
    num_pictures = pictures.shape[1]
    _average(pictures, affine, defocus)
    # The affine, not its many points, is brought from pixels to the [−1, 1] of grid_sample.
    size = affine.new_tensor([pictures.shape[-1], pictures.shape[-2]])
    affine = affine * (2 / size)[:, None]
    affine[..., 2] += 1 / size - 1
    # All views of a still are one tall view of it, so that it need not be copied.
    points = apply_affine(sent(affine, pictures), height, width).view(len(pictures) * num_pictures, -1, width, 2)
    views = F.grid_sample(pictures.flatten(0, 1), points, "bilinear", padding, align_corners=False)
    views = views.view(len(pictures), num_pictures, -1, affine.shape[1] // num_pictures, height, width)
    return views.transpose(2, 3).flatten(1, 2)


def apply_affine(affine: Tensor, height: int, width: int) -> Tensor:
    """The points (…, height, width, 2) that affines (…, 2, 3) send the output's pixels (x, y) to."""
    # Written out, not as a matrix product: TF32 would round coordinates to a tenth of a pixel.
    x = torch.arange(width, device=affine.device, dtype=affine.dtype)
    y = torch.arange(height, device=affine.device, dtype=affine.dtype)
    along_x = affine[..., :, 0, None] * x + affine[..., :, 2, None]
    along_y = affine[..., :, 1, None] * y
    points = affine.new_empty(*affine.shape[:-2], height, width, 2)
    for k in (0, 1):
        torch.add(along_x[..., k, None, :], along_y[..., k, :, None], out=points[..., k])
    return points


def to_previous_frame(affine: Tensor) -> Tensor:
    """Where a layer's point, seen at an output pixel of frame t, was seen in frame t−1.

    Args:
        affine: (B, T, 2, 3) output → source pixel.

    Returns:
        (B, T, 2, 3) output pixel of frame t → output pixel of frame t−1; identity at t = 0.
    """
    square = F.pad(affine.double(), (0, 0, 0, 1))
    square[..., 2, 2] = 1
    previous = torch.cat([square[:, :1], square[:, :-1]], dim=1)
    step = torch.linalg.solve(previous, square)[..., :2, :]
    step[:, 0] = torch.eye(2, 3, dtype=step.dtype, device=step.device)
    return step.to(affine.dtype)


def sent(draws: Tensor, pixels: Tensor) -> Tensor:
    """Draws, which lie on the CPU, beside the pixels that they are of; nobody waits for it."""
    return draws.to(pixels.device, non_blocking=True)


def _average(pictures: Tensor, affine: Tensor, defocus: Tensor | None) -> None:
    """Average clips of (B, T, C, h, w), in place, over an output pixel of (B, T, 2, 3) and a blurred point (B,)."""
    extent = affine[..., :2].norm(dim=-1).amax(1).clamp_min(1)  # (B, 2): across and down
    extent = torch.where(extent.amax(1, keepdim=True) > MAX_SHRINK_WITHOUT_FILTER, extent, 1)
    if defocus is not None:
        extent = torch.hypot(extent, defocus[:, None])
    # One clip after the other, each over no more pixels than it needs: many need few.
    for clip in (extent.amax(1) > 1).nonzero()[:, 0].tolist():
        averaged = pictures[clip : clip + 1]
        for dim, pixels in ((-1, extent[clip, :1]), (-2, extent[clip, 1:])):
            averaged = _area_average(averaged, pixels, dim)
        pictures[clip] = averaged[0]


def _area_average(pictures: Tensor, extent: Tensor, dim: int) -> Tensor:
    """Mean along one axis over `extent` (B,) ≥ 1 pixels around each pixel, a fraction of the outermost two."""
    radius, length = int(extent.max() / 2 + 0.5), pictures.shape[dim]
    padding = (radius, radius, 0, 0) if dim == -1 else (0, 0, radius, radius)
    padded = F.pad(pictures.flatten(0, 1), padding, mode="replicate").unflatten(0, pictures.shape[:2])
    distance = torch.arange(radius + 1)
    weights = sent((extent[:, None] / 2 + 0.5 - distance).clamp(0, 1) / extent[:, None], pictures)
    weights = weights[:, :, None, None, None, None]
    mean = pictures * weights[:, 0]
    for d in range(1, radius + 1):
        for start in (radius - d, radius + d):
            mean.addcmul_(padded.narrow(dim, start, length), weights[:, d])
    return mean
