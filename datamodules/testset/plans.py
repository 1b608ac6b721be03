"""What each clip of a composite test set is made of: RVM's protocol as plain data that a manifest can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from datamodules.augment.pose import Pose
from datamodules.dice import Draws, seed_of
from datamodules.sources.interface import BackgroundSource, ForegroundSource, VideoBackgrounds

STRATA = ("static", "motion")


@dataclass(frozen=True)
class ClipPlan:
    """All draws of one clip; with the sources, the size and the number of frames it decides every pixel.

    Attributes:
        stratum: "static" (a still background) or "motion".
        folder: four digits, the clip's number in its stratum.
        foreground: name of the person's clip.
        background: name of the scene.
        start: first frame of the person's clip.
        mirrored: the foreground is mirrored.
        first_pose: of a still foreground, which moves from it; None for videos.
        last_pose: the pose it moves towards.
        extent: in [0, 1], the share of that way that it goes by the last frame.
        camera_seed: of the camera that moves over a still background; None for a camera at rest.
    """

    stratum: str
    folder: str
    foreground: str
    background: str
    start: int
    mirrored: bool
    first_pose: Pose | None = None
    last_pose: Pose | None = None
    extent: float = 0.0
    camera_seed: int | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """The plan that a manifest's entry describes."""
        poses = {key: Pose(**entry[key]) for key in ("first_pose", "last_pose") if entry.get(key) is not None}
        return cls(**{**entry, **poses})


def draw_plans(
    foregrounds: ForegroundSource,
    backgrounds: BackgroundSource,
    strata: Sequence[str] = STRATA,
    num_clips: int = 25,
    num_frames: int = 100,
    seed: int = 0,
    moving_camera: bool | None = None,
) -> list[ClipPlan]:
    """The clips of a test set; clip i of a stratum is the same however many there are.

    Clip i shows person i mod (number of people), mirrored in every second lap over them, before the background i
    of a list that is shuffled for each stratum; no pair comes twice.

    Args:
        foregrounds: the source of people.
        backgrounds: the source of scenes: its stills are for "static", its videos for "motion".
        strata: which of the two.
        num_clips: clips in each; fewer where the data has not so many pairs.
        num_frames: of a clip.
        seed: of all draws.
        moving_camera: "motion" is a camera that moves over stills, as videos need none; None: where the source has
            no videos.

    Raises:
        ValueError: a stratum is unknown or has no background, or a video is too short.

    Source: RVM's generation scripts as described in their documentation; where these draw from generators that
        nobody seeds and shuffle unsorted listings, here everything comes from (seed, stratum, i) and sorted names.
    """
    if moving_camera is None:
        moving_camera = not _videos(backgrounds)
    if unknown := sorted(set(strata) - set(STRATA)):
        raise ValueError(f"strata: {', '.join(unknown)} unknown; known are {', '.join(STRATA)}")
    if min(num_clips, num_frames) < 1:
        raise ValueError(f"clips and frames must be at least 1, got {num_clips} and {num_frames}")
    people = sorted(range(len(foregrounds)), key=foregrounds.name)
    for person in people:
        if 1 < foregrounds.num_frames(person) < num_frames:
            raise ValueError(_too_short(foregrounds.name(person), foregrounds.num_frames(person), num_frames))
    plans = []
    for stratum in strata:
        scenes = _scenes(backgrounds, stratum, num_frames, seed, moving_camera)
        for i in range(min(num_clips, len(people) * len(scenes))):
            lap = i // math.lcm(len(people), len(scenes))
            plans.append(
                _draw_plan(
                    foregrounds,
                    people[i % len(people)],
                    Draws((seed, "test set", stratum, i)),
                    stratum=stratum,
                    folder=f"{i:04d}",
                    # After the least common multiple all pairs would come again: one scene on.
                    background=backgrounds.name(scenes[(i + lap) % len(scenes)]),
                    mirrored=i // len(people) % 2 == 1,
                    num_frames=num_frames,
                    moving_camera=moving_camera and stratum == "motion",
                )
            )
    return plans


def _draw_plan(
    foregrounds: ForegroundSource,
    person: int,
    draws: Draws,
    *,
    stratum: str,
    folder: str,
    background: str,
    mirrored: bool,
    num_frames: int,
    moving_camera: bool,
) -> ClipPlan:
    still = foregrounds.num_frames(person) == 1
    return ClipPlan(
        stratum=stratum,
        folder=folder,
        foreground=foregrounds.name(person),
        background=background,
        # RVM's range; it leaves out the last possible start.
        start=0 if still else draws.integer("start", 0, max(foregrounds.num_frames(person) - num_frames - 1, 0)),
        mirrored=mirrored,
        first_pose=Pose.drawn(draws, "first pose") if still else None,
        last_pose=Pose.drawn(draws, "last pose") if still else None,
        extent=draws.number("extent") if still else 0.0,
        camera_seed=seed_of(*draws.key, "camera") if moving_camera else None,
    )


def _scenes(backgrounds: BackgroundSource, stratum: str, num_frames: int, seed: int, moving_camera: bool) -> list[int]:
    """Numbers of the scenes of a stratum, in its random order."""
    videos = _videos(backgrounds)
    films = stratum == "motion" and not moving_camera
    scenes = sorted(videos if films else set(range(len(backgrounds))) - videos, key=backgrounds.name)
    if not scenes:
        lacking, advice = ("videos", "or moving_camera=true") if films else ("stills", "or strata=[motion]")
        raise ValueError(
            f"stratum {stratum}: no {lacking} among {len(backgrounds)} backgrounds of the test part; add some, {advice}"
        )
    if isinstance(backgrounds, VideoBackgrounds) and films:
        for scene in scenes:
            if backgrounds.num_frames(scene) < num_frames:
                raise ValueError(_too_short(backgrounds.name(scene), backgrounds.num_frames(scene), num_frames))
    order = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(seed_of(seed, stratum, "scenes")))
    return [scenes[k] for k in order.tolist()]


def _videos(backgrounds: BackgroundSource) -> set[int]:
    """Numbers of the scenes that are videos."""
    if not isinstance(backgrounds, VideoBackgrounds):
        return set()
    return {i for i in range(len(backgrounds)) if backgrounds.is_video(i)}


def longest(
    foregrounds: ForegroundSource, backgrounds: BackgroundSource, strata: Sequence[str], moving_camera: bool | None
) -> tuple[int, str] | None:
    """The most frames that clips can have, and the name of the person or scene that has no more; None for any number.

    Args: see `draw_plans`.
    """
    people = [(foregrounds.num_frames(i), foregrounds.name(i)) for i in range(len(foregrounds))]
    scenes: list[tuple[int, str]] = []
    if isinstance(backgrounds, VideoBackgrounds) and "motion" in strata and not moving_camera:
        scenes = [(backgrounds.num_frames(i), backgrounds.name(i)) for i in _videos(backgrounds)]
    return min([each for each in people if each[0] > 1] + scenes, default=None)


def _too_short(name: str, there: int, needed: int) -> str:
    return f"{name} has {there} frames, the test set's clips have {needed}: lower the number of frames or leave it out"
