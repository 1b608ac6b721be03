"""Sources that need no data: people and places made by code, each a pure function of (seed, part, number)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.files.fingerprint import Contents
from datamodules.painting.people import Person
from datamodules.painting.rooms import paint_scene
from datamodules.sources.cache import Arrays, Frame, FrameCache
from datamodules.sources.interface import ForegroundClip, Scene
from datamodules.sources.rendering import Cost

FORMAT = 5  # raise it whenever the same options give other pixels: data are then others, and rendered anew
PARTS = ("train", "val", "test")
EXTRAS = ("flow", "texture")
# Of a core, for a clip or scene and for each of its pixels.
PERSON_SECONDS, ROOM_SECONDS = (0.1, 0.5e-6), (0.05, 1.0e-6)


class ProceduralPeople:
    """Clips of people, with true alpha, colour, motion and body-fixed coordinates.

    Args:
        num_clips: how many people.
        num_frames: frames of each clip.
        size: height and width in pixels, at least 32.
        seed: decides everything, together with `part` and the clip's number.
        part: "train", "val" or "test"; no person is in two of them.
        hair_fineness: in [0, 1]; 0 gives crisp outlines, 1 many loose hairs thinner than a pixel.
        motion_speed: in [0, 3]; 0 stands still, 1 talks lively.
        motion_blur: in [0, 1], share of the frame time that the shutter is open.
        device: where to render; clips are delivered on the CPU.
        cache_dir: folder that keeps rendered clips, or None to render again in every process.
        extras: what clips have beside colour and alpha, of "flow" and "texture"; without both they are painted faster.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        num_clips: int = 64,
        num_frames: int = 24,
        size: int = 128,
        seed: int = 0,
        part: str = "train",
        hair_fineness: float = 0.6,
        motion_speed: float = 1.0,
        motion_blur: float = 0.4,
        device: str = "cpu",
        cache_dir: str | Path | None = None,
        extras: Sequence[str] = EXTRAS,
    ) -> None:
        _check_part(part)
        if unknown := set(extras) - set(EXTRAS):
            raise ValueError(f"extras are {', '.join(EXTRAS)}; got {', '.join(map(str, unknown))}")
        _check_range("num_clips", num_clips, 1, 10**6)
        _check_range("num_frames", num_frames, 1, 10**5)
        _check_range("size", size, 32, 4096)
        _check_range("hair_fineness", hair_fineness, 0, 1)
        _check_range("motion_speed", motion_speed, 0, 3)
        _check_range("motion_blur", motion_blur, 0, 1)
        self.options: dict[str, Any] = {"num_frames": num_frames, "size": size, "hair_fineness": hair_fineness,
                        "motion_speed": motion_speed, "motion_blur": motion_blur}  # fmt: skip
        self.num_clips, self.seed, self.part, self.device = num_clips, seed, part, device
        self._described = _described("people", seed=seed, device=torch.device(device).type, **self.options)
        parts = {"rgba": Frame((4, size, size))}
        parts |= {extra: Frame((2, size, size), "float16") for extra in EXTRAS if extra in extras}
        self._store = FrameCache(cache_dir, "people", FORMAT, self._described, parts)

    def __len__(self) -> int:
        return self.num_clips

    def name(self, i: int) -> str:
        """Name of clip i, such as "person-test-0007"."""
        return f"person-{self.part}-{_checked(i, self.num_clips):04d}"

    def contents(self) -> Contents:
        """All that decides the pixels."""
        return {f"people {self.part}": f"{self.num_clips} of {self._described}"}

    def num_frames(self, i: int) -> int:
        """Frames of clip i."""
        _checked(i, self.num_clips)
        return int(self.options["num_frames"])

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        """The given frames of clip i; flow always leads to the clip's previous frame, whatever is asked for."""
        arrays = self._store.read(self.name(i), lambda: self._render(i), frames)
        rgba, extras = torch.from_numpy(arrays.pop("rgba")), {k: torch.from_numpy(v) for k, v in arrays.items()}
        return ForegroundClip(rgba[:, :3], rgba[:, 3:], **extras)

    @property
    def cache(self) -> Path | None:
        """The folder that rendered clips are kept in."""
        return self._store.folder

    def missing(self) -> list[int]:
        """Numbers of the clips that the cache lacks."""
        return [i for i in range(self.num_clips) if not self._store.has(self.name(i))]

    def fill(self, i: int) -> None:
        """Render clip i into the cache, if it is not there."""
        self._store.fill(self.name(i), lambda: self._render(i))

    def cost(self) -> Cost:
        """What rendering one clip takes."""
        pixels = self.num_frames(0) * int(self.options["size"]) ** 2
        num_bytes = self.num_frames(0) * sum(frame.num_bytes for frame in self._store.parts.values())
        return Cost(num_bytes, PERSON_SECONDS[0] + PERSON_SECONDS[1] * pixels)

    def outdated(self) -> list[Path]:
        """Folders beside that of the cache which earlier versions have left."""
        return self._store.outdated()

    def _render(self, i: int) -> Arrays:
        with _one_thread():
            rng = _generator("person", self.seed, self.part, i)
            clip = Person(rng, device=self.device, **self.options).render(moves=len(self._store.parts) > 1)
        extras = {"flow": clip.flow, "texture": clip.texture}
        arrays = {"rgba": torch.cat([clip.fgr, clip.pha], dim=1), **extras}
        return {
            part: array.numpy() for part, array in arrays.items() if part in self._store.parts and array is not None
        }


