"""Train, test and compare every cell of an experiment, then write the report.

    python -m experiments.run +exp=brm_ablation                 all arms and seeds at the default scale
    python -m experiments.run +exp=brm_ablation scale=small     larger frames, longer training
    python -m experiments.run +exp=brm_update seed=0,1,2,3,4    more seeds
    python -m experiments.run +exp=brm_ablation hydra.mode=RUN model.brm=true seed=0    one cell

Run the same command again after an interruption: complete cells are skipped, a cut-off one goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.command import ends_with_one_line, one_line, run_hydra, swept
from experiments.launch import BUSY, CellPool, count_gpus, end, end_with_parent, spawn_cell
from experiments.study import Study, move_stale_aside


def main() -> int:
    """Run the cells of the command line; 0 if all are complete."""
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler that takes the machine back
    arguments = sys.argv[1:]
    axes = swept(arguments)
    pools: list[CellPool] = []  # one, once the first cell of a multirun is known
    statuses: list[int] = []  # of a single cell

    def run_cell(config: DictConfig) -> None:
        study = Study(config, HydraConfig.get(), axes)
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        if multirun and not pools:
            pools.append(make_pool(config))
        say = pools[0].say if multirun else print
        if move_stale_aside(study):
            say(f"changed   {study.cell}: the record of another config was moved aside")
        complete = study.is_complete()
        if complete and "WANDB_SWEEP_ID" not in os.environ:  # a sweep's server waits for the run: it is logged again
            say(f"skip      {study.cell}: complete")
            return
        path = study.folder / "config.yaml" if complete else study.prepare()
        if multirun:
            pools[0].start(study.cell, study.folder, path, config.trainer.threads)
        else:
            process = spawn_cell(path, config.trainer.threads, None, None)
            try:
                statuses.append(process.wait())
            except KeyboardInterrupt:
                end([process])
                raise

    try:
        errors = run_hydra(run_cell)
        if errors and not pools:
            raise errors[0]
        return finish(pools[0], arguments, errors) if pools else max(map(abs, statuses), default=0)
    except KeyboardInterrupt:
        for pool in pools:
            pool.stop()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def make_pool(config: DictConfig) -> CellPool:
    """One cell at a time on each GPU, or on each core up to four; `workers` overrides it.

    Raises:
        ValueError: `workers` is neither "auto" nor a number from 1 on.
    """
    one_device = config.trainer.devices == 1
    gpus = count_gpus() if one_device and config.trainer.accelerator in ("auto", "gpu", "cuda") else 0
    workers = config.workers
    if workers == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = (gpus or min(4, cores)) if one_device else 1
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be auto or a number from 1 on, got {workers!r}")
    return CellPool(workers, gpus)


def finish(pool: CellPool, arguments: list[str], errors: list[Exception]) -> int:
    """Wait for the cells of a multirun and write the report; 1 if a cell failed, 75 if others work on some."""
    failed = pool.finish()
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    report = subprocess.run([sys.executable, "-m", "experiments.report", *overrides], check=False)
    for error in errors:
        print(f"error: {one_line(error)}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} cell(s) failed: {', '.join(failed)}; the others are kept", file=sys.stderr)
    return 1 if failed or errors or report.returncode else BUSY if pool.busy else 0


if __name__ == "__main__":
    ends_with_one_line(main)
