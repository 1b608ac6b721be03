"""What data are, told by their content: a hash that is cheap for large sets too, and the same wherever they lie."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from datamodules.files.folders import VIDEO_SUFFIXES, composed, pictures_in
from datamodules.files.writing import write_file

Contents: TypeAlias = Mapping[str, Path | str]
"""What pixels come from, by names that do not say where it lies: a file, a folder of frames, or, for what is made by
code, all that decides it as text."""

WHOLE = 32 << 20  # bytes; larger videos are sampled
SPOTS, SPOT = 256, 64 << 10  # of a sampled video, and bytes of each
SETTLED = 2.0  # seconds after its last change from which on a file's time stamps tell of the next one
CACHE = "fingerprints.json"

Digests: TypeAlias = dict[str, list[int | str]]
"""By path: size, times of the last change of content and of state (ns), and the content's hash."""


@runtime_checkable
class HasContents(Protocol):
    """A source, or a test set, that knows what it is made of."""

    def contents(self) -> Contents:
        """All that its pixels come from."""
        ...


def contents_of(source: object) -> Contents:
    """What a source is made of.

    Raises:
        ValueError: it does not say.
    """
    if not isinstance(source, HasContents):
        raise ValueError(f"{type(source).__name__} does not say what it is made of: give it a method contents()")
    return source.contents()


@dataclass(frozen=True)
class Fingerprint:
    """What some data are.

    Attributes:
        digest: 16 hexadecimal digits of names and content; the place of the files is not in it.
        files: how many there are; 0 for what is made by code.
        bytes: of all files.
    """

    digest: str
    files: int
    bytes: int


def fingerprint(contents: Contents, cache_dir: str | Path | None = None) -> Fingerprint:
    """The fingerprint of contents; of folders the pictures in them count.

    Files are hashed whole, but for videos above 32 MiB: of these the size and 256 spots of 64 KiB are, the first at
    the head and the last at the tail. So it misses a change of such a video that leaves its size alone and lies
    between two spots, as a flipped byte may; any that is written anew differs in its headers and its index.

    Args:
        contents: see `Contents`.
        cache_dir: keeps the hashes of files, each for as long as size and times of the file stay; None reads all.

    Raises:
        ValueError: a file cannot be read.
    """
    files = {name: os.path.realpath(file) for name, file in _files_of(contents)}  # many frames may link to one
    digests = _digests(set(files.values()), None if cache_dir is None else Path(cache_dir) / CACHE)
    total, num_bytes = hashlib.sha256(), 0
    for name in sorted({*files, *contents}, key=composed):
        if name in files:
            size, digest = digests[files[name]]
            num_bytes += size
            total.update(json.dumps([composed(name), size, digest]).encode())
        elif isinstance(text := contents[name], str):
            total.update(json.dumps([composed(name), text]).encode())
    return Fingerprint(total.hexdigest()[:16], len(files), num_bytes)


def stamps(contents: Contents) -> dict[str, tuple[int, int, int]]:
    """Size and times (ns) of each file by its name: while they stay, so does its content.

    Raises:
        ValueError: a file is missing.
    """
    return {name: _stamp(file) for name, file in _files_of(contents)}


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        state = file.stat()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); fetch the data again") from error
    # The time of the last change of state cannot be set back, as that of the content can.
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _files_of(contents: Contents) -> Iterator[tuple[str, Path]]:
    for name, source in contents.items():
        if isinstance(source, str):
            continue
        if source.is_dir():
            yield from ((f"{name}/{file.name}", file) for file in pictures_in(source))
        else:
            yield name, source


def _digests(files: Iterable[str], cache: Path | None) -> dict[str, tuple[int, str]]:
    """Size and hash of each file."""
    digests = _read(cache)
    found: dict[str, tuple[int, str]] = {}
    new: Digests = {}

    def look(file: str) -> None:
        stamp, entry = _stamp(Path(file)), digests.get(file, [])
        is_known = entry[:3] == list(stamp)
        try:
            digest = str(entry[3]) if is_known else _hash(Path(file), stamp[0])
        except OSError as error:
            raise ValueError(f"{file}: cannot be read ({error.strerror}); fetch the data again") from error
        if not is_known and time.time() - stamp[2] / 1e9 > SETTLED:
            new[file] = [*stamp, digest]
        found[file] = (stamp[0], digest)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        list(threads.map(look, files))
    if cache is not None and new:
        with contextlib.suppress(OSError):  # on a full disk the files are just hashed again
            digests = _read(cache) | new
            write_file(cache, json.dumps({"checksum": _checksum(digests), "files": digests}).encode())
    return found


def _hash(file: Path, size: int) -> str:
    with file.open("rb") as opened:
        if size <= WHOLE or file.suffix.lower() not in VIDEO_SUFFIXES:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        digest = hashlib.sha256()
        for spot in range(SPOTS):
            opened.seek(spot * (size - SPOT) // (SPOTS - 1))
            digest.update(opened.read(SPOT))
        return digest.hexdigest()


def _read(cache: Path | None) -> Digests:
    """The hashes kept in a file; none where it is missing or damaged."""
    if cache is None:
        return {}
    try:
        content = json.loads(cache.read_bytes())
        digests: Digests = content["files"]
        return digests if content["checksum"] == _checksum(digests) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _checksum(digests: Digests) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
