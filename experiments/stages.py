"""Training one stage of a recipe: objects from its config, resumable to the step."""

from __future__ import annotations

import csv
import io
import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.loggers import Logger

from experiments.records import write_file
from lightning_modules.modnet import MODNetObjective, SOCObjective
from lightning_modules.modnet_v import MODNetVObjective, PatchRefinementObjective
from lightning_modules.module import MattingModule, Objective, Recipe
from lightning_modules.nets.interface import MattingNet

OBJECTIVES: dict[str, type[Objective]] = {
    "modnet": MODNetObjective,
    "soc": SOCObjective,
    "modnet_v": MODNetVObjective,
    "patch_refinement": PatchRefinementObjective,
}
RECIPE_KEYS = ("optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "milestones", "gamma", "warmup")


def make_recipe(stage: dict[str, Any], net: MattingNet, seed: int) -> Recipe:
    """The recipe that one entry of `recipe.stages` describes.

    Raises:
        ValueError: the objective is unknown.
    """
    options = dict(stage["objective"])
    name = options.pop("name")
    if name not in OBJECTIVES:
        raise ValueError(f"recipe: unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # decoders that an objective owns start alike in all arms of a seed
        objective = OBJECTIVES[name](net, **options)
    return Recipe(objective, seed=seed, **{key: stage[key] for key in RECIPE_KEYS})


class ResumePoint(Callback):
    """Writes the whole state of training every few steps; a kill between two loses only the steps since."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.written = -1

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write at every `every`-th optimiser step, once."""
        step = trainer.global_step
        if step % self.every == 0 and step != self.written and step < trainer.max_steps:
            self.written = step
            save_checkpoint(trainer, self.path)


def save_checkpoint(trainer: pl.Trainer, path: Path) -> None:
    """Let Lightning write beside `path`, then move into place; all ranks must call it."""
    temporary = path.with_suffix(".tmp")
    trainer.save_checkpoint(temporary)
    if trainer.is_global_zero:
        temporary.replace(path)


class History(Callback):
    """Collects the logged losses; saved with the checkpoint, so a resumed run has no step twice."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Keep the step's losses."""
        step = trainer.global_step
        if step % self.every == 0 and (not self.rows or self.rows[-1]["step"] != step):
            named = {k.removeprefix("train/"): v for k, v in trainer.callback_metrics.items() if k.startswith("train/")}
            self.rows.append({"step": step} | {name: float(value) for name, value in named.items()})

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the collected rows as CSV."""
        if self.rows and trainer.is_global_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
            write_file(self.path, text.getvalue().encode())

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint."""
        self.rows = list(state_dict["rows"])


class Heartbeat(Callback):
    """Keeps a one-line file with stage, step and loss up to date, for whoever watches several cells."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        self.stage = stage
        self.last = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write at most once a second."""
        if time.monotonic() - self.last > 1 and trainer.is_global_zero:
            self.last = time.monotonic()
            loss = float(trainer.callback_metrics.get("train/loss", float("nan")))
            beat(self.path, self.stage, trainer.global_step, trainer.max_steps, f"loss {loss:.3f}")


def beat(path: Path, stage: str, done: int, total: int, note: str = "") -> None:
    """Write "stage<TAB>done<TAB>total<TAB>note" in place of the old line."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(f"{stage}\t{done}\t{total}\t{note}", encoding="utf-8")
    temporary.replace(path)


def train_stage(
    name: str,
    net: MattingNet,
    recipe: Recipe,
    data: pl.LightningDataModule,
    stage: dict[str, Any],
    trainer: dict[str, Any],
    folder: Path,
    logger: Logger | None,
) -> None:
    """Train `net` by `recipe` for the stage's steps, from where an earlier process was cut off.

    Afterwards `folder/checkpoints/NAME.pt` holds the weights of net and objective; if it is there at the
    start, it is loaded and nothing is trained.

    Args:
        name: of the stage.
        net, recipe: changed in place.
        data: gives `steps` batches for training.
        stage: its config: steps, gradient_clip_norm, average_decay.
        trainer: config group `trainer`.
        folder: of the cell.
        logger: a Lightning logger, or None.
    """
    weights = folder / "checkpoints" / f"{name}.pt"
    if weights.is_file():
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        net.load_state_dict(saved["net"])
        recipe.objective.load_state_dict(saved["objective"])
        return
    resume = folder / "checkpoints" / f"{name}.ckpt"
    resume.parent.mkdir(parents=True, exist_ok=True)
    module = MattingModule(net, recipe)
    average = [] if stage["average_decay"] is None else [EMAWeightAveraging(decay=stage["average_decay"])]
    fit = pl.Trainer(
        accelerator=trainer["accelerator"],
        devices=trainer["devices"],
        num_nodes=trainer["num_nodes"],
        strategy=trainer["strategy"],
        precision=trainer["precision"],
        accumulate_grad_batches=trainer["accumulate_grad_batches"],
        gradient_clip_val=stage["gradient_clip_norm"],
        max_steps=stage["steps"],
        max_epochs=1,
        callbacks=[
            *average,
            History(folder / f"history_{name}.csv", every=max(1, stage["steps"] // 100)),
            Heartbeat(folder / "progress", name),
            ResumePoint(resume, trainer["checkpoint_every"]),
        ],
        val_check_interval=min(trainer["validate_every"] * trainer["accumulate_grad_batches"], stage["steps"]),
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=logger or False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=os.isatty(1),
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    if trainer["channels_last"]:
        net.to(memory_format=torch.channels_last)
    if trainer["compile"]:
        net.compile_step()
    fit.fit(module, datamodule=data, ckpt_path=resume if resume.is_file() else None, weights_only=True)
    if fit.is_global_zero:
        buffer = io.BytesIO()
        torch.save({"net": net.state_dict(), "objective": recipe.objective.state_dict()}, buffer)
        write_file(weights, buffer.getvalue())
        resume.unlink(missing_ok=True)
    fit.strategy.barrier()
