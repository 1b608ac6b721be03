"""BatchNorm over the clips of all processes that train together, so that a batch is one however it is shared out."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_modules.nets.blocks import follow
from lightning_modules.ranks import is_one_of_several


class SynchronisedBatchNorm(_BatchNorm):
    """In plain operations, for the CPU: PyTorch's `SyncBatchNorm` works on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) → the same shape; N may differ between processes."""
        if not (self.training and is_one_of_several()):
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        others, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        count = _SumOverRanks.apply(wide.new_tensor(wide.numel() / wide.shape[1]))
        mean = _SumOverRanks.apply(wide.sum(others)) / count
        centred = wide - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().sum(others)) / count
        follow(self, mean, variance * count / (count - 1).clamp(min=1))
        scale = (variance + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias.view(shape), centred, scale.view(shape)).to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape (N, C, ...)."""


class _SumOverRanks(Function):
    """The sum over all processes; what depends on it on any of them has a gradient here."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.apply(gradient)


class SynchronisedNorms(LayerSync):
    """Plugin of a Lightning trainer: synchronises every BatchNorm while several processes train.

    The layers stay the same objects and change their class, so that everything that refers to them (tied copies,
    lists of layers, optimisers) goes on to hold, and they are what they were afterwards. Lightning's own makes new
    ones, and others again at the end.

    Args:
        device: type of the devices that train.
    """

    def __init__(self, device: str) -> None:
        self.synchronised: type[_BatchNorm] = SynchronisedBatchNorm if device == "cpu" else nn.SyncBatchNorm
        self.classes: dict[_BatchNorm, type[_BatchNorm]] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        """The same model, its BatchNorm layers synchronised."""
        self.classes = {layer: type(layer) for layer in model.modules() if isinstance(layer, _BatchNorm)}
        for layer in self.classes:
            layer.__class__ = self.synchronised
            vars(layer)["process_group"] = None  # as SyncBatchNorm's constructor does: all processes
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """The same model, its BatchNorm layers as they were."""
        for layer, kind in self.classes.items():
            layer.__class__ = kind
        self.classes = {}
        return model
