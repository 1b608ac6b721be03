"""The data modules that a config describes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar, overload

from datamodules.dice import seed_of
from datamodules.interleaved import InterleavedDataModule, TrainingPass
from datamodules.segmentation import SegmentationDataModule
from datamodules.video_matting import VideoMattingDataModule

Made = TypeVar("Made")

# What of config group `data` the data module takes; the rest is named there to be used within the group.
DATA_KEYS = (
    "source",
    "backgrounds",
    "difficulty",
    "augment",
    "test_strata",
    "test_clips",
    "test_clip_length",
    "val_clips",
    "evaluation_seed",
    "flow",
)


def data_options(data: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `VideoMattingDataModule` from config group `data`, without those that a stage decides."""
    return {key: data[key] for key in DATA_KEYS}


@overload
def make_data(config: dict[str, Any], stage: None) -> VideoMattingDataModule: ...
@overload
def make_data(
    config: dict[str, Any], stage: dict[str, Any], name: str = ""
) -> VideoMattingDataModule | InterleavedDataModule: ...
def make_data(
    config: dict[str, Any], stage: dict[str, Any] | None, name: str = ""
) -> VideoMattingDataModule | InterleavedDataModule:
    """The data of one stage of a recipe, or with `stage=None` that of the test.

    A stage has one kind of batch (`clip_length`, `size`, `batch_size`), or `passes` that take turns, an optimiser
    step each, in its `order`. `name` is the stage's: passes of different stages see different clips.
    """
    trainer = config["trainer"]
    if stage is not None and "passes" in stage:
        return _make_passes(config, stage, name)
    sizes = (
        {"size": config["data"]["test_size"], "clip_length": 1, "batch_size": 1, "num_steps": 1}
        if stage is None
        else {
            "size": stage["size"],
            "clip_length": tuple(stage["clip_length"]),
            "batch_size": stage["batch_size"],
            "num_steps": stage["steps"] * trainer["accumulate_grad_batches"],
        }
    )
    return VideoMattingDataModule(
        **data_options(config["data"]),
        **sizes,
        seed=config["seed"],
        num_workers=trainer["num_workers"],
        device_compositing=trainer["device_compositing"] and stage is not None,
    )


def make_typical_data(config: dict[str, Any], num_clips: int) -> VideoMattingDataModule | None:
    """Training data of the first stage that learns mattes, but `num_clips` batches of one frame.

    They are drawn under the seed of the evaluation: the same for all cells. None for a recipe without mattes.
    """
    stages = [stage for stage in config["recipe"]["stages"].values() if stage is not None]
    sizes = [
        each["size"]
        for stage in stages
        for each in stage.get("passes", {"matting": {"data": "matting", **stage}}).values()
        if each is not None and each.get("data") == "matting"
    ]
    if not sizes:
        return None
    return VideoMattingDataModule(
        **data_options(config["data"]),
        **{"size": sizes[0], "clip_length": 1, "batch_size": 1, "num_steps": num_clips},
        seed=config["data"]["evaluation_seed"],
    )


def _make_passes(config: dict[str, Any], stage: dict[str, Any], stage_name: str) -> InterleavedDataModule:
    """The data of a stage whose passes take turns; they share out the loading processes, one each at least."""
    used = [name for name in dict.fromkeys(stage["order"]) if stage["passes"].get(name) is not None]
    num_workers = math.ceil(config["trainer"]["num_workers"] / max(len(used), 1))
    passes = {
        name: _make_pass(config, name, stage["passes"][name], num_workers, seed_of(config["seed"], stage_name, name))
        for name in used
    }
    return InterleavedDataModule(passes, stage["order"], stage["steps"] * config["trainer"]["accumulate_grad_batches"])


def _make_pass(config: dict[str, Any], name: str, options: dict[str, Any], num_workers: int, seed: int) -> TrainingPass:
    """One pass: `data` says of what, the other options are arguments of its data module."""
    options = {
        "seed": seed,
        "num_workers": num_workers,
        "device_compositing": config["trainer"]["device_compositing"],
        **options,
    }
    kind = options.pop("data", None)
    if kind == "matting":
        return _made(VideoMattingDataModule, name, {**data_options(config["data"]), **options})
    if kind in ("segmentation.video", "segmentation.image"):
        sources = config["segmentation"][kind.removeprefix("segmentation.")]
        return _made(SegmentationDataModule, name, {"sources": sources, **options})
    raise ValueError(f"pass {name}: data must be matting, segmentation.video or segmentation.image, got {kind!r}")


def _made(build: Callable[..., Made], name: str, options: dict[str, Any]) -> Made:
    try:
        inspect.signature(build).bind(**options)
    except TypeError as error:
        raise ValueError(
            f"pass {name}: {error}; its options are {', '.join(inspect.signature(build).parameters)}"
        ) from error
    return build(**options)
