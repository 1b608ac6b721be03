"""Run records: what one cell of an experiment leaves on disk, and how it is read back.

`outputs/EXP/CELL/` holds `config.yaml`, `record.json`, `metrics.parquet`, `memory.parquet` of nets with a state,
`baselines.parquet`, `history_STAGE.csv` and `media/`: of test clips STRATUM__CLIP__LAYER.webp, the first `SHEET_FRAMES`
frames in a row, and of some a few frames as .png and an .mp4. Every file is written under a temporary name and moved
into place, so a reader sees the old file or the new one, never half of one. A complete record holds the checksums of
its files and of itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Self, TypeVar

import pandas as pd
import yaml

from datamodules.files.writing import remove_abandoned, write_file
from experiments.command.messages import reason
from experiments.records.checksums import content_checksum, file_checksum, finite, read_json, wrong_type
from experiments.records.fingerprints import part_of_data
from experiments.records.tables import read_history, read_table

# That of libyaml is far faster, where PyYAML is built with it.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
STATUSES = ("running", "complete", "failed")
BASELINES = "baselines.parquet"
MEMORY = "memory.parquet"
WEIGHTS = "model.pt"
PUBLISHED_WEIGHTS = "published weights"
SHEET_FRAMES = 48
CHECKED_FILES = ("config.yaml", "metrics.parquet", MEMORY, BASELINES, "history_*.csv", WEIGHTS)
Read = TypeVar("Read")


@dataclass
class CellRecord:
    """One arm of an experiment trained and tested under one seed.

    Attributes:
        folder: where the cell lies; not part of `record.json`.
        study: overrides that all cells of one comparison share; "" for none.
        cell: its name, made of its overrides: "model.brm=true,seed=0".
        arm: the settings that the experiment compares, {"model.brm": True}.
        config_hash: `config_hash` of the resolved config.
        data: what it was trained and tested on, by content, as `fingerprints.describe_data` says it: "fingerprint",
            "files", "bytes" and its "parts"; {} in records from before that was kept.
        status: "running", "complete" or "failed".
        command: the command line that ran it.
        started: ISO time; likewise `finished`.
        steps: by stage what an optimiser step sees: "clips" in all, "devices", "clips_per_device",
            "accumulated_batches" and "learning_rate".
        durations: seconds: "train_seconds", in which "found_seconds" are those of a trunk that another process had
            trained, and "test_seconds", in which floors and untrained net are scored too if no other
            cell has done so.
        peak_memory_gib: largest memory held, None where it was not measured.
        trained_on: `part_of_data` of what the weights that were tested as they were had been trained on, by the record
            beside them, or `PUBLISHED_WEIGHTS`; "" where nobody tells, and for a cell that trains: `data` tell it.
        memory: "measured" where `memory.parquet` tells whether the net uses its state, "none" where it has none; "" in
            records of evaluations, and in those from before it was measured.
        metrics: test figures in display units (MAD and MSE × 1e3, dtSSD × 1e2).
        cost: "parameters", "gmacs_per_frame", "milliseconds_per_frame" and the "frame" they were measured on.
        error: one line if the cell failed, else "".
        checksums: SHA-256 of its files by name, of those in CHECKED_FILES once it is complete; records of earlier
            versions have none.
    """

    folder: Path
    experiment: str = ""
    study: str = ""
    cell: str = ""
    arm: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    scale: str = ""
    config_hash: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    trained_on: str = ""
    status: str = "running"
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    hardware: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    steps: dict[str, Any] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    peak_memory_gib: float | None = None
    memory: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # No fields, so no part of `record.json`: what `check` has said, and files as they were first read.
        self._is_whole = False
        self._read: dict[str, Any] = {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The record in `folder/record.json`.

        Raises:
            ValueError: there is none, it cannot be read as one, or it was changed after it was written.
        """
        path = folder / "record.json"
        try:
            content = read_json(path)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read ({reason(error)}); run the cell again") from error
        known = {item.name for item in fields(cls)} - {"folder"}
        told = content.pop("checksum", None) if isinstance(content, dict) else None
        if not isinstance(content, dict) or content.keys() - known or content.get("status") not in STATUSES:
            raise ValueError(f"{path} is not a run record of this version; run the cell again")
        if told is not None and told != content_checksum(content):
            raise ValueError(f"{path} is damaged or was edited: its checksum is another; run the cell again")
        if wrong := wrong_type(content, asdict(cls(folder))):
            raise ValueError(f"{path} is no run record: {wrong}; run the cell again")
        return cls(folder=folder, **content)

    @property
    def seconds(self) -> float:
        """That a cell has trained and tested, without a trunk that another process had trained."""
        of = self.durations
        return of.get("train_seconds", 0.0) - of.get("found_seconds", 0.0) + of.get("test_seconds", 0.0)

    def fail(self, error: Exception) -> None:
        """Mark as failed, and keep why in one line; nothing is written."""
        self.status, self.error = "failed", f"{type(error).__name__}: {reason(error, 500)}"[:500]

    def save(self) -> None:
        """Write `record.json`, the last file of a complete cell.

        Raises:
            ValueError: the status is unknown, or "complete" while the config or the metrics are not there.
        """
        if self.status not in STATUSES:
            raise ValueError(f"status of {self.folder} is {self.status!r}, not one of {', '.join(STATUSES)}")
        self._is_whole = False
        self._read.clear()
        if self.status == "complete":
            missing = [name for name in ("config.yaml", "metrics.parquet") if not (self.folder / name).is_file()]
            if missing:
                raise ValueError(f"{self.folder} cannot be complete without {' and '.join(missing)}; write them first")
            self.note_checksums(*CHECKED_FILES)
        content = asdict(self)
        del content["folder"]
        content = finite(content)
        content["checksum"] = content_checksum(content)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        write_file(self.folder / "record.json", (text + "\n").encode())

    def note_checksums(self, *patterns: str) -> None:
        """Take down the checksums of files as they are now, in place of earlier ones; `save` writes them."""
        found = {path.name: path for pattern in patterns for path in sorted(self.folder.glob(pattern))}
        self.checksums = {name: file_checksum(path) for name, path in found.items()}

    def checked(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            ValueError: the record has a checksum of it, and it is not there or has another.
        """
        path = self.folder / name
        if name in self.checksums:
            if not path.is_file():
                raise ValueError(f"{path} is missing; run the cell again")
            if file_checksum(path) != self.checksums[name]:
                raise ValueError(f"{path} is damaged or was changed: record.json has another checksum; "
                                 "run the cell again")  # fmt: skip
        return path

    def check(self) -> None:
        """Make sure that all files that a report is made of can be read and are as they were written; looks once.

        Raises:
            ValueError: one is not; names it.
        """
        if self._is_whole:
            return
        self.read_config()
        self.read_frames()
        self.read_memory()
        if BASELINES not in self.checksums:  # else that vouches for this largest of the tables
            self.read_baselines()
        for stage in self._stages():
            self._history(stage)
        for name in self.checksums:
            if name != WEIGHTS:  # no report needs it, and its reader checks it
                self.checked(name)
        self._is_whole = True

    def _once(self, name: str, read: Callable[[Path], Read]) -> Read:
        """What `read` makes of a file; those of a complete cell stay as they are and are read once."""
        if name in self._read:
            known: Read = self._read[name]
            return known
        found = read(self.checked(name))
        if self.status == "complete":
            self._read[name] = found
        return found

    def read_config(self) -> dict[str, Any]:
        """`config.yaml`, read once and not to be changed; empty where there is none.

        Raises:
            ValueError: it is damaged, or no mapping in YAML.
        """
        return self._once("config.yaml", _read_config)

    def read_frames(self) -> pd.DataFrame:
        """`metrics.parquet`, read once: one row a clip and frame, raw figures.

        Raises:
            ValueError: the table is missing, damaged, empty, or lacks a column of numbers.
        """
        return self._once("metrics.parquet", read_table)

    def read_memory(self) -> pd.DataFrame | None:
        """`memory.parquet`, read once: columns of `read_frames` and `state`; None where there is none.

        Raises:
            ValueError: as `read_frames`.
        """
        return self._once(MEMORY, _read_if_there)

    def read_baselines(self) -> pd.DataFrame | None:
        """`baselines.parquet`, too large to be kept: columns of `read_frames` and `method`; None where there is none.

        Raises:
            ValueError: as `read_frames`.
        """
        return _read_if_there(self.checked(BASELINES))

    def read_history(self) -> pd.DataFrame | None:
        """Losses of all stages in the order of training: stage, step (counted on), loss and its named terms.

        None where there is none.

        Raises:
            ValueError: a file is damaged, or holds anything but numbers.
        """
        histories, first = [], 0
        for stage in self._stages():
            history = self._history(stage)
            if len(history):
                histories.append(history.assign(stage=stage, step=history["step"] + first))
                first = int(histories[-1]["step"].max())
        return pd.concat(histories, ignore_index=True) if histories else None

    def _history(self, stage: str) -> pd.DataFrame:
        return self._once(f"history_{stage}.csv", read_history)

    def _stages(self) -> list[str]:
        """Names of the stages that left a history, in the order of the config's recipe."""
        found = sorted(path.stem.removeprefix("history_") for path in self.folder.glob("history_*.csv"))
        try:
            order = list(self.read_config()["recipe"]["stages"])
        except (KeyError, TypeError):
            return found
        return sorted(found, key=lambda stage: order.index(stage) if stage in order else len(order))


def _read_if_there(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.is_file() else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = SafeLoader(path.read_text(encoding="utf-8")).get_single_data() if path.is_file() else {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}); run the cell again") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings; run the cell again")
    return config


