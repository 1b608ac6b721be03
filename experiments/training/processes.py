"""How many processes train one cell together, and which of them this one is; without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess

from datamodules.processes import cores
from experiments.training.settings import Trainer

CELLS_AT_ONCE = "MATTING_CELLS_AT_ONCE"  # of the environment: among how many cells this machine is shared
MOST_LOADING = 12  # processes of one that trains: more would wait for the device


def num_processes(trainer: Trainer) -> int:
    """Processes that train one cell together, one a device."""
    return trainer.devices * trainer.num_nodes


def num_loading(trainer: Trainer) -> int:
    """Processes that load for each process that trains: as set, or its share of the cores, one left for itself."""
    if trainer.num_workers != "auto":
        return trainer.num_workers
    share = cores() // (int(os.environ.get(CELLS_AT_ONCE, "1")) * trainer.devices)
    return min(max(share - 1, 1), MOST_LOADING)


def leads(trainer: Trainer) -> bool:
    """Whether this process is the first of its cell, which tests and records.

    A cell on one device has no other, whatever number torchrun or srun gave to the process.
    """
    if num_processes(trainer) == 1:
        return True
    ranks = ("RANK", "NODE_RANK", "LOCAL_RANK", *(["SLURM_PROCID"] if started_by_srun(trainer) else []))
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def started_by_srun(trainer: Trainer) -> bool:
    """Whether srun has started all processes of the cell; of fewer tasks each starts its own."""
    # Of the step, which srun alone sets; the batch script has the job's number of tasks.
    return os.environ.get("SLURM_STEP_NUM_TASKS") == str(num_processes(trainer)) != "1"


def started_by_torchrun() -> bool:
    """Whether torchrun has started this process, or the one that started it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def count_gpus() -> int:
    """CUDA devices of this machine, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
