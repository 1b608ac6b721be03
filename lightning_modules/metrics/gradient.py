"""Error of alpha's gradient: Grad."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.metrics.frames import (
    Rounding,
    alpha_frames,
    check_alphas,
    in_threads,
    same_type,
    unknown,
)
from lightning_modules.metrics.mean import FrameMean

SIGMA, CUT_OFF = 1.4, 1e-2


def gradient_taps() -> np.ndarray:
    """(2, 5) float32: taps of the Gaussian and of its derivative from the centre outwards, 9 taps of unit norm each.

    The filter along x is the outer product of the Gaussian down the rows and the derivative along the columns,
    divided by its norm; that product is separable.
    """
    reach = math.ceil(SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * SIGMA * CUT_OFF)))
    x = np.arange(reach + 1)
    gaussian = np.exp(-(x**2) / (2 * SIGMA**2))
    taps = np.stack((gaussian, x * gaussian))
    return (taps / np.sqrt(2 * (taps**2).sum(1, keepdims=True) - taps[:, :1] ** 2)).astype(np.float32)


def gradient_errors(pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> dict[str, Tensor]:
    """`grad` with and without the stretch ("grad", "grad_nonorm") from one filtering; arguments as for `grad`."""
    check_alphas("grad", pred, target, trimap)
    region = unknown(trimap)
    pred, target, white = same_type(pred, target)
    taps = gradient_taps()
    if pred.device.type == "cpu":
        from lightning_modules.metrics import kernels

        sums = torch.from_numpy(
            in_threads(kernels.gradient_sums, [alpha_frames(x) for x in (pred, target, region)], taps)
        )
    else:
        sums = _gradient_sums(pred, target, region, torch.from_numpy(taps).to(pred.device))
    plain, stretched = sums.unflatten(0, pred.shape[:2]).unbind(-1)
    return {"grad": stretched, "grad_nonorm": plain / white**2}


def _gradient_sums(pred: Tensor, target: Tensor, region: Tensor | None, taps: Tensor) -> Tensor:
    """What the kernel of the same name gives, by batched convolutions: (B·T, 2) float64."""
    smooth = torch.cat((taps[0, 1:].flip(0), taps[0]))
    slope = torch.cat((-taps[1, 1:].flip(0), taps[1]))
    magnitudes, stretched = [], []
    for video in (pred, target):
        frames = video.flatten(0, 1).float()
        extent = frames.amax((1, 2, 3), keepdim=True) - frames.amin((1, 2, 3), keepdim=True)
        frames = F.pad(frames, (4, 4, 4, 4), mode="replicate")
        along = [
            F.conv2d(F.conv2d(frames, down.view(1, 1, 9, 1)), across.view(1, 1, 1, 9))
            for down, across in ((smooth, slope), (slope, smooth))
        ]
        magnitudes.append((along[0].square() + along[1].square()).sqrt())
        stretched.append(torch.where(extent > 0, magnitudes[-1] / extent, 0))
    differences = [ours - true for ours, true in (magnitudes, stretched)]
    if region is not None:
        differences = [difference.where(region.flatten(0, 1), 0) for difference in differences]
    return torch.stack([difference.square().sum((1, 2, 3), dtype=torch.float64) for difference in differences], -1)


def grad(pred: Tensor, target: Tensor, trimap: Tensor | None = None, normalise: bool = True) -> Tensor:
    """Squared difference of the gradient magnitudes of alpha, summed per frame.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes.
        target: the same shape and range.
        trimap: the same shape; limits the sum, and only it, to the unknown pixels (see `mad`).
        normalise: first stretch both frames, separately, to 0…1 (RVM's low-resolution script, BGMv2, CMN);
            RVM's high-resolution script does not.

    Returns:
        (B, T) float64, unscaled, 0 for a frame without such a pixel; RVM and CMN print a 1000th of it.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W).
    Source: Rhemann et al., CVPR 2009; derivative of a Gaussian of 1.4 pixels, 9 × 9, unit norm, borders repeated.
    >>> dot = torch.zeros(1, 1, 1, 17, 17)
    >>> dot[..., 8, 8] = 1
    >>> grad(dot, torch.zeros_like(dot))  # one for each filter, since they have unit norm
    tensor([[2.0000]], dtype=torch.float64)
    """
    return gradient_errors(pred, target, trimap)["grad" if normalise else "grad_nonorm"]


class Grad(FrameMean):
    """`grad` over all frames, divided by 1000.

    Args:
        normalise: stretch each frame to 0…1 first, as RVM's low-resolution script does.
        scale: as for `FrameMean`; quantise: likewise.
    """

    quantity = "grad"

    def __init__(
        self, normalise: bool = True, scale: float | str = "rvm", quantise: Rounding | None = None, **options: Any
    ) -> None:
        super().__init__(scale, quantise, "" if normalise else "nonorm", **options)
        self.normalise = normalise

    def update(self, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape."""
        self.add(grad(*self.as_stored(pred, target), trimap, self.normalise))
