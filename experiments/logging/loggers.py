"""Where a cell is logged besides its run record: Weights & Biases (offline by default), CSV files, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from experiments.logging.cell_logger import CellLogger, matte_panels
from experiments.logging.settings import Logger
from experiments.logging.wandb_runs import start_wandb
from experiments.records.cell_record import CellRecord


class TensorBoardCellLogger(CellLogger):
    """TensorBoard: scalars, and the mattes of the test clips."""

    def log_results(self, record: CellRecord) -> None:
        """Test figures and one panel a test clip."""
        super().log_results(record)
        board = cast(TensorBoardLogger, self.inner).experiment
        for clip, panel in matte_panels(record.folder / "media").items():
            board.add_image(f"mattes/{clip}", panel, dataformats="HWC")


def make_logger(options: Logger, config: dict[str, Any], record: CellRecord) -> CellLogger | None:
    """The logger that config group `logger` asks for, or None; `config` is the whole, which W&B shows and filters.

    Raises:
        ValueError: it is not installed, or a sweep agent's server cannot be reached.
    """
    return LOGGERS[options.name](options, config, record)


def log_again(options: Logger, config: dict[str, Any], record: CellRecord) -> None:
    """Log a complete cell from its record: what a sweep agent asks for and an earlier run has trained."""
    logger = make_logger(options, config, record)
    if logger is not None:
        logger.log_record(record, config["recipe"]["stages"])


def _no_logger(options: Logger, config: dict[str, Any], record: CellRecord) -> None:
    """Run records only."""


def _csv(options: Logger, config: dict[str, Any], record: CellRecord) -> CellLogger:
    """FOLDER/csv/version_N/metrics.csv, N counting the starts of the cell."""
    return CellLogger(CSVLogger(record.folder, name="csv"))


def _tensorboard(options: Logger, config: dict[str, Any], record: CellRecord) -> CellLogger:
    try:
        inner = TensorBoardLogger(record.folder, name="tensorboard", version="", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise ValueError("logger=tensorboard needs the package: pip install tensorboard") from error
    return TensorBoardCellLogger(inner)


LOGGERS: dict[str, Callable[[Logger, dict[str, Any], CellRecord], CellLogger | None]] = {
    "wandb": start_wandb,
    "csv": _csv,
    "tensorboard": _tensorboard,
    "none": _no_logger,
}
