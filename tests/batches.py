"""Tiny batches of clips, made of their layers."""

import torch
from torch import Tensor

from datamodules.batch import MattingBatch


def tiny_batch(
    alpha: Tensor,
    foreground: Tensor,
    background: Tensor,
    flow: Tensor | None = None,
    affine: Tensor | None = None,
    clip: str = "clip",
    stratum: str = "",
) -> MattingBatch:
    """The composite of clips (B, T, C, H, W); they are called CLIP 0, CLIP 1, …, of one alone the name is as given."""
    frames = alpha * foreground + (1 - alpha) * background
    names = [clip] if len(alpha) == 1 else [f"{clip} {number}" for number in range(len(alpha))]
    scenes, strata = ["room"] * len(alpha), [stratum] * len(alpha)
    return MattingBatch(frames, alpha, foreground, background, flow, affine, names, scenes, strata)


def disc(size: int) -> Tensor:
    """Alpha (size, size) of a disc with a soft edge in the middle of the frame."""
    axis = torch.linspace(-1, 1, size)
    return (6 * (0.6 - (axis[:, None] ** 2 + axis**2).sqrt()) + 0.5).clamp(0, 1)
