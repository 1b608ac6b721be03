"""The trimaps that the papers score on or hand to trimap-based methods: 1 foreground, 0 background, 0.5 unknown.

MODNet's is `lightning_modules.losses.trimap`, since its loss needs it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.metrics.frames import unit


def closed_trimap(alpha: Tensor, low: float = 0.06, high: float = 0.96, steps: int = 10) -> Tensor:
    """BackgroundMattingV2's: alpha strictly between two bounds, closed by dilations and as many erosions.

    The authors kept no code; this reads their recipe as a morphological closing with the 3 × 3 cross.
    A strictly binary alpha gives no unknown pixel.

    Args:
        alpha: (…, 1, H, W) in [0, 1], or uint8 codes.
        low: up to it a pixel is background.
        high: from it a pixel is foreground.
        steps: number of dilations, and of erosions.

    Returns:
        The same shape, float32 in {0, 0.5, 1}.

    Raises:
        ValueError: the bounds are not in order, or there are fewer than 0 steps.
    Source: BackgroundMattingV2, appendix.
    """
    if not 0 <= low < high <= 1 or steps < 0:
        raise ValueError(f"expected 0 ≤ low < high ≤ 1 and steps ≥ 0, got {low}, {high}, {steps}")
    alpha = unit(alpha)
    band = ((alpha > low) & (alpha < high)).float().reshape(-1, 1, *alpha.shape[-2:])
    for _ in range(steps):
        band = _cross(band)
    for _ in range(steps):  # what lies outside the frame erodes nothing
        band = 1 - _cross(1 - band)
    return torch.where(band.view(alpha.shape) > 0, 0.5, (alpha >= high).float())


def _cross(mask: Tensor) -> Tensor:
    """One dilation of (N, 1, H, W) with the 3 × 3 cross."""
    return torch.maximum(F.max_pool2d(mask, (3, 1), 1, (1, 0)), F.max_pool2d(mask, (1, 3), 1, (0, 1)))


def dilated_trimap(alpha: Tensor, size: int = 10) -> Tensor:
    """Context Motion Network's: unknown up to `size` pixels from alpha that is neither 0 nor 1, or from a hard edge.

    The paper says "dilated" and no more; this grows by a square, `size` pixels to every side.

    Args:
        alpha: (…, 1, H, W) in [0, 1] or uint8 codes: the true matte, or a segmentation.
        size: pixels; the paper draws it per video for true mattes (`dilation_size`), and has 10 for segmentations.

    Returns:
        The same shape, float32 in {0, 0.5, 1}.

    Raises:
        ValueError: the size is negative.
    Source: Context Motion Network, section 4.
    """
    if size < 0:
        raise ValueError(f"size must be at least 0 pixels, got {size}")
    alpha = unit(alpha)
    near = [
        _grow(mask.float().reshape(-1, 1, *alpha.shape[-2:]), size).view_as(alpha) for mask in (alpha > 0, alpha < 1)
    ]
    return torch.where((near[0] > 0) & (near[1] > 0), 0.5, (alpha >= 1).float())


def _grow(mask: Tensor, size: int) -> Tensor:
    """Dilation of (N, 1, H, W) with a square of 2 · size + 1 pixels, a line at a time."""
    side = 2 * size + 1
    return F.max_pool2d(F.max_pool2d(mask, (side, 1), 1, (size, 0)), (1, side), 1, (0, size))


def dilation_size(generator: torch.Generator) -> int:
    """Context Motion Network's draw for one video: 5 to 15 pixels."""
    return int(torch.randint(5, 16, (), generator=generator))
