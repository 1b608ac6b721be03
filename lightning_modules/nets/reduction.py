"""Frames reduced before a net that would see them whole, and its mattes enlarged after it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.nets.blocks import fold_time, resize, unfold_time
from lightning_modules.nets.guided_filter import fast_guided_filter

UPSAMPLERS = ("fast_guided_filter", "bilinear")


def reduced(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames (B, T, 3, H, W) at a smaller size (h, w), each pixel the mean of those that it covers."""
    return unfold_time(F.interpolate(fold_time(frames), size, mode="area"), frames.shape[1])


def enlarged(small: Tensor, base: Tensor, fine: Tensor, upsampler: str) -> Tensor:
    """What a net gave for small frames at the size of the whole ones.

    Args:
        small: (B, T, 1 or 3, h, w) in [0, 1].
        base: (B, T, 3, h, w), the frames that it was computed from.
        fine: (B, T, 3, H, W), the whole frames.
        upsampler: "fast_guided_filter", along the edges of the frame, or "bilinear".
    """
    num_frames = fine.shape[1]
    small, base, fine = (fold_time(clip) for clip in (small, base, fine))
    if upsampler == "bilinear":
        return unfold_time(resize(small, (fine.shape[-2], fine.shape[-1])), num_frames)
    if small.shape[1] == 1:
        # The guide of alpha is the grey frame, as in RVM.
        base, fine = (x.mean(dim=1, keepdim=True) for x in (base, fine))
    return unfold_time(torch.clamp(fast_guided_filter(fine, base, small), 0, 1), num_frames)
