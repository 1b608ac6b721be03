"""A cell's work from its config to its complete record: baselines, training, test, cost."""

from __future__ import annotations

import logging
import sys
import time
import traceback
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from datamodules.processes import keep_memory
from datamodules.sources.rendering import Report
from experiments.benchmarks.cost import streaming_cost
from experiments.cells.launch import BUSY, end_with_parent
from experiments.cells.slurm import ignore_warning
from experiments.command.errors import print_on_any_terminal
from experiments.inference.saved_nets import save_net
from experiments.inference.streaming import Streaming
from experiments.logging.cell_logger import CellLogger
from experiments.logging.loggers import log_again, make_logger
from experiments.records.cell_record import BASELINES, MEMORY, WEIGHTS, CellRecord, remove_torn, write_table
from experiments.records.fingerprints import what_changed
from experiments.records.locks import lock_cell, lock_owner
from experiments.records.progress import Progress, write_progress
from experiments.records.world import describe_hardware, describe_versions, git_commit, now, peak_memory_gib
from experiments.scoring.baselines import baselines_of
from experiments.scoring.evaluation import evaluate
from experiments.scoring.media import MediaFolder
from experiments.scoring.memory import evaluate_states, groups_of, in_order
from experiments.scoring.sets import condition_test_set
from experiments.statistics.strata import summarise
from experiments.training.data import describe_cell_data, make_data
from experiments.training.devices import describe_step, step_line
from experiments.training.nets import make_net
from experiments.training.processes import leads
from experiments.training.settings import Settings, settings_hash
from experiments.training.stages import make_objective, make_recipe, pick_device, train_stage
from experiments.training.trunk import describe_trunk, start_from_trunk
from lightning_modules.nets.interface import MattingNet


