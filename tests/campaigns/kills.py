"""Kill an ablation at random moments, start it again, and compare its end with that of an undisturbed run.

    python -m tests.campaigns.kills --kills 20                           a small ablation, twenty moments
    python -m tests.campaigns.kills --kills 20 +exp=brm_update seed=0    another experiment; overrides as for run

The moments are random and spread over the whole run: a tenth of them before the first cell works (imports), a fifth
while the report is made, all others while cells render, train, save and test. Equal are: every cell's scores of
frames, baselines, losses, weights, pictures and record, and the table of the report, all bit for bit; of a record all
but what tells of time, machine and command (`NOT_COMPARED`). A cell that is complete when the kill comes must not be
touched again.

Everything is written under --folder: `whole` and `again`, two undisturbed runs that must be equal too, and one folder
for each moment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import track

from experiments.command.errors import ends_with_one_line
from experiments.records.cell_record import CellRecord, read_cells

SMALL = (
    *("+exp=brm_ablation", "seed=0", "scale=smoke", "scale.steps=24", "scale.test_clips=1", "scale.val_clips=1"),
    *("logger=none", "workers=2", "trainer.checkpoint_every=3", "trainer.validate_every=10"),
)
STARTS = 4  # until the run is done; a second one may meet cells that have not yet seen that their command is gone
Process = subprocess.Popen[bytes]
WAYS: dict[str, Callable[[Process], None]] = {
    "SIGKILL to all": lambda process: os.killpg(process.pid, signal.SIGKILL),
    "SIGKILL to the command": lambda process: process.kill(),
    "SIGTERM to all": lambda process: os.killpg(process.pid, signal.SIGTERM),
    "SIGTERM to the command": lambda process: process.terminate(),
    "SIGINT to all": lambda process: os.killpg(process.pid, signal.SIGINT),  # Ctrl-C in a terminal
}
# Of a record: what tells of time, machine and command, and the checksums of files, some of which tell of places.
# Everything else is the same however a cell was run.
NOT_COMPARED = (
    *("folder", "command", "git_commit", "started", "finished", "durations", "peak_memory_gib", "hardware"),
    "checksums",
)
TIMED_COSTS = ("milliseconds_per_frame",)
COMPARED_FILES = ("metrics.parquet", "memory.parquet", "baselines.parquet", "history_*.csv", "media/*")


@dataclass
class Outcome:
    """What one kill did.

    Attributes:
        moment: seconds after the first cell began to work, or before it if negative.
        stage: where the run was.
        starts: how many it took.
        difference: from the undisturbed run, "" if there is none.
    """

    moment: float
    stage: str
    starts: int
    difference: str


def main() -> int:
    """Run the campaign of the command line; 0 if every end was that of the undisturbed run."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kills", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kills", type=int, default=20, help="moments, each in a run of its own")
    parser.add_argument("--seed", type=int, default=0, help="of moments and signals")
    parser.add_argument("--folder", type=Path, default=Path("outputs/faults"), help="of this campaign; made anew")
    options, overrides = parser.parse_known_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what runs in the background ignore it
    overrides = overrides or list(SMALL)
    if options.folder.exists() and not (options.folder / "whole").is_dir():
        parser.error(
            f"--folder {options.folder} exists and is no earlier campaign's, which would be removed; give another"
        )
    shutil.rmtree(options.folder, ignore_errors=True)
    begin = time.monotonic()
    phases = undisturbed(options.folder, overrides)
    print(f"an undisturbed run takes {sum(phases):.0f} s, {phases.cells:.0f} s in cells; two of them are equal\n")
    print("| moment, s | how | where the run was | starts | same end |\n| ---: | --- | --- | ---: | --- |", flush=True)
    draw = random.Random(options.seed)
    ways = [list(WAYS)[number % len(WAYS)] for number in range(options.kills)]
    draw.shuffle(ways)
    moments = random_moments(phases, options.kills, draw)
    same = 0
    for number in track(range(options.kills), "kills", transient=True, disable=not sys.stdout.isatty()):
        way = WAYS[ways[number]]
        found = disturb(options.folder, str(number), overrides, moments[number], phases.before, way)
        same += not found.difference
        end = found.difference or "yes"
        print(f"| {found.moment:.1f} | {ways[number]} | {found.stage} | {found.starts} | {end} |", flush=True)
    print(f"\n{same} of {options.kills} equal to the undisturbed run, in {time.monotonic() - begin:.0f} s")
    return 0 if same == options.kills else 1


class Phases(NamedTuple):
    """Seconds of a run: before its first cell works, while cells work, afterwards."""

    before: float
    cells: float
    report: float


