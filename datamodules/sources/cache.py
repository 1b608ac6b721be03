"""Frames that a source has made, kept in files that are read frame by frame.

A file holds the frames of one array, then a CRC-32 of each: no header, so no byte of it is believed unchecked. Frames
are read, not mapped: from the page cache that is as fast, keeps no file open, and a file that somebody cuts short is an
error that is dealt with instead of the end of the process.
"""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.files.writing import whole_file

LAYOUT = 2  # of the files: raise it when they are laid out otherwise, and old folders are left alone
HELD_BYTES = 2**30  # of what one source keeps in memory, in one process, where there is no folder
Arrays = dict[str, np.ndarray]


class Frame(NamedTuple):
    """What one frame of an array is."""

    shape: tuple[int, ...]
    dtype: str = "uint8"

    @property
    def num_bytes(self) -> int:
        """On the disk, with its checksum."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize + 4


class FrameCache:
    """Arrays of frames by name: in a folder named for what decides them, or the last used ones in memory.

    Args:
        cache_dir: where the folder is made; None for memory.
        kind: begins the folder's name.
        version: of the pixels; another one is another folder.
        described: all that decides the pixels.
        parts: what a frame of each array is, by the array's name.
    """

    def __init__(
        self, cache_dir: str | Path | None, kind: str, version: int, described: str, parts: Mapping[str, Frame]
    ) -> None:
        self._kind, self._begin = kind, f"{kind}-{version}.{LAYOUT}-"
        digest = hashlib.sha256(described.encode()).hexdigest()[:16]
        self.folder = None if cache_dir is None else Path(cache_dir) / f"{self._begin}{digest}"
        self.parts = dict(parts)
        self._checked: dict[Path, set[int]] = {}  # frames whose checksum was right, in this process
        self._held: OrderedDict[str, Arrays] = OrderedDict()

    def read(self, name: str, render: Callable[[], Arrays], frames: Sequence[int] | None = None) -> Arrays:
        """Some frames, or all, of the arrays of that name; what is missing or damaged is rendered.

        Args:
            name: of the clip or scene.
            render: gives all frames of the arrays.
            frames: their numbers; None for all.
        """
        if self.folder is None:
            arrays = self._hold(name, render)
        else:
            try:
                return {part: self._read(self._path(name, part), frame, frames) for part, frame in self.parts.items()}
            except FileNotFoundError:
                pass
            except DamagedError as damage:
                warnings.warn(f"{damage} and is rendered anew", stacklevel=2)
            arrays = self._write(name, render())
        return {part: array if frames is None else array[list(frames)] for part, array in arrays.items()}

    def has(self, name: str) -> bool:
        """Whether the folder holds all arrays of that name."""
        return self.folder is not None and all(self._path(name, part).exists() for part in self.parts)

    def fill(self, name: str, render: Callable[[], Arrays]) -> None:
        """Render into the folder what it lacks of that name."""
        if not self.has(name):
            self._write(name, render())

    def outdated(self) -> list[Path]:
        """Folders beside this one that an earlier version has left, and that nothing reads any more."""
        beside = [] if self.folder is None else self.folder.parent.glob(f"{self._kind}-*")
        return sorted(path for path in beside if not path.name.startswith(self._begin))

    def _path(self, name: str, part: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.{part}"

    def _read(self, path: Path, frame: Frame, frames: Sequence[int] | None) -> np.ndarray:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            count, rest = divmod(size, frame.num_bytes)
            wanted = range(count) if frames is None else frames
            if rest or not count or max(wanted) >= count:
                raise DamagedError(f"{path} is damaged ({size} bytes)")
            array = np.empty((len(wanted), *frame.shape), frame.dtype)
            for number, into in zip(wanted, array, strict=True):
                file.seek(number * (frame.num_bytes - 4))
                _fill(file, into, path)
            if unchecked := set(wanted) - self._checked.setdefault(path, set()):
                sums = np.empty(count, "<u4")
                file.seek(count * (frame.num_bytes - 4))
                _fill(file, sums, path)
                for number, read in zip(wanted, array, strict=True):
                    if number in unchecked and zlib.crc32(read) != sums[number]:
                        raise DamagedError(f"{path} is damaged (frame {number})")
                self._checked[path] |= unchecked
        return array

    def _write(self, name: str, arrays: Arrays) -> Arrays:
        arrays = {part: np.ascontiguousarray(arrays[part]) for part in self.parts}
        for part, array in arrays.items():
            sums = np.array([zlib.crc32(frame) for frame in array], "<u4")
            with whole_file(self._path(name, part)) as temporary, temporary.open("wb") as file:
                file.write(array.data)
                file.write(sums.data)
        return arrays

    def _hold(self, name: str, render: Callable[[], Arrays]) -> Arrays:
        if name not in self._held:
            self._held[name] = render()
        self._held.move_to_end(name)
        while len(self._held) > 1 and sum(map(_num_bytes, self._held.values())) > HELD_BYTES:
            self._held.popitem(last=False)
        return self._held[name]

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads and checks for itself."""
        return vars(self) | {"_checked": {}, "_held": OrderedDict()}


class DamagedError(ValueError):
    """A file of the cache is not as it was written; the message names it."""


def _fill(file: Any, array: np.ndarray, path: Path) -> None:
    if file.readinto(array.data.cast("B")) != array.nbytes:  # else another process has cut it short just now
        raise DamagedError(f"{path} is damaged (cut short)")


def _num_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
