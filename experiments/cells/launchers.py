"""The ways in which cells are started: several in a pool, one by a launcher of Hydra's, one by an agent or torchrun."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import distributions

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from experiments.cells.cell import Cell, CellBusyError, prepared_cell
from experiments.cells.forks import ForkedCell, prepare_forks
from experiments.cells.launch import BUSY, CellPool, Process, end, spawn_cell, what_it_scored, why_ended
from experiments.command.errors import BAD_INPUT
from experiments.command.messages import one_line
from experiments.records.cell_record import CellRecord
from experiments.training.processes import (
    CELLS_AT_ONCE,
    cells_at_once,
    count_gpus,
    leads,
    started_by_srun,
    started_by_torchrun,
)
from experiments.training.settings import Trainer

Start = Callable[..., Process]  # of a GPU or None, a log and a lock

PACKAGES = {"joblib": "hydra-joblib-launcher", "submitit_": "hydra-submitit-launcher"}
PATIENCE = 300.0  # seconds in which the first process of a cell must have written its config


class CellFailedError(RuntimeError):
    """A cell that a launcher ran in another process has failed; the message is one line."""


def launcher_of(arguments: Sequence[str]) -> str:
    """Name of the Hydra launcher that the command line asks for.

    >>> launcher_of(["+exp=brm_ablation", "hydra/launcher=joblib"]), launcher_of([])
    ('joblib', 'basic')
    """
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("hydra/launcher=")]
    return given[-1] if given else "basic"


def check_launcher(name: str) -> None:
    """Check that there is such a launcher; call it while Hydra composes a cell.

    Raises:
        ValueError: there is none, or its package is not installed.
    """
    package = next((package for start, package in PACKAGES.items() if name.startswith(start)), None)
    if package and not any(distributions(name=package)):
        raise ValueError(f"hydra/launcher={name} needs a package that is not installed: pip install {package}")
    known = GlobalHydra.instance().config_loader().get_group_options("hydra/launcher")
    if name not in known:
        raise ValueError(f"hydra/launcher={name}: there is no such launcher; there are {', '.join(known)}")


def make_pool(cell: Cell, starts: bool = True) -> CellPool:
    """As many cells at a time as the machine carries (`cells_at_once`); `workers` overrides it.

    One that `starts` cells begins at once to import what they need, beside this process.

    Raises:
        ValueError: `workers` is neither "auto" nor a number from 1 on, others have started this command too, or the
            machine lacks what cells ask for.
    """
    from experiments.training.checks import check_machine  # here: it imports torch

    trainer, workers = cell.settings.trainer, cell.workers
    if trainer.num_nodes > 1 or started_by_torchrun() or started_by_srun(trainer):
        raise ValueError(
            "processes that torchrun, srun or several nodes start share one cell: add hydra.mode=RUN and one value of "
            "each axis"
        )
    gpus = _shared_gpus(trainer)
    if workers == "auto":
        workers = cells_at_once(cell.settings, gpus)
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be auto or a number from 1 on, got {workers!r}")
    check_machine(cell.settings)
    os.environ[CELLS_AT_ONCE] = str(workers)  # for them, who share out the cores
    pool = CellPool(workers, gpus)
    pool.forks = starts and gpus == 0 and trainer.devices == 1 and prepare_forks()
    return pool


def _shared_gpus(trainer: Trainer) -> int:
    """GPUs over which cells are spread, one each; 0 where they run on the CPU or take all devices themselves."""
    return count_gpus() if trainer.devices == 1 and trainer.accelerator != "cpu" else 0


def start_in(pool: CellPool, cell: Cell, process: Start | None = None) -> None:
    """Start a cell in a pool as soon as a place is free, unless it is complete or another process works on it.

    Args:
        pool: takes the cell.
        cell: what is started.
        process: starts what works on it, given a GPU or None, the log and the cell's lock; None for `spawn_cell`.
    """
    start = ForkedCell if pool.forks else spawn_cell
    process = process or partial(start, cell.folder / "config.yaml", cell.settings.trainer.threads)
    pool.wait_for_place()  # not under the lock: until then another command may take the cell
    try:
        with prepared_cell(cell, pool.say) as lock:
            if lock is None:
                pool.count()
            else:
                pool.start(cell.name, cell.folder, partial(process, lock=lock))
    except CellBusyError:
        pool.say_busy(cell.name)


def run_launched(config: DictConfig, hydra: HydraConf, axes: Sequence[str]) -> None:
    """Run a cell in the process of a launcher (joblib, submitit), its output in its log; returns when it is complete.

    Jobs are spread over the GPUs of their machine by number.

    Raises:
        CellFailedError: the cell failed. The launcher carries it to the command, which no list of ours would reach.
    """
    try:
        cell = Cell(config, hydra, axes)
        pool = CellPool(1, _shared_gpus(cell.settings.trainer), first_gpu=hydra.job.num, bars=False)
        start_in(pool, cell)
    except BAD_INPUT as error:
        raise CellFailedError(one_line(error)) from None
    try:
        failed = pool.finish()
    except BaseException:
        pool.stop()
        raise
    for name, why in failed.items():
        raise CellFailedError(f"{name}: {why}")


def run_single(cell: Cell) -> int:
    """Run one cell, its output on the terminal, and wait for it; its exit status.

    So do W&B agents, the processes of torchrun and srun, and the jobs of a cluster.
    """
    trainer = cell.settings.trainer
    process = partial(spawn_cell, cell.folder / "config.yaml", trainer.threads, None, None)
    if leads(trainer):
        try:
            with prepared_cell(cell, print) as lock:
                if lock is None:
                    return 0
                running = process(lock)
        except CellBusyError as busy:
            print(busy, file=sys.stderr)
            return BUSY
    else:
        wait_for_first(cell)
        running = process(None)
    try:
        status = running.wait()
    except KeyboardInterrupt:
        end([running])
        raise
    if status < 0:
        print(f"{cell.name}: {why_ended(cell.folder, status)}", file=sys.stderr)
    if status == 0 and leads(trainer):
        print(f"complete  {cell.name}{what_it_scored(cell.folder)}\nrecord    {cell.folder}")
    return status


def wait_for_first(cell: Cell) -> None:
    """Wait until the first process of a cell has written its config, of which this one is a further process.

    Raises:
        ValueError: it has not.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if CellRecord.load(cell.folder).config_hash == cell.hash():
                return
        except ValueError:
            pass  # not yet there
        time.sleep(0.2)
    raise ValueError(
        f"process {os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or os.environ.get('NODE_RANK')}: no config "
        f"in {cell.folder} after {PATIENCE:.0f} s; is output_dir a folder that all nodes share?"
    )
