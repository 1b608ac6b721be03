"""Progress of a command: a bar on a terminal; of clips elsewhere a plain line now and then. Cells have their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 30


class ClipProgress:
    """Clips done, frames per second and the time that is left; use it in a `with` statement."""

    def __init__(self, num_clips: int, num_frames: int | None, what: str = "clips", shown: bool = True) -> None:
        """Of `num_clips` clips, called `what`, with `num_frames` frames in all, None where nobody knows.

        Nothing is printed unless `shown`.
        """
        self.num_clips, self.num_frames, self.what = num_clips, num_frames, what
        self.clips = self.frames = 0
        self.begin = self.last_line = time.monotonic()
        self.shown = shown
        columns = (BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
        # A terminal gets the bar; a log file would get every state of it.
        self.bar = Progress(*columns) if shown and sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.task = self.bar.add_task(self.what, total=self.num_frames, note="")
            self.bar.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def add_frames(self, count: int) -> None:
        """So many frames more are done."""
        self.frames += count
        if self.bar is not None:
            self.bar.update(self.task, completed=self.frames, note=self._note())
        elif self.shown and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            print(f"{self._note()}{self._left()}", flush=True)

    def add_clip(self) -> None:
        """One clip more is done."""
        self.clips += 1
        if self.clips == self.num_clips and self.bar is None and self.shown:
            print(self._note(), flush=True)

    @property
    def frames_per_second(self) -> float:
        """So far."""
        return self.frames / max(time.monotonic() - self.begin, 1e-9)

    def _note(self) -> str:
        return f"{self.clips}/{self.num_clips} {self.what}, {self.frames_per_second:.1f} frames/s"

    def _left(self) -> str:
        if self.num_frames is None:
            return ""
        minutes, seconds = divmod(round((self.num_frames - self.frames) / self.frames_per_second), 60)
        return f", {minutes}:{seconds:02d} min left"


@contextmanager
def step_progress(first: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr if that is a terminal; gives a function that ends a step and names the next one."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(first, total=total)
        yield lambda text: progress.update(task, advance=1, description=text)
