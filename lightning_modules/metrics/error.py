"""Whole-frame errors of alpha: MAD and MSE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def check_alphas(pred: Tensor, target: Tensor) -> None:
    """Raise ValueError unless both are (B, T, 1, H, W) of one shape."""
    if pred.shape != target.shape or pred.ndim != 5 or pred.shape[2] != 1:
        raise ValueError(f"expected (B, T, 1, H, W) twice, got pred {tuple(pred.shape)}, target {tuple(target.shape)}")


def region_mean(values: Tensor, trimap: Tensor | None) -> Tensor:
    """Mean per frame over all pixels, or over the trimap's unknown ones; NaN for a frame that has none.

    Args:
        values: (B, T, 1, H, W).
        trimap: the same shape, unknown where it is neither 0 nor 1, or None for the whole frame.

    Returns:
        (B, T) float64.
    """
    values = values.double()
    if trimap is None:
        return values.mean(dim=(2, 3, 4))
    unknown = ((trimap > 0) & (trimap < 1)).double()
    return (values * unknown).sum(dim=(2, 3, 4)) / unknown.sum(dim=(2, 3, 4))


def mad(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean absolute difference of alpha, per frame.

    Args:
        pred: (B, T, 1, H, W) in [0, 1].
        target: the same shape and range.
        trimap: the same shape in [0, 1]; restricts the mean to its unknown pixels (0 < trimap < 1).

    Returns:
        (B, T) float64, unscaled; the papers print 1000 times this.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W).
    Source: RVM's evaluation (`pha_mad`).
    >>> mad(torch.ones(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    check_alphas(pred, target)
    return region_mean((pred.float() - target.float()).abs(), trimap)


def mse(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean squared difference of alpha, per frame; arguments and result as for `mad`.

    >>> mse(torch.full((1, 1, 1, 4, 4), 0.5), torch.zeros(1, 1, 1, 4, 4))
    tensor([[0.2500]], dtype=torch.float64)
    """
    check_alphas(pred, target)
    return region_mean((pred.float() - target.float()).square(), trimap)


class FrameMean(Metric):
    """Mean over frames of a per-frame value; adds up in float64 and reduces exactly over processes.

    Args:
        scale: factor on the mean, the papers' by default; 1 gives the raw value.
    """

    higher_is_better = False
    full_state_update = False
    default_scale = 1.0
    total: Tensor
    frames: Tensor

    def __init__(self, scale: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.scale = self.default_scale if scale is None else scale
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.set_dtype(torch.float64)

    def add(self, values: Tensor) -> None:
        """Count (B, T) values; NaN, an undefined frame, is left out."""
        valid = ~values.isnan()
        self.total += values[valid].sum()
        self.frames += valid.sum()

    def compute(self) -> Tensor:
        """Scaled mean over all counted frames; NaN when there are none."""
        return self.scale * self.total / self.frames


class MAD(FrameMean):
    """`mad` over all frames, times 1000.

    >>> metric = MAD()
    >>> metric.update(torch.full((1, 2, 1, 4, 4), 0.25), torch.zeros(1, 2, 1, 4, 4))
    >>> metric.compute()
    tensor(250., dtype=torch.float64)
    """

    default_scale = 1e3

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1], both; optional trimap of the same shape."""
        self.add(mad(pred, target, trimap))


class MSE(FrameMean):
    """`mse` over all frames, times 1000."""

    default_scale = 1e3

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1], both; optional trimap of the same shape."""
        self.add(mse(pred, target, trimap))
