"""Overlap of thresholded alpha: IoU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_modules.metrics.frames import Rounding, check_alphas, unit, unknown
from lightning_modules.metrics.mean import FrameMean


def iou(pred: Tensor, target: Tensor, trimap: Tensor | None = None, threshold: float = 0.5) -> Tensor:
    """Intersection over union of alpha > threshold, per frame.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes.
        target: the same shape and range.
        trimap: the same shape; limits both sets to its unknown pixels (see `mad`).
        threshold: above which a pixel belongs to the person.

    Returns:
        (B, T) float64 in [0, 1], NaN where nobody is there: no overlap is right or wrong then, and MAD tells of what is
        seen all the same.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W).
    Source: RVM (mIoU of alpha > 0.5 on COCO's persons).
    >>> import torch
    >>> iou(torch.tensor([0.9, 0.8, 0.1]).view(1, 1, 1, 1, 3), torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 1, 3))
    tensor([[0.5000]], dtype=torch.float64)
    """
    check_alphas("iou", pred, target, trimap)
    ours, true = unit(pred) > threshold, unit(target) > threshold
    region = unknown(trimap)
    if region is not None:
        ours, true = ours & region, true & region
    found = (ours & true).sum((2, 3, 4)).double() / (ours | true).sum((2, 3, 4))
    return found.where(true.flatten(2).any(2), torch.nan)


class IoU(FrameMean):
    """`iou` over all frames in percent; `threshold` as there, other options as for `FrameMean`."""

    higher_is_better = True
    quantity = "iou"

    def __init__(
        self, threshold: float = 0.5, scale: float | str = "rvm", quantise: Rounding | None = None, **options: Any
    ) -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        super().__init__(scale, quantise, f"above {threshold}", **options)
        self.threshold = threshold

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(iou(*self.as_stored(pred, target), trimap, self.threshold))
