"""A trunk that arms share: the first part of a stage is trained once a seed, and each arm goes on from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from datamodules.dice import seed_of
from experiments.records.fingerprints import describe_weights
from experiments.records.locks import lock_cell
from experiments.records.progress import Progress, write_progress
from experiments.training.data import describe_cell_data, make_data
from experiments.training.nets import make_net
from experiments.training.processes import num_processes
from experiments.training.settings import Settings, Stage, settings_hash
from experiments.training.stages import make_objective, make_recipe, train_stage
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective


def trunk_settings(settings: Settings, name: str) -> Settings:
    """Those by which the trunk of a stage is trained: of the first steps alone, by the net without what arms differ in.

    Raises:
        ValueError: the stage has too few steps to be shared out.
    """
    stage = settings.stages[name]
    assert stage.trunk is not None
    first = replace(stage, steps=shared_steps(stage), trunk=None)
    return replace(settings, model={**settings.model, **stage.trunk.model}, stages={name: first}, test={})


def shared_steps(stage: Stage) -> int:
    """Steps of a stage that its trunk takes; the rest is the arm's own.

    Raises:
        ValueError: they would be none or all.
    """
    assert stage.trunk is not None
    steps = round(stage.trunk.share * stage.steps)
    if not 0 < steps < stage.steps:
        raise ValueError(f"trunk.share={stage.trunk.share} of {stage.steps} steps leaves none to trunk or arm")
    return steps


def describe_trunk(stage: Stage) -> str:
    """What of a stage its arms share, in words."""
    assert stage.trunk is not None
    options = ", ".join(f"model.{option}={str(value).lower()}" for option, value in stage.trunk.model.items())
    return f"the first {shared_steps(stage)} of {stage.steps} steps are those of {options}, the same for all arms"


def start_from_trunk(
    settings: Settings, name: str, net: MattingNet, objective: Objective, folder: Path
) -> tuple[Settings, float]:
    """Give net and objective the weights of the stage's trunk, which is trained if nobody has done so.

    Parts that the trunk's net lacks, or that have another shape, stay as they are.

    Args:
        settings: of the cell.
        name: of a stage with a trunk.
        net, objective: of the arm, changed in place.
        folder: of the cell; where several processes train a cell, its trunk is there and shared with no other cell.

    Returns:
        settings in which the stage is the arm's own part, under a seed of its own, and seconds that the trunk took
        here: hardly any in a cell that finds it trained.
    """
    of_trunk = trunk_settings(settings, name)
    read = {"data": describe_cell_data(of_trunk), "weights": describe_weights(of_trunk.model)}
    identity = settings_hash(asdict(of_trunk) | {"read": read})
    alone = num_processes(settings.trainer) == 1
    place = (Path(settings.data["cache_dir"]) / "trunks" / identity) if alone else folder / "trunk"
    place.mkdir(parents=True, exist_ok=True)
    while True:
        with lock_cell(place) as lock:
            if lock is not None or not alone:
                begin = time.monotonic()
                _train_trunk(of_trunk, name, identity, place, folder)
                seconds = time.monotonic() - begin
                break
        write_progress(folder, Progress(f"trunk of {name} by another cell", 0, 1))
        time.sleep(1)
    saved = torch.load(place / "checkpoints" / f"{name}.pt", map_location="cpu", weights_only=True)
    _take(net, saved["net"])
    _take(objective, saved["objective"])
    own = replace(settings.stages[name], steps=settings.stages[name].steps - shared_steps(settings.stages[name]))
    # Other clips than the trunk has seen first.
    after = replace(settings, seed=seed_of(settings.seed, "after the trunk"), stages={**settings.stages, name: own})
    return after, seconds


def _train_trunk(settings: Settings, name: str, identity: str, place: Path, cell: Path) -> None:
    """See `train_stage`: what is complete is kept, what was cut off goes on."""
    net, stage = make_net(settings.model, settings.seed), settings.stages[name]
    recipe = make_recipe(stage, make_objective(stage, net, settings.seed), settings.seed)
    data = make_data(settings, stage, name)
    train_stage(name, net, recipe, data, stage, settings.trainer, place, None, identity, watched=cell)


def _take(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict(own | {n: w for n, w in weights.items() if n in own and own[n].shape == w.shape})
