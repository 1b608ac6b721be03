"""What every metric does with its frames: check them, read them, pick a region, add up over it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Rounding = Literal["round", "truncate"]

TOLERANCE = 1e-3  # by which a value may leave [0, 1]
WORTH_A_THREAD = 2**19  # values that one core subtracts while another one wakes up


def check_alphas(name: str, pred: Tensor, target: Tensor, trimap: Tensor | None = None) -> None:
    """Raise ValueError, which names the figure, unless all are (B, T, 1, H, W) of one shape and in [0, 1]."""
    check_tensors(name, pred=pred, target=target, trimap=trimap)
    if pred.shape != target.shape or pred.ndim != 5 or pred.shape[2] != 1:
        raise ValueError(f"expected (B, T, 1, H, W) twice, got pred {tuple(pred.shape)}, target {tuple(target.shape)}")
    if trimap is not None and trimap.shape != pred.shape:
        raise ValueError(f"expected a trimap like pred {tuple(pred.shape)}, got {tuple(trimap.shape)}")
    check_range(name, pred=pred, target=target, trimap=trimap)


def check_tensors(name: str, **videos: Any) -> None:
    """Raise ValueError unless all are tensors of real numbers, or None."""
    for role, video in videos.items():
        if video is not None and not isinstance(video, Tensor):
            raise ValueError(f"{name}: {role} must be a torch tensor, got a {type(video).__name__}")
        if video is not None and video.is_complex():
            raise ValueError(f"{name}: {role} must be of real numbers, got {video.dtype}")


def check_range(name: str, **videos: Tensor | None) -> None:
    """Raise ValueError unless all values are numbers in [0, 1], but for rounding, or 8-bit codes.

    A figure of anything else means nothing, and one of NaN may look perfect: what compares with it is never true.
    """
    check_tensors(name, **videos)
    for role, video in videos.items():
        if video is None or video.dtype in (torch.uint8, torch.bool) or video.numel() == 0:
            continue
        low, high = torch.stack(video.detach().aminmax()).tolist()
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also where one is NaN
            values = video.detach().float()
            wrong = int((~((values >= -TOLERANCE) & (values <= 1 + TOLERANCE))).sum())
            raise ValueError(
                f"{name}: {role} must lie in [0, 1] or be uint8, but {wrong} of {video.numel()} values do not: they "
                f"go from {low:g} to {high:g}"
            )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless the value of a convention is one that exists."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(repr(choice) for choice in choices)}, got {value!r}")


def unit(frames: Tensor) -> Tensor:
    """Frames as float32; 8-bit code k becomes k / 255."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def quantise(frames: Tensor, rounding: Rounding = "round") -> Tensor:
    """Frames as they are read back from 8-bit files; 8-bit frames stay what they are.

    Args:
        frames: any shape, clamped to [0, 1].
        rounding: "round", or "truncate" as the writers of RVM and BackgroundMattingV2 do.

    Returns:
        The same shape, uint8.
    >>> quantise(torch.tensor([0.5, 1.0]), "truncate")
    tensor([127, 255], dtype=torch.uint8)
    """
    check_choice("rounding", rounding, ("round", "truncate"))
    if frames.dtype == torch.uint8:
        return frames
    codes = frames.float().clamp(0, 1) * 255
    return (codes.round() if rounding == "round" else codes).to(torch.uint8)


