"""Who works on a cell: a lock in its folder, which a process hands on to the one that it starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_VARIABLE = "MATTING_CELL_LOCK"


@contextlib.contextmanager
def lock_cell(folder: Path) -> Iterator[int | None]:
    """The lock under which this process alone works in the folder; None if another process has it.

    It is an open file, and the system frees it however the process ends. A process that was started with it
    (`LOCK_VARIABLE` is its number) shares it: nobody comes between the two.
    """
    handed = os.environ.pop(LOCK_VARIABLE, None)
    with (folder / "lock").open("a+") if handed is None else os.fdopen(int(handed), "a+") as file:
        os.set_inheritable(file.fileno(), False)  # what a cell starts, as W&B's client, may outlive it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield file.fileno()


def is_locked(folder: Path) -> bool:
    """Whether a process works on a cell that is not complete: the system frees its lock when it ends."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def lock_owner(folder: Path) -> str:
    """Who holds the lock of a cell, or held it last: process, machine and since when."""
    try:
        return (folder / "lock").read_text(encoding="utf-8", errors="replace") or "another process"
    except OSError:
        return "another process"
