"""Errors of alpha in time: dtSSD."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_modules.metrics.frames import (
    WORTH_A_THREAD,
    Rounding,
    alpha_frames,
    check_alphas,
    check_choice,
    in_threads,
    region_size,
    same_type,
    unknown,
)
from lightning_modules.metrics.mean import FrameMean

FirstFrame = Literal["zero", "skip"]
LastFrames = tuple[Tensor, Tensor]


def dtssd(
    pred: Tensor,
    target: Tensor,
    trimap: Tensor | None = None,
    previous: LastFrames | None = None,
    first_frame: FirstFrame = "zero",
) -> Tensor:
    """Temporal error of alpha, per frame: its change since the frame before against the true change.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes; whole clips, or the next chunk of each.
        target: the same shape and range.
        trimap: the same shape; limits frame t to the unknown pixels of frame t (see `mad`).
        previous: last frames of pred and target of the chunk before, (B, 1, 1, H, W) each; None where clips begin.
        first_frame: the frame that begins a clip counts as 0 as in RVM's script, or as undefined ("skip": NaN).

    Returns:
        (B, T) float64, unscaled, NaN for a frame without such a pixel. The papers print 100 times this.

    Raises:
        ValueError: the shapes differ, or are not (B, T, 1, H, W), or there is no such rule for the first frame.
    Source: Erofeev et al., BMVC 2015; the root is taken per frame (RVM's `pha_dtssd`).
    >>> dtssd(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4))
    tensor([[0., 0.]], dtype=torch.float64)
    """
    check_alphas("dtssd", pred, target, trimap)
    check_choice("first_frame", first_frame, ("zero", "skip"))
    if previous is not None:
        for given, last in zip((pred, target), previous, strict=True):
            if last.shape != given[:, :1].shape:
                raise ValueError(f"expected previous {tuple(given[:, :1].shape)}, got {tuple(last.shape)}")
        frames = [torch.cat((last.to(now.dtype), now), 1) for last, now in zip(previous, (pred, target), strict=True)]
        masked = None if trimap is None else torch.cat((trimap[:, :1], trimap), 1)
        return dtssd(frames[0], frames[1], masked)[:, 1:]
    region = unknown(trimap)
    square = _change_sums(pred, target, region)
    values = (square / region_size(pred, region)).sqrt()
    if first_frame == "skip":
        values[:, 0] = torch.nan
    return values


def _change_sums(pred: Tensor, target: Tensor, region: Tensor | None) -> Tensor:
    """Squared change of the error, summed over the region: (B, T) float64, 0 at t = 0."""
    pred, target, white = same_type(pred, target)
    sums = torch.zeros(pred.shape[:2], dtype=torch.float64, device=pred.device)
    now, before = slice(1, None), slice(None, -1)
    inner = None if region is None else region[:, now]
    if pred.device.type != "cpu":
        error = (pred.float() - target.float()) / white
        change = error[:, now] - error[:, before]
        change = change if inner is None else change.where(inner, 0)
        sums[:, now] = change.square().sum((2, 3, 4), dtype=torch.float64)
    elif pred.shape[1] > 1:
        from lightning_modules.metrics import kernels

        frames = (pred[:, now], target[:, now], pred[:, before], target[:, before], inner)
        arrays = [alpha_frames(x) for x in frames]
        changes = torch.from_numpy(in_threads(kernels.change_sums, arrays, least=WORTH_A_THREAD))
        sums[:, now] = changes.view(len(pred), -1) / white**2
    return sums


class DtSSD(FrameMean):
    """`dtssd` over all frames, times 100.

    Args:
        first_frame: "zero" counts frame 0 of every clip as 0, as published; "skip" leaves it out.
        scale: as for `FrameMean`; quantise: likewise.
    >>> metric = DtSSD(first_frame="skip")
    >>> metric.update(torch.tensor([0.0, 0.5]).view(1, 2, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1))
    >>> metric.compute()
    tensor(50., dtype=torch.float64)
    """

    quantity = "dtssd"

    def __init__(
        self,
        first_frame: FirstFrame = "zero",
        scale: float | str = "rvm",
        quantise: Rounding | None = None,
        **options: Any,
    ) -> None:
        check_choice("first_frame", first_frame, ("zero", "skip"))
        super().__init__(scale, quantise, first_frame, **options)
        self.first_frame = first_frame
        self.last: LastFrames | None = None

    def update(
        self, pred: Tensor, target: Tensor, trimap: Tensor | None = None, new_clip: bool | Tensor = True
    ) -> None:
        """Add clips: (B, T, 1, H, W) in [0, 1] or uint8, both; optional trimap of the same shape.

        `new_clip` false says that they go on where the update before stopped, for all or, as (B,) bool, for each.
        """
        pred, target = self.as_stored(pred, target)
        begins = torch.as_tensor(new_clip, device=pred.device).expand(len(pred))
        if begins.all():
            values = dtssd(pred, target, trimap, first_frame=self.first_frame)
        else:
            if self.last is None:
                raise ValueError("new_clip=False goes on with the clips of an update before, and there was none")
            values = dtssd(pred, target, trimap, self.last)
            alone = dtssd(pred[:, :1], target[:, :1], None if trimap is None else trimap[:, :1], None, self.first_frame)
            values[:, :1] = torch.where(begins[:, None], alone, values[:, :1])
        self.last = (pred[:, -1:].detach().clone(), target[:, -1:].detach().clone())
        self.add(values)

    def reset(self) -> None:
        """Forget all frames, and the clips under way."""
        super().reset()
        self.last = None
