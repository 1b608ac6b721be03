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

import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from experiments.cells.cell import Cell
from experiments.cells.launch import BUSY, CellPool, end_with_parent
from experiments.cells.launchers import (
    CellFailedError,
    check_launcher,
    launcher_of,
    make_pool,
    run_launched,
    run_single,
    start_in,
)
from experiments.cells.slurm import TimeIsUp, heed_warning, requeue
from experiments.cells.standing import note_size
from experiments.command.composing import run_hydra, swept
from experiments.command.errors import BAD_INPUT, ends_with_one_line
from experiments.command.messages import one_line
from experiments.command.quoting import quote_texts
from experiments.reporting.forecast import before_start, plan

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
    begins = bool(arguments) and not planned and launcher == "basic"
    found = composed_cells(arguments, launcher == "basic", pools if begins else None)
    if not found:  # Hydra has answered by itself, as to --help
        return 0
    from experiments.cells import rendering  # here: it imports torch

    (first, mode), cells = found[0], [each.cell for each in found]
    if not arguments:
        print(f"{__doc__}\nWithout an experiment this would be one cell; hydra.mode=RUN starts it:\n")
    if planned or not arguments:
        alone = mode == RunMode.RUN or launcher != "basic"  # how many a launcher runs at once is its own affair
        told = list[str]()
        # Of a launcher the data may lie where its cells run, and not here.
        with suppress(*(() if launcher == "basic" else (ValueError,))):
            told = rendering.forecast(rendering.sources_to_render(cells))
        print(plan(cells, 1 if alone else make_pool(first, starts=False).workers), *told, sep="\n")
        return 0
    if mode == RunMode.RUN:
        return abs(run_single(first))
    if launcher != "basic":
        return finish(arguments, launched(arguments), pools)
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


def composed_cells(arguments: list[str], own_process: bool, pools: list[CellPool] | None) -> list[Composed]:
    """All cells of a command line, none of which is started.

    Args:
        arguments: the command line.
        own_process: whether this command starts them, on this machine.
        pools: takes the pool of a multirun, which makes ready while its cells are composed; None: none is to start.

    Raises:
        ValueError: no run could use a setting of one of them.
    """
    axes, found = swept(arguments), list[Composed]()

    def take(config: Any) -> None:
        from experiments.training.checks import check_machine, check_parts  # here: it imports torch

        hydra = HydraConfig.get()
        sys.argv[1:] = arguments  # which records keep
        check_launcher(launcher_of(arguments))
        cell = Cell(config, hydra, axes)
        check_parts(cell.settings)
        if own_process:
            check_machine(cell.settings)
        if not found and pools is not None and hydra.mode == RunMode.MULTIRUN:
            pools.append(make_pool(cell))
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


def finish(arguments: list[str], errors: list[Exception], pools: list[CellPool]) -> int:
    """Wait for the cells of a multirun and write the report; 1 if a cell failed, 75 if others work on some."""
    failed = [cell for pool in pools for cell in pool.finish()]
    overrides = [word for word in arguments if not word.startswith(("-m", "--multirun", "hydra/", "hydra."))]
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
