"""How much of what a person hides the clip has shown before: the most that a memory of the background can know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.resample import apply_affine

HIDDEN, SHOWN = 0.5, 0.05


def revealed_share(batch: MattingBatch) -> Tensor:
    """Share of the pixels that the person hides whose background an earlier frame of the clip has shown.

    Hidden is what lies under an alpha above 0.5, shown what lies under one below 0.05. What was shown moves with the
    background, nearest pixel, and is forgotten where it leaves the frame.

    Args:
        batch: clips before stills.

    Returns:
        (B, T) float32 in [0, 1]; 0 in frame 0, NaN in frames in which nobody hides anything.

    Raises:
        ValueError: the motion of the background is not known.
    """
    if batch.background_affine is None:
        raise ValueError("what background videos have shown is not known: take stills")
    hidden, shown = batch.alpha > HIDDEN, batch.alpha < SHOWN
    height, width = batch.alpha.shape[-2:]
    size = batch.alpha.new_tensor([width, height])
    seen = torch.zeros_like(batch.alpha[:, 0])
    shares = []
    for t in range(batch.alpha.shape[1]):
        before = (2 * apply_affine(batch.background_affine[:, t], height, width) + 1) / size - 1
        seen = F.grid_sample(seen, before, "nearest", "zeros", align_corners=False)
        count = hidden[:, t].sum((1, 2, 3))
        found = (hidden[:, t] & (seen > 0)).sum((1, 2, 3)) / count
        shares.append(found)
        seen = torch.maximum(seen, shown[:, t].to(seen.dtype))
    return torch.stack(shares, dim=1)
