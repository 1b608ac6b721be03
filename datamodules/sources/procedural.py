"""Sources that need no data: people and places made by code, each a pure function of (seed, part, number)."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.files.fingerprint import Contents
from datamodules.files.writing import whole_file
from datamodules.painting.people import Person
from datamodules.painting.rooms import paint_scene
from datamodules.sources.interface import ForegroundClip, Scene

FORMAT = 3  # raise it whenever the same options give other pixels: old cache folders are then left alone
PARTS = ("train", "val", "test")
HELD_BYTES = 2**30  # of clips or scenes kept in memory by one source, in one process


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
    ) -> None:
        _check_part(part)
        _check_range("num_clips", num_clips, 1, 10**6)
        _check_range("num_frames", num_frames, 1, 10**5)
        _check_range("size", size, 32, 4096)
        _check_range("hair_fineness", hair_fineness, 0, 1)
        _check_range("motion_speed", motion_speed, 0, 3)
        _check_range("motion_blur", motion_blur, 0, 1)
        self.options = {"num_frames": num_frames, "size": size, "hair_fineness": hair_fineness,
                        "motion_speed": motion_speed, "motion_blur": motion_blur}  # fmt: skip
        self.num_clips, self.seed, self.part, self.device = num_clips, seed, part, device
        self._store = _Store(cache_dir, "people", {"seed": seed, "device": torch.device(device).type, **self.options})

    def __len__(self) -> int:
        return self.num_clips

    def name(self, i: int) -> str:
        """Name of clip i, such as "person-test-0007"."""
        return f"person-{self.part}-{_checked(i, self.num_clips):04d}"

    def contents(self) -> Contents:
        """All that decides the pixels."""
        return {f"people {self.part}": f"{self.num_clips} of {self._store.options}"}

    def num_frames(self, i: int) -> int:
        """Frames of clip i."""
        _checked(i, self.num_clips)
        return int(self.options["num_frames"])

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        """The given frames of clip i; flow always leads to the clip's previous frame, whatever is asked for."""
        arrays = self._store.get(self.name(i), lambda: self._render(i))
        return ForegroundClip(*(torch.from_numpy(arrays[key][frames]) for key in ("fgr", "pha", "flow", "texture")))

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

    def _render(self, i: int) -> dict[str, np.ndarray]:
        with _one_thread():
            clip = Person(_generator("person", self.seed, self.part, i), device=self.device, **self.options).render()  # type: ignore[arg-type]
        return {"fgr": clip.fgr.numpy(), "pha": clip.pha.numpy(), "flow": clip.flow.numpy(),
                "texture": clip.texture.numpy()}  # fmt: skip


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
        self._store = _Store(cache_dir, "rooms", {"seed": seed, "size": [height, width], **self.levels})

    def __len__(self) -> int:
        return self.num_scenes

    def name(self, i: int) -> str:
        """Name of scene i, such as "room-test-0007"."""
        return f"room-{self.part}-{_checked(i, self.num_scenes):04d}"

    def contents(self) -> Contents:
        """All that decides the pixels."""
        return {f"rooms {self.part}": f"{self.num_scenes} of {self._store.options}"}

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        """Scene i: one still picture, whatever `num_frames`; nothing is drawn from `generator`."""
        arrays = self._store.get(self.name(i), lambda: self._render(i))
        near: Tensor | None = torch.from_numpy(arrays["near"]) if "near" in arrays else None
        return Scene(torch.from_numpy(arrays["picture"])[None], near, is_video=False)

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

    def _render(self, i: int) -> dict[str, np.ndarray]:
        with _one_thread():
            picture, near = paint_scene(_generator("room", self.seed, self.part, i), self.size, **self.levels)
        return {"picture": picture.numpy()} | ({} if near is None else {"near": near.numpy()})


class _Store:
    """Rendered arrays by name: the last used ones in memory, all in a folder named for the options."""

    def __init__(self, cache_dir: str | Path | None, kind: str, options: dict[str, Any]) -> None:
        self.options = json.dumps({"kind": kind, "format": FORMAT, **options}, sort_keys=True)
        folder = hashlib.sha256(self.options.encode()).hexdigest()[:16]
        self.folder = None if cache_dir is None else Path(cache_dir) / f"{kind}-{folder}"
        self.held: OrderedDict[str, dict[str, np.ndarray]] = OrderedDict()
        self.num_bytes = 0  # of all that is held

    def get(self, name: str, render: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        if name in self.held:
            self.held.move_to_end(name)
            return self.held[name]
        path = self._path(name)
        arrays = _read_arrays(path) if path is not None and path.exists() else None
        if arrays is None:
            arrays = render()
            self._write(name, arrays)
        self.held[name] = arrays
        self.num_bytes += _num_bytes(arrays)
        while self.num_bytes > HELD_BYTES:
            self.num_bytes -= _num_bytes(self.held.popitem(last=False)[1])
        return arrays

    def has(self, name: str) -> bool:
        path = self._path(name)
        return path is not None and path.exists()

    def fill(self, name: str, render: Callable[[], dict[str, np.ndarray]]) -> None:
        if not self.has(name):
            self._write(name, render())

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.npz"

    def _write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        path = self._path(name)
        if path is not None:
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads for itself."""
        return vars(self) | {"held": OrderedDict(), "num_bytes": 0}


def _read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a cached file, every byte checked; None, with a warning, if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # whole files of it: np.load compares no checksum of half a one
            files = {name.removesuffix(".npy"): io.BytesIO(archive.read(name)) for name in archive.namelist()}
        return {name: np.load(file, allow_pickle=False) for name, file in files.items()}
    except Exception as error:  # anything: damage may ask for a password or for code
        why = " ".join(str(error).split())[:120]
        warnings.warn(f"{path} is damaged ({why}) and is rendered anew", stacklevel=2)
        return None


def _num_bytes(arrays: dict[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _generator(kind: str, seed: int, part: str, i: int) -> np.random.Generator:
    """Independent streams for every kind, seed, part and number."""
    return np.random.default_rng([("person", "room").index(kind), seed % 2**63, PARTS.index(part), i])


@contextmanager
def _one_thread() -> Iterator[None]:
    """The last bit of a float can hang on how work is split between threads: pixels must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
