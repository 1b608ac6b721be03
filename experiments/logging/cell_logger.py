"""What logs one cell: Lightning's logger through all stages, then the figures and mattes of the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.loggers import Logger
from PIL import Image

from experiments.records.cell_record import CellRecord

PANEL_ROWS = ("frame", "alpha_true", "alpha_pred", "coverage", "background_true", "background_restored")


class CellLogger(Logger):
    """What logs one cell: Lightning's logger through all stages, then the results.

    Attributes:
        inner: Lightning's logger.
        first_step: optimiser steps of the stages before this one, so that steps go on from stage to stage.
    """

    def __init__(self, inner: Logger) -> None:
        super().__init__()
        self.inner = inner
        self.first_step = 0

    @property
    def name(self) -> str | None:
        """Of the inner logger."""
        return self.inner.name

    @property
    def version(self) -> int | str | None:
        """Of the inner logger."""
        return self.inner.version

    @property
    def save_dir(self) -> str | None:
        """Of the inner logger."""
        return self.inner.save_dir

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars; `step` counts within the stage."""
        kept = {name: value for name, value in metrics.items() if name != "epoch"}  # training has one epoch
        self.inner.log_metrics(kept, self.first_step + step if step is not None else None)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the config is logged when the cell starts."""

    def save(self) -> None:
        """Have everything so far on the disk."""
        self.inner.save()

    def log_results(self, record: CellRecord) -> None:
        """Log what the test found; the record's tables and pictures are written."""
        self.log_metrics(result_figures(record), step=0)

    def log_earlier(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Take up a stage where an earlier process left it: nothing, what that one wrote is still there.

        Args:
            rows: of the stage's history so far.
        """

    def log_history(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log the rows of a stage's history one by one, like the training that kept them: losses, then scores."""
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step" and not pd.isna(value)}
            scores = {name: value for name, value in values.items() if "/" in name}
            losses = {name: value for name, value in values.items() if "/" not in name}
            for values in filter(None, (losses, scores)):
                self.log_metrics(logged_names(values), int(row["step"]))

    def log_record(self, record: CellRecord, stages: Mapping[str, Any]) -> None:
        """Log a complete cell from its record, and end.

        Args:
            record: the cell's.
            stages: those of its recipe, config or None by name.
        """
        for name, stage in stages.items():
            shared = record.steps.get(name, {}).get("trunk", {}).get("steps", 0)  # which the history does not hold
            self.first_step += shared
            self.log_history(read_rows(record.folder / f"history_{name}.csv"))
            self.first_step += stage["steps"] - shared if stage else 0
        self.close(record)

    def close(self, record: CellRecord) -> None:
        """Log the results if the cell is complete, and end."""
        if record.status == "complete":
            self.log_results(record)
        self.inner.finalize("success" if record.status == "complete" else "failed")


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a stage's history; none if it has no file."""
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def logged_names(row: Mapping[str, float]) -> dict[str, float]:
    """A history's row as loggers name it.

    >>> logged_names({"loss": 0.5, "val/mad": 71.2})
    {'train/loss': 0.5, 'val/mad': 71.2}
    """
    return {name if "/" in name else f"train/{name}": value for name, value in row.items()}


def result_figures(record: CellRecord) -> dict[str, float]:
    """The record's test metrics and costs as flat scalars: test/mad, cost/parameters, time/train_seconds."""
    figures = {f"test/{name}": value for name, value in record.metrics.items()}
    figures |= {f"cost/{name}": value for name, value in record.cost.items()}
    figures |= {f"time/{name}": value for name, value in record.durations.items()}
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def matte_panels(media: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Strips of a clip below each other, by clip: input, true alpha, alpha, what the memory holds; (H, W, 3) uint8."""
    panels = {}
    for first in sorted(media.glob("*__frame.png")):
        clip = first.name.removesuffix("__frame.png")
        paths = [media / f"{clip}__{row}.png" for row in PANEL_ROWS]
        strips = [np.asarray(Image.open(path).convert("RGB")) for path in paths if path.is_file()]
        panels[clip] = np.concatenate([strip for strip in strips if strip.shape == strips[0].shape])
    return panels