def read_cells(root: Path) -> list[CellRecord]:
    """All cells under `outputs/EXP`, by name; one that is torn comes as failed and says what is wrong with it."""
    if not root.is_dir():
        return []
    return [_read_cell(folder) for folder in sorted(root.iterdir()) if is_cell(folder)]


def is_cell(folder: Path) -> bool:
    """Whether a folder is a cell's; not one that was set aside because its config has changed since."""
    if re.search(r"~[0-9a-f]{12}(\.\d+)?$", folder.name):
        return False
    return (folder / "record.json").is_file() or (folder / "config.yaml").is_file()


def _read_cell(folder: Path) -> CellRecord:
    try:
        record = CellRecord.load(folder)
    except ValueError as error:
        return CellRecord(folder=folder, cell=folder.name, status="failed", error=reason(error))
    if record.status == "complete":
        try:
            record.check()
        except ValueError as error:
            return replace(record, status="failed", error=reason(error))
    return record


def record_beside(file: Path) -> CellRecord | None:
    """The record of the run that left a file, if there is one beside it."""
    try:
        return CellRecord.load(file.parent)
    except ValueError:
        return None


def trained_on(weights: str | Path) -> str:
    """What a record tells of the training of weights: of a file, or of those that are published under a name."""
    if not Path(weights).is_file():
        return PUBLISHED_WEIGHTS
    beside = record_beside(Path(weights))
    return part_of_data(beside.data, "training") if beside else ""


def remove_torn(folder: Path) -> None:
    """Delete what was being written in a cell's folder when its process was killed; call it under the cell's lock."""
    for path in ("", "checkpoints", "media", "trunk", "trunk/checkpoints"):
        remove_abandoned(folder / path)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, whole or not at all."""
    buffer = BytesIO()
    table.to_parquet(buffer, index=False, write_page_checksum=True)  # which `read_table` compares
    write_file(path, buffer.getvalue())


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a resolved config of plain values as YAML, whole or not at all."""
    write_file(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())


def last_words(folder: Path) -> str:
    """The last line of a cell's log, "" if there is none."""
    try:
        text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
