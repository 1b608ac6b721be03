"""A cell: its settings, identity, folder, lock and record, from a resolved config and the overrides that made it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from experiments.command.safety import check_names
from experiments.records.cell_record import CellRecord, trained_on, write_config
from experiments.records.experiment import Experiment
from experiments.records.fingerprints import describe_weights, what_changed
from experiments.records.identity import short_name
from experiments.records.locks import lock_cell, lock_owner
from experiments.training.settings import Settings, has_effect, settings_hash

# Settings of the command that runs cells; they are none of a cell's.
OF_COMMAND = ("output_dir", "results_dir", "workers")
# What a process that was killed before it wrote a record can have left.
BEGINNINGS = ("lock", "log.txt", "config.yaml")


class Cell:
    """One cell within its experiment.

    Attributes:
        config: resolved and plain.
        settings: the same with types.
        experiment: what is asked and compared.
        workers: cells at once on this machine, or "auto".
        arm: what the experiment compares, setting → value.
        study: overrides that all cells of this comparison share, "" for none; another study is another comparison.
        name: shared overrides (shortened if they are long), then arm and seed.
        folder: OUTPUT_DIR/EXPERIMENT/CELL.
        report: RESULTS_DIR/EXPERIMENT/SCALE, and the shared overrides where there are any.
    """

    def __init__(self, config: DictConfig, hydra: HydraConf, axes: Sequence[str]) -> None:
        """Name the cell of a composed config; `axes` are the settings that the command line sweeps.

        Raises:
            ValueError: a name of files would lead out of the output folder, no run could use a setting, or the
                weights that are to be tested cannot be had.
        """
        self.config: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        stages = {f"recipe.stages.{name}": name for name in self.config["recipe"]["stages"]}
        check_names({f"{part}.name": self.config[part]["name"] for part in ("experiment", "scale")} | stages)
        if "weights" in self.config["model"]:
            from experiments.training.nets import with_weights  # here: it imports torch

            self.config["model"] = with_weights(self.config["model"])
        self.experiment = Experiment.of(self.config.pop("experiment"))
        outputs, results, self.workers = (self.config.pop(name) for name in OF_COMMAND)
        self.settings = Settings.of(self.config)
        given = [override.lstrip("+~").partition("=")[0] for override in hydra.overrides.task]
        axes = [*(hydra.sweeper.get("params") or {}), *axes]
        self.arm = {axis: _value(config, hydra, axis) for axis in dict.fromkeys(axes) if axis != "seed"}
        self.seed = self.config["seed"]
        if not self.trains and self.seed:
            raise ValueError(f"seed={self.seed}: nothing is trained here, so no seed changes anything; leave it out")
        self.scale = self.config["scale"]["name"]
        shared = {
            name: _value(config, hydra, name)  # as resolved: an override's text has several forms
            for name in given
            if has_effect(name) and not _is_in(name, (*OF_COMMAND, "exp", "seed", "scale")) and name not in self.arm
        }
        self.study = _join(shared)
        scale = {} if self.scale == "tiny" else {"scale": self.scale}
        prefix = [short_name(self.study)] if shared else []
        self.name = ",".join([*prefix, _join(self.arm | scale | {"seed": self.seed})])
        name = self.experiment.name
        self.folder = Path(outputs) / name / short_name(self.name, 200)
        self.report = Path(results) / name / ",".join([self.scale, *prefix])

    @property
    def trains(self) -> bool:
        """Whether it trains anything before it tests."""
        return bool(self.settings.stages)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the cell reads, as its record says it; files are hashed."""
        from experiments.training.data import describe_cell_data  # here: it imports torch

        return describe_cell_data(self.settings)

    def record(self) -> CellRecord:
        """A new record that says who the cell is."""
        weights = self.config["model"].get("weights")
        return CellRecord(
            folder=self.folder,
            experiment=self.experiment.name,
            study=self.study,
            cell=self.name,
            arm=self.arm,
            seed=self.seed,
            scale=self.scale,
            config_hash=self.hash(),
            data=self.data,
            trained_on=trained_on(weights) if weights else "",
            command=shlex.join(["python", "-m", "experiments.run", *sys.argv[1:]]),
        )

    def hash(self) -> str:
        """Hash of every setting that the cell's numbers depend on."""
        weights = describe_weights(self.config["model"])
        return settings_hash(self.config | ({"weights": weights} if weights else {}))

    def difference(self, record: CellRecord | None) -> str:
        """What keeps a record from being this cell's, in words; "" if it is of the same config and data."""
        if record is None:
            return "its folder has no record that can be read"
        if record.config_hash != self.hash():
            return "the record is of another config"
        if record.data:
            changed = what_changed(record.data, self.data)
            return f"the record is of other data: {changed}" if changed else ""
        # From before data were recorded: what is complete is kept, what is not would be continued on who knows what.
        return "" if record.status == "complete" else "the record does not say what data it is of"

    def is_complete(self) -> bool:
        """Whether the folder holds a complete record of just this config and these data."""
        record = _load(self.folder)
        if record is None or record.status != "complete" or self.difference(record):
            return False
        try:
            record.check()
        except ValueError as error:
            print(f"damaged   {self.name}: {error}", flush=True)
            return False
        return True

    def note(self) -> str:
        """What is to be told of a complete record that is taken for done."""
        record = _load(self.folder)
        return "" if record is None or record.data else "; its record does not say what data it is of"

    def prepare(self) -> Path:
        """Write the cell's config and its record as running; the config's path."""
        path = self.folder / "config.yaml"
        record, earlier = self.record(), _load(self.folder)
        if earlier is not None:  # of the same config and data, else it was moved aside
            record.started = earlier.started
        write_config(path, self.config)
        record.save()
        return path


