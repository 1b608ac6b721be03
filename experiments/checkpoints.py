"""Checkpoints that can be trusted after any end: written whole, checked before they are read, the last two kept."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from datamodules.files.writing import sync, whole_file
from lightning_modules.module import NonFiniteLossError


def is_whole(path: Path) -> bool:
    """Whether a file of torch.save is there with every byte as it was written: its records carry checksums.

    torch.load alone would read a damaged tensor without a word.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def newest_whole(path: Path) -> Path | None:
    """The checkpoint at `path`, the one before if that is damaged, or None; prints what was damaged."""
    for candidate in (path, _before(path)):
        if candidate.is_file():
            if is_whole(candidate):
                return candidate
            print(f"{candidate} is damaged and is not used", flush=True)
    return None


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
        full = getattr(error, "errno", None) == errno.ENOSPC or shutil.disk_usage(path.parent).free < 1 << 20
        why = os.strerror(errno.ENOSPC) if full else " ".join(str(error).split())[:200]
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
