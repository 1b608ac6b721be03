"""Train, test and compare every cell of an experiment, then write the report.

    python -m experiments.run +exp=brm_ablation                 all arms and seeds at the default scale
    python -m experiments.run +exp=brm_ablation scale=small     larger frames, longer training
    python -m experiments.run +exp=brm_update seed=0,1,2,3,4    more seeds
    python -m experiments.run +exp=brm_ablation hydra.mode=RUN model.brm=true seed=0    one cell
    python -m experiments.run +exp=brm_ablation plan            its cells, time, memory, disk and power; nothing starts
    python -m experiments.run --help                            every setting and where it stands

Run the same command again after an interruption: complete cells are skipped, a cut-off one goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from experiments.cells.cell import Cell, CellBusyError, prepared_cell
from experiments.cells.launch import BUSY, CellPool, end, end_with_parent, spawn_cell, what_it_scored, why_ended
from experiments.cells.launchers import CellFailedError, check_launcher, launcher_of, run_launched, wait_for_first
from experiments.cells.slurm import TimeIsUp, heed_warning, requeue
from experiments.cells.standing import note_size
from experiments.command.composing import run_hydra, swept
from experiments.command.errors import BAD_INPUT, ends_with_one_line, one_line
from experiments.command.quoting import quote_texts
from experiments.reporting.forecast import before_start, plan
from experiments.training.processes import count_gpus, leads, started_by_srun, started_by_torchrun

PLAN = "plan"


def main() -> int:
    """Run the cells of the command line; 0 if all are complete."""
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler that takes the machine back
    heed_warning()
    pools: list[CellPool] = []  # one, once the first cell of a multirun is known
    quote_texts()
    try:
        return run_cells(sys.argv[1:], pools)
    except KeyboardInterrupt as asked:
        for pool in pools:
            pool.stop()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        if isinstance(asked, TimeIsUp):
            requeue()
        return 130


def run_cells(arguments: list[str], pools: list[CellPool]) -> int:
    """Run one cell, or all of a multirun in a pool that is put into `pools`, or print their plan; the exit status.

    Every cell is composed and checked before the first one starts.
    """
    planned, launcher = PLAN in arguments, launcher_of(arguments)
    arguments = [word for word in arguments if word != PLAN]
    check_launcher(launcher)
    found = composed_cells(arguments, own_process=launcher == "basic")
    if not found:  # Hydra has answered by itself, as to --help
        return 0
    from experiments.cells import rendering  # here: it imports torch

    (first, mode), cells = found[0], [each.cell for each in found]
    if not arguments:
        print(f"{__doc__}\nWithout an experiment this would be one cell; hydra.mode=RUN starts it:\n")
    if planned or not arguments:
        alone = mode == RunMode.RUN or launcher != "basic"  # how many a launcher runs at once is its own affair
        told = rendering.forecast(rendering.sources_to_render(cells))
        print(plan(cells, 1 if alone else make_pool(first).workers), *told, sep="\n")
        return 0
    if mode == RunMode.RUN:
        return abs(run_single(first))
    if launcher != "basic":
        return finish(arguments, launched(arguments), pools)
    pools.append(make_pool(first))
    pools[0].expect(len(cells))
    note_size(first.folder.parent, first.report.name, len(cells))
    pools[0].say(before_start(cells, pools[0].workers))
    rendering.render_for(cells, pools[0])
    errors: list[Exception] = []
    for cell in cells:
        try:
            start_in(pools[0], cell)
        except BAD_INPUT as error:  # of its folder; the others go on
            errors.append(error)
    return finish(arguments, errors, pools)


class Composed(NamedTuple):
    """A cell, and whether the command runs one or many."""

    cell: Cell
    mode: RunMode | None


def composed_cells(arguments: list[str], own_process: bool) -> list[Composed]:
    """All cells of a command line, none of which is started.

    Args:
        arguments: the command line.
        own_process: whether this command starts them, on this machine.

    Raises:
        ValueError: no run could use a setting of one of them.
    """
    from experiments.training.checks import check_machine, check_parts  # here: it imports torch

    axes, found = swept(arguments), list[Composed]()

    def take(config: Any) -> None:
        hydra = HydraConfig.get()
        sys.argv[1:] = arguments  # which records keep
        cell = Cell(config, hydra, axes)
        check_parts(cell.settings)
        if not found and own_process:
            check_machine(cell.settings)
        found.append(Composed(cell, hydra.mode))

    of_launcher = ("hydra/launcher=", "hydra.launcher.")
    sys.argv[1:] = [word for word in arguments if not word.lstrip("+").startswith(of_launcher)]
    errors = run_hydra(take)
    sys.argv[1:] = arguments
    if errors:
        raise errors[0]
    return found


def launched(arguments: list[str]) -> list[Exception]:
    """Run all cells through Hydra's launcher, in processes that do not know this one's; what failed."""
    axes = swept(arguments)

    def run_cell(config: Any) -> None:
        sys.argv[1:] = arguments  # which the process of a launcher does not know
        run_launched(config, HydraConfig.get(), axes)

    try:
        return run_hydra(run_cell)
    except CellFailedError as error:
        return [error]


def run_single(cell: Cell) -> int:
    """Run one cell and wait for it; its exit status."""
    path, trainer = cell.folder / "config.yaml", cell.settings.trainer
    if leads(trainer):
        try:
            with prepared_cell(cell, print) as lock:
                if lock is None:
                    return 0
                process = spawn_cell(path, trainer.threads, None, None, lock)
        except CellBusyError as busy:
            print(busy, file=sys.stderr)
            return BUSY
    else:
        wait_for_first(cell)
        process = spawn_cell(path, trainer.threads, None, None, None)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        end([process])
        raise
    if status < 0:
        print(f"{cell.name}: {why_ended(cell.folder, status)}", file=sys.stderr)
    if status == 0 and leads(trainer):
        print(f"complete  {cell.name}{what_it_scored(cell.folder)}\nrecord    {cell.folder}")
    return status


def start_in(pool: CellPool, cell: Cell) -> None:
    """Start a cell in a pool as soon as a place is free, unless it is complete or another process works on it."""
    pool.wait_for_place()  # not under the lock: until then another command may take the cell
    try:
        with prepared_cell(cell, pool.say) as lock:
            if lock is None:
                pool.count()
            else:
                pool.start(cell.name, cell.folder, cell.folder / "config.yaml", cell.settings.trainer.threads, lock)
    except CellBusyError:
        pool.say_busy(cell.name)


def make_pool(cell: Cell) -> CellPool:
    """One cell at a time on each GPU, or on each core up to four; `workers` overrides it.

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
    one_device = trainer.devices == 1
    gpus = count_gpus() if one_device and trainer.accelerator != "cpu" else 0
    if workers == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = (gpus or min(4, cores)) if one_device else 1
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be auto or a number from 1 on, got {workers!r}")
    check_machine(cell.settings)
    return CellPool(workers, gpus)


def finish(arguments: list[str], errors: list[Exception], pools: list[CellPool]) -> int:
    """Wait for the cells of a multirun and write the report; 1 if a cell failed, 75 if others work on some."""
    failed = [cell for pool in pools for cell in pool.finish()]
    overrides = [argument for argument in arguments if not argument.startswith(("-", "hydra/", "hydra."))]
    # Without a terminal: W&B would wait there for somebody to log in.
    command = [sys.executable, "-m", "experiments.report", *overrides]
    report = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    for line in dict.fromkeys(map(one_line, errors)):
        print(f"error: {line}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} cell(s) failed: {', '.join(failed)}; the others are kept", file=sys.stderr)
    return 1 if failed or errors or report.returncode else BUSY if any(pool.busy for pool in pools) else 0


if __name__ == "__main__":
    ends_with_one_line(main)