class CellBusyError(Exception):
    """Another process works on the cell; the message is one line."""


@contextlib.contextmanager
def prepared_cell(cell: Cell, say: Callable[[str], None]) -> Iterator[int | None]:
    """Give the lock of a cell that is to be run, for the process that runs it; None if it is complete.

    All is done under the lock: of commands with other settings none comes in between.

    Args:
        cell: the cell; its config and its record are written.
        say: prints a line.

    Raises:
        CellBusyError: another process works on it.
        ValueError: another process works on it with other settings.
    """
    in_sweep = "WANDB_SWEEP_ID" in os.environ  # its server waits for the run: a complete one is logged again
    if not in_sweep and cell.is_complete():
        say(f"skip      {cell.name}: complete{cell.note()}")
        yield None
        return
    while True:
        cell.folder.mkdir(parents=True, exist_ok=True)
        with lock_cell(cell.folder) as lock:
            if lock is None:
                raise _busy(cell)
            if not _is_of(lock, cell.folder) or move_stale_aside(cell, say):
                continue
            if not cell.is_complete():
                cell.prepare()
            yield lock
            return


def _busy(cell: Cell) -> Exception:
    owner, record = f"{cell.folder}: {lock_owner(cell.folder)} works on this cell", _load(cell.folder)
    if record is not None and record.config_hash != cell.hash():
        return ValueError(f"{owner} with other settings; wait for it or stop it")
    return CellBusyError(f"{owner}; wait for it or stop it")


def _is_of(lock: int, folder: Path) -> bool:
    """Whether a lock is still that of the folder, which was not moved aside before it was taken."""
    try:
        return os.path.samestat(os.fstat(lock), (folder / "lock").stat())
    except FileNotFoundError:
        return False


def move_stale_aside(cell: Cell, say: Callable[[str], None]) -> Path | None:
    """Rename the folder of a cell whose config or data have changed since, so that nothing is lost; its new path.

    A folder whose record is missing or cannot be read goes too, since nobody knows what its checkpoints are of; not
    one in which a killed process has left nothing but its beginnings. Call it under the cell's lock.
    """
    record = _load(cell.folder)
    if record is None and all(path.name in BEGINNINGS or path.suffix == ".tmp" for path in cell.folder.iterdir()):
        return None
    if not (difference := cell.difference(record)):
        return None
    aside = _renamed(cell.folder, record)
    say(f"changed   {cell.name}: {difference}; it was moved aside, to {aside.name}, and the cell starts anew")
    return aside


def move_aside(folder: Path, record: CellRecord | None) -> Path:
    """Rename a folder to one that no report reads; its new path.

    Raises:
        ValueError: another process works in it.
    """
    with lock_cell(folder) as lock:
        if lock is None:
            raise ValueError(f"{folder}: {lock_owner(folder)} works in it; wait for it or stop it")
        return _renamed(folder, record)


def _renamed(folder: Path, record: CellRecord | None) -> Path:
    stem = f"{folder.name}~{record.config_hash if record else 'unreadable'}"
    names = (stem, *(f"{stem}.{number}" for number in range(1, 10_000)))
    return folder.rename(next(path for name in names if not (path := folder.with_name(name)).exists()))


def _is_in(name: str, places: Sequence[str]) -> bool:
    """Whether a setting is one of these or lies below one.

    >>> _is_in("logger.mode", ["logger"]), _is_in("loggers", ["logger"])
    (True, False)
    """
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _value(config: DictConfig, hydra: HydraConf, axis: str) -> Any:
    if axis in hydra.runtime.choices:
        return hydra.runtime.choices[axis]
    value = OmegaConf.select(config, axis)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _join(settings: dict[str, Any]) -> str:
    def written(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return ",".join(name if value is None else f"{name}={written(value)}" for name, value in sorted(settings.items()))


def _load(folder: Path) -> CellRecord | None:
    try:
        return CellRecord.load(folder)
    except ValueError:
        return None
