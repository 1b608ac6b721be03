"""Running a net on frames larger than it works on: one place that knows which net reduces frames by itself."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.nets.blocks import fold_time, resize, unfold_time
from lightning_modules.nets.guided_filter import fast_guided_filter
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.warp import resize_flow

UPSAMPLERS = ("fast_guided_filter", "bilinear")


def run_at_ratio(
    net: MattingNet,
    frames: Tensor,
    state: Any = None,
    background: Tensor | None = None,
    ratio: float = 1.0,
    upsampler: str = "fast_guided_filter",
    flow: Tensor | None = None,
) -> MattingOutput:
    """A chunk of frames matted from a copy reduced by `ratio`; alpha and foreground have the size of the frames.

    RVM (`downsample_ratio`) and BackgroundMattingV2 (`backbone_scale`, at most 1/2 if it refines) reduce and refine
    by themselves. Every other net is given small frames, and its outputs are enlarged; its state and `aux` stay small.

    Args:
        net: any net.
        frames: (B, T, 3, H, W) in [0, 1].
        state: of the chunk before, run at the same ratio; None at the start of a clip.
        background: (B, 1 or T, 3, H, W) in [0, 1], for nets that take a plate.
        ratio: small side / side, in (0, 1].
        upsampler: how outputs are enlarged: "fast_guided_filter", along the edges of the frame, or "bilinear".
        flow: (B, T, 2, H, W), pixels, the true flow, for nets that need it; others are not given it.

    Raises:
        ValueError: ratio or upsampler is none of these, or the net needs the true flow and is given none.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be above 0 and at most 1, got {ratio}")
    if upsampler not in UPSAMPLERS:
        raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}, got {upsampler!r}")
    known = known_flow(net, flow)
    if takes_ratio(net):
        return net(frames, state=state, background=background, downsample_ratio=ratio, **known)
    if isinstance(net, BackgroundMattingV2):
        own = net.backbone_scale
        net.backbone_scale = ratio if net.refiner is None else min(ratio, 0.5)
        try:
            return net(frames, state=state, background=background)
        finally:
            net.backbone_scale = own
    if ratio == 1:
        return net(frames, state=state, background=background, **known)
    size = (max(32, round(frames.shape[-2] * ratio)), max(32, round(frames.shape[-1] * ratio)))
    small = _reduce(frames, size)
    plate = None if background is None else _reduce(background, size)
    known = {name: resize_flow(given, size) for name, given in known.items()}
    output = net(small, state=state, background=plate, **known)
    output.alpha = _enlarge(output.alpha, small, frames, upsampler)
    if output.foreground is not None:
        output.foreground = _enlarge(output.foreground, small, frames, upsampler)
    return output


def known_flow(net: MattingNet, flow: Tensor | None) -> dict[str, Tensor]:
    """The argument `flow` of a net that needs the true one; nothing for any other.

    Raises:
        ValueError: the net needs it and it is None.
    """
    if not net.needs_flow:
        return {}
    if flow is None:
        raise ValueError("this net is given the true flow, which these clips do not know: test it with testset=null")
    return {"flow": flow}


def no_motion(frames: Tensor) -> Tensor:
    """A flow (B, T, 2, H, W) of zeros, for measurements in which nets that need the true one may be given any."""
    return frames.new_zeros(1).expand(*frames.shape[:2], 2, *frames.shape[-2:])


def takes_ratio(net: MattingNet) -> bool:
    """Whether the net's own call has a `downsample_ratio`."""
    return "downsample_ratio" in inspect.signature(net.forward).parameters


def _reduce(frames: Tensor, size: tuple[int, int]) -> Tensor:
    return unfold_time(F.interpolate(fold_time(frames), size, mode="area"), frames.shape[1])


def _enlarge(small: Tensor, base: Tensor, fine: Tensor, upsampler: str) -> Tensor:
    """`small` (B, T, 1 or 3, h, w) at the size of `fine`; `base` are the frames that it was computed from."""
    num_frames = fine.shape[1]
    small, base, fine = (fold_time(clip) for clip in (small, base, fine))
    if upsampler == "bilinear":
        return unfold_time(resize(small, (fine.shape[-2], fine.shape[-1])), num_frames)
    if small.shape[1] == 1:
        # The guide of alpha is the grey frame, as in RVM.
        base, fine = (x.mean(dim=1, keepdim=True) for x in (base, fine))
    return unfold_time(torch.clamp(fast_guided_filter(fine, base, small), 0, 1), num_frames)
