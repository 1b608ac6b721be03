"""Errors of alpha in time: dtSSD."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_modules.metrics.error import FrameMean, check_alphas, region_mean


def dtssd(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Temporal error of alpha, per frame: its change since the frame before against the true change.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], whole clips.
        target: the same shape and range.
        trimap: the same shape in [0, 1]; restricts frame t to the unknown pixels of frame t.

    Returns:
        (B, T) float64, unscaled; frame 0 counts as 0, as in RVM's script. The papers print 100 times this.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W).
    Source: Erofeev et al., BMVC 2015; the root is taken per frame (RVM's `pha_dtssd`).
    >>> dtssd(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4))
    tensor([[0., 0.]], dtype=torch.float64)
    """
    check_alphas(pred, target)
    error = pred.float() - target.float()
    change = torch.zeros_like(error)
    change[:, 1:] = error[:, 1:] - error[:, :-1]
    return region_mean(change.square(), trimap).sqrt()


class DtSSD(FrameMean):
    """`dtssd` over all frames, times 100.

    Args:
        first_frame: "zero" counts frame 0 of every clip as 0, as published; "skip" leaves it out.
        scale: factor on the mean, 100 by default.
    >>> metric = DtSSD(first_frame="skip")
    >>> metric.update(torch.tensor([0.0, 0.5]).view(1, 2, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1))
    >>> metric.compute()
    tensor(50., dtype=torch.float64)
    """

    default_scale = 1e2

    def __init__(
        self, first_frame: Literal["zero", "skip"] = "zero", scale: float | None = None, **options: Any
    ) -> None:
        super().__init__(scale, **options)
        if first_frame not in ("zero", "skip"):
            raise ValueError(f"first_frame must be 'zero' or 'skip', got {first_frame!r}")
        self.first_frame = first_frame

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add whole clips: (B, T, 1, H, W) in [0, 1], both; optional trimap of the same shape."""
        values = dtssd(pred, target, trimap)
        self.add(values if self.first_frame == "zero" else values[:, 1:])
