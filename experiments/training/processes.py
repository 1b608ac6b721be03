"""How many processes train one cell together, and which of them this one is; without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from datamodules.processes import control_group, cores
from experiments.training.settings import Settings, Trainer

CELLS_AT_ONCE = "MATTING_CELLS_AT_ONCE"  # of the environment: among how many cells this machine is shared
MOST_LOADING = 12  # processes of one that trains: more would wait for the device
# Of a process that trains: before its first step, and for each pixel of the largest batch, all frames of which may be
# in one graph.
BYTES_AT_LEAST, BYTES_A_PIXEL = 1.5 * 2**30, 2048
# Of a GPU that several cells share: more would wait for it, and each needs cores that load.
MOST_ON_A_GPU, CORES_BESIDE_A_GPU = 4, 4


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


def memory_needed(settings: Settings) -> float:
    """About how many bytes training a cell takes at most, of a GPU or of this machine: a guess from its batches."""
    most = 0
    for stage in settings.stages.values():
        for batch in stage.passes.values():
            sides = [batch.size] * 2 if isinstance(batch.size, int) else batch.size
            frames = batch.clip_length or 1
            longest = frames if isinstance(frames, int) else max(frames)
            most = max(most, batch.batch_size * longest * sides[0] * sides[1])
    return BYTES_AT_LEAST + BYTES_A_PIXEL * most


def cells_at_once(settings: Settings, gpus: int) -> int:
    """How many such cells this machine carries, by the cores and the memory that they need.

    One on each GPU; several where it has twice the memory that they need, and cores to load for each. Of those that
    train on several devices: one.

    Args:
        settings: of one of the cells.
        gpus: over which cells are spread; 0: none.
    """
    if settings.trainer.devices > 1:
        return 1
    needed = memory_needed(settings)
    carried = int(memory_of_machine() / needed)
    if not gpus:
        return max(1, min(cores() // settings.trainer.threads, carried))
    each = min(int(memory_of_gpus() / (2 * needed)), cores() // (gpus * CORES_BESIDE_A_GPU), carried // gpus)
    return gpus * max(1, min(each, MOST_ON_A_GPU))


def memory_of_machine() -> float:
    """Bytes that processes could still take: of the machine, or fewer if their control group says so; without swap."""
    try:
        told = Path("/proc/meminfo").read_text(encoding="utf-8")
        free = float(re.search(r"^MemAvailable:\s+(\d+) kB", told, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):
        free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit = control_group("memory.max")
    return min(free, float(limit)) if limit.isdigit() else free


def memory_of_gpus() -> float:
    """Free bytes of the fullest CUDA device; 0 where nobody tells, or one takes a single process or is in parts."""
    if shutil.which("nvidia-smi") is None:
        return 0.0
    query = ["nvidia-smi", "--query-gpu=memory.free,compute_mode,mig.mode.current", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    free = []
    for line in listed.stdout.splitlines():
        mebibytes, mode, parts = (word.strip() for word in [*line.split(","), "", ""][:3])
        free.append(float(mebibytes) if mebibytes.isdigit() and mode == "Default" and parts != "Enabled" else 0.0)
    return min(free, default=0.0) * 2**20
