"""Which frames of a source a clip shows."""

from __future__ import annotations

import torch


def choose_frames(
    num_source_frames: int,
    num_frames: int,
    generator: torch.Generator,
    stride: int = 1,
    reverse: bool = False,
) -> list[int]:
    """Every `stride`-th frame from a random start; a source that is too short is played forth and back.

    Args:
        num_source_frames: frames that the source has.
        num_frames: frames to choose.
        generator: draws the start.
        stride: source frames from one chosen frame to the next.
        reverse: play the clip backwards.

    Raises:
        ValueError: a count or the stride is below 1.

    >>> choose_frames(3, 7, torch.Generator().manual_seed(0))
    [0, 1, 2, 1, 0, 1, 2]
    """
    if min(num_source_frames, num_frames, stride) < 1:
        raise ValueError(
            f"frames and stride must be at least 1, got {num_source_frames} source frames, "
            f"{num_frames} frames, stride {stride}"
        )
    free = max(num_source_frames - (num_frames - 1) * stride, 1)
    # Not randint: a uniform number gives paired clips the same relative start under another stride.
    start = min(int(torch.rand((), generator=generator) * free), free - 1)
    period = max(2 * (num_source_frames - 1), 1)
    positions = [(start + t * stride) % period for t in range(num_frames)]
    frames = [min(p, period - p) if p >= num_source_frames else p for p in positions]
    return frames[::-1] if reverse else frames
