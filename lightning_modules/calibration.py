"""Statistics of norms that belong to the weights they are used with.

A batch norm gathers its running mean and variance while the weights before it change, and weights that were averaged
over training are others still: used together they are of no net that ever was. After training they are computed anew
(Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576, section 3, "precise BatchNorm").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from datamodules.batch import MattingBatch
from lightning_modules.module import MattingModule
from lightning_modules.ranks import mean_over_ranks

Batch = TypeVar("Batch")


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[Batch], run: Callable[[Batch, int], Any]) -> None:
    """Set the running statistics of norms to their means over some batches, of all processes alike.

    Of those norms that are in train mode and keep such statistics. A norm that its net or its objective holds in eval
    mode is frozen and stays as it is, and so does one that no batch goes through. If there is none to be set, no batch
    is read. Dropout is off, as it is when the statistics are used.

    Args:
        module: in the modes that it was trained in; weights and modes stay.
        batches: the same number on each process.
        run: sends batch and its number through the module.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    if not norms:
        return
    with _without_dropout(module), _gathering_means(norms):
        for number, batch in enumerate(batches):
            run(batch, number)
    for statistics in (each for norm in norms for each in (norm.running_mean, norm.running_var)):
        assert statistics is not None
        statistics.copy_(mean_over_ranks(statistics))  # they differ where norms are not synchronised


@contextmanager
def _gathering_means(norms: list[_BatchNorm]) -> Iterator[None]:
    """Inside, running statistics are means over all batches, the first of which replaces what there was."""
    before = [(norm.momentum, int(norm.num_batches_tracked or 0)) for norm in norms]
    for norm in norms:
        norm.momentum = None
        norm.num_batches_tracked.zero_()  # type: ignore[union-attr]
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.fill_(count)  # type: ignore[union-attr]


@contextmanager
def _without_dropout(module: nn.Module) -> Iterator[None]:
    layers = [layer for layer in module.modules() if isinstance(layer, _DropoutNd) and layer.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


class Calibration(Callback):
    """Recalibrates the norms at the end of a stage, whether its weights were averaged or not, in the stage's time.

    The first matting batches of the stage go through its objective once more: its own sizes, clip lengths, plates and
    augmentation, the same in every run, so that a stage that is cut off here ends with the same bits. Segmentation
    passes are left out: their pictures are of another kind and no matte is made of them. Before the end the statistics
    are as training gathered them, and scores of validation clips during training are those of nets with such ones.

    Args:
        num_batches: how many, of all processes together each; all of a stage that has fewer; 0 changes nothing.
    """

    def __init__(self, num_batches: int) -> None:
        if num_batches < 0:
            raise ValueError(f"trainer.calibration_batches must be 0 or more, got {num_batches}")
        self.num_batches = num_batches

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Recalibrate, for the weights that the stage leaves."""
        assert isinstance(module, MattingModule)
        if self.num_batches:
            # Uncompiled: each number of batches seen would be compiled anew.
            with torch.compiler.set_stance("force_eager"), trainer.precision_plugin.train_step_context():
                recalibrate(module, self._batches(trainer), module.terms)

    def _batches(self, trainer: pl.Trainer) -> Iterator[MattingBatch]:
        """The batches on the trainer's device, as a step of training gets them."""
        for batch in trainer.datamodule.calibration_loader(self.num_batches):  # type: ignore[attr-defined]
            if trainer.received_sigterm:
                raise SIGTERMException
            yield trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
