"""Context Motion Network's objective: alpha and foreground of short clips; the flow estimator joins in half way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from lightning_modules import losses
from lightning_modules.nets.blocks import fold_time
from lightning_modules.nets.context_motion import ContextMotion
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective, Rate


class ContextMotionObjective(Objective):
    """Sum over the clip's frames of alpha's L1 and Laplacian losses and 0.1 times the foreground's.

    Gradients flow through all frames. Batch norms are never trained; the flow estimator is from step
    `frozen_share` · `num_steps` on, by these losses alone.

    Args:
        net: Context Motion Network.
        num_steps: of the stage.
        frozen_share: of the steps, in which the flow estimator stays as it is: 0 trains it from the start, 1 never.
        laplacian_weight, foreground_weight: of these terms.
    Source: section 3 of the paper, which writes sums over pixels; means, level by level, are our choice.
    """

    # Several processes must look for them: while the estimator is frozen it gets no gradient.
    idle_parameters = True

    def __init__(
        self,
        net: ContextMotion,
        num_steps: int,
        frozen_share: float = 0.5,
        laplacian_weight: float = 1.0,
        foreground_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(net, ContextMotion):
            raise ValueError(f"this objective needs model=context_motion, got {type(net).__name__}")
        if not 0 <= frozen_share <= 1:
            raise ValueError(f"frozen_share must lie in [0, 1], got {frozen_share}")
        self.frozen_steps = round(frozen_share * num_steps)
        self.laplacian_weight = laplacian_weight
        self.foreground_weight = foreground_weight

    def parameter_groups(self, net: MattingNet, learning_rate: Rate) -> list[dict[str, Any]]:
        """All but batch norms, at one rate or a rate for each part."""
        norms = {id(parameter) for parameter in _norm_parameters(net)}
        groups = super().parameter_groups(net, learning_rate)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in norms]
        return [group for group in groups if group["params"]]

    def before_step(self, net: MattingNet, step: int) -> None:
        """Freeze or unfreeze the flow estimator; AdamW leaves parameters without gradient alone."""
        assert isinstance(net, ContextMotion)
        if net.flow is not None:
            net.flow.requires_grad_(step >= self.frozen_steps)
            for parameter in _norm_parameters(net.flow):
                parameter.requires_grad_(False)

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss and, unweighted, alpha, laplacian, foreground; each a sum over the clip's frames."""
        output = net.matte(batch.frames, flow=batch.flow)
        assert output.foreground is not None
        alpha, true_alpha = fold_time(output.alpha), fold_time(batch.alpha)
        foreground, true_foreground = fold_time(output.foreground), fold_time(batch.foreground)
        visible = true_alpha > 0
        num_frames, levels = batch.frames.shape[1], 5
        terms = {
            "alpha": num_frames * F.l1_loss(alpha, true_alpha),
            # RVM divides by the number of levels, this paper does not.
            "laplacian": num_frames * levels * losses.laplacian_loss(alpha, true_alpha, levels),
            "foreground": num_frames * F.l1_loss(foreground * visible, true_foreground * visible),
        }
        weighted = self.laplacian_weight * terms["laplacian"] + self.foreground_weight * terms["foreground"]
        return {"loss": terms["alpha"] + weighted, **terms}


def _norm_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Affine weights of all batch norms."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            yield from part.parameters()
