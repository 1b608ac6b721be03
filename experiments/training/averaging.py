"""The moving average of a net's weights, taken in a few operations however many tensors it has."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class MovingAverage(WeightAveraging):
    """Keeps the moving average of weights and statistics, which is validated and is what the stage leaves.

    It starts at the weights after the first step. Lightning's own takes tensor after tensor; what it does with the
    average stays.

    Args:
        decay: what stays of the average in a step, 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *batch: Any) -> None:
        """Go on after each optimiser step."""
        if trainer.global_step > self._latest_update_step:
            assert self._average_model is not None
            average, current = tensors_of(self._average_model.module), tensors_of(module)
            if self._latest_update_step:
                move_average(average, current, self.decay)
            else:
                torch._foreach_copy_(average, current)
            self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leave the average in the module; validation that follows is of the module as it is."""
        super().on_train_end(trainer, module)
        self._average_model = None


def tensors_of(*modules: nn.Module) -> list[Tensor]:
    """Parameters and buffers, without their graph."""
    return [each.detach() for module in modules for each in (*module.parameters(), *module.buffers())]


@torch.no_grad()
def move_average(average: list[Tensor], current: list[Tensor], decay: float) -> None:
    """In place, average = decay · average + (1 − decay) · current; whole numbers are cut off, not rounded.

    Args:
        average, current: tensors of the same shapes and types, at least one of floating-point numbers; those of whole
            numbers have one type.
        decay: 0 to below 1.
    """
    floats, counts = _by_kind(average)
    new_floats, new_counts = _by_kind(current)
    # Two products and a sum, not a fused step, so that the bits are those of the formula.
    torch._foreach_mul_(floats, decay)
    torch._foreach_add_(floats, torch._foreach_mul(new_floats, 1 - decay))
    if counts:
        # As one vector: foreach has no kernel for whole numbers times a fraction and would launch one for each.
        moved = decay * _joined(counts) + (1 - decay) * _joined(new_counts)
        parts = moved.to(counts[0].dtype).split([each.numel() for each in counts])
        torch._foreach_copy_(counts, [part.view_as(each) for part, each in zip(parts, counts, strict=True)])


def _by_kind(tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Those of floating-point numbers, and the rest."""
    floats = [each for each in tensors if each.is_floating_point()]
    return floats, [each for each in tensors if not each.is_floating_point()]


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])
