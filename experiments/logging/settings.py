"""Config group `logger` with its types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Logger:
    """What a cell is logged to; all but the name is of W&B, as `logger/wandb.yaml` explains it."""

    name: Literal["wandb", "csv", "tensorboard", "none"]
    project: str = ""
    mode: Literal["online", "offline", "disabled", "shared"] = "offline"
    init_timeout: float = 0
    finish_timeout: float = 0
