"""RVM's objective: matting at low and high resolution, and segmentation, each in steps of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.batch import MattingBatch, SegmentationBatch
from lightning_modules import losses
from lightning_modules.nets.rvm import RVM
from lightning_modules.objectives.interface import Objective


class RVMObjective(Objective):
    """What RVM minimises in a matting pass, or in a segmentation pass.

    The data deliver the passes of an iteration one after the other and each is an optimiser step, as in the
    official loop (`datamodules.interleaved`). A clip starts from an empty state; gradients flow through all
    of its frames, and BatchNorm sees batch and time together.

    Args:
        net: RVM.
        high_resolution: names of the passes that run at `downsample_ratio` and so train the refiner too;
            the others run at ratio 1 and leave it idle.
        downsample_ratio: of those passes.
        coherence_weight: of both temporal terms.
    Source: RVM, section 4.4 and the official training code; they differ in the spelling of the temporal terms,
    where the code is followed (`losses.coherence_loss`).
    """

    idle_parameters = True

    def __init__(
        self,
        net: RVM,
        high_resolution: Sequence[str] = ("matting_high",),
        downsample_ratio: float = 0.25,
        coherence_weight: float = 5.0,
    ) -> None:
        super().__init__()
        self.high_resolution = frozenset(high_resolution)
        self.downsample_ratio = downsample_ratio
        self.coherence_weight = coherence_weight

    def forward(  # type: ignore[override]
        self, net: RVM, batch: MattingBatch | SegmentationBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms loss and, under the pass's name, the same; in low-resolution passes each unweighted term too."""
        name = batch.pass_name or "matting"
        if isinstance(batch, SegmentationBatch):
            logits = net(batch.images, segmentation_pass=True).aux["segmentation"]
            loss = losses.segmentation_loss(logits, batch.masks)
            return {"loss": loss, name: loss}
        high = name in self.high_resolution
        output = net(batch.frames, downsample_ratio=self.downsample_ratio if high else 1.0)
        assert output.foreground is not None
        terms = losses.rvm_terms(output.alpha, output.foreground, batch.alpha, batch.foreground)
        weights = {term: self.coherence_weight if term.endswith("coherence") else 1.0 for term in terms}
        loss = torch.stack([weights[term] * value for term, value in terms.items()]).sum()
        return {"loss": loss, name: loss, **({} if high else terms)}
