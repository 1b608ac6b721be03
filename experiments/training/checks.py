"""What a cell is made of, checked before a process starts: what only fails in the cells fails in all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from experiments.inference.streaming import Streaming
from experiments.training.data import make_data
from experiments.training.devices import choose_strategy
from experiments.training.nets import NO_OPTIONS
from experiments.training.settings import Settings, Stage
from experiments.training.stages import make_recipe, pick_device
from experiments.training.trunk import trunk_settings
from lightning_modules.nets import check_net
from lightning_modules.objectives import OBJECTIVES
from lightning_modules.objectives.interface import Objective
from lightning_modules.options import check_names, check_options


def check_parts(settings: Settings) -> None:
    """Check the names and types of what net, objectives, recipe, data and test are made by, without making a net.

    Raises:
        ValueError: one of them takes no such option, or no such value of it.
    """
    _check_model(settings.model)
    if "weights" in settings.model and settings.stages:
        raise ValueError("model=checkpoint is tested as it is: give recipe=none with it")
    for name, stage in settings.stages.items():
        try:
            if stage.trunk is not None:
                _check_model(trunk_settings(settings, name).model)
            _check_objective(stage)
            make_recipe(stage, Objective(), settings.seed)
        except ValueError as error:
            raise ValueError(f"recipe.stages.{name}: {error}") from None
        make_data(settings, stage, name)
    make_data(settings, None)
    choose_strategy(settings.trainer, Objective())
    check_names("test", settings.test, inspect.signature(Streaming).parameters)
    Streaming.of(settings.test)


def _check_model(model: Mapping[str, Any]) -> None:
    options = {name: value for name, value in model.items() if name not in NO_OPTIONS}
    if "pretrained" in model:  # of what is pretrained, a file too: see `make_net`
        options["pretrained"] = bool(model["pretrained"])
    check_net(model["name"], options)


def _check_objective(stage: Stage) -> None:
    options = {name: value for name, value in stage.objective.items() if name != "name"}
    name = stage.objective.get("name")
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
    known = [option for option in inspect.signature(OBJECTIVES[name]).parameters if option != "net"]
    check_names(f"objective {name}", options, known)
    check_options(OBJECTIVES[name], options)


def check_machine(settings: Settings) -> None:
    """Check that this machine, on which the cells are to run, has what they ask for.

    Raises:
        ValueError: there is no GPU, or a package is not installed.
    """
    try:
        pick_device(settings.trainer.accelerator)
    except ValueError as error:
        raise ValueError(f"trainer.accelerator={settings.trainer.accelerator}: {error}") from None
    if settings.logger.name == "tensorboard" and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ValueError("logger=tensorboard needs the package: pip install tensorboard")
