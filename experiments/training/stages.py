"""Training one stage of a recipe: objects from its config, resumable to the step."""

from __future__ import annotations

import io
import os
from dataclasses import fields
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from datamodules.files.writing import write_file
from experiments.logging.cell_logger import CellLogger, read_rows
from experiments.training.averaging import MovingAverage
from experiments.training.callbacks import Heartbeat, History, ResumePoint
from experiments.training.checkpoints import (
    OWNER,
    WholeCheckpoints,
    check_weights,
    is_usable,
    newest_usable,
    remove_checkpoint,
)
from experiments.training.devices import choose_plugins, choose_strategy, explain
from experiments.training.settings import Stage, Trainer
from lightning_modules.calibration import Calibration
from lightning_modules.module import MattingModule, Recipe
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives import OBJECTIVES
from lightning_modules.objectives.interface import Objective


def make_objective(stage: Stage, net: MattingNet, seed: int) -> Objective:
    """What a stage minimises; `check_parts` knows its name and options."""
    options = dict(stage.objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # decoders that an objective owns start alike in all arms of a seed
        return OBJECTIVES[options.pop("name")](net, **options)


def make_recipe(stage: Stage, objective: Objective, seed: int) -> Recipe:
    """How a stage minimises its objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    given = {each.name: getattr(stage, each.name) for each in fields(Recipe) if hasattr(stage, each.name)}
    return Recipe(**given | {"objective": objective, "seed": seed})


def pick_device(accelerator: str) -> torch.device:
    """CUDA if it is asked for or there, else the CPU: scores are kept in float64, which other accelerators lack.

    Raises:
        ValueError: CUDA is asked for and not there.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(f"a {accelerator} is asked for, but torch finds no CUDA device here; take cpu or auto")
    wants_cuda = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wants_cuda else "cpu")


def make_trainer(
    objective: Objective,
    stage: Stage,
    trainer: Trainer,
    folder: Path,
    callbacks: list[Callback],
    logger: Logger | None,
) -> pl.Trainer:
    """The Lightning trainer of one stage; arguments as for `train_stage`."""
    by_value = stage.gradient_clip_value is not None
    average = [] if stage.average_decay is None else [MovingAverage(stage.average_decay)]
    device = pick_device(trainer.accelerator)
    return pl.Trainer(
        accelerator=device.type,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=choose_strategy(trainer, objective),
        plugins=[WholeCheckpoints(), *choose_plugins(trainer, device)],
        precision=trainer.precision,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        gradient_clip_val=stage.gradient_clip_value if by_value else stage.gradient_clip_norm,
        gradient_clip_algorithm="value" if by_value else "norm",
        max_steps=stage.steps,
        max_epochs=1,
        # In this order: at the end weights are averaged, then their norms calibrated, and then the clock stops.
        callbacks=[*average, Calibration(trainer.calibration_batches), *callbacks],
        val_check_interval=_validate_every(stage, trainer) * trainer.accumulate_grad_batches,
        # What a stage leaves is validated after it, once it is averaged and calibrated.
        limit_val_batches=1.0 if trainer.validate_every < stage.steps else 0,
        inference_mode=False,  # so that this validation is like those within: compiled once, its tensors as any
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # of nothing: `History` logs
        logger=logger or False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=os.isatty(1),
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _validate_every(stage: Stage, trainer: Trainer) -> int:
    """Steps between two looks at the validation clips while a stage trains, at most all that it has."""
    return min(trainer.validate_every, stage.steps)


def history_every(stage: Stage) -> int:
    """Steps between two rows: a hundredth of the stage, at most about 50, and whole laps where passes take turns."""
    lap = len(stage.order) or 1
    return lap * max(1, round(min(stage.steps / 100, 50) / lap))


def prepare_net(net: MattingNet, trainer: Trainer) -> None:
    """Lay a net out and compile it, in place, as config group `trainer` says."""
    if trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    if trainer.compile:
        net.compile_step()


def train_stage(
    name: str,
    net: MattingNet,
    recipe: Recipe,
    data: pl.LightningDataModule,
    stage: Stage,
    trainer: Trainer,
    folder: Path,
    logger: Logger | None,
    cell: str = "",
    beats: Heartbeat | None = None,
) -> float:
    """Train `net` by `recipe` for the stage's steps, from where an earlier process was cut off.

    Afterwards `folder/checkpoints/NAME.pt` holds the weights of net and objective; if it is there at the
    start, it is loaded and nothing is trained. Checkpoints that are damaged or of another cell are not used. The last
    validation scores of the history are of these weights, those before of weights and norms as they were in training.

    Args:
        name: of the stage.
        net, recipe: changed in place.
        data: gives `steps` batches for training.
        stage: its settings.
        trainer: where and how.
        folder: of the cell.
        logger: a Lightning logger, or None.
        cell: hash of the cell's config; checkpoints carry it.
        beats: tells how far it is; None: a file of the folder does.

    Returns:
        Seconds of training, those of earlier processes included.
    """
    prepare_net(net, trainer)
    weights = folder / "checkpoints" / f"{name}.pt"
    resume = folder / "checkpoints" / f"{name}.ckpt"
    owner = f"{cell} {name}"
    if is_usable(weights, owner):
        remove_checkpoint(resume)  # left by a kill between the two
        if isinstance(logger, CellLogger):
            logger.log_earlier(read_rows(folder / f"history_{name}.csv"))
        return _load_trained(weights, net, recipe.objective)
    resume.parent.mkdir(parents=True, exist_ok=True)
    module = MattingModule(net, recipe)
    history = History(folder / f"history_{name}.csv", every=history_every(stage))
    point = ResumePoint(resume, trainer.checkpoint_every, _validate_every(stage, trainer), owner)
    callbacks = [history, beats or Heartbeat(folder, name), point]
    fit = make_trainer(recipe.objective, stage, trainer, folder, callbacks, logger)
    try:
        fit.fit(module, datamodule=data, ckpt_path=newest_usable(resume, owner), weights_only=True)
        fit.limit_val_batches = 1.0
        fit.validate(module, datamodule=data, verbose=False, weights_only=True)
    except SIGTERMException:
        raise SystemExit(143) from None  # Lightning would end with status 0, as if all were done
    except (RuntimeError, ValueError, EOFError, ConnectionError) as error:
        if explained := explain(error, fit, name, stage, folder):
            raise explained from error
        raise
    check_weights(module, fit.global_step)
    module.float()  # precision=64-true and bf16-true leave other weights; tests are in float32
    if fit.is_global_zero:
        _save_trained(weights, net, recipe.objective, history.seconds, owner)
        remove_checkpoint(resume)
    fit.strategy.barrier()
    if point.is_end_asked(fit.strategy.root_device):
        raise SystemExit(143)  # after the last step: the next start finds the stage done
    return history.seconds


def _save_trained(path: Path, net: MattingNet, objective: Objective, seconds: float, owner: str) -> None:
    state = {"net": net.state_dict(), "objective": objective.state_dict(), "seconds": seconds, OWNER: owner}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_file(path, buffer.getvalue())


def _load_trained(path: Path, net: MattingNet, objective: Objective) -> float:
    """Weights of a stage that an earlier process has finished, into `net` and `objective`; its seconds."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(saved["net"])
    objective.load_state_dict(saved["objective"])
    return float(saved["seconds"])
