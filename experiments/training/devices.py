"""Devices that train one cell together: how their processes meet, what a step sees, what is said when one is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from lightning.pytorch.plugins import LayerSync

from experiments.records.cell_record import last_words
from experiments.training.processes import num_processes, started_by_srun, started_by_torchrun
from experiments.training.settings import Stage, Trainer
from lightning_modules.objectives.interface import Objective
from lightning_modules.synchronised_norms import SynchronisedNorms

STRATEGIES = ("auto", "ddp")


def choose_strategy(trainer: Trainer, objective: Objective) -> str:
    """The name of Lightning's strategy.

    DDP waits for ever for gradients of parts that a step leaves idle unless it is told to look for them.

    Raises:
        ValueError: it is none of STRATEGIES.
    """
    if trainer.strategy not in STRATEGIES:
        raise ValueError(
            f"trainer.strategy must be auto or ddp, got {trainer.strategy!r}: the largest net here has 59 M "
            "parameters, 1 GB with gradients and Adam's state, so that sharding it frees nothing; frames fill the "
            "memory: use more devices, smaller batches or trainer.precision=bf16-mixed"
        )
    if num_processes(trainer) == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if objective.idle_parameters else "ddp"


def choose_plugins(trainer: Trainer, device: torch.device) -> list[Any]:
    """How the processes meet, and the synchronised BatchNorm.

    Lightning would take any process below SLURM for one that srun started, and would save and requeue from within a
    signal's handler into a file that the next stage takes for its own: `experiments.cells.slurm` does that instead.
    """
    plugins: list[ClusterEnvironment | LayerSync] = []
    if num_processes(trainer) == 1:
        plugins.append(LightningEnvironment())
    elif started_by_srun(trainer) and not started_by_torchrun():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    elif "SLURM_NTASKS" in os.environ and not started_by_torchrun():
        plugins.append(LightningEnvironment())
    if trainer.sync_batchnorm:
        plugins.append(SynchronisedNorms(device.type))
    return plugins


def describe_step(stage: Stage, trainer: Trainer) -> dict[str, Any]:
    """What an optimiser step of a stage sees: "clips" in all (of each pass, if there are several), and how they are
    shared out over "devices", "clips_per_device", "accumulated_batches"; and the "learning_rate".

    Raises:
        ValueError: the devices cannot share a batch evenly.
    """
    devices, accumulated = num_processes(trainer), trainer.accumulate_grad_batches
    sizes = {name: each.batch_size for name, each in stage.passes.items()}
    if bad := {size for size in sizes.values() if size % devices}:
        raise ValueError(
            f"{devices} devices cannot share a batch of {min(bad)} clips; set batch_size of each stage of the recipe "
            "(recipe.stages.NAME.batch_size) to a multiple of their number"
        )
    clips = {name: size * accumulated for name, size in sizes.items()}
    own = {name: size // devices for name, size in sizes.items()}
    return {
        "clips": clips if stage.order else clips[""],
        "devices": devices,
        "clips_per_device": own if stage.order else own[""],
        "accumulated_batches": accumulated,
        "learning_rate": stage.learning_rate,
    }


def step_line(step: dict[str, Any]) -> str:
    """What a step of training sees, in words; nothing of it follows from the number of devices.

    >>> step_line({"clips": 8, "devices": 2, "clips_per_device": 4, "accumulated_batches": 1, "learning_rate": 0.1})
    '8 clips a step = 2 device(s) × 4 × 1 accumulated; learning rate 0.1, as given'
    """
    return (
        f"{step['clips']} clips a step = {step['devices']} device(s) × {step['clips_per_device']} × "
        f"{step['accumulated_batches']} accumulated; learning rate {step['learning_rate']}, as given"
    )


class LostProcessError(RuntimeError):
    """Another process of the same training is gone; the message says which and what to do."""


class MemoryExhaustedError(RuntimeError):
    """A batch does not fit; the message says which and what to change."""


def explain(
    error: Exception, fit: pl.Trainer, name: str, stage: Stage, folder: Path
) -> RuntimeError | ValueError | None:
    """What to do about an error: memory is full, another process is gone, too few frames for a norm; None for others.

    Args:
        error: what ended the training.
        fit: the trainer that was at work.
        name: of the stage.
        stage: its settings.
        folder: of the cell.
    """
    if isinstance(error, EOFError | ConnectionError):  # a worker that dies while it hands over a batch
        return LostProcessError(
            f"stage {name}: a DataLoader worker, a process that loads data, was lost at step {fit.global_step}; "
            "the same command goes on from the last checkpoint (trainer.num_workers says how many there are)"
        )
    if "more than 1 value per channel" in str(error):  # BatchNorm after pooling, of one frame
        return ValueError(
            f"stage {name}: this net's BatchNorm needs two frames a step on each device, one cannot be normalised: set "
            f"recipe.stages.{name}.batch_size={2 * fit.world_size}, got "
            + ", ".join(str(each.batch_size) for each in stage.passes.values())
        )
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return MemoryExhaustedError(_memory_exhausted(fit, name, stage))
    if fit.world_size > 1 and lost_another(error):
        return LostProcessError(
            f"stage {name}: {_lost_process(fit, folder)}, so all were stopped; the same command goes on from the last "
            "checkpoint"
        )
    return None


def lost_another(error: Exception) -> bool:
    """Whether an error says that another process of the same training is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _memory_exhausted(fit: pl.Trainer, name: str, stage: Stage) -> str:
    written = "; ".join(
        f"{each and each + ': '}batch_size {batch.batch_size}, clip_length {batch.clip_length}, size {batch.size}"
        for each, batch in stage.passes.items()
    )
    return (
        f"stage {name} ran out of memory on {fit.strategy.root_device} at step {fit.global_step} ({written}; devices "
        f"{fit.world_size}); halve batch_size and double trainer.accumulate_grad_batches (as many clips a step, though "
        "BatchNorm sees fewer at once), or use more devices, trainer.precision=bf16-mixed, smaller or shorter clips; "
        "if another program took the memory, the same command goes on from the last checkpoint"
    )


def _lost_process(fit: pl.Trainer, folder: Path) -> str:
    processes = getattr(fit.strategy.launcher, "procs", [])
    deadline = time.monotonic() + 2  # it may take a moment until the system tells that a process has ended
    while processes and time.monotonic() < deadline:
        for rank, process in enumerate(processes, start=1):
            if status := process.poll():
                how = f"by signal {-status}" if status < 0 else f"with status {status} ({last_words(folder)})"
                return f"process {rank + 1} of {fit.world_size} ended {how}"
        time.sleep(0.05)
    return f"one of {fit.world_size} processes was lost ({last_words(folder)})"
