"""The test set that a config describes: a folder, composites by RVM's protocol, or the project's own conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.files.fingerprint import Contents, contents_of
from datamodules.sources import build_backgrounds, build_foregrounds
from datamodules.testset import CompositeTestSet, ConditionTestSet, FolderTestSet, TestClip, TestSet
from datamodules.testset.composite import CAMERA_ROOM
from datamodules.testset.plans import longest
from datamodules.video_matting import VideoMattingDataModule
from experiments.records.fingerprints import TEST_CONDITIONS, TEST_SET
from experiments.training.data import data_options

PROTOCOL = "rvm"  # in place of a folder: composited in memory
CONDITIONS = ("test_size", "test_clips", "test_clip_length", "evaluation_seed", "difficulty", "test_strata")
# Options of sources, and settings of config group `data`, that say where files lie, not what they hold.
PLACES = ("root", "scenes", "splits", "scene_splits", "cache_dir")


def open_test_set(config: dict[str, Any]) -> tuple[TestSet, dict[str, Contents]]:
    """The clips of the folder `testset`, or of RVM's protocol, or else those that a run with `data` is tested on.

    With them what they are made of, by part: "test set" of a folder, else "people of test", "places of test" and the
    "conditions of test", all settings that composites of these depend on.

    Args:
        config: of `experiments.evaluate`, plain. `size` resizes the clips of a folder, and is that at which others
            are made; it is written to where it belongs, which then says what was used.

    Raises:
        ValueError: a folder or a file is missing, or size is no size.
    """
    size = None if config["size"] is None else _size(config["size"])
    if config["testset"] == PROTOCOL:
        size = size or _size(config["protocol"]["size"])
        config["protocol"]["size"] = config["data"]["test_size"] = list(size)
        composites = composite_test_set(config["data"], config["protocol"])
        return composites, _parts(composites.foregrounds, composites.backgrounds, config["data"], config["protocol"])
    if config["testset"] is not None:
        clips = FolderTestSet(str(config["testset"]), config["num_foregrounds"])
        resized: TestSet = clips if size is None else [ResizedClip(clip, size) for clip in clips]
        return resized, {TEST_SET: clips.contents()}
    size = size or _size(config["data"]["test_size"])
    config["data"]["test_size"] = list(size)
    data = VideoMattingDataModule(**data_options(config["data"]), size=size, clip_length=1, batch_size=1, num_steps=1)
    drawn = {key: config["data"][key] for key in CONDITIONS}
    return condition_test_set(data), _parts(*data.sources()["test"], config["data"], drawn)


def parts_of(clip: TestClip, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What of the parts of a test set concerns one clip: its own frames in a folder, else all people and places."""
    return {
        part: {name: each for name, each in named.items() if part != TEST_SET or name.startswith(f"{clip.key}/")}
        for part, named in parts.items()
    }


def _parts(people: object, places: object, data: dict[str, Any], drawn: dict[str, Any]) -> dict[str, Contents]:
    sources = {key: source_of_test(data[key]) for key in ("source", "backgrounds")}
    read = {key: {k: v for k, v in source.items() if k not in PLACES} for key, source in sources.items()}
    conditions = json.dumps(read | {"drawn": drawn}, sort_keys=True)
    return {
        "people of test": contents_of(people),
        "places of test": contents_of(places),
        TEST_CONDITIONS: {"settings": conditions},
    }


def condition_test_set(data: VideoMattingDataModule) -> ConditionTestSet:
    """The clips of `data.test_dataloader()`, all of them on every rank, readable in pieces."""
    dataset: Any = data.test_dataloader().dataset
    return ConditionTestSet(dataset)


class ResizedClip:
    """A `TestClip` at another size: area-averaged where it shrinks, else bilinear; the truth too."""

    def __init__(self, clip: TestClip, size: tuple[int, int]) -> None:
        self.clip, self.size = clip, size
        self.key, self.name, self.scene, self.stratum = clip.key, clip.name, clip.scene, clip.stratum
        self.num_frames = clip.num_frames
        self.has_foreground, self.has_background = clip.has_foreground, clip.has_background

    def read(self, start: int, stop: int) -> MattingBatch:
        """See `TestClip.read`."""
        batch = self.clip.read(start, stop)
        return replace(
            batch,
            frames=self._resized(batch.frames),
            alpha=self._resized(batch.alpha),
            foreground=self._resized(batch.foreground),
            background=self._resized(batch.background),
            flow=None,
            background_affine=None,
        )

    def _resized(self, clip: Tensor) -> Tensor:
        shrinks = self.size[0] <= clip.shape[-2] and self.size[1] <= clip.shape[-1]
        mode = "area" if shrinks else "bilinear"
        return F.interpolate(clip.flatten(0, 1), self.size, mode=mode).unflatten(0, clip.shape[:2])


def _size(size: Any) -> tuple[int, int]:
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, int) and each >= 32 for each in pair):
        raise ValueError(f"size must be a number of pixels from 32 on, or [height, width], got {size!r}")
    return pair[0], pair[1]


def composite_test_set(data: dict[str, Any], options: dict[str, Any]) -> CompositeTestSet:
    """The test set that config group `data` (its sources) and the options `testset` describe.

    Clips are as long as the shortest video, if that has fewer frames than asked for: `options` then say so.

    Raises:
        ValueError: a source or an option is not usable.
    """
    size = options["size"]
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side >= 32 for side in size):
        raise ValueError(f"testset.size must be [height, width] in pixels from 32 on, got {size!r}")
    height, width = size
    people = _source(data["source"], build_foregrounds, min(height, width))
    room = (ceil(CAMERA_ROOM * height), ceil(CAMERA_ROOM * width))
    scenes = _source(data["backgrounds"], build_backgrounds, room)
    shortest = longest(people, scenes, options["strata"], options["moving_camera"])
    if shortest is not None and isinstance(options["frames"], int):
        options["frames"] = min(options["frames"], shortest[0])
    return CompositeTestSet(
        people,
        scenes,
        (height, width),
        options["clips"],
        options["frames"],
        options["seed"],
        strata=options["strata"],
        moving_camera=options["moving_camera"],
    )


def _source(spec: dict[str, Any], build: Callable[..., Any], size: int | tuple[int, int]) -> Any:
    """The test part of a source: files at their own size, what is made by code at `size`."""
    spec = source_of_test(spec)
    return build(**{"part": "test", "size": size if spec["name"] == "procedural" else None, **spec})


def source_of_test(spec: dict[str, Any]) -> dict[str, Any]:
    """The options of a source's test part, whether they are given for all parts or for each."""
    return dict(spec if "name" in spec else spec["test"])
