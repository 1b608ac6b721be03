"""Error of an optical flow: the end-point error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_modules.metrics.frames import check_tensors
from lightning_modules.metrics.mean import FrameMean


def end_point_error(pred: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
    """Mean distance in pixels between where two flows point to, per frame.

    Args:
        pred: (B, T, 2, H, W), pixels, from each frame to the one before.
        target: the same shape, the truth.
        region: (B, T, 1, H, W) bool, pixels that count; all without it.

    Returns:
        (B, T) float64, NaN for a frame without such a pixel. In the first frame of a clip both are zero by
        definition: leave it out of a mean.

    Raises:
        ValueError: the shapes are not these, or a flow is not finite where it counts.
    >>> import torch
    >>> still = torch.zeros(1, 2, 2, 4, 4)
    >>> end_point_error(still + torch.tensor([3.0, 4.0])[:, None, None], still)
    tensor([[5., 5.]], dtype=torch.float64)
    """
    check_tensors("epe", pred=pred, target=target, region=region)
    if pred.shape != target.shape or pred.ndim != 5 or pred.shape[2] != 2:
        raise ValueError(f"expected (B, T, 2, H, W) twice, got pred {tuple(pred.shape)}, target {tuple(target.shape)}")
    one_channel = torch.Size((*pred.shape[:2], 1, *pred.shape[3:]))
    if region is not None and region.shape != one_channel:
        raise ValueError(f"expected a region {tuple(one_channel)}, got {tuple(region.shape)}")
    for name, flow in (("pred", pred), ("target", target)):
        wrong = ~flow.isfinite() if region is None else ~flow.isfinite() & region
        if wrong.any():
            raise ValueError(f"epe: {int(wrong.sum())} of {flow.numel()} values of {name} are not finite")
    distance = (pred.detach().float() - target.float()).square().sum(2, keepdim=True).sqrt()
    if region is None:
        return distance.mean((2, 3, 4), dtype=torch.float64)
    total = distance.where(region, 0).sum((2, 3, 4), dtype=torch.float64)
    # 0 / 0 is the NaN of a frame without such a pixel.
    return total / region.sum((2, 3, 4))


class EndPointError(FrameMean):
    """`end_point_error` in pixels over all frames, each clip's first one, whose flow leads nowhere, left out."""

    quantity = "epe"

    def __init__(self, scale: float = 1.0, **options: Any) -> None:
        super().__init__(scale, **options)

    def update(self, pred: Tensor, target: Tensor, region: Tensor | None = None) -> None:
        """Add whole clips: flows (B, T, 2, H, W) in pixels, optional region (B, T, 1, H, W) bool."""
        self.add(end_point_error(pred, target, region)[:, 1:])
