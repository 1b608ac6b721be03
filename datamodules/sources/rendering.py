"""What sources make by code, made before it is read: by all cores, and once for all who share a cache."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from datamodules.files.writing import remove_abandoned
from datamodules.processes import cores, keep_memory, worker_context

WORTH_A_PROCESS = 5.0  # seconds of work; a process takes some to start
PATIENCE = 1.0  # seconds between two looks at what another process renders
Report = Callable[[int, int], None]


class Cost(NamedTuple):
    """What a clip or scene costs: bytes on the disk, seconds of a core (an estimate)."""

    num_bytes: int
    seconds: float


@runtime_checkable
class RenderedSource(Protocol):
    """A source that keeps what it makes in a cache. It can be pickled."""

    @property
    def cache(self) -> Path | None:
        """The folder of the cache, or None if there is none."""
        ...

    def name(self, i: int) -> str:
        """Name of clip or scene i; sources that share a cache mean the same pixels by it."""
        ...

    def missing(self) -> list[int]:
        """Numbers of the clips or scenes that the cache lacks."""
        ...

    def cost(self) -> Cost:
        """Of one clip or scene, on average."""
        ...

    def outdated(self) -> list[Path]:
        """Folders beside that of the cache which earlier versions have left."""
        ...

    def fill(self, i: int) -> None:
        """Make clip or scene i and put it into the cache, if it is not there."""
        ...


class Piece(NamedTuple):
    """A clip or scene that a cache lacks."""

    source: RenderedSource
    number: int


def missing_pieces(sources: Sequence[object]) -> list[Piece]:
    """What the caches of some sources lack, each clip and scene once; those that are no `RenderedSource` have none."""
    found: dict[tuple[Path, str], Piece] = {}
    rendered = [source for source in sources if isinstance(source, RenderedSource)]
    # Of two that share a clip the one that asks for more comes last, and stays.
    for source in sorted(rendered, key=lambda source: source.cost()):
        if source.cache is not None:
            found |= {(source.cache, source.name(i)): Piece(source, i) for i in source.missing()}
    return list(found.values())


def total_cost(pieces: Sequence[Piece]) -> Cost:
    """Bytes on the disk and seconds of a core for all."""
    costs = [piece.source.cost() for piece in pieces]
    return Cost(sum(cost.num_bytes for cost in costs), sum(cost.seconds for cost in costs))


def fill_caches(sources: Sequence[object], report: Report | None = None, processes: int | None = None) -> None:
    """Make all that the caches of some sources lack; while another process does so, wait for it.

    Pixels do not depend on who makes them. After a kill the next call goes on with what is left.

    Args:
        sources: those that are no `RenderedSource` are passed over.
        report: is called with the numbers of pieces that are there and of all that were missing, whoever makes them.
        processes: how many work at once; None: as many as there are cores, but none for little work.
    """
    pieces = missing_pieces(sources)
    total, tell = len(pieces), report or (lambda done, total: None)
    with ExitStack() as locks:
        while pieces and not _alone(locks, {_cache(piece).parent for piece in pieces}):
            time.sleep(PATIENCE)
            pieces = missing_pieces(sources)
            tell(total - len(pieces), total)
        pieces = missing_pieces([piece.source for piece in pieces])  # another may have made some until just now
        for folder in {_cache(piece) for piece in pieces}:
            remove_abandoned(folder)  # of processes that were killed
        # Long pieces and short ones mixed: what is told of the first part is then true of the rest.
        random.Random(total).shuffle(pieces)
        if processes is None:
            processes = min(cores(), len(pieces), int(total_cost(pieces).seconds / WORTH_A_PROCESS))
        made = _made_by_pool(pieces, processes) if processes > 1 else _made_here(pieces)
        for done, _ in enumerate(made, start=total - len(pieces) + 1):
            tell(done, total)


def _cache(piece: Piece) -> Path:
    assert piece.source.cache is not None
    return piece.source.cache


def _made_here(pieces: Sequence[Piece]) -> Iterator[None]:
    for source, number in pieces:
        source.fill(number)
        yield


def _made_by_pool(pieces: Sequence[Piece], processes: int) -> Iterator[None]:
    sources = list({id(piece.source): piece.source for piece in pieces}.values())
    place = {id(source): k for k, source in enumerate(sources)}
    with ProcessPoolExecutor(processes, worker_context(), _begin, (tuple(sources),)) as pool:
        futures = [pool.submit(_fill, place[id(piece.source)], piece.number) for piece in pieces]
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
    keep_memory()
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


def _alone(locks: ExitStack, folders: set[Path]) -> bool:
    """Become the only one who renders into these folders; False if another does."""
    with ExitStack() as taken:
        for folder in sorted(folders):
            folder.mkdir(parents=True, exist_ok=True)
            lock = taken.enter_context((folder / ".rendering").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a file system without locks: two may render the same, and then write the same
                pass
        locks.push(taken.pop_all())
    return True
