"""The objective of the segmentation baselines."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.batch import MattingBatch
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective


class SegmentationObjective(Objective):
    """Binary cross entropy of the person's probability against the true alpha, a soft mask.

    Args:
        net: a net whose output has the logit `aux["segmentation"]` (B, T, 1, H, W).
    """

    def __init__(self, net: MattingNet) -> None:
        super().__init__()

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The term loss."""
        logits = net(batch.frames).aux["segmentation"]
        return {"loss": F.binary_cross_entropy_with_logits(logits, batch.alpha)}
