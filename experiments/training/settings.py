"""Settings that no run could use, told before a process starts: what only fails in the cells fails in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

LOWEST = {  # of group `trainer`
    **dict.fromkeys(("devices", "num_nodes", "accumulate_grad_batches", "threads"), 1),
    **dict.fromkeys(("checkpoint_every", "validate_every"), 1),
    **dict.fromkeys(("calibration_batches", "num_workers"), 0),
}
SWITCHES = ("sync_batchnorm", "compile", "channels_last", "device_compositing")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
PRECISIONS = ("16", "16-true", "16-mixed", "bf16", "bf16-true", "bf16-mixed", "32", "32-true", "64", "64-true")


def check_settings(config: Mapping[str, Any]) -> None:
    """Check what a cell's resolved config says of seed, trainer and stages; data are checked where they are read.

    Raises:
        ValueError: a setting is of another type or out of its range; names it.
    """
    _check_number("seed", config["seed"], 0)
    trainer = config["trainer"]
    for name, lowest in LOWEST.items():
        _check_number(f"trainer.{name}", trainer.get(name), lowest)
    for name in SWITCHES:
        _check_choice(f"trainer.{name}", trainer.get(name), (True, False))
    _check_choice("trainer.accelerator", trainer["accelerator"], ACCELERATORS)
    _check_choice("trainer.precision", str(trainer["precision"]), PRECISIONS)
    for name, stage in config["recipe"]["stages"].items():
        if stage is not None:
            check_stage(f"recipe.stages.{name}", stage)


def check_model(config: Mapping[str, Any]) -> None:
    """Check the net that a cell's resolved config names, and its options' names and types.

    Raises:
        ValueError: there is no such net, or it takes no such option.
    """
    from lightning_modules.nets import check_net  # here: it takes seconds, and a cell that starts at once does it too

    options = {name: value for name, value in config["model"].items() if name not in ("name", "pretrained")}
    check_net(config["model"]["name"], options)


def check_stage(place: str, stage: Any) -> None:
    """Check the lengths and sizes of one stage.

    Args:
        place: of the stage in the config, for the message.
        stage: its settings.

    Raises:
        ValueError: one is no whole number, or too small.
    """
    if not isinstance(stage, Mapping):
        raise ValueError(f"{place} must be null or the settings of a stage, got {stage!r}")
    _check_number(f"{place}.steps", stage.get("steps"), 1)
    passes = {f"{place}.passes.{name}": each for name, each in stage.get("passes", {}).items() if each is not None}
    for part, sizes in (passes or {place: stage}).items():
        for name, lowest in (("batch_size", 1), ("size", 32)):
            _check_number(f"{part}.{name}", sizes.get(name), lowest)
    decay = stage.get("average_decay")
    if decay is not None and not (isinstance(decay, int | float) and 0 <= decay < 1):
        raise ValueError(f"{place}.average_decay must be null or a number from 0 to below 1, got {decay!r}")


def check_machine(config: Mapping[str, Any]) -> None:
    """Check that this machine, on which the cells are to run, has what they ask for.

    Raises:
        ValueError: there is no GPU, or a package is not installed.
    """
    if config["trainer"]["accelerator"] in ("gpu", "cuda"):
        from experiments.training.stages import pick_device  # here: it imports torch

        try:
            pick_device(config["trainer"]["accelerator"])
        except ValueError as error:
            raise ValueError(f"trainer.accelerator={config['trainer']['accelerator']}: {error}") from None
    if config["logger"]["name"] == "tensorboard" and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ValueError("logger=tensorboard needs the package: pip install tensorboard")


def _check_number(name: str, value: Any, lowest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 2**63:
        raise ValueError(f"{name} must be a whole number from {lowest} on, got {value!r}")


def _check_choice(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if type(value) is not type(known[0]) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(str(each) for each in known)}, got {value!r}")
