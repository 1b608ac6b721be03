"""Two processes of one gloo group, as two GPUs of a training are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def in_two_processes(work: Callable[..., Any], folder: Path, *arguments: object) -> list[Any]:
    """What `work(rank, *arguments)` gives in each of the two, by way of files in an empty folder."""
    # A fork has all modules imported. With GPUs, autograd has threads, which forbid it.
    method = "spawn" if torch.cuda.is_available() else "fork"
    torch.multiprocessing.start_processes(_work_in_group, (work, folder, arguments), nprocs=2, start_method=method)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _work_in_group(rank: int, work: Callable[..., Any], folder: Path, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    try:
        torch.save(work(rank, *arguments), folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()
