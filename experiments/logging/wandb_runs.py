"""A cell as a run of Weights & Biases: offline by default, and never a reason why a cell fails or waits.

Offline, or when a server died, the run lies in `CELL/wandb/`; `wandb sync` sends it later. Each start of a cell logs it
from its first step, as the file of a client that was killed lacks rows; online those rows are left out that the server
has. `wandb sync` adds all rows of a file to those that the server has: where it may have a part of a run, the whole is
therefore a run of another id.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import WandbLogger

from experiments.command.messages import reason
from experiments.logging.cell_logger import CellLogger, matte_panels, result_figures
from experiments.logging.settings import Logger
from experiments.logging.wandb_client import client_settings, logging_mode, warn
from experiments.records.cell_record import CellRecord
from experiments.records.identity import config_hash
from lightning_modules.metrics.table import METRICS

ARTIFACT_TYPE = "run-record"
# What a report is made of, and the config; not the weights. Tables need no pictures.
RECORD_FILES = ("config.yaml", "record.json", "metrics.parquet", "memory.parquet", "baselines.parquet", "history_*.csv")
PICTURES = "media/*.png"
ANEW = "-anew"  # at the end of the id of an offline run, where the server may have a part of the cell's
LogAnew = Callable[[CellRecord], None]


class WandbCellLogger(CellLogger):
    """Losses, scores, a table of the test clips, mattes, short videos, and the run record as an artifact."""

    def __init__(self, run: Any, project: str, mode: str, log_anew: LogAnew | None = None) -> None:
        """Log to a run that is started.

        Args:
            run: of the client.
            project: its name.
            mode: "online" or "offline".
            log_anew: logs a complete cell to an offline run, and tells how to send it.
        """
        # Given a run that is started: Lightning's own start prints a warning on standard error.
        super().__init__(WandbLogger(experiment=run, project=project))
        self.run = run
        self.mode = mode
        self.folder = Path(self.run.dir).parent
        self.log_anew = log_anew
        self.failed = False
        self.rows = 0  # logged by this process, those that the server has included
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars as a row, if a run that is resumed does not have it: `starting_step` counts its rows."""
        self.rows += 1
        if self.rows > self.run.starting_step:
            self._try(partial(super().log_metrics, metrics, step))

    def log_earlier(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log what an earlier process did."""
        self.log_history(rows)

    def log_results(self, record: CellRecord) -> None:
        """Test figures, clips, mattes and videos."""
        import wandb

        media = record.folder / "media"
        pictures = [wandb.Image(panel, caption=clip) for clip, panel in matte_panels(media).items()]
        videos = [wandb.Video(str(path), caption=path.stem, format="mp4") for path in sorted(media.glob("*.mp4"))]
        results: dict[str, Any] = {"clips": wandb.Table(dataframe=clip_table(record.read_frames()))}
        results |= {"mattes": pictures} if pictures else {}
        results |= {"videos": videos} if videos else {}
        self.run.log({**result_figures(record), **results})

    def close(self, record: CellRecord) -> None:
        """Log results and record, and end within `logger.finish_timeout` seconds.

        Where a server was away, the client's file has all steps, but not the results, which ask the server first: a
        complete cell is logged anew from its record. When its run is whole, those of earlier processes go.
        """
        complete = record.status == "complete"
        last = [self.log_results] if complete else []
        if record.status != "running":  # else it was asked to end and goes on later
            last += [self._save_record, self._log_artifact]
        for log in last:
            if not (complete and self.failed):  # else all is logged anew, and each call may wait for a dead server
                self._try(partial(log, record))
        try:
            self.run.finish(exit_code=0 if complete else 1)
        except TimeoutError as error:
            self._tell(error)
        if complete and not self.failed:
            for part in _parts(record, f"{self.run.id.removesuffix(ANEW)}*") - {self.folder}:
                shutil.rmtree(part)
        elif self.failed:
            self._rescue(record)

    def _rescue(self, record: CellRecord) -> None:
        """Log a complete cell anew; tell how the rest of any other comes to the server."""
        if record.status == "complete" and self.log_anew:
            try:
                return self.log_anew(record)
            except Exception as error:
                warn(f"W&B could not log the cell anew ({reason(error)})")
        if self.mode == "offline":
            warn(f"what there is of this run is sent by: wandb sync {self.folder}")
        elif record.status == "complete":
            warn(f"rows that W&B has come again with: wandb sync --include-online {self.folder}")
        else:
            warn("the same command sends W&B what it lacks when the cell goes on")

    def _try(self, call: Callable[[], None]) -> None:
        """Call the client; a line at the first error, whatever it is: training goes on, the record is complete."""
        try:
            call()
        except Exception as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self.failed:
            self.failed = True
            warn(f"W&B could not log all ({reason(error)}); the run record is not touched")

    def _log_artifact(self, record: CellRecord) -> None:
        """Asks the server first, alone of all that is logged: with a dead one it is left out."""
        self.run.log_artifact(record_artifact(record, self.run.id))

    def _save_record(self, record: CellRecord) -> None:
        """CELL/record.json and tables among the run's files, where `wandb_records` looks for them."""
        folder = Path(self.run.dir) / record.folder.name
        folder.mkdir(exist_ok=True)
        for path in record_files(record):
            shutil.copyfile(path, folder / path.name)
            self.run.save(str(folder / path.name), base_path=self.run.dir, policy="now")


def start_wandb(options: Logger, config: dict[str, Any], record: CellRecord) -> WandbCellLogger:
    """The cell's run; its id is the same when the cell is resumed.

    Online when config or WANDB_MODE says so and under a sweep agent (WANDB_SWEEP_ID is set), whose run would
    else stay pending on the server for ever; offline otherwise, and when the server cannot be reached.

    Raises:
        ValueError: the server of a sweep agent cannot be reached.
    """
    import wandb

    in_sweep = "WANDB_SWEEP_ID" in os.environ
    mode = logging_mode(options)
    log_anew = partial(_log_anew, options, config)
    earlier = _parts(record)
    try:
        return WandbCellLogger(_start_run(options, config, record, mode), options.project, mode, log_anew)
    except Exception as error:  # of many kinds: refused, timed out, no key, wrong key
        wandb.teardown()  # else the run's id counts as in use
        for part in _parts(record) - earlier:  # nothing was logged to it
            shutil.rmtree(part)
        if in_sweep:
            raise ValueError(f"W&B cannot be reached under its sweep agent ({reason(error)})") from error
        logger = WandbCellLogger(_start_run(options, config, record, "offline"), options.project, "offline", log_anew)
        warn(f"W&B cannot be reached ({reason(error)}): logging offline; send later: wandb sync {logger.folder}")
        return logger


def _parts(record: CellRecord, run_id: str = "*") -> set[Path]:
    """Folders of the client's runs of a cell, one a start."""
    return {path.parent for path in (record.folder.resolve() / "wandb").glob(f"*run-*/run-{run_id}.wandb")}


def _log_anew(options: Logger, config: dict[str, Any], record: CellRecord) -> None:
    """Log a complete cell to an offline run, and tell how to send it."""
    import wandb

    wandb.teardown()  # else the run's id counts as in use
    logger = WandbCellLogger(_start_run(options, config, record, "offline"), options.project, "offline")
    logger.log_record(record, config["recipe"]["stages"])
    if not logger.failed:  # else it told so itself
        warn(f"all of this cell is sent, as run {logger.run.id}, by: wandb sync {logger.folder}")


def _start_run(options: Logger, config: dict[str, Any], record: CellRecord, mode: str) -> Any:
    import wandb

    identity = config_hash({"cell": [record.experiment, record.cell, record.config_hash]})
    if "WANDB_SWEEP_ID" in os.environ:
        identity = os.environ.get("WANDB_RUN_ID", identity)
    was_online = any(part.name.startswith("run-") for part in _parts(record, identity))
    return wandb.init(
        project=options.project,
        dir=record.folder.resolve(),
        resume="allow",
        name=record.cell,
        id=identity + ANEW if mode == "offline" and was_online else identity,
        group=os.environ.get("WANDB_RUN_GROUP", record.experiment),
        job_type="train",
        tags=[record.scale, str(config["model"]["name"])],
        config=run_config(config, record),
        mode=mode,  # type: ignore[arg-type] # wandb itself says which there are
        settings=client_settings(options),
    )


def run_config(config: dict[str, Any], record: CellRecord) -> dict[str, Any]:
    """The config as W&B shows and filters it: names with dots, as on the command line and in sweep files."""
    who = {"experiment": record.experiment, "cell": record.cell, "config_hash": record.config_hash}
    flat = flatten({name: value for name, value in config.items() if name != "logger"})
    return who | {"git_commit": record.git_commit} | flat


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names.

    >>> flatten({"model": {"brm": True, "width": 0.5}, "seed": 0})
    {'model.brm': True, 'model.width': 0.5, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def clip_table(frames: pd.DataFrame) -> pd.DataFrame:
    """A row a test clip: the mean of its frames in the papers' units.

    Args:
        frames: of `metrics.parquet`, raw.
    """
    names = [name for name in METRICS if name in frames]
    means = frames.groupby(["clip", "scene", "stratum"], sort=False)[names].mean()
    return (means * pd.Series({name: METRICS[name].scale for name in names})).reset_index()


def record_files(record: CellRecord) -> list[Path]:
    """The files of a run record that a report's tables are made of."""
    folder = record.folder.resolve()
    return [path for pattern in RECORD_FILES for path in sorted(folder.glob(pattern))]


def record_artifact(record: CellRecord, run_id: str) -> Any:
    """The run record with its pictures; the files are not copied."""
    import wandb

    about = {"experiment": record.experiment, "cell": record.cell, "status": record.status}
    artifact = wandb.Artifact(f"record-{run_id}", type=ARTIFACT_TYPE, metadata=about)
    folder = record.folder.resolve()
    for path in [*record_files(record), *sorted(folder.glob(PICTURES))]:
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="immutable")
    return artifact
