"""Matte a video of one's own: alpha, foreground, cut-out or composite, with its sound and its time stamps.

    python -m experiments.matte input=me.mp4 weights=rvm_mobilenetv3 output=me
    python -m experiments.matte input=me.mp4 checkpoint=outputs/brm_ablation/CELL/model.pt output=me
    python -m experiments.matte input=me.mp4 weights=rvm_mobilenetv3 output=me write=[composite.mp4] over=sea.jpg
    python -m experiments.matte input=0 weights=rvm_mobilenetv3 output=me    the first webcam, until Ctrl-C

Ctrl-C leaves files that play; the same command goes on from there.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from datamodules.processes import keep_memory
from experiments.command.composing import given_settings, run_hydra
from experiments.command.errors import ends_with_one_line
from experiments.command.quoting import quote_texts
from experiments.inference.saved_nets import named_by_file
from experiments.matting.request import make_job
from experiments.scoring.request import setting_name

STOPPED = 128 + signal.SIGINT  # what a shell calls a command that Ctrl-C has ended


def main() -> int:
    """Matte what the command line asks for; 0 if all of it is done."""
    quote_texts()
    keep_memory()
    if not any(argument in ("--help", "-h", "--cfg", "-c") for argument in sys.argv[1:]):
        sys.argv += named_by_file(given_settings(sys.argv[1:]))
    ends: list[int] = []

    def matte(config: DictConfig) -> None:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        given = [setting_name(override) for override in HydraConfig.get().overrides.task]
        job = make_job(plain, given)
        ends.append(0 if job.run(plain["again"]) else STOPPED)

    for error in run_hydra(matte, "matte"):
        raise error
    return max(ends, default=0)


if __name__ == "__main__":
    ends_with_one_line(main)
