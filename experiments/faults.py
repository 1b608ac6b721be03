"""Kill an ablation at random moments, start it again, and compare its end with that of an undisturbed run.

    python -m experiments.faults --kills 20                           a small ablation, twenty moments
    python -m experiments.faults --kills 20 +exp=brm_update seed=0    another experiment; overrides as for run

Everything is written under --folder: `whole`, the undisturbed run, and one folder for each moment.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from rich.progress import track

from experiments.command import ends_with_one_line
from experiments.records import CellRecord, read_cells

SMALL = (
    *("+exp=brm_ablation", "seed=0", "scale=smoke", "logger=none", "workers=2"),
    *("scale.steps=40", "trainer.checkpoint_every=5"),
)
WAYS = {
    "SIGKILL to all": lambda process: os.killpg(process.pid, signal.SIGKILL),
    "SIGKILL to the command": lambda process: process.kill(),
    "SIGTERM to the command": lambda process: process.terminate(),
}


def main() -> int:
    """Run the campaign of the command line; 0 if every end was that of the undisturbed run."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kills", type=int, default=20, help="moments, each in a run of its own")
    parser.add_argument("--seed", type=int, default=0, help="of moments and signals")
    parser.add_argument("--folder", type=Path, default=Path("outputs/faults"))
    options, overrides = parser.parse_known_args()
    overrides = overrides or list(SMALL)
    shutil.rmtree(options.folder, ignore_errors=True)
    begin = time.monotonic()
    if start(options.folder / "whole", overrides).wait():
        raise ValueError(f"the undisturbed run failed: see {options.folder}/whole")
    duration = time.monotonic() - begin
    print("| moment, s | how | cells complete at the kill | starts | same end |\n| ---: | --- | ---: | ---: | --- |")
    draw = random.Random(options.seed)
    same = 0
    for number in track(range(options.kills), "kills", transient=True, disable=not sys.stdout.isatty()):
        folder, moment, way = options.folder / str(number), draw.uniform(0, duration), draw.choice(list(WAYS))
        complete, starts = disturb(folder, overrides, moment, way)
        difference = first_difference(options.folder / "whole", folder)
        same += not difference
        print(f"| {moment:.1f} | {way} | {complete} | {starts} | {difference or 'yes'} |", flush=True)
    print(f"\n{same} of {options.kills} equal to the undisturbed run, which took {duration:.0f} s")
    return 0 if same == options.kills else 1


def start(folder: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
    """Start the run in a process group of its own, all that it writes below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder.parent}/cache"]
    command = [sys.executable, "-m", "experiments.run", *overrides, *places]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def disturb(folder: Path, overrides: list[str], moment: float, way: str) -> tuple[int, int]:
    """Start a run, end it after `moment` seconds, start it again until it is done.

    Returns:
        How many cells were complete at the kill, and how many starts it took.
    """
    process = start(folder, overrides)
    time.sleep(moment)
    WAYS[way](process)
    process.wait()
    complete = sum(cell.status == "complete" for cell in _cells(folder).values())
    for starts in (2, 3):
        if start(folder, overrides).wait() == 0:
            return complete, starts
        time.sleep(2)  # cells of a killed command need a moment to see that it is gone
    return complete, starts


def first_difference(whole: Path, other: Path) -> str:
    """What differs between the ends of two runs: cells, their scores, losses or weights; "" if nothing does."""
    ours, theirs = _cells(whole), _cells(other)
    if ours.keys() != theirs.keys():
        return f"cells {', '.join(ours.keys() ^ theirs.keys())}"
    for name, record in ours.items():
        twin = theirs[name]
        if twin.status != "complete":
            return f"{name} is {twin.status}"
        if not record.read_frames().equals(twin.read_frames()):
            return f"scores of {name}"
        for history in record.folder.glob("history_*.csv"):
            if not pd.read_csv(history).equals(pd.read_csv(twin.folder / history.name)):
                return f"losses of {name}"
        weights, others = (
            torch.load(each.folder / "model.pt", weights_only=True)["state_dict"] for each in (record, twin)
        )
        if weights.keys() != others.keys() or not all(weights[key].equal(others[key]) for key in weights):
            return f"weights of {name}"
    return ""


def _cells(folder: Path) -> dict[str, CellRecord]:
    return {cell.cell: cell for root in (folder / "outputs").glob("*") for cell in read_cells(root)}


if __name__ == "__main__":
    ends_with_one_line(main)