def random_moments(phases: Phases, kills: int, draw: random.Random) -> list[float]:
    """Seconds after the first cell began to work, ascending; each phase is cut into as many parts as it has moments.

    >>> [round(each) for each in random_moments(Phases(10, 20, 5), 10, random.Random(0))]
    [-2, 2, 4, 6, 10, 13, 17, 18, 21, 24]
    """
    shares = (kills // 10, kills - kills // 10 - kills // 5, kills // 5)
    begin, moments = -phases.before, []
    for length, share in zip(phases, shares, strict=True):
        moments += [begin + (part + draw.random()) / share * length for part in range(share)]
        begin += length
    return moments


def undisturbed(folder: Path, overrides: list[str]) -> Phases:
    """How long an undisturbed run takes where people are rendered already; two such runs must be equal.

    Raises:
        ValueError: a run failed, or the two differ.
    """
    for name in ("whole", "again"):
        begin = time.time()
        if start(folder / name, overrides).wait():
            raise ValueError(f"the undisturbed run failed: see {folder / name / 'log.txt'}")
    if difference := run_difference(folder / "whole", folder / "again"):
        raise ValueError(f"two undisturbed runs differ in {difference}: nothing can be compared with them")
    end, cells = time.time(), _cells(folder / "again").values()
    first = min(datetime.fromisoformat(cell.started).timestamp() for cell in cells)
    last = max(datetime.fromisoformat(cell.finished).timestamp() for cell in cells)
    return Phases(max(first - begin, 0), last - first, end - last)


def start(folder: Path, overrides: list[str]) -> Process:
    """Start the run in a process group of its own, all that it writes below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder.parent}/cache"]
    command = [sys.executable, "-m", "experiments.run", *overrides, *places]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def disturb(
    base: Path, name: str, overrides: list[str], moment: float, before: float, kill: Callable[[Process], None]
) -> Outcome:
    """Start a run, end it at its moment, start it again until it is done, compare with `BASE/whole`.

    A run that is done before its moment is begun anew with an earlier one.

    Args:
        base, name: the run lies in BASE/NAME.
        overrides: of the run.
        moment: as in `Outcome`.
        before: seconds until the first cell works, of an undisturbed run.
        kill: ends the run.
    """
    folder = base / name
    process = start(folder, overrides)
    if moment >= 0:
        while process.poll() is None and not list(folder.glob("outputs/*/*/progress")):
            time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment if moment >= 0 else before + moment)
    if process.poll() is None:
        kill(process)
    if process.wait() == 0:
        shutil.rmtree(folder)
        return disturb(base, name, overrides, 0.9 * moment, before, kill)
    stage, complete = stage_of(folder, base / "whole"), complete_records(folder)
    starts = 2
    while start(folder, overrides).wait() and starts < STARTS:
        starts += 1
        time.sleep(1)
    again = [cell for cell, text in complete_records(folder).items() if complete.get(cell, text) != text]
    twice = f"{again[0]} was run twice" if again else ""
    return Outcome(moment, stage, starts, run_difference(base / "whole", folder) or twice)


def stage_of(folder: Path, whole: Path) -> str:
    """Where a run was when it was ended: of each cell that was not complete what it did last, by its own words."""
    cells, all_cells = _cells(folder), _cells(whole)
    if len(cells) == len(all_cells) and all(cell.status == "complete" for cell in cells.values()):
        return "report"
    places = []
    for cell in cells.values():
        torn = [path.name for path in cell.folder.rglob("*.tmp")]
        writing = f", writing {torn[0].split('.', 1)[1].rsplit('.', 2)[0]}" if torn else ""  # .NAME.XXXXXXXX.tmp
        places.append("complete" if cell.status == "complete" else f"{_progress(cell.folder)}{writing}")
    return " / ".join(places) or "start"


def _progress(folder: Path) -> str:
    try:
        return " ".join((folder / "progress").read_text(encoding="utf-8").split("\t")[:3])
    except OSError:
        return "start of a cell"


def complete_records(folder: Path) -> dict[str, str]:
    """The text of the records of cells that are complete."""
    cells = _cells(folder)
    return {name: (c.folder / "record.json").read_text() for name, c in cells.items() if c.status == "complete"}


def run_difference(whole: Path, other: Path) -> str:
    """What differs between the ends of two runs; "" if nothing does."""
    ours, theirs = _cells(whole), _cells(other)
    if ours.keys() != theirs.keys():
        return f"cells {', '.join(sorted(ours.keys() ^ theirs.keys()))}"
    found = [difference for name in ours if (difference := cell_difference(ours[name], theirs[name]))]
    return found[0] if found else _different_file(whole, other, ["results/*/*/scores.csv"])


def cell_difference(one: CellRecord, other: CellRecord) -> str:
    """What differs between two complete cells apart from NOT_COMPARED; "" if nothing does."""
    if other.status != "complete":
        return f"{other.cell} is {other.status} {other.error}".strip()
    ours, theirs = comparable(one), comparable(other)
    if different := [key for key in ours if ours[key] != theirs[key]]:
        return f"{', '.join(different)} of the record of {one.cell}"
    if name := _different_file(one.folder, other.folder, COMPARED_FILES):
        return f"{name} of {one.cell}"
    weights, others = (torch.load(each.folder / "model.pt", weights_only=True)["state_dict"] for each in (one, other))
    same = weights.keys() == others.keys() and all(weights[key].equal(others[key]) for key in weights)
    return "" if same else f"weights of {one.cell}"


def comparable(record: CellRecord) -> dict[str, Any]:
    """What two runs of one cell must have in common: the record without NOT_COMPARED and TIMED_COSTS."""
    fields = {name: value for name, value in asdict(record).items() if name not in NOT_COMPARED}
    return fields | {"cost": {name: value for name, value in record.cost.items() if name not in TIMED_COSTS}}


def _different_file(one: Path, other: Path, patterns: tuple[str, ...] | list[str]) -> str:
    """The first file of the patterns that is not the same in both folders; "" if all are."""
    names = {path.relative_to(root) for root in (one, other) for each in patterns for path in root.glob(each)}
    for name in sorted(names):
        both = [root / name for root in (one, other)]
        if not all(path.is_file() for path in both) or both[0].read_bytes() != both[1].read_bytes():
            return str(name)
    return ""


def _cells(folder: Path) -> dict[str, CellRecord]:
    return {cell.cell: cell for root in (folder / "outputs").glob("*") for cell in read_cells(root)}


if __name__ == "__main__":
    ends_with_one_line(main)
