"""How well a background is restored: PSNR over the cells that are known."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.metrics.frames import check_range, check_tensors, unit
from lightning_modules.metrics.mean import FrameMean


def background_psnr(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of a restored background over its covered cells, per frame.

    Args:
        pred: (B, T, 3, h, w) in [0, 1], or uint8 codes.
        target: (B, T, 3, H, W), the true background; a larger one is averaged down to the cells of pred.
        mask: (B, T, 1, h, w), 1 where the background is restored, shares between count by weight.

    Returns:
        (B, T) float64 in dB, at most 100; NaN where nothing is covered.

    Raises:
        ValueError: the shapes do not fit.
    >>> background_psnr(torch.full((1, 1, 3, 2, 2), 0.1), torch.zeros(1, 1, 3, 4, 4), torch.ones(1, 1, 1, 2, 2))
    tensor([[20.0000]], dtype=torch.float64)
    """
    check_tensors("background_psnr", pred=pred, target=target, mask=mask)
    wanted = torch.Size((*pred.shape[:2], 1, *pred.shape[3:]))
    if pred.ndim != 5 or target.shape[:3] != pred.shape[:3] or pred.shape[2] != 3 or mask.shape != wanted:
        raise ValueError(
            f"expected pred (B, T, 3, h, w), target (B, T, 3, H, W), mask (B, T, 1, h, w), "
            f"got {tuple(pred.shape)}, {tuple(target.shape)}, {tuple(mask.shape)}"
        )
    check_range("background_psnr", pred=pred, target=target, mask=mask)
    return _psnr(unit(pred), _cells(target, mask), mask)


def flat_background_psnr(target: Tensor, mask: Tensor) -> Tensor:
    """`background_psnr` of the one colour that is nearest to the covered cells of a frame: the floor of restoring.

    Args:
        target: (B, T, 3, H, W) in [0, 1], or uint8 codes: the true background.
        mask: (B, T, 1, h, w), 1 where the background is restored, shares between count by weight.

    Returns:
        (B, T) float64 in dB, at most 100; NaN where nothing is covered.

    Raises:
        ValueError: the shapes do not fit.
    >>> half_white = torch.tensor([0.0, 1.0]).expand(1, 1, 3, 2, 2)
    >>> flat_background_psnr(half_white, torch.ones(1, 1, 1, 2, 2))
    tensor([[6.0206]], dtype=torch.float64)
    """
    check_tensors("flat_background_psnr", target=target, mask=mask)
    if target.ndim != 5 or target.shape[2] != 3 or mask.ndim != 5 or mask.shape[:3] != (*target.shape[:2], 1):
        raise ValueError(
            f"expected target (B, T, 3, H, W), mask (B, T, 1, h, w), got {tuple(target.shape)}, {tuple(mask.shape)}"
        )
    check_range("flat_background_psnr", target=target, mask=mask)
    truth, weight = _cells(target, mask), mask.double()
    mean = (truth * weight).sum((3, 4), keepdim=True) / weight.sum((3, 4), keepdim=True)
    return _psnr(mean, truth, mask)


def _cells(target: Tensor, mask: Tensor) -> Tensor:
    """The true background (B, T, 3, h, w) in the cells of the mask."""
    return F.interpolate(unit(target).flatten(0, 1), mask.shape[-2:], mode="area").unflatten(0, target.shape[:2])


def _psnr(pred: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    weight = mask.double()
    square = ((pred - truth).square() * weight).sum((2, 3, 4)) / (3 * weight.sum((2, 3, 4)))
    return -10 * square.clamp(min=1e-10).log10()


class BackgroundPSNR(FrameMean):
    """`background_psnr`, its mean in dB over all frames with a covered cell."""

    higher_is_better = True
    quantity = "background_psnr"

    def __init__(self, **options: Any) -> None:
        super().__init__(scale=1, **options)

    def update(self, pred: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add clips: restored (B, T, 3, h, w), true (B, T, 3, H, W), covered (B, T, 1, h, w)."""
        self.add(background_psnr(*self.as_stored(pred, target), mask))
