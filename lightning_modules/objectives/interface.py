"""What an objective is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from lightning_modules.nets.interface import MattingNet

Rate = float | Mapping[str, float]
"""A learning rate, or one for each part of a net."""


class Objective(nn.Module):
    """What one stage of a paper minimises; holds the parts that only training needs (decoders, teachers).

    Attributes:
        idle_parameters: some steps leave a part of what is trained without gradient (a head that another
            pass trains), which several processes must be told.
    """

    idle_parameters: bool = False

    def __init__(self, net: MattingNet | None = None) -> None:
        """Prepare for a net; an objective with parts or options of its own takes them after the net."""
        super().__init__()

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of one step.

        Args:
            net: in train mode.
            batch: composited clips.
            generator: CPU generator of this step; every random choice is drawn from it.

        Returns:
            Scalars by name; "loss" is what is minimised, the others are logged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def before_step(self, net: MattingNet, step: int) -> None:
        """Called before step number `step` of the stage."""

    def parameter_groups(self, net: MattingNet, learning_rate: Rate) -> list[dict[str, Any]]:
        """Groups for the optimiser: net and objective at one rate, or each named part of the net at its own.

        Args:
            net: whose parts, its direct children, `learning_rate` may name.
            learning_rate: of everything; or by part, with "rest" for the objective and all parts not named.
                A part with rate 0 is not trained; one that this net goes without (its attribute is None) is
                passed over.

        Raises:
            ValueError: a named part does not exist, or "rest" is missing where something is left.
        """
        rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else {"rest": learning_rate}
        parts = [name for name, _ in net.named_children()]
        if unknown := sorted(name for name in rates if name != "rest" and not hasattr(net, name)):
            raise ValueError(f"learning_rate names {', '.join(unknown)}; this net has {', '.join(parts)}, and rest")
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in [*rates, "rest"]}
        for name, parameter in net.named_parameters():
            part = name.partition(".")[0]
            groups[part if part in rates else "rest"].append(parameter)
        groups["rest"] += [parameter for parameter in self.parameters() if parameter.requires_grad]
        if groups["rest"] and "rest" not in rates:
            raise ValueError(f"learning_rate has no rate for all parts of the net ({', '.join(parts)}); add rest")
        return [{"params": groups[name], "lr": rate} for name, rate in rates.items() if rate and groups[name]]
