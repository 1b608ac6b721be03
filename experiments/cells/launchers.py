"""Cells that something else than `experiments.run` itself starts: Hydra's launchers, torchrun, srun."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.metadata import distributions

from hydra.conf import HydraConf
from omegaconf import DictConfig

from experiments.cells.cell import Cell, CellBusyError, prepared_cell
from experiments.cells.launch import BUSY, end, spawn_cell, what_it_scored, why_ended
from experiments.command.errors import BAD_INPUT, one_line
from experiments.records.cell_record import CellRecord
from experiments.training.processes import count_gpus

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
    """Check that the package of a launcher is installed; another name than those here is Hydra's to refuse.

    Raises:
        ValueError: it is not.
    """
    package = next((package for start, package in PACKAGES.items() if name.startswith(start)), None)
    if package and not any(distributions(name=package)):
        raise ValueError(f"hydra/launcher={name} needs a package that is not installed: pip install {package}")


def run_launched(config: DictConfig, hydra: HydraConf, axes: Sequence[str]) -> None:
    """Run a cell in the process of a launcher (joblib, submitit), its output in its log; returns when it is complete.

    Jobs are spread over the GPUs of their machine by number.

    Raises:
        CellFailedError: the cell failed. The launcher carries it to the command, which no list of ours would reach.
    """
    try:
        cell = Cell(config, hydra, axes)
        trainer = cell.settings.trainer
        gpus = count_gpus() if trainer.devices == 1 and trainer.accelerator != "cpu" else 0
        gpu = hydra.job.num % gpus if gpus else None
        with prepared_cell(cell, print) as lock:
            if lock is None:
                return
            with (cell.folder / "log.txt").open("ab") as log:
                process = spawn_cell(cell.folder / "config.yaml", trainer.threads, gpu, log, lock)
    except CellBusyError:
        print(f"busy      {cell.name}: another process works on it")
        return
    except BAD_INPUT as error:
        raise CellFailedError(one_line(error)) from None
    print(f"start     {cell.name}", flush=True)
    try:
        status = process.wait()
    except BaseException:
        end([process])
        raise
    if status not in (0, BUSY):
        raise CellFailedError(f"FAILED    {cell.name}: {why_ended(cell.folder, status)}")
    if status == BUSY:
        print(f"busy      {cell.name}: another process works on it")
    else:
        print(f"complete  {cell.name}{what_it_scored(cell.folder)}")


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
