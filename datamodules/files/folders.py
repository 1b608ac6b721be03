"""Folders of a user's files: what counts in them, in which order, and what belongs together by its name."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv",
                  ".flv", ".3gp", ".ogv", ".gif"}  # fmt: skip
# What operating systems, network stores and editors leave behind, besides names that begin with a dot.
SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "@recycle", "lost+found",
                "$recycle.bin", "system volume information", "icon\r"}  # fmt: skip

Key = TypeVar("Key", bound=Hashable)


def composed(name: str) -> str:
    """A name in one spelling (NFC): file systems and editors write é as one character or as two."""
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> tuple[str | int, ...]:
    """By which names are sorted: numbers in them as numbers, letters without case, accents in one spelling.

    >>> sorted(["f10", "f9", "F2"], key=natural_key)
    ['F2', 'f9', 'f10']
    """
    pieces = re.split(r"(\d+)", composed(name).casefold())
    return tuple(int(piece) if k % 2 else piece for k, piece in enumerate(pieces))


def name_of(path: Path) -> str:
    """The name that a picture, a video or a folder goes by: without the ending of its kind, other dots kept.

    >>> name_of(Path("a.1_rgb.mp4"))
    'a.1_rgb'
    """
    is_file = path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not path.is_dir()
    return composed(path.stem if is_file else path.name)


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order, without hidden and system files and folders.

    Raises:
        ValueError: a link leads nowhere or in circles.
    """
    paths = [path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in SYSTEM_NAMES]
    if lost := next((path for path in paths if path.is_symlink() and not path.exists()), None):
        raise ValueError(f"{lost}: a link that leads nowhere; fetch what it leads to, or remove it")
    return sorted(paths, key=lambda path: (natural_key(path.name), path.name))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in natural order."""
    return [path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()]


def frame_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder as the frames of a video.

    Raises:
        ValueError: two of them are one frame: 0003.png and 0003.jpg, or 3.png.
    """
    return list(frames_of(folder).values())


def frames_of(folder: Path) -> Mapping[tuple[str | int, ...], Path]:
    """`frame_files` by their `frame_key`; the last folders are remembered, since thousands of frames take long to list.

    They are listed again when the folder's time of change is another.
    """
    changed = folder.stat().st_mtime_ns
    # Changes within a tick of the file system's clock (2 s on FAT) leave one time: what is so new is not remembered.
    listed = _listed if time.time_ns() - changed > 3_000_000_000 else _listed.__wrapped__
    return listed(folder, changed)


@lru_cache(maxsize=64)
def _listed(folder: Path, changed: int) -> Mapping[tuple[str | int, ...], Path]:
    return by_name(pictures_in(folder), frame_key)


def frame_key(file: Path) -> tuple[str | int, ...]:
    """Which frame a file is: 3.png, 0003.png and 0003.jpg are the same."""
    return natural_key(name_of(file))


def by_name(paths: Iterable[Path], name: Callable[[Path], Key]) -> dict[Key, Path]:
    """Paths by the names that they go by.

    Raises:
        ValueError: two have one name.
    """
    found: dict[Key, Path] = {}
    for path in paths:
        key = name(path)
        if key in found:
            called = "one frame" if isinstance(key, tuple) else f"one name, {key!r}"
            raise ValueError(f"{found[key]} and {path} have {called}: rename or remove one")
        found[key] = path
    return found


def pairs(
    first: Mapping[Key, Path], second: Mapping[Key, Path], what: tuple[str, str], where: tuple[Path, Path]
) -> dict[Key, tuple[Path, Path]]:
    """Partners by their common name, in the order of the first.

    Args:
        first: such as pictures, by name.
        second: such as their mattes.
        what: what each of the two is, for messages.
        where: folder of each.

    Raises:
        ValueError: one has no partner.
    """
    for mine, others, k in ((first, second, 1), (second, first, 0)):
        if lonely := next((path for key, path in mine.items() if key not in others), None):
            remedy = f"add the {what[k]} or remove this, partners go by their names"
            raise ValueError(f"{lonely}: no {what[k]} for it in {where[k]}; {remedy}")
    return {key: (path, second[key]) for key, path in first.items()}


def refuse_other_frames(colours: Path, alpha: Path) -> None:
    """Check that two folders of frames hold the same frames, by their names; anything but two folders passes.

    Raises:
        ValueError: a frame of one is missing in the other, or one is there twice.
    """
    if colours.is_dir() and alpha.is_dir():
        pairs(frames_of(colours), frames_of(alpha), ("frame", "frame"), (colours, alpha))
