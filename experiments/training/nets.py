"""The net that a config describes, before it is trained; or one that others have trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from experiments.inference.saved_nets import load_net, saved_name
from lightning_modules.nets import build_net
from lightning_modules.nets.downloads import file_sha256
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import start_from_deeplabv3
from lightning_modules.nets.pretrained import published_file
from lightning_modules.nets.published import PUBLISHED

# Settings of config group `model` that are no options of the net.
NO_OPTIONS = ("name", "pretrained", "weights", "weights_sha256")
HOW = (
    "model.weights=FILE (our model.pt; an official checkpoint, with model.name=NET) or a published one's name "
    "(model.weights=rvm_mobilenetv3; docs/weights.md lists them)"
)


def make_net(model: Mapping[str, Any], seed: int) -> MattingNet:
    """The net of config group `model`: untrained, or with the weights that it names.

    Weights of an untrained one depend on the seed and on their names alone, but for pretrained parts.

    Raises:
        ValueError: the weights do not fit the options, or are no longer those that the config was made for.
    """
    options = dict(model)
    pretrained, name = options.pop("pretrained", False), options.pop("name")
    if "weights" in options:
        path, sha256 = _weights_file(options.pop("weights")), options.pop("weights_sha256")
        if file_sha256(path) != sha256:
            raise ValueError(f"{path} has changed since this cell was asked for: give the same command again")
        return load_net(path, name, **options)[0]
    net = build_net(name, **options)
    net.reset_parameters(seed)
    if isinstance(pretrained, str):
        start_from_deeplabv3(net, pretrained)
    elif pretrained:
        net.load_pretrained()
    return net


def with_weights(model: Mapping[str, Any]) -> dict[str, Any]:
    """Config group `model=checkpoint` with what its weights say: which net they are of, and their SHA-256.

    Raises:
        ValueError: no weights are named, they cannot be had or read, or do not say which net they are of.
    """
    changes = {option: value for option, value in model.items() if option not in NO_OPTIONS}
    named, weights = model["name"], model["weights"]
    if given := sorted({"pretrained", "weights_sha256"} & set(model)):
        raise ValueError(f"model.{given[0]} has no place beside model.weights, which say what is tested: leave it out")
    if weights is None:
        raise ValueError(f"say whose mattes are tested: {HOW}")
    if weights not in PUBLISHED and not Path(weights).is_file():
        raise ValueError(f"model.weights={weights}: there is no such file, and none published is called so; give {HOW}")
    path = _weights_file(weights)
    if weights in PUBLISHED:
        name, changes = PUBLISHED[weights].net, {**PUBLISHED[weights].options, **changes}
    else:
        name = saved_name(path) or named
    if name is None:
        raise ValueError(f"{path} does not say which net it is of: add model.name=NET (rvm, modnet …)")
    if named not in (None, name):
        raise ValueError(f"model.weights={weights} is of a {name}, not of a {named}; leave model.name= out")
    return {"name": name, "weights": weights, "weights_sha256": file_sha256(path), **changes}


@cache  # it tells the licence
def _weights_file(weights: str) -> Path:
    return published_file(weights) if weights in PUBLISHED else Path(weights)
