"""Train, test and compare every cell of an experiment, then write the report.

    python -m experiments.run +exp=brm_ablation                 all arms and seeds at the default scale
    python -m experiments.run +exp=brm_ablation scale=small     larger frames, longer training
    python -m experiments.run +exp=brm_ablation seed=0,1,2,3,4  more seeds
    python -m experiments.run +exp=brm_ablation hydra.mode=RUN model.brm=true seed=0    one cell

Run the same command again after an interruption: complete cells are skipped, a cut-off one goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.launch import CellPool, count_gpus, spawn_cell
from experiments.study import Study, ends_with_one_line, move_stale_aside, swept

POOL: list[CellPool] = []  # one, once the first cell of a multirun is known


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(config: DictConfig) -> int | None:
    """One cell: skip it if complete, else start its process."""
    study = Study(config, HydraConfig.get(), swept(sys.argv[1:]))
    if move_stale_aside(study):
        print(f"changed   {study.cell}: the record of another config was moved aside")
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and not POOL:
        gpus = count_gpus() if config.trainer.accelerator in ("auto", "gpu", "cuda") else 0
        workers = config.workers if config.workers != "auto" else gpus or min(4, os.cpu_count() or 1)
        POOL.append(CellPool(int(workers), gpus))
    if study.is_complete():
        (POOL[0].say if POOL else print)(f"skip      {study.cell}: complete")
        return 0
    path = study.prepare()
    if multirun:
        POOL[0].start(study.cell, study.folder, path, config.trainer.threads)
        return None
    status = spawn_cell(path, config.trainer.threads, None, None).wait()
    if status:
        sys.exit(status if status > 0 else 1)
    return status


def finish() -> int:
    """Wait for the cells of a multirun and write the report; 1 if a cell failed."""
    if not POOL:
        return 0
    failed = POOL[0].finish()
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    report = subprocess.run([sys.executable, "-m", "experiments.report", *overrides], check=False)
    if failed:
        print(f"{len(failed)} cell(s) failed: {', '.join(failed)}; the others are kept", file=sys.stderr)
    return 1 if failed or report.returncode else 0


def command() -> int:
    """The whole command."""
    try:
        main()
        return finish()
    except KeyboardInterrupt:
        for pool in POOL:
            pool.stop()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    ends_with_one_line(command)
