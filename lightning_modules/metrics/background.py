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
    truth = F.interpolate(unit(target).flatten(0, 1), pred.shape[-2:], mode="area").view(pred.shape)
    weight = mask.double()
    square = ((unit(pred) - truth).square() * weight).sum((2, 3, 4)) / (3 * weight.sum((2, 3, 4)))
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
