"""What a cell is made of, checked before a process starts: what only fails in the cells fails in all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.inference.streaming import Streaming
from experiments.training.data import make_data
from experiments.training.devices import choose_strategy
from experiments.training.nets import NO_OPTIONS
from experiments.training.settings import Settings, Stage
from experiments.training.stages import make_objective, make_recipe, pick_device
from experiments.training.trunk import trunk_settings
from lightning_modules.nets import build_net, check_net
from lightning_modules.nets.backbones import check_imagenet_width
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.published import PUBLISHED
from lightning_modules.objectives import OBJECTIVES
from lightning_modules.objectives.interface import Objective
from lightning_modules.options import check_names, check_options

FOLDERS = ("root", "scenes", "splits", "scene_splits")  # of config group `data`, where its sources are files


def check_parts(settings: Settings) -> None:
    """Check what net, objectives, recipe, data and test are made by: all are made, a net without its weights.

    Raises:
        ValueError: one of them takes no such option, or no such value of it.
    """
    net = _check_model(settings.model)
    if "weights" in settings.model and settings.stages:
        raise ValueError("model=checkpoint is tested as it is: give recipe=none with it")
    for name, stage in settings.stages.items():
        assert net is not None
        try:
            if stage.trunk is not None:
                _check_model(trunk_settings(settings, name).model)
            _check_objective(stage)
            objective = make_objective(stage, net, settings.seed)
            objective.parameter_groups(net, stage.learning_rate)
            make_recipe(stage, objective, settings.seed)
        except ValueError as error:
            raise ValueError(f"recipe.stages.{name}: {error}") from None
        make_data(settings, stage, name)
    make_data(settings, None)
    choose_strategy(settings.trainer, Objective())
    check_names("test", settings.test, inspect.signature(Streaming).parameters)
    Streaming.of(settings.test)


def _check_model(model: Mapping[str, Any]) -> MattingNet | None:
    """The net, without its weights; None for one read from a file of the user's, whose options stand in it."""
    options = {name: value for name, value in model.items() if name not in NO_OPTIONS}
    # Of what is pretrained, a file too: see `make_net`.
    check_net(model["name"], options | ({"pretrained": bool(model["pretrained"])} if "pretrained" in model else {}))
    if model.get("pretrained") is True:
        check_imagenet_width(model.get("width", 1.0))
    if "weights" in model and model["weights"] not in PUBLISHED:
        return None
    try:
        with torch.device("meta"):  # shapes alone, which takes no time
            return build_net(model["name"], **options)
    except RuntimeError:  # a flow network of another package may read its own numbers while it is made
        return build_net(model["name"], **options)


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
        ValueError: there is no GPU, a folder of data is not there, or a package is not installed.
    """
    places = {name: settings.data.get(name) for name in FOLDERS}
    if missing := [name for name, place in places.items() if place is not None and not Path(place).is_dir()]:
        raise ValueError(f"data.{missing[0]}={places[missing[0]]}: there is no such folder here")
    try:
        pick_device(settings.trainer.accelerator)
    except ValueError as error:
        raise ValueError(f"trainer.accelerator={settings.trainer.accelerator}: {error}") from None
    if settings.logger.name == "tensorboard" and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ValueError("logger=tensorboard needs the package: pip install tensorboard")