class ProceduralRooms:
    """Stills of places, some with a nearer plane.

    Args:
        num_scenes: how many places.
        size: height and width in pixels, larger than the frames shown so that the camera can move; or (height, width).
        seed: decides everything, together with `part` and the scene's number.
        part: "train", "val" or "test"; no place is in two of them.
        clutter: in [0, 1], how many things stand about.
        distractors: in [0, 1], the probability of figures, portraits and bystanders that are background.
        parallax: in [0, 1], the probability of a nearer plane.
        cache_dir: folder that keeps rendered scenes, or None to render again in every process.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        num_scenes: int = 80,
        size: int | tuple[int, int] = 192,
        seed: int = 0,
        part: str = "train",
        clutter: float = 0.5,
        distractors: float = 0.3,
        parallax: float = 0.3,
        cache_dir: str | Path | None = None,
    ) -> None:
        _check_part(part)
        height, width = (size, size) if isinstance(size, int) else size
        _check_range("size", min(height, width), 32, 8192)
        _check_range("num_scenes", num_scenes, 1, 10**6)
        self.levels = {"clutter": clutter, "distractors": distractors, "parallax": parallax}
        for name, value in self.levels.items():
            _check_range(name, value, 0, 1)
        self.num_scenes, self.size, self.seed, self.part = num_scenes, (height, width), seed, part
        self._described = _described("rooms", seed=seed, size=[height, width], **self.levels)
        # A frame is a plane of the picture or of what stands near.
        self._store = FrameCache(cache_dir, "rooms", FORMAT, self._described, {"planes": Frame((height, width))})

    def __len__(self) -> int:
        return self.num_scenes

    def name(self, i: int) -> str:
        """Name of scene i, such as "room-test-0007"."""
        return f"room-{self.part}-{_checked(i, self.num_scenes):04d}"

    def contents(self) -> Contents:
        """All that decides the pixels."""
        return {f"rooms {self.part}": f"{self.num_scenes} of {self._described}"}

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        """Scene i: one still picture, whatever `num_frames`; nothing is drawn from `generator`."""
        planes = torch.from_numpy(self._store.read(self.name(i), lambda: self._render(i))["planes"])
        return Scene(planes[None, :3], planes[3:] if len(planes) > 3 else None, is_video=False)

    @property
    def cache(self) -> Path | None:
        """The folder that rendered scenes are kept in."""
        return self._store.folder

    def missing(self) -> list[int]:
        """Numbers of the scenes that the cache lacks."""
        return [i for i in range(self.num_scenes) if not self._store.has(self.name(i))]

    def fill(self, i: int) -> None:
        """Render scene i into the cache, if it is not there."""
        self._store.fill(self.name(i), lambda: self._render(i))

    def cost(self) -> Cost:
        """Of one scene, on average."""
        height, width = self.size
        planes = 3 + 4 * self.levels["parallax"]
        seconds = ROOM_SECONDS[0] + ROOM_SECONDS[1] * height * width
        return Cost(round(planes * self._store.parts["planes"].num_bytes), seconds)

    def outdated(self) -> list[Path]:
        """Folders beside that of the cache which earlier versions have left."""
        return self._store.outdated()

    def _render(self, i: int) -> Arrays:
        with _one_thread():
            picture, near = paint_scene(_generator("room", self.seed, self.part, i), self.size, **self.levels)
        return {"planes": (picture if near is None else torch.cat([picture, near])).numpy()}


def _described(kind: str, **options: Any) -> str:
    """All that decides the pixels."""
    return json.dumps({"kind": kind, "format": FORMAT, **options}, sort_keys=True)


def _generator(kind: str, seed: int, part: str, i: int) -> np.random.Generator:
    """Independent streams for every kind, seed, part and number."""
    return np.random.default_rng([("person", "room").index(kind), seed % 2**63, PARTS.index(part), i])


@contextmanager
def _one_thread() -> Iterator[None]:
    """The last bit of a float can hang on how work is split between threads: pixels must not."""
    import cv2

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _checked(i: int, count: int) -> int:
    if not 0 <= i < count:
        raise IndexError(f"index {i} is outside a source of {count}")
    return i


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; it must be one of {', '.join(PARTS)}")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie in [{low}, {high}]")
