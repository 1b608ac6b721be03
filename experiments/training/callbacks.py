"""What goes along with the training of a stage: points to resume from, the history of its losses, signs of life."""

from __future__ import annotations

import csv
import io
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from datamodules.files.writing import write_file
from experiments.logging.cell_logger import CellLogger, logged_names
from experiments.records.progress import Progress, write_progress
from experiments.training.checkpoints import OWNER, save_checkpoint
from lightning_modules.ranks import mean_over_ranks


class ResumePoint(Callback):
    """Writes the whole state of training every few steps and when SIGTERM asks to end.

    A kill loses only the steps since the last one. Several processes end together, after the step in which the first
    of them was asked to: Lightning's handler would talk to the others in the midst of what they exchange.
    """

    def __init__(self, path: Path, every: int, validate_every: int, owner: str) -> None:
        self.path = path
        self.owner = owner
        self.every = every
        self.validate_every = validate_every
        self.asked = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take SIGTERM over from Lightning, which restores it at the end, where there are several processes."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._ask)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Likewise, of one process too, for the validation after the last step: its few clips are scored to the end."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            signal.signal(signal.SIGTERM, self._ask)

    def is_end_asked(self, device: torch.device) -> bool:
        """Whether any of the processes was asked to end and has not; they compare notes on their devices."""
        return bool(mean_over_ranks(torch.tensor(float(self.asked), device=device)))

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say whose checkpoint it is."""
        checkpoint[OWNER] = self.owner

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *batch: Any) -> None:
        """Write at every `every`-th optimiser step and at the one where the end is asked for, the last excepted."""
        if _has_stepped(trainer, batch[-1]) and trainer.global_step % self.validate_every:
            self._write_if_due(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Likewise where validation follows a step: started from before it, Lightning would leave its scores out."""
        self._write_if_due(trainer, module)

    def _write_if_due(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step = trainer.global_step
        if step >= trainer.max_steps:
            return
        asked_together = trainer.world_size > 1 and self.is_end_asked(module.device)
        if step % self.every == 0 or trainer.received_sigterm or asked_together:
            save_checkpoint(trainer, self.path)
        if asked_together:
            raise SIGTERMException


def _has_stepped(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether an optimiser step ended with this batch, and not within a window of accumulated batches."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class History(Callback):
    """Collects losses, validation scores and seconds; saved with the checkpoint, so that no step counts twice.

    A row holds the mean of each loss over the batches since the row before in which there was one: recipes with
    several passes have another loss in every step. Loggers get what the rows hold.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, tuple[float, int]] = {}
        self.seconds = 0.0
        self.begin = 0.0

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clock; what a checkpoint brought is behind the loggers."""
        self.begin = time.monotonic() - self.seconds
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, CellLogger):
                logger.log_earlier(self.rows)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's losses, and keep their means at every `every`-th step."""
        for name, value in outputs["terms"].items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)
        if _has_stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._keep_losses(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Keep the scores of the validation clips; after the last step only those of what the stage leaves."""
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and trainer.global_step >= trainer.max_steps:
            return
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self._keep(trainer, scores)
        if not fitting:
            self._write(trainer)

    def _keep_losses(self, trainer: pl.Trainer) -> None:
        self._keep(trainer, {name: total / count for name, (total, count) in self.sums.items()})
        self.sums = {}

    def _keep(self, trainer: pl.Trainer, values: dict[str, float]) -> None:
        if not self.rows or self.rows[-1]["step"] != trainer.global_step:
            self.rows.append({"step": trainer.global_step})
        self.rows[-1] |= values
        for logger in trainer.loggers if trainer.is_global_zero else []:
            logger.log_metrics(logged_names(values), trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop the clock and write the collected rows as CSV, one of what is left over at the end."""
        self.seconds = time.monotonic() - self.begin
        if self.sums:
            self._keep_losses(trainer)
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if self.rows and trainer.is_global_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in self.rows for name in row)))
            writer.writeheader()
            writer.writerows(self.rows)
            write_file(self.path, text.getvalue().encode())

    def state_dict(self) -> dict[str, Any]:
        """Rows, sums of the row to come and seconds so far."""
        return {"rows": self.rows, "sums": self.sums, "seconds": time.monotonic() - self.begin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after those of the checkpoint."""
        self.rows, self.sums = list(state_dict["rows"]), dict(state_dict["sums"])
        self.seconds = state_dict["seconds"]


class Heartbeat(Callback):
    """Keeps a one-line file with stage, step and loss up to date, for whoever watches several cells."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.stage = stage
        self.last = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Write at most once a second."""
        if time.monotonic() - self.last > 1 and trainer.is_global_zero:
            self.last = time.monotonic()
            loss = outputs["terms"]["loss"]
            progress = Progress(self.stage, trainer.global_step, trainer.max_steps, f"loss {loss:.3f}")
            write_progress(self.folder, progress)
