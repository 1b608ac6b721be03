"""The data modules that a cell's settings describe, and what they read."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, overload

from datamodules.dice import seed_of
from datamodules.files.fingerprint import contents_of
from datamodules.interleaved import InterleavedDataModule, TrainingPass
from datamodules.segmentation import SegmentationDataModule, build_segmentation
from datamodules.sources.parts import open_parts
from datamodules.sources.splits import PARTS
from datamodules.video_matting import VideoMattingDataModule
from experiments.records.fingerprints import describe_data
from experiments.training.processes import num_loading
from experiments.training.settings import Settings, Stage
from lightning_modules.options import check_names


def data_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of config group `data` the data module takes; the rest is named there to be used within the group."""
    return {name: data[name] for name in inspect.signature(VideoMattingDataModule).parameters if name in data}


@overload
def make_data(settings: Settings, stage: None) -> VideoMattingDataModule: ...
@overload
def make_data(settings: Settings, stage: Stage, name: str = "") -> VideoMattingDataModule | InterleavedDataModule: ...
def make_data(
    settings: Settings, stage: Stage | None, name: str = ""
) -> VideoMattingDataModule | InterleavedDataModule:
    """The data of one stage of a recipe, or with `stage=None` that of the test.

    `name` is the stage's: passes of different stages see different clips.

    Raises:
        ValueError: a data module takes no such option.
    """
    trainer = settings.trainer
    options = data_options(settings.data) | {"num_workers": num_loading(trainer), "seed": settings.seed}
    if stage is None:
        sizes = {"size": settings.data["test_size"], "clip_length": 1, "batch_size": 1, "num_steps": 1}
        return VideoMattingDataModule(**options | sizes, parts=parts_read(settings))
    num_steps = stage.steps * trainer.accumulate_grad_batches
    if not stage.order:
        options |= {"num_steps": num_steps, "device_compositing": trainer.device_compositing}
        return VideoMattingDataModule(**options | stage.passes[""].arguments)
    used = [each for each in dict.fromkeys(stage.order) if each in stage.passes]
    # They share out the loading processes, one each at least.
    workers = math.ceil(num_loading(trainer) / max(len(used), 1))
    passes = {each: _make_pass(settings, stage, each, workers, seed_of(settings.seed, name, each)) for each in used}
    return InterleavedDataModule(passes, stage.order, num_steps)


def make_typical_data(settings: Settings, num_clips: int) -> VideoMattingDataModule | None:
    """Training data of the first stage that learns mattes, but `num_clips` batches of one frame.

    They are drawn under the seed of the evaluation: the same for all cells. None for a recipe without mattes.
    """
    batches = (batch for stage in settings.stages.values() for batch in stage.passes.values())
    first = next((batch for batch in batches if batch.data == "matting"), None)
    if first is None:
        return None
    sizes = {"size": first.size, "clip_length": 1, "batch_size": 1, "num_steps": num_clips}
    seed = settings.data["evaluation_seed"]
    return VideoMattingDataModule(**data_options(settings.data) | sizes | {"seed": seed})


def parts_read(settings: Settings) -> tuple[str, ...]:
    """Which parts of the data a cell reads: where nothing is trained, that of the test alone."""
    return PARTS if settings.stages else ("test",)


def describe_cell_data(settings: Settings) -> dict[str, Any]:
    """`describe_data` of what a cell trains, validates and tests on.

    Raises:
        ValueError: a source is not usable, or a file cannot be read.
    """
    data = settings.data
    size = data["test_size"]
    side = size if isinstance(size, int) else min(size)
    sources = open_parts(data["source"], data["backgrounds"], side, data["flow"], parts=parts_read(settings))
    parts = {
        f"{what} of {part}": contents_of(source)
        for part, pair in sources.items()
        for what, source in zip(("people", "places"), pair, strict=True)
    }
    for stage in settings.stages.values():
        for batch in stage.passes.values():
            if batch.data != "matting":
                side = batch.size if isinstance(batch.size, int) else max(batch.size)
                parts[batch.data] = contents_of(build_segmentation(_segmentation(settings, batch.data), side))
    return describe_data(parts, data["cache_dir"])


def _make_pass(settings: Settings, stage: Stage, name: str, num_workers: int, seed: int) -> TrainingPass:
    """One of the passes that take turns."""
    batch = stage.passes[name]
    module: type[VideoMattingDataModule] | type[SegmentationDataModule] = VideoMattingDataModule
    of_kind = data_options(settings.data)
    if batch.data != "matting":
        module, of_kind = SegmentationDataModule, {"sources": _segmentation(settings, batch.data)}
    own = {"seed": seed, "num_workers": num_workers, "device_compositing": settings.trainer.device_compositing}
    options = of_kind | own | batch.arguments
    check_names(f"pass {name}", options, inspect.signature(module).parameters)
    return module(**options)


def _segmentation(settings: Settings, data: str) -> Mapping[str, Any]:
    """The sources of a segmentation pass."""
    sources: Mapping[str, Any] = settings.segmentation[data.removeprefix("segmentation.")]
    return sources
