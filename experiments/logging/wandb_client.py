"""How the client of Weights & Biases is used here: offline unless asked, silent, and bounded in time."""

from __future__ import annotations

import os
import sys
from typing import Any

from experiments.logging.settings import Logger


def logging_mode(options: Logger) -> str:
    """How config group `logger` wants W&B to log: "online" under a sweep agent, else as WANDB_MODE or it says."""
    return "online" if "WANDB_SWEEP_ID" in os.environ else os.environ.get("WANDB_MODE", options.mode)


def client_settings(options: Logger) -> Any:
    """The client silent and bounded in time, as config group `logger` says; it takes no code and no console text."""
    import wandb

    strip_key()
    os.environ.pop("WANDB_SERVICE", None)  # of the process that started this one: it may end first
    return wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        init_timeout=options.init_timeout,
        finish_timeout=options.finish_timeout,
        finish_timeout_raises=True,
    )


def strip_key() -> None:
    """Take blanks and line ends off WANDB_API_KEY: a file or a secret store often adds one, no server takes it."""
    if "WANDB_API_KEY" in os.environ:
        os.environ["WANDB_API_KEY"] = os.environ["WANDB_API_KEY"].strip()


def warn(line: str) -> None:
    """One line on standard error."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
