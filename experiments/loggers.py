"""Where training is logged besides the run record: Weights & Biases, offline by default."""

from __future__ import annotations

import os
from typing import Any

from lightning.pytorch.loggers import Logger

from experiments.records import CellRecord, config_hash


def make_logger(config: dict[str, Any], record: CellRecord) -> Logger | None:
    """The logger that config group `logger` asks for, or None.

    A sweep agent's child (WANDB_SWEEP_ID is set) goes online whatever the config says: offline, its run
    would stay pending on the server for ever.

    Raises:
        ValueError: the logger is unknown.
    """
    options = config["logger"]
    if options["name"] == "none":
        return None
    if options["name"] != "wandb":
        raise ValueError(f"logger.name: unknown logger {options['name']!r}; there are wandb, none")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    identity = config_hash({"cell": [record.experiment, record.cell, record.config_hash]})
    mode = "online" if os.environ.get("WANDB_SWEEP_ID") else os.environ.get("WANDB_MODE", options["mode"])
    logger = WandbLogger(
        project=options["project"],
        save_dir=record.folder,
        name=record.cell,
        id=os.environ.get("WANDB_RUN_ID", identity),
        group=record.experiment,
        job_type="train",
        tags=[record.scale],
        # Lightning's own `offline=True` would set WANDB_MODE for the whole process.
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", init_timeout=30),
    )
    logger.experiment.config.update(config, allow_val_change=True)
    return logger
