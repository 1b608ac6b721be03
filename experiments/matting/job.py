"""One video matted into an output folder: what is to be done, and doing it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor

from datamodules.files.encoding import join_segments, write_segment
from datamodules.files.pictures import write_png
from datamodules.footage import Camera, Moving
from experiments.command.progress import ClipProgress
from experiments.inference.streaming import Streaming
from experiments.matting.looks import Painter, Target
from experiments.matting.pipeline import Piece, ahead, painted, stop_asked
from experiments.matting.unfinished import Earlier, Unfinished, measured
from experiments.records.locks import lock_cell, lock_owner
from lightning_modules.nets.interface import MattingNet

SEGMENT = 120  # frames; so many are done again, at most, after a crash


@dataclass(frozen=True)
class Job:
    """All that is needed to matte one video.

    Attributes:
        folder: where outputs are written.
        footage: what is matted.
        net: in eval mode, on its device.
        how: it is run.
        plate: (1, 1, 3, H, W) in [0, 1] on that device, for nets that take one.
        targets: what is written.
        painter: of the pictures.
        crf: of H.264 and VP9.
        sound: whether it is kept.
        settings: all that decides the outputs, plain.
    """

    folder: Path
    footage: Moving
    net: MattingNet
    how: Streaming
    plate: Tensor | None
    targets: tuple[Target, ...]
    painter: Painter
    crf: int
    sound: bool
    settings: dict[str, Any]

    def run(self, again: bool = False, bar: ClipProgress | None = None) -> bool:
        """Write the outputs, from where an earlier process stopped; false if it was stopped before the end.

        Args:
            again: what is complete is made anew.
            bar: is told of frames as they are written; None for one of its own.

        Raises:
            ValueError: the folder cannot be written, is another's or is worked on, the video is damaged, or memory
                or disk are full.
        """
        try:
            return self._run(again, bar)
        except torch.OutOfMemoryError as error:
            remedies = "chunk=1, precision=16-mixed or a smaller downsample_ratio="
            raise ValueError(f"{self.folder}: out of memory; give {remedies}, or device=cpu") from error
        except OSError as error:
            why = f"{self.folder} cannot be written ({error.strerror or error})"
            raise ValueError(f"{why}; make room there or give another output=, the same command then goes on") from None

    def _run(self, again: bool, bar: ClipProgress | None) -> bool:
        earlier = Earlier.read(self.folder)
        self._refuse_what_would_be_lost(earlier, again)
        unfinished = Unfinished(self.folder, self.settings)
        if earlier is not None and not again and not earlier.changed(self.settings):
            if earlier.complete:
                print(f"skip      {self.folder}: complete; again=true mattes anew", flush=True)
                return True
            if self.footage.path is not None:
                unfinished.resume(self.net, self.targets)
        elif earlier is not None and not again:
            print(f"changed   {', '.join(earlier.changed(self.settings))}: {self.folder} is made anew", flush=True)
        unfinished.work.mkdir(parents=True, exist_ok=True)
        with lock_cell(unfinished.work) as lock:
            if lock is None:
                raise ValueError(f"{self.folder}: {lock_owner(unfinished.work)} works on it; wait for it or stop it")
            unfinished.begin(self.targets)
            return self._matte(unfinished, bar)

    def _refuse_what_would_be_lost(self, earlier: Earlier | None, again: bool) -> None:
        taken = [target.place for target in self.targets if (self.folder / target.place).exists()]
        if earlier is None and taken:
            raise ValueError(f"{self.folder} holds {', '.join(taken)} of something else; give another output=")
        if taken and not again and isinstance(self.footage, Camera):
            raise ValueError(f"{self.folder} holds an earlier recording; give another output=, or again=true")

    def _matte(self, unfinished: Unfinished, bar: ClipProgress | None) -> bool:
        begin, before, total = time.monotonic(), len(unfinished.times), self.footage.num_frames
        height, width = self.footage.size
        length = "until Ctrl-C" if total is None else f"{total} frames"
        going_on = f", going on from frame {before}" if before else ""
        print(f"matte     {width}×{height}, {length}{going_on} → {self.folder}", flush=True)
        pieces = painted(self.footage, self.net, self.how, self.plate, self.painter, before, unfinished.state)
        bar = bar or ClipProgress(1, None if total is None else total - before, "videos")
        with stop_asked() as asked:
            try:
                with bar, closing(ahead(pieces)) as made:
                    while not asked.is_set() and self._write_segment(unfinished, made, asked, bar):
                        pass
                    if len(unfinished.times) == total:
                        bar.add_clip()
            except Exception:
                self._join(unfinished, done=False)
                raise
            done = total in (None, len(unfinished.times))
            self._join(unfinished, done)
        self._tell(unfinished, done, time.monotonic() - begin, before)
        return done

    def _write_segment(self, unfinished: Unfinished, pieces: Iterator[Piece], asked: Event, bar: ClipProgress) -> bool:
        """Write the next segment of each target and note it; false at the end of the footage."""
        first = next(pieces, None)
        if first is None:
            return False
        number, times = unfinished.segments, list[int]()
        with ExitStack() as stack:
            takers = {
                target: stack.enter_context(
                    write_segment(unfinished.segment(target, number), target.suffix, self.footage.rate, self.crf)
                )
                for target in self.targets
                if target.is_video
            }
            for piece in chain([first], pieces):
                start = len(unfinished.times) + len(times)
                for target in self.targets:
                    for k, picture in enumerate(piece.pictures[target.look]):
                        if target in takers:
                            takers[target](picture)
                        elif target.look != "compare":
                            write_png(self.folder / target.place / f"{start + k:08d}.png", picture)
                        elif start + k == 0:
                            write_png(self.folder / target.place, picture)
                times += piece.times
                bar.add_frames(len(piece.times))
                if len(times) >= SEGMENT or asked.is_set():
                    break
        unfinished.segments, unfinished.state = number + 1, piece.state
        unfinished.times += times
        unfinished.save()
        return True

    def _join(self, unfinished: Unfinished, done: bool) -> None:
        """Make a playable file of the segments of each video."""
        if not unfinished.times:
            return
        sound = self.footage.path if self.sound and self.footage.path and self.footage.path.is_file() else None
        for target in self.targets:
            if target.is_video:
                notes = join_segments(
                    self.folder / target.place,
                    [unfinished.segment(target, number) for number in range(unfinished.segments)],
                    unfinished.times,
                    self.footage.time_base,
                    self.footage.rate,
                    sound,
                    self.footage.origin,
                    whole=done,
                )
                for note in notes:
                    print(f"sound     {note}", flush=True)
        if done:
            unfinished.finish(measured(self.folder, [target.place for target in self.targets]))

    def _tell(self, unfinished: Unfinished, done: bool, seconds: float, before: int) -> None:
        count, total = len(unfinished.times), self.footage.num_frames
        rate = f"{(count - before) / max(seconds, 1e-9):.1f} frames/s"
        names = ", ".join(target.place for target in self.targets)
        if done:
            print(f"done      {count} frames, {rate}: {names} in {self.folder}", flush=True)
        else:
            print(
                f"stopped   after {count} of {total} frames, which {names} hold; the same command goes on", flush=True
            )
