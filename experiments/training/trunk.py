"""A trunk that arms share: the first part of a stage is trained once a seed, and each arm goes on from it.

A cell that several processes train has a trunk of its own: all of them would have to wait for another cell's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from datamodules.dice import seed_of
from experiments.records.cell_record import remove_torn
from experiments.records.fingerprints import describe_weights
from experiments.records.locks import lock_cell
from experiments.records.progress import Progress, write_progress
from experiments.training.callbacks import Heartbeat
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
        ValueError: the stage has too few steps to be shared out, is not the first, or its objective counts steps.
    """
    stage = settings.stages[name]
    assert stage.trunk is not None
    if name != next(iter(settings.stages)):
        raise ValueError("trunk: only the first stage of a recipe can have one")
    if "num_steps" in stage.objective:
        raise ValueError(f"trunk: {stage.objective['name']} counts the steps of its stage, which cannot be shared out")
    first = replace(stage, steps=shared_steps(stage), trunk=None)
    trainer = replace(settings.trainer, calibration_batches=0)  # each arm calibrates its norms at its own end
    model = {**settings.model, **stage.trunk.model}
    return replace(settings, model=model, stages={name: first}, trainer=trainer, test={})


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


def describe_trunk(settings: Settings, name: str) -> dict[str, str | int]:
    """What of a stage comes from its trunk: its number of "steps", in words ("told"), and which it is ("identity").

    That of a cell of several processes has an identity that no other cell shares.
    """
    stage = settings.stages[name]
    assert stage.trunk is not None
    options = ", ".join(f"model.{option}={str(value).lower()}" for option, value in stage.trunk.model.items())
    steps = shared_steps(stage)
    told = f"the first {steps} of {stage.steps} steps are those of {options}"
    whose = trunk_settings(settings, name) if num_processes(settings.trainer) == 1 else settings
    return {"steps": steps, "told": told, "identity": identity_of(whose)}


def identity_of(trunk: Settings) -> str:
    """A hash of all that a trunk's weights depend on: arms that differ in more than its own options share none."""
    read = {"data": describe_cell_data(trunk), "weights": describe_weights(trunk.model)}
    return settings_hash(asdict(trunk) | {"read": read})


def trunk_place(settings: Settings, name: str, folder: Path) -> Path:
    """Where the trunk of a stage is trained: beside the cells of an experiment, or in that of several processes."""
    if num_processes(settings.trainer) > 1:
        return folder / "trunk"
    return folder.parent / "trunks" / identity_of(trunk_settings(settings, name))


def start_from_trunk(
    settings: Settings, name: str, net: MattingNet, objective: Objective, folder: Path
) -> tuple[Settings, float, float]:
    """Give net and objective the weights of the stage's trunk, which is trained if nobody has done so.

    Parts that the trunk's net lacks, or that have another shape, stay as they are.

    Args:
        settings: of the cell.
        name: of a stage with a trunk.
        net, objective: of the arm, changed in place.
        folder: of the cell; trunks that are shared lie beside the cells of an experiment.

    Returns:
        settings in which the stage is the arm's own part, under a seed of its own; the seconds that training the trunk
        took, in whichever cell; and those of them that were over when this process came.
    """
    of_trunk = trunk_settings(settings, name)
    identity, place = identity_of(of_trunk), trunk_place(settings, name, folder)
    trunk, stage = make_net(of_trunk.model, settings.seed), of_trunk.stages[name]
    learned = make_objective(stage, trunk, settings.seed)

    def train(place: Path) -> float:
        recipe, data = make_recipe(stage, learned, settings.seed), make_data(of_trunk, stage, name)
        beats = Heartbeat(folder, f"trunk of {name}")
        return train_stage(name, trunk, recipe, data, stage, of_trunk.trainer, place, None, identity, beats)

    if num_processes(settings.trainer) > 1:
        seconds, found = train(place), False
    else:
        seconds, found = _train_alone(train, folder, name, place)
    _take(net, trunk.state_dict())
    _take(objective, learned.state_dict())
    own = replace(settings.stages[name], steps=settings.stages[name].steps - stage.steps)
    # Other clips than the trunk has seen first.
    after = replace(settings, seed=seed_of(settings.seed, "after the trunk"), stages={**settings.stages, name: own})
    return after, seconds, seconds if found else 0.0


def _train_alone(train: Callable[[Path], float], folder: Path, name: str, place: Path) -> tuple[float, bool]:
    """Train a trunk that lies at `place`, or wait until another cell has: its seconds, and whether it was there."""
    place.mkdir(parents=True, exist_ok=True)
    while True:
        with lock_cell(place) as lock:
            if lock is not None:
                remove_torn(place)
                found = (place / "checkpoints" / f"{name}.pt").is_file()
                return train(place), found
        write_progress(folder, Progress(f"trunk of {name} by another cell", 0, 1))
        time.sleep(1)


def _take(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict(own | {n: w for n, w in weights.items() if n in own and own[n].shape == w.shape})
