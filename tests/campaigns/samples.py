"""Whether loading keeps its memory: many samples of each source, drawn and composited in one process.

    python -m tests.campaigns.samples                  10,000 samples of each source
    python -m tests.campaigns.samples --samples 500    sooner

Prints the process's memory after each tenth; the sources are those of `experiments.benchmark data`, small.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from datamodules.processes import keep_memory
from experiments.benchmarks.data import SOURCES, make_work, write_files
from experiments.matting.speed import resident_mb

FRAMES, SIDE, FILES = 3, 64, (64, 96)


def main(arguments: list[str]) -> int:
    """Run all; 1 if a source's memory grows by more than a twentieth from the first fifth on."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.samples", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--samples", type=int, default=10_000, help="of each source (default: %(default)s)")
    count = parser.parse_args(arguments).samples
    if count < 10:
        parser.error("--samples must be 10 at least, one for each tenth")
    torch.set_num_threads(1)
    keep_memory()
    grown = False
    print(f"| MB after tenths of {count} samples | " + " | ".join(f"{n}" for n in range(1, 11)) + " |")
    print("| --- |" + " ---: |" * 10)
    with TemporaryDirectory() as folder:
        write_files(Path(folder), *FILES)
        for source in SOURCES:
            work, memory = make_work(Path(folder), source, FRAMES, SIDE), []
            for number in range(1, count + 1):
                work()
                if number % max(1, count // 10) == 0 and len(memory) < 10:
                    memory.append(resident_mb())
            grown |= memory[-1] > 1.05 * memory[1]
            print(f"| {source} | " + " | ".join(f"{each:.0f}" for each in memory) + " |", flush=True)
    return int(grown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
