"""Files that are there whole or not at all, whatever ends the process or the machine that writes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give the name of a new file to write; at the end it is synced and moved to `path`, after an error deleted.

    It lies beside `path`, is called `.NAME.XXXXXXXX.tmp`, has the permissions that the umask leaves, and is locked
    as long as its writer lives: `remove_abandoned` tells by that what a killed one has left.

    Args:
        path: of the file; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked_file(path) as temporary:
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def place_folder(unfinished: Path, folder: Path) -> None:
    """Sync a folder and all that lies in it, then give it its name."""
    for path in (*unfinished.rglob("*"), unfinished):
        if not path.is_symlink():
            sync(path)
    unfinished.replace(folder)
    sync(folder.parent)


def remove_abandoned(folder: Path) -> None:
    """Delete the unfinished files in a folder, those below it excepted, whose writers are gone."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        with contextlib.suppress(OSError), path.open("r+b") as file:  # locked, or finished meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked_file(path: Path) -> Iterator[Path]:
    """A new empty file beside `path`, locked until the end."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with temporary.open("xb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if temporary.exists():  # else it was taken for abandoned before it was locked
                yield temporary
                return
