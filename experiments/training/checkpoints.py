"""Checkpoints that can be trusted after any end: written whole, checked before they are read, the last two kept."""

from __future__ import annotations

import errno
import os
import shutil
import traceback
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from datamodules.files.writing import sync, whole_file
from experiments.command.messages import reason
from experiments.training.devices import lost_another
from lightning_modules.module import NonFiniteLossError

OWNER = "owner"  # key of a checkpoint


def is_whole(path: Path) -> bool:
    """Whether a file of torch.save is there with every byte as it was written: its records carry checksums.

    torch.load alone would read a damaged tensor without a word.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # anything: damage may ask for a password or a compression that nobody knows
        return False


def is_usable(path: Path, owner: str) -> bool:
    """Whether a checkpoint is there, whole and its owner's; prints why one that is there is not used.

    Args:
        owner: whose it must say that it is: a cell and a stage.
    """
    if not path.is_file():
        return False
    if not is_whole(path):
        print(f"{path} is damaged and is not used", flush=True)
        return False
    try:  # mapped: what is not asked for is not read
        found = dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True)).get(OWNER)
    except Exception:  # anything: it may be any file
        found = None
    if found != owner:
        print(f"{path} is of another cell, stage or version and is not used", flush=True)
    return bool(found == owner)


def newest_usable(path: Path, owner: str) -> Path | None:
    """The checkpoint at `path`, the one before if that is damaged or another's, or None."""
    return next((candidate for candidate in (path, _before(path)) if is_usable(candidate, owner)), None)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint where it will lie and keeps the one before; Lightning would write it into $TMPDIR first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all; the one that is there becomes `NAME.before.ckpt`."""
        path = Path(path)
        with whole_file(path) as temporary:
            torch.save(checkpoint, temporary)
            sync(temporary)
            if path.is_file():
                path.replace(_before(path))


def save_checkpoint(trainer: pl.Trainer, path: Path) -> None:
    """Write a checkpoint of a trainer that has `WholeCheckpoints`; all ranks must call it.

    Raises:
        OSError: it cannot be written; the checkpoint before is still there.
        NonFiniteLossError: a weight is NaN or infinite; the checkpoint before stays the last one.
    """
    check_weights(trainer.lightning_module, trainer.global_step)
    try:
        trainer.save_checkpoint(path)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        if lost_another(error):  # all meet before one of them writes
            raise
        full = getattr(error, "errno", None) == errno.ENOSPC or shutil.disk_usage(path.parent).free < 1 << 20
        why = os.strerror(errno.ENOSPC) if full else reason(error)
        traceback.clear_frames(error.__traceback__)  # torch's writer holds the file that was removed, and its room
        raise OSError(
            f"the checkpoint of step {trainer.global_step} cannot be written to {path.parent}: {why}; "
            "nothing earlier is lost; make room and run the same command again"
        ) from error


def check_weights(module: nn.Module, step: int) -> None:
    """Make sure that no weight has become NaN or infinite: a finite loss may have a gradient that is not.

    Raises:
        NonFiniteLossError: one has; names it and the step.
    """
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            raise NonFiniteLossError(
                f"weights became NaN or infinite by step {step} ({name}); lower recipe.stages.*.learning_rate, "
                "or give gradient_clip_norm"
            )


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint and the one before it."""
    path.unlink(missing_ok=True)
    _before(path).unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_suffix(f".before{path.suffix}")
