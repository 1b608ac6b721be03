"""A cell as a run of Weights & Biases: offline by default, and never a reason why a cell fails or waits.

Offline, or when a server died, the run lies in `CELL/wandb/`; `wandb sync` sends it later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import WandbLogger

from experiments.cell_logger import CellLogger, matte_panels, result_figures
from experiments.messages import reason
from experiments.records import CellRecord, config_hash
from experiments.scoring.evaluation import shown_scale
from experiments.wandb_client import client_settings, logging_mode, warn
from lightning_modules.metrics.scores import METRICS

ARTIFACT_TYPE = "run-record"
# What a report is made of, and the config; not the weights. Tables need no pictures.
RECORD_FILES = ("config.yaml", "record.json", "metrics.parquet", "baselines.parquet", "history_*.csv")
PICTURES = "media/*.png"
LogAnew = Callable[[CellRecord, bool], Path]
SCORES = ("mad", "mse", "dtssd")


class WandbCellLogger(CellLogger):
    """Losses, scores, a table of the test clips, mattes, short videos, and the run record as an artifact."""

    def __init__(self, run: Any, project: str, mode: str, log_anew: LogAnew | None = None) -> None:
        """Log to a run that is started.

        Args:
            run: of the client.
            project: its name.
            mode: "online" or "offline".
            log_anew: logs a complete cell, or its results alone, to an offline run of the same id; gives its folder.
        """
        # Given a run that is started: Lightning's own start prints a warning on standard error.
        super().__init__(WandbLogger(experiment=run, project=project))
        self.run = run
        self.mode = mode
        self.folder = Path(self.run.dir).parent
        self.log_anew = log_anew
        self.failed = False
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        for score in SCORES:
            run.define_metric(f"val/{score}", step_metric="trainer/global_step", summary="min")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars."""
        self._try(partial(super().log_metrics, metrics, step))

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

        Where an earlier process of an offline cell was killed, the client may not have written all: one run from the
        record takes the place of its parts. Where a server was away, it has part of the steps and the client's file
        has all, but not the results, which ask the server first: they are logged to an offline run of their own.
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
        parts = _parts(record, self.run.id)
        cut_off = self.mode == "offline" and len(parts) > 1
        if complete and self.log_anew and (self.failed or cut_off):
            self._try(partial(self._log_missing, parts, self.log_anew, record))
        elif self.failed:
            how = "" if self.mode == "offline" else "--include-online "
            warn(f"what W&B does not have yet is sent by: wandb sync {how}{self.folder}")

    def _log_missing(self, parts: set[Path], log_anew: LogAnew, record: CellRecord) -> None:
        """Log anew what the parts of a run lack, and tell how to send all; they stay where that fails."""
        folder, before = log_anew(record, self.mode == "offline"), ""
        if self.mode == "online":
            before = f"wandb sync --include-online {self.folder} && "
        else:
            for part in parts:
                shutil.rmtree(part)
        warn(f"all of this run is sent by: {before}wandb sync {folder}")

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
        """CELL/record.json and tables among the run's files, where `experiments.wandb_records` looks for them."""
        folder = Path(self.run.dir) / record.folder.name
        folder.mkdir(exist_ok=True)
        for path in record_files(record):
            shutil.copyfile(path, folder / path.name)
            self.run.save(str(folder / path.name), base_path=self.run.dir, policy="now")


def start_wandb(config: dict[str, Any], record: CellRecord) -> WandbCellLogger:
    """The cell's run, the same one again when the cell is resumed.

    Online when config or WANDB_MODE says so and under a sweep agent (WANDB_SWEEP_ID is set), whose run would
    else stay pending on the server for ever; offline otherwise, and when the server cannot be reached.

    Raises:
        ValueError: the server of a sweep agent cannot be reached.
    """
    import wandb

    options = config["logger"]
    in_sweep = "WANDB_SWEEP_ID" in os.environ
    mode = logging_mode(options)
    log_anew = partial(_log_anew, config)
    earlier = _parts(record)
    try:
        return WandbCellLogger(_start_run(config, record, mode), options["project"], mode, log_anew)
    except Exception as error:  # of many kinds: refused, timed out, no key, wrong key
        wandb.teardown()  # else the run's id counts as in use
        for part in _parts(record) - earlier:  # nothing was logged to it
            shutil.rmtree(part)
        if in_sweep:
            raise ValueError(f"W&B cannot be reached under its sweep agent ({reason(error)})") from error
        logger = WandbCellLogger(_start_run(config, record, "offline"), options["project"], "offline", log_anew)
        warn(f"W&B cannot be reached ({reason(error)}): logging offline; send later: wandb sync {logger.folder}")
        return logger


def _parts(record: CellRecord, run_id: str = "*") -> set[Path]:
    """Folders of the client's runs of a cell, one a start."""
    return {path.parent for path in (record.folder.resolve() / "wandb").glob(f"*run-*/run-{run_id}.wandb")}


def _log_anew(config: dict[str, Any], record: CellRecord, whole: bool) -> Path:
    """Log a complete cell, or its results alone, to an offline run of the same id; its folder."""
    import wandb

    wandb.teardown()  # else the run's id counts as in use
    run = _start_run(config, record, "offline")
    logger = WandbCellLogger(run, config["logger"]["project"], "offline")
    logger.log_record(record, config["recipe"]["stages"] if whole else {})
    return logger.folder


def _start_run(config: dict[str, Any], record: CellRecord, mode: str) -> Any:
    import wandb

    options = config["logger"]
    identity = config_hash({"cell": [record.experiment, record.cell, record.config_hash]})
    return wandb.init(
        project=options["project"],
        dir=record.folder.resolve(),
        resume="allow",
        name=record.cell,
        id=os.environ.get("WANDB_RUN_ID", identity) if "WANDB_SWEEP_ID" in os.environ else identity,
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
    return (means * pd.Series({name: shown_scale(name) for name in names})).reset_index()


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
