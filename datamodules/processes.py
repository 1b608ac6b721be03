"""How processes that load and render start, and how they hold memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

# And with it all that loads a sample, as names: this file imports none of it.
PRELOADED = ["datamodules.samples", "datamodules.kernels"]

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt


def cores() -> int:
    """How many this process may use; of a control group's share of their time, whole ones and one at least."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = control_group("cpu.max").partition(" ")
    return max(1, min(allowed, int(quota) // int(period))) if quota.isdigit() else allowed


def control_group(limit: str) -> str:
    """What a limit of this process's control group (version 2) says, or of the container that it is in; "" for none."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("0::/")[2].strip()
    except OSError:
        return ""
    for group in (Path("/sys/fs/cgroup") / own, Path("/sys/fs/cgroup")):
        with suppress(OSError):
            return (group / limit).read_text(encoding="utf-8").strip()
    return ""


def keep_memory() -> None:
    """Let this process keep large blocks that it frees, for the next tensors, instead of giving them back each time.

    The system clears a block page by page when it is fetched anew, which compositing large frames would spend much of
    its time on. Where the C library is not glibc, nothing is changed.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def preload(module: str) -> None:
    """Have the server of `worker_context`, if it has not started yet, import a module too."""
    if module not in PRELOADED:
        PRELOADED.append(module)


def start_server() -> bool:
    """Start the server of `worker_context` ahead of the first process that it forks; False: there is none."""
    if worker_context().get_start_method() != "forkserver":
        return False
    forkserver.ensure_running()
    return True


def worker_context() -> BaseContext:
    """They are forked from a server that has imported all they need once; spawned where there are no such servers.

    Not forked from this process: they would inherit locks of decoders and loggers, and hang on them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
