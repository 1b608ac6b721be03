"""Errors of alpha pixel by pixel: MAD, MSE and SAD."""

from __future__ import annotations

from torch import Tensor

from lightning_modules.metrics.frames import check_alphas, difference_sums, region_size, unknown
from lightning_modules.metrics.mean import FrameMean


def errors(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> dict[str, Tensor]:
    """`mad`, `mse` and `sad` from one pass over the pixels; arguments and errors as for `mad`."""
    check_alphas("mad, mse, sad", pred, target, trimap)
    region = unknown(trimap)
    absolute, square = difference_sums(pred, target, region)
    size = region_size(pred, region)
    return {"mad": absolute / size, "mse": square / size, "sad": absolute}


def mad(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean absolute difference of alpha, per frame.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes.
        target: the same shape and range.
        trimap: the same shape, in [0, 1] or uint8; limits the figure to its unknown pixels, which are
            neither 0 nor full. A bool one is true where it is unknown.

    Returns:
        (B, T) float64, unscaled, NaN for a frame that has no such pixel; the papers print 1000 times this.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W), or values are NaN or outside [0, 1].
    Source: RVM's evaluation (`pha_mad`).
    >>> import torch
    >>> mad(torch.ones(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    return errors(pred, target, trimap)["mad"]


def mse(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Mean squared difference of alpha, per frame; arguments, result and errors as for `mad`.

    >>> import torch
    >>> mse(torch.full((1, 1, 1, 4, 4), 0.5), torch.zeros(1, 1, 1, 4, 4))
    tensor([[0.2500]], dtype=torch.float64)
    """
    return errors(pred, target, trimap)["mse"]


def sad(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> Tensor:
    """Sum of absolute differences of alpha, per frame; arguments and errors as for `mad`.

    The papers print a 1000th. A frame without unknown pixels sums up to 0, as in the published functions.

    >>> import torch
    >>> sad(torch.full((1, 1, 1, 4, 4), 0.5), torch.zeros(1, 1, 1, 4, 4))
    tensor([[8.]], dtype=torch.float64)
    """
    return errors(pred, target, trimap)["sad"]


class MAD(FrameMean):
    """`mad` over all frames, times 1000; options as for `FrameMean`.

    >>> import torch
    >>> metric = MAD()
    >>> metric.update(torch.full((1, 2, 1, 4, 4), 0.25), torch.zeros(1, 2, 1, 4, 4))
    >>> metric.compute()
    tensor(250., dtype=torch.float64)
    """

    quantity = "mad"

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(mad(*self.as_stored(pred, target), trimap))


class MSE(FrameMean):
    """`mse` over all frames, times 1000; options as for `FrameMean`."""

    quantity = "mse"

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(mse(*self.as_stored(pred, target), trimap))


class SAD(FrameMean):
    """`sad` over all frames, divided by 1000; options as for `FrameMean`."""

    quantity = "sad"

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(sad(*self.as_stored(pred, target), trimap))
