"""Run a W&B sweep file without a server: the same commands, cells and records, W&B offline.

    python -m experiments.sweep sweeps/brm_ablation.yaml                  all points, one a GPU or one a core
    python -m experiments.sweep sweeps/brm_ablation.yaml scale=small      with further overrides
    python -m experiments.sweep sweeps/brm_ablation.yaml --workers 2 --points 0-4
    python -m experiments.sweep sweeps/brm_ablation.yaml --dry-run        the commands, a line each
    python -m experiments.sweep sweeps/brm_ablation.yaml --make           write the file, from +exp=brm_ablation

Run the same command again after an interruption: complete cells are skipped, cut-off ones go on. Run it twice at
once, also from machines that share the output folder: each point is taken by one of them.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from datamodules.files.writing import write_file
from experiments.cells.cell import Cell
from experiments.cells.launch import CellPool, end_with_parent, spawn
from experiments.cells.launchers import make_pool, start_in
from experiments.cells.search import Search, read_score
from experiments.cells.sweep_files import Point, SweepFile, read_sweep, sweep_of
from experiments.command.composing import CONFIGS, refuse_secret_settings
from experiments.command.errors import BAD_INPUT, ends_with_one_line
from experiments.command.messages import one_line
from experiments.command.quoting import quoted
from experiments.records.cell_record import CellRecord

ENTRY = "experiments.run"


def main() -> int:
    """Run the points of a sweep file and write the report; 1 if a cell failed."""
    options = parse(sys.argv[1:])
    if options.make:
        write_file(options.file, sweep_of(options.file.stem).encode())
        return 0
    sweep = read_sweep(options.file)
    if options.dry_run:
        for point in numbered(sweep.points(options.seed), options.points):
            print(shlex.join([*sweep.command_line(point), *options.overrides]))
        return 0
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler that takes the machine back
    workers = [] if options.workers is None else [f"workers={options.workers}"]
    config = composed([*_overrides([*sweep.command_line({}), *options.overrides]), *workers])
    runner = Runner(sweep, options.overrides, make_pool(Cell(config, HydraConfig.get(), axes=())))
    try:
        if sweep.method == "bayes":
            search = Search(sweep, Path(config.output_dir) / "sweeps", options.seed, runner.score)
            return runner.run(proposals(search, runner.pool), sweep.run_cap)
        points = numbered(sweep.points(options.seed), options.points)
        return runner.run(points, len(points))
    except KeyboardInterrupt:
        runner.pool.stop()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="a sweep file, sweeps/NAME.yaml")
    parser.add_argument("overrides", nargs="*", default=[], help="added to every command, scale=small")
    parser.add_argument("--workers", help="cells at once; default: one a GPU, or one a core up to four")
    parser.add_argument("--points", help="only these, counted from 0: 3 or 0-4 or 0,2,5-7")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of random and bayes sweeps")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.add_argument("--make", action="store_true", help="write the file from the experiment of its name")
    return parser.parse_intermixed_args(arguments)


def numbered(points: list[Point], wanted: str | None) -> list[Point]:
    """The points that `--points` asks for.

    >>> numbered([{"seed": 0}, {"seed": 1}, {"seed": 2}], "0,2")
    [{'seed': 0}, {'seed': 2}]
    """
    if wanted is None:
        return points
    chosen: list[int] = []
    for part in wanted.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) >= len(points):
            raise ValueError(f"--points {wanted}: expected numbers from 0 to {len(points) - 1}, like 3 or 0,2,5-7")
        chosen += range(int(first), int(last or first) + 1)
    return [points[number] for number in chosen]


class Runner:
    """Starts the points of a sweep, each in a process of its own.

    Attributes:
        pool: the processes.
        reports: report folder → overrides of one cell of that comparison.
        errors: a line for each point that could not be started.
    """

    def __init__(self, sweep: SweepFile, overrides: Sequence[str], pool: CellPool) -> None:
        self.sweep, self.overrides, self.pool = sweep, list(overrides), pool
        self.reports: dict[Path, list[str]] = {}
        self.errors: list[str] = []
        self.started: dict[str, Point] = {}  # by cell

    def run(self, points: Iterable[Point], total: int | None) -> int:
        """Run all points, those last that others work on, and write the reports; 1 if something failed."""
        self.pool.say(f"{self.sweep.name}: {total} points, {self.pool.workers} at once")
        for point in points:
            self.start(point)
        self.pool.finish()
        for tries in count():
            again = [self.started.pop(cell) for cell in self.pool.busy]
            self.pool.busy.clear()
            if not again:
                break
            if not tries:
                self.pool.say(f"waiting   {len(again)} points are worked on by others")
            time.sleep(2)
            for point in again:
                self.start(point)
            self.pool.finish()
        return self.finish()

    def start(self, point: Point) -> None:
        """Start one point when a place is free, unless it is complete or another process works on it."""
        command = [*self.sweep.command_line(point), *self.overrides]
        try:
            cell = self.cell(point)
            self.reports.setdefault(cell.report, _overrides(command))
            if cell.name in self.started:
                return  # drawn twice
            self.started[cell.name] = point
            start_in(self.pool, cell, partial(self._spawn, command))
        except BAD_INPUT as error:
            self.errors.append(f"{shlex.join(command)}: {one_line(error)}")
            self.pool.say(f"FAILED    {self.errors[-1]}")

    def _spawn(self, command: list[str], gpu: int | None, log: object, lock: int) -> subprocess.Popen[bytes]:
        # Takes the lock anew, once it is free: between the two may stand what hands on no open file, as torchrun.
        return spawn(command, gpu, log, lock=None, WANDB_RUN_GROUP=self.sweep.name)

    def cell(self, point: Point) -> Cell:
        """The cell of a point."""
        config = composed(_overrides([*self.sweep.command_line(point), *self.overrides]))
        return Cell(config, HydraConfig.get(), axes=())

    def score(self, point: Point) -> float | None:
        """What the cell of a point reached in the sweep's metric; None while it is not complete."""
        try:
            record = CellRecord.load(self.cell(point).folder)
            return read_score(record, self.sweep.metric["name"])
        except BAD_INPUT:
            return None

    def finish(self) -> int:
        """Write the report of each comparison; 1 if a cell or a report failed."""
        failed = [*self.pool.failed, *self.errors]
        statuses = [
            subprocess.run([sys.executable, "-m", "experiments.report", *overrides], check=False).returncode
            for overrides in self.reports.values()
        ]
        if failed:
            print(f"{len(failed)} point(s) failed; the others are kept", file=sys.stderr)
        return 1 if failed or any(statuses) else 0


def proposals(search: Search, pool: CellPool) -> Iterable[Point]:
    """The points of a search, each proposed when a place is free."""
    while True:
        pool.wait_for_place()
        point = search.next()
        if point is None:
            return
        yield point


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config of a command line; Hydra's own part is kept in `HydraConfig`."""
    with initialize_config_dir(str(CONFIGS.resolve()), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    refuse_secret_settings(plain)
    return plain


def _overrides(command: Sequence[str]) -> list[str]:
    if ENTRY not in command:
        raise ValueError(f"command must call -m {ENTRY}, got {shlex.join(command)}")
    given = command[list(command).index(ENTRY) + 1 :]
    return [quoted(word) for word in given if not word.startswith(("-", "hydra.mode="))]


if __name__ == "__main__":
    ends_with_one_line(main)
