"""MODNet's objectives: supervised training and SOC adaptation to unlabelled frames."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from lightning_modules import losses
from lightning_modules.nets.blocks import fold_time
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective


class MODNetObjective(Objective):
    """L = 10 L_s + 10 L_d + L_alpha over every frame of the batch.

    Args:
        net: a net whose output has `aux["semantic"]` and, in training, `aux["detail"]`.
        semantic_weight: of L_s.
        detail_weight: of L_d.
        matte_weight: of L_alpha.
    Source: MODNet, section 3 (losses); weights are the official code's defaults.
    """

    def __init__(
        self, net: MattingNet, semantic_weight: float = 10.0, detail_weight: float = 10.0, matte_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.multiple = net.multiple
        self.semantic_weight = semantic_weight
        self.detail_weight = detail_weight
        self.matte_weight = matte_weight

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss, semantic, detail, matte (unweighted)."""
        windows = losses.trimap_windows(min(batch.frames.shape[-2:]), generator)
        output = net(batch.frames, background=batch.background)
        return self.terms(output.alpha, output.aux, batch.frames, batch.alpha, windows)

    def terms(
        self, pred: Tensor, aux: dict[str, Any], frames: Tensor, alpha: Tensor, windows: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The three terms and their weighted sum for predicted and true alpha (B, T, 1, H, W).

        Raises:
            ValueError: the net would pad the frames, so that its grids would not lie on the truth's.
        """
        if frames.shape[-1] % self.multiple or frames.shape[-2] % self.multiple:
            size = tuple(frames.shape[-2:])
            raise ValueError(
                f"training frames of this net need sides that are multiples of {self.multiple}, got {size}"
            )
        alpha = fold_time(alpha)
        tri = losses.trimap(alpha, *windows)
        named = {
            "semantic": losses.semantic_loss(fold_time(aux["semantic"]), alpha),
            "detail": losses.detail_loss(fold_time(aux["detail"]), alpha, tri == 0.5),
            "matte": losses.matte_loss(fold_time(pred), alpha, tri, 2 * fold_time(frames) - 1),
        }
        loss = (
            self.semantic_weight * named["semantic"]
            + self.detail_weight * named["detail"]
            + self.matte_weight * named["matte"]
        )
        return {"loss": loss, **named}


class SOCObjective(Objective):
    """Self-supervised adaptation to unlabelled frames: semantic, detail and matte must agree.

    The batch's alpha is not used. All BatchNorm layers stay in eval mode; the teacher is a frozen copy of
    the net, made anew every `refresh_every` steps (an epoch in the official code).

    Args:
        net: the net to adapt; the first teacher is a copy of it.
        semantic_weight: of the semantic consistency.
        detail_weight: of the detail consistency.
        refresh_every: steps between two copies.
    Source: MODNet, section 3.3 (SOC) and the official code's weights.
    """

    def __init__(
        self, net: MattingNet, semantic_weight: float = 100.0, detail_weight: float = 1.0, refresh_every: int = 1000
    ) -> None:
        super().__init__()
        self.semantic_weight = semantic_weight
        self.detail_weight = detail_weight
        self.refresh_every = refresh_every
        self.teacher = copy.deepcopy(net).requires_grad_(False)

    def before_step(self, net: MattingNet, step: int) -> None:
        """Freeze BatchNorm statistics; copy the net into the teacher when its time has come."""
        if step % self.refresh_every == 0:
            self.teacher.load_state_dict(net.state_dict())
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss, semantic, detail (unweighted)."""
        self.teacher.eval()
        with torch.no_grad():
            taught = self.teacher(batch.frames)
        output = net(batch.frames)
        alpha, semantic = fold_time(output.alpha), fold_time(output.aux["semantic"])
        band = losses.soc_band(alpha.detach(), semantic.detach())
        named = {
            "semantic": losses.soc_semantic_loss(semantic, alpha),
            "detail": losses.soc_detail_loss(fold_time(output.aux["detail"]), fold_time(taught.aux["detail"]), band)
            + losses.soc_detail_loss(alpha, fold_time(taught.alpha), band),
        }
        return {
            "loss": self.semantic_weight * named["semantic"] + self.detail_weight * named["detail"],
            **named,
        }