def main() -> int:
    """Run the cell of the config file named on the command line; 0 if its record is complete."""
    if len(sys.argv) != 2:
        print("python -m experiments.cell outputs/EXP/CELL/config.yaml", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    print_on_any_terminal()
    keep_memory()
    end_with_parent()
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    folder = path.parent
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.pytorch.*|torch.utils.data.*")
    ignore_warning()
    settings = Settings.of(config)
    if not leads(settings.trainer):
        return assist(settings, settings_hash(config), folder)
    # torchrun and srun number also processes that have each a cell of their own.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    with lock_cell(folder) as lock:
        if lock is None:
            print(f"{folder}: {lock_owner(folder)} works on this cell; wait for it or stop it", file=sys.stderr)
            return BUSY
        record = CellRecord.load(folder)
        if record.status == "complete":  # a sweep agent asks for a cell that was trained before
            log_again(settings.logger, config, record)
            return 0
        remove_torn(folder)
        return run_cell(config, record)


def assist(settings: Settings, cell: str, folder: Path) -> int:
    """Train as a further process of a cell on several devices; an error goes to the log, the first process tells it."""
    try:
        train(settings, cell, folder, None)
    except Exception:
        log_error(folder)
        return 1
    return 0


def log_error(folder: Path) -> None:
    """Add the traceback of the error that is handled to the cell's log, if the disk has room for it."""
    with suppress(OSError), (folder / "log.txt").open("a", encoding="utf-8") as log:
        traceback.print_exc(file=log)


def run_cell(config: dict[str, Any], record: CellRecord) -> int:
    """Bring one cell to a complete record, or to a failed one with its error in a line.

    Args:
        config: resolved and plain.
        record: who this cell is; is filled and saved.
    """
    record.started = record.started or now()
    record.versions, record.git_commit = describe_versions(), git_commit()
    record.save()
    with ExitStack() as ending:
        try:
            settings = Settings.of(config)
            torch.set_num_threads(settings.trainer.threads)
            record.hardware = describe_hardware()
            logger = make_logger(settings.logger, config, record)
            if logger:
                ending.callback(logger.close, record)  # last, when the record is written, and however the cell ends
            _train_and_test(settings, settings_hash(config), record, logger)
            record.status = "complete"
        except Exception as error:
            log_error(record.folder)
            record.fail(error)
            print(f"{record.cell}: {record.error}", file=sys.stderr)
        record.finished = now()
        record.save()
    return 0 if record.status == "complete" else 1


def train(
    settings: Settings, cell: str, folder: Path, logger: CellLogger | None
) -> tuple[MattingNet, nn.Module | None, dict[str, float]]:
    """The trained net, the decoder of restored backgrounds if there is one, and durations; resumes what was cut off.

    `cell` is the hash of its settings: checkpoints of another one are not used.
    """
    torch.set_num_threads(settings.trainer.threads)
    folder.mkdir(parents=True, exist_ok=True)
    net = make_net(settings.model, settings.seed)
    decoder, seconds, found = None, 0.0, 0.0
    for name, stage in settings.stages.items():
        objective, data, own = make_objective(stage, net, settings.seed), make_data(settings, stage, name), stage
        data.prepare_data(_report(folder, f"render {name}"))  # Lightning would do it, and tell nobody
        if stage.trunk is not None:
            part, shared, found = start_from_trunk(settings, name, net, objective, folder)
            own, seconds = part.stages[name], seconds + shared
            data = make_data(part, own, name)
        recipe = make_recipe(own, objective, settings.seed)
        if logger:
            logger.first_step += stage.steps - own.steps
        seconds += train_stage(name, net, recipe, data, own, settings.trainer, folder, logger, cell)
        decoder = getattr(recipe.objective, "background_decoder", None) or decoder
        if logger:
            logger.first_step += own.steps
    return net, decoder, {"train_seconds": seconds, **({"found_seconds": found} if found else {})}


def _report(folder: Path, what: str) -> Report:
    """Tells how far something is to whoever watches the cell."""
    return lambda done, total: write_progress(folder, Progress(what, done, total))


def _train_and_test(settings: Settings, cell: str, record: CellRecord, logger: CellLogger | None) -> None:
    folder = record.folder
    device = pick_device(settings.trainer.accelerator)
    net = make_net(settings.model, settings.seed)
    if net.needs_flow and not settings.data["flow"]:
        raise ValueError("this net is given the true flow of its clips: set data.flow=true")
    data = make_data(settings, stage=None)
    data.prepare_data(_report(folder, "render test"), parts=("val", "test"))  # the constant matte is that of val
    data.setup("test")
    clips, how = condition_test_set(data), Streaming.of(settings.test)
    evaluate(net, [clips[0]], device, how)  # what it would refuse of the test is told before the training
    for name, stage in settings.stages.items():
        record.steps[name] = describe_step(stage, settings.trainer)
        if stage.trunk is not None:
            record.steps[name]["trunk"] = describe_trunk(settings, name)
        print(f"stage {name}: {step_line(record.steps[name])}", flush=True)
    record.save()
    decoder, durations = None, dict[str, float]()
    if settings.stages:
        net, decoder, durations = train(settings, cell, folder, logger)
        save_net(folder / WEIGHTS, net, dict(settings.model))

    begin = time.monotonic()
    media = MediaFolder(folder / "media", clips)
    beats = _Beats(folder, "test", len(clips))
    beats(0)
    tables, of_states = [], []
    for group in groups_of(clips):
        table, states = evaluate_states(net, group, device, how, decoder, media)
        tables.append(table)
        of_states += [] if states is None else [states]
        beats(len(group))
    frames = in_order(tables, clips)
    write_table(folder / "metrics.parquet", frames)
    floors = _report(folder, "floors and untrained net")
    floors(0, 1)
    found = baselines_of(settings, data, clips, device, folder.parent / "baselines", floors)
    write_table(folder / BASELINES, found)
    record.metrics = dict(summarise(frames))
    if of_states:
        write_table(folder / MEMORY, in_order(of_states, clips))
    record.memory = "measured" if of_states else "none"
    record.cost = streaming_cost(net, clips[0], how, device)
    record.durations = durations | {"test_seconds": time.monotonic() - begin}
    record.peak_memory_gib = peak_memory_gib(device)
    if record.data and (changed := what_changed(record.data, describe_cell_data(settings))):
        raise ValueError(f"data changed while the cell ran: {changed}; the same command starts it anew")


class _Beats:
    """Counts test clips into the cell's progress file."""

    def __init__(self, folder: Path, stage: str, total: int) -> None:
        self.folder, self.stage, self.total, self.done = folder, stage, total, 0

    def __call__(self, clips: int) -> None:
        self.done += clips
        write_progress(self.folder, Progress(self.stage, self.done, self.total))
