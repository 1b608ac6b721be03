"""Error of alpha's connectivity: Conn."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_modules.metrics.frames import (
    Rounding,
    alpha_frames,
    check_alphas,
    check_choice,
    in_threads,
    same_type,
    unit,
    unknown,
)
from lightning_modules.metrics.mean import FrameMean

Ties = Literal["row", "column"]


def conn(pred: Tensor, target: Tensor, trimap: Tensor | None = None, ties: Ties = "row") -> Tensor:
    """Difference in how connected pixels are to the body, summed per frame.

    At each threshold 0.1 … 1.0 the body is the largest 4-connected component of min(pred, target) ≥ threshold.
    A pixel's level is the threshold before the first one at which it is outside; alpha that exceeds its level by
    0.15 or more counts as unconnected. Exact, on the CPU: frames on a GPU are copied there and the result back.
    8-bit codes are compared as integers, floats as float32.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes.
        target: the same shape and range.
        trimap: the same shape; limits the sum, and only it, to the unknown pixels (see `mad`).
        ties: of components with equal areas counts the first one "row" by row (RVM) or "column" by column (BGMv2).

    Returns:
        (B, T) float64, unscaled, 0 for a frame without such a pixel; RVM and CMN print a 1000th of it.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W), or there is no such rule for ties.
    Source: Rhemann et al., CVPR 2009, in the form of Xu et al., CVPR 2017 (RVM's `pha_conn`).
    >>> stray = torch.tensor([1.0, 1.0, 0.0, 1.0]).view(1, 1, 1, 1, 4)
    >>> conn(stray, torch.tensor([1.0, 1.0, 0.0, 0.5]).view(1, 1, 1, 1, 4))
    tensor([[0.5000]], dtype=torch.float64)
    """
    check_alphas("conn", pred, target, trimap)
    check_choice("ties", ties, ("row", "column"))
    from lightning_modules.metrics import kernels

    region = unknown(trimap)
    pred, target, white = same_type(pred, target)
    videos = [pred, target, region]
    if ties == "column":
        videos = [None if video is None else video.transpose(-1, -2) for video in videos]
    # k / 255 ≥ level / 10 in integers, or both sides in float32.
    levels = np.arange(1, kernels.LEVELS + 1)
    thresholds = np.uint8(-(-255 * levels // 10)) if white == 255 else (levels / 10).astype(np.float32)
    sums = in_threads(kernels.connectivity_sums, [alpha_frames(video) for video in videos], thresholds, white)
    return torch.from_numpy(sums).view(pred.shape[:2]).to(pred.device)


def conn_undefined_in_matlab(pred: Tensor, target: Tensor) -> Tensor:
    """Frames on which BGMv2's published function fails, since nothing is opaque in both: (B, T) bool.

    >>> conn_undefined_in_matlab(torch.ones(1, 1, 1, 2, 2), torch.full((1, 1, 1, 2, 2), 0.9))
    tensor([[True]])
    """
    check_alphas("conn", pred, target)
    return torch.minimum(unit(pred), unit(target)).amax((2, 3, 4)) < 1


class Conn(FrameMean):
    """`conn` over all frames, divided by 1000.

    Args:
        ties: "row" as RVM's script decides between equal areas, "column" as BGMv2's.
        scale: as for `FrameMean`; quantise: likewise.
    """

    quantity = "conn"

    def __init__(
        self, ties: Ties = "row", scale: float | str = "rvm", quantise: Rounding | None = None, **options: Any
    ) -> None:
        check_choice("ties", ties, ("row", "column"))
        super().__init__(scale, quantise, ties, **options)
        self.ties: Ties = ties

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(conn(*self.as_stored(pred, target), trimap, self.ties))
