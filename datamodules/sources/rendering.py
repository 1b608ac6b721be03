"""What sources make by code, made before it is read: by all cores, and once for all who share a cache."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from datamodules.files.writing import remove_abandoned
from datamodules.processes import worker_context

WORTH_A_PROCESS = 16  # pieces; a process takes some seconds to start
Report = Callable[[int, int], None]


@runtime_checkable
class RenderedSource(Protocol):
    """A source that keeps what it makes in a cache. It can be pickled."""

    @property
    def cache(self) -> Path | None:
        """The folder of the cache, or None if there is none."""
        ...

    def missing(self) -> list[int]:
        """Numbers of the clips or scenes that the cache lacks."""
        ...

    def fill(self, i: int) -> None:
        """Make clip or scene i and put it into the cache, if it is not there."""
        ...


def fill_caches(sources: Sequence[object], report: Report | None = None, processes: int | None = None) -> None:
    """Make all that the caches of some sources lack; while another process does so, wait for it.

    Pixels do not depend on who makes them. After a kill the next call goes on with what is left.

    Args:
        sources: those that are no `RenderedSource` are passed over.
        report: is called with the numbers of pieces that are made and of all, after each piece.
        processes: how many work at once; None: as many as there are cores, but none for few pieces.
    """
    rendered = [source for source in sources if isinstance(source, RenderedSource) and source.cache is not None]
    if not any(source.missing() for source in rendered):
        return  # without a lock: a cache that is whole may be another's, to be read only
    with _alone({source.cache.parent for source in rendered if source.cache is not None}):
        for source in rendered:
            if source.cache is not None:
                remove_abandoned(source.cache)  # of processes that were killed
        pieces = [(number, i) for number, source in enumerate(rendered) for i in source.missing()]
        # Long pieces and short ones mixed, so that no process is left with the long ones.
        random.Random(len(pieces)).shuffle(pieces)
        if processes is None:
            processes = min(_cores(), len(pieces) // WORTH_A_PROCESS)
        made = _made_by_pool(rendered, pieces, processes) if processes > 1 else _made_here(rendered, pieces)
        for done, _ in enumerate(made, start=1):
            if report is not None:
                report(done, len(pieces))


def _made_here(sources: Sequence[RenderedSource], pieces: Sequence[tuple[int, int]]) -> Iterator[None]:
    for number, i in pieces:
        sources[number].fill(i)
        yield


def _made_by_pool(
    sources: Sequence[RenderedSource], pieces: Sequence[tuple[int, int]], processes: int
) -> Iterator[None]:
    with ProcessPoolExecutor(processes, worker_context(), _begin, (tuple(sources),)) as pool:
        futures = [pool.submit(_fill, number, i) for number, i in pieces]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


_sources: tuple[RenderedSource, ...] = ()  # of a process of the pool


def _begin(sources: tuple[RenderedSource, ...]) -> None:
    global _sources
    _sources = sources
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes do not notice by themselves that theirs was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fill(number: int, i: int) -> None:
    _sources[number].fill(i)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _alone(folders: set[Path]) -> Iterator[None]:
    """Be the only one who renders into these folders."""
    with ExitStack() as held:
        for folder in sorted(folders):
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / ".rendering").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
