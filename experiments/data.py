"""The data module that a config describes."""

from __future__ import annotations

from typing import Any

from datamodules.video_matting import VideoMattingDataModule

# What of config group `data` the data module takes; the rest is named there to be used within the group.
DATA_KEYS = (
    "source",
    "backgrounds",
    "difficulty",
    "test_strata",
    "test_clips",
    "test_clip_length",
    "val_clips",
    "evaluation_seed",
)


def data_options(data: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `VideoMattingDataModule` from config group `data`, without those that a stage decides."""
    return {key: data[key] for key in DATA_KEYS}


def make_data(config: dict[str, Any], stage: dict[str, Any] | None) -> VideoMattingDataModule:
    """The data of one stage of a recipe, or with `stage=None` that of the test."""
    trainer = config["trainer"]
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
