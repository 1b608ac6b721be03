"""Errors of the foreground's colour where there is any: ForegroundMSE and ForegroundMAD."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_modules.metrics.frames import (
    Rounding,
    check_choice,
    check_range,
    check_tensors,
    difference_sums,
    positive,
    region_size,
    unknown,
)
from lightning_modules.metrics.mean import FrameMean

Convention = Literal["rvm", "bgmv2"]


def foreground_errors(
    pred: Tensor, target: Tensor, alpha: Tensor, trimap: Tensor | None = None, convention: Convention = "rvm"
) -> dict[str, Tensor]:
    """`foreground_mse` and `foreground_mad` ("fgr_mse", "fgr_mad") from one pass; arguments as for these."""
    _check(pred, target, alpha, trimap)
    check_range("foreground mse, mad", pred=pred, target=target, alpha=alpha, trimap=trimap)
    check_choice("convention", convention, ("rvm", "bgmv2"))
    region, visible = unknown(trimap), positive(alpha)
    visible = visible if region is None else visible & region
    size = 3 * region_size(alpha, visible if convention == "rvm" else region)
    absolute, square = difference_sums(pred, target, visible)
    return {"fgr_mse": square / size, "fgr_mad": absolute / size}


def _check(pred: Tensor, target: Tensor, alpha: Tensor, trimap: Tensor | None) -> None:
    check_tensors("foreground mse, mad", pred=pred, target=target, alpha=alpha, trimap=trimap)
    if alpha is None:
        raise ValueError("foreground mse, mad: give the true alpha, where it is 0 there is no foreground")
    if pred.shape != target.shape or pred.ndim != 5 or pred.shape[2] != 3:
        raise ValueError(f"expected (B, T, 3, H, W) twice, got pred {tuple(pred.shape)}, target {tuple(target.shape)}")
    one_channel = torch.Size((*pred.shape[:2], 1, *pred.shape[3:]))
    for name, given in (("alpha", alpha), ("trimap", trimap)):
        if given is not None and given.shape != one_channel:
            raise ValueError(f"expected {name} {tuple(one_channel)}, got {tuple(given.shape)}")


def foreground_mse(
    pred: Tensor, target: Tensor, alpha: Tensor, trimap: Tensor | None = None, convention: Convention = "rvm"
) -> Tensor:
    """Mean squared difference of colour where the true alpha is not 0, per frame, all channels pooled.

    Args:
        pred: (B, T, 3, H, W) in [0, 1], or uint8 codes, straight colour.
        target: the same shape and range.
        alpha: (B, T, 1, H, W), the true one.
        trimap: the same shape as alpha; limits the figure to its unknown pixels (see `mad`).
        convention: "rvm" divides by the pixels where alpha is not 0, "bgmv2" by all pixels of the region,
            several times as many: never print the two in one column.

    Returns:
        (B, T) float64, unscaled, NaN for a frame without such a pixel; the papers print 1000 times this.

    Raises:
        ValueError: the shapes do not fit, or there is no such convention.
    Source: RVM's evaluation (`fgr_mse`); BackgroundMattingV2's evaluation.
    >>> alpha = torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2)
    >>> colour = torch.full((1, 1, 3, 1, 2), 0.5)
    >>> foreground_mse(colour, torch.zeros_like(colour), alpha)
    tensor([[0.2500]], dtype=torch.float64)
    """
    return foreground_errors(pred, target, alpha, trimap, convention)["fgr_mse"]


def foreground_mad(
    pred: Tensor, target: Tensor, alpha: Tensor, trimap: Tensor | None = None, convention: Convention = "rvm"
) -> Tensor:
    """Mean absolute difference of colour, otherwise as `foreground_mse`."""
    return foreground_errors(pred, target, alpha, trimap, convention)["fgr_mad"]


class ForegroundMSE(FrameMean):
    """`foreground_mse` over all frames, times 1000.

    Args:
        convention: "rvm" or "bgmv2", what the error is divided by.
        scale: as for `FrameMean`; quantise: likewise.
    """

    quantity = "fgr_mse"

    def __init__(
        self,
        convention: Convention = "rvm",
        scale: float | str = "rvm",
        quantise: Rounding | None = None,
        **options: Any,
    ) -> None:
        check_choice("convention", convention, ("rvm", "bgmv2"))
        super().__init__(scale, quantise, convention, **options)
        self.convention: Convention = convention

    def update(self, pred: Tensor, target: Tensor, alpha: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: colours (B, T, 3, H, W) in [0, 1] or uint8, true alpha (B, T, 1, H, W), optional trimap."""
        values = foreground_errors(*self.as_stored(pred, target), alpha, trimap, self.convention)
        self.add(values[self.quantity])


class ForegroundMAD(ForegroundMSE):
    """`foreground_mad` over all frames, times 1000; options as for `ForegroundMSE`."""

    quantity = "fgr_mad"