def crop4(*videos: Tensor) -> tuple[Tensor, ...]:
    """Videos (…, H, W) without the right and lower pixels that exceed a multiple of four, as BGMv2's driver crops."""
    return tuple(video[..., : video.shape[-2] // 4 * 4, : video.shape[-1] // 4 * 4] for video in videos)


def unknown(trimap: Tensor | None) -> Tensor | None:
    """Mask of the unknown pixels: neither 0 nor full (1, or 255 of uint8); None, the whole frame, stays None."""
    if trimap is None or trimap.dtype == torch.bool:
        return trimap
    return (trimap > 0) & (trimap < (255 if trimap.dtype == torch.uint8 else 1))


def positive(alpha: Tensor) -> Tensor:
    """Mask of alpha > 0; by NumPy on a CPU, since waking torch's threads takes longer on a busy one."""
    return torch.from_numpy(alpha.detach().numpy() > 0) if alpha.device.type == "cpu" else alpha > 0


def region_size(video: Tensor, region: Tensor | None) -> Tensor | int:
    """Pixels that count in each frame of (B, T, …, H, W): (B, T) float64, NaN where there are none."""
    if region is None:
        return video.shape[-1] * video.shape[-2]
    frames = region.flatten(0, 1)
    if region.device.type == "cpu":  # torch sums booleans many times slower
        count = torch.tensor([np.count_nonzero(frame) for frame in frames.numpy()], dtype=torch.float64)
    else:
        count = frames.flatten(1).sum(1, dtype=torch.float64)
    count = count.view(region.shape[:2])
    return torch.where(count > 0, count, torch.nan)


def same_type(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, float]:
    """Both as 8-bit codes if they are, else both as float32; and what full opacity is in these units."""
    if pred.dtype == target.dtype == torch.uint8:
        return pred.detach(), target.detach(), 255.0
    return unit(pred.detach()), unit(target.detach()), 1.0


def alpha_frames(video: Tensor | None) -> Any:
    """(B, T, 1, H, W) → NumPy (B·T, H, W), contiguous; None stays None."""
    return None if video is None else video.flatten(0, 2).contiguous().cpu().numpy()


def in_threads(kernel: Callable[..., Any], frames: Sequence[Any], *options: Any, least: int = 1) -> Any:
    """Run a kernel over blocks of frames, one block a thread of torch's, and join what it gives.

    Args:
        kernel: (*frames, *options) → array of as many rows as there are frames.
        frames: arrays with N frames each, or None.
        options: the same for all blocks.
        least: values of a frame's array that are worth a thread.
    """
    num_blocks = min(torch.get_num_threads(), len(frames[0]), frames[0].size // least)
    if num_blocks < 2:
        return kernel(*frames, *options)
    bounds = np.linspace(0, len(frames[0]), num_blocks + 1).astype(int)
    blocks = [[x if x is None else x[start:stop] for x in frames] for start, stop in itertools.pairwise(bounds)]
    pool = _threads(num_blocks - 1, os.getpid())
    others = [pool.submit(kernel, *block, *options) for block in blocks[1:]]
    return np.concatenate([kernel(*blocks[0], *options), *(other.result() for other in others)])


@cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Kept, since starting threads takes longer than a small metric; a forked process has none and starts its own."""
    return ThreadPoolExecutor(count, "metrics")


def difference_sums(pred: Tensor, target: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ|p − q| and Σ(p − q)² of each frame over a region.

    Args:
        pred: (B, T, C, H, W) in [0, 1], or uint8.
        target: the same shape.
        region: (B, T, 1, H, W) bool, or None for the whole frame.

    Returns:
        Two of (B, T) float64, in units of [0, 1].
    """
    pred, target, white = same_type(pred, target)
    if pred.device.type != "cpu":
        error = (pred.float() - target.float()) / white
        if region is not None:
            error = error.where(region, 0)
        dims = (2, 3, 4)
        return error.abs().sum(dims, dtype=torch.float64), error.square().sum(dims, dtype=torch.float64)
    from lightning_modules.metrics import kernels

    frames = (pred.flatten(0, 1).numpy(), target.flatten(0, 1).numpy(), alpha_frames(region))
    sums = torch.from_numpy(in_threads(kernels.difference_sums, frames, least=WORTH_A_THREAD))
    absolute, square = sums.unflatten(0, pred.shape[:2]).unbind(-1)
    return absolute / white, square / white**2
