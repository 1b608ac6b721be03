"""Decoding, matting and encoding beside each other, a few frames of each in memory."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread, current_thread, main_thread
from typing import Any, TypeVar

import torch
from torch import Tensor

from datamodules.footage import Moving
from experiments.inference.streaming import PIXELS_AT_ONCE, Streaming, run_frames
from experiments.matting.looks import Painter
from lightning_modules.nets.interface import MattingNet, MattingOutput

T = TypeVar("T")
FRAMES_AT_ONCE = 32  # at most, however small: so many are matted before a stop is heeded
PIECES_AHEAD = 2  # that wait for the next stage


@dataclass
class Piece:
    """Some successive frames, matted.

    Attributes:
        times: when they are shown, in the time base of the footage.
        pictures: (T, C, h, w) uint8 by look.
        state: of the net after them.
    """

    times: list[int]
    pictures: dict[str, Tensor]
    state: Any


@dataclass
class Mattes:
    """Some successive frames (T, 3, H, W) uint8 with their times, and what the net gave for them."""

    times: list[int]
    frames: Tensor
    output: MattingOutput


def painted(
    footage: Moving,
    net: MattingNet,
    how: Streaming,
    plate: Tensor | None,
    painter: Painter,
    start: int = 0,
    state: Any = None,
) -> Generator[Piece, None, None]:
    """Footage in pieces, from frame `start` on; they are painted while the net, in a thread of its own, goes on.

    Args:
        footage, net, how, plate, start, state: see `matted`.
        painter: of the pictures.
    """
    with closing(ahead(matted(footage, net, how, plate, start, state))) as pieces:
        for piece in pieces:
            seconds = [float(time * footage.time_base) for time in piece.times]
            pictures = painter.paint(piece.frames, piece.output, seconds)
            yield Piece(piece.times, pictures, piece.output.state)


def matted(
    footage: Moving,
    net: MattingNet,
    how: Streaming,
    plate: Tensor | None,
    start: int = 0,
    state: Any = None,
) -> Generator[Mattes, None, None]:
    """Footage and its mattes, from frame `start` on; `state` is the net's after the frame before.

    Args:
        footage: is decoded in a thread of its own.
        net: in eval mode, on the device where all is computed.
        how: it is run.
        plate: (1, 1, 3, H, W) in [0, 1] on that device, for nets that take one.
        start: number of a frame.
        state: None at the first frame.
    """
    device = net.device
    with closing(ahead(chunks_of(footage, start, chunk_length(how, footage.size)))) as chunks:
        for times, frames in chunks:
            frames = frames.to(device)
            output = run_frames(net, frames[None].float() / 255, state, plate, how)
            state = output.state
            yield Mattes(times, frames, output)


def chunk_length(how: Streaming, size: tuple[int, int]) -> int:
    """How many frames of (height, width) are matted at once."""
    return how.chunk or min(FRAMES_AT_ONCE, max(1, PIXELS_AT_ONCE // (size[0] * size[1])))


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same items, made in a thread that runs ahead of what is done with them by `PIECES_AHEAD`, no more.

    An error comes out where its item would have come. Close it, and the thread ends after the item that it makes.
    """
    made: Queue[tuple[T | None, BaseException | None]] = Queue(PIECES_AHEAD)
    closed = Event()

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not _offer(made, (item, None), closed):
                        return
            _offer(made, (None, StopIteration()), closed)
        except BaseException as error:
            _offer(made, (None, error), closed)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, end = made.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def _offer(queue: Queue[Any], item: Any, closed: Event) -> bool:
    """Put an item where there is room, in time; false if the queue was closed meanwhile."""
    while not closed.is_set():
        try:
            queue.put(item, timeout=0.1)
        except Full:
            continue
        return True
    return False


@contextmanager
def stop_asked() -> Iterator[Event]:
    """Is set by Ctrl-C or SIGTERM, once; another one ends the process as ever. Only the main thread hears of them."""
    asked = Event()
    if current_thread() is not main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        asked.set()
        print("\nstopping  what is done is made playable; once more ends at once", flush=True)
        restore()

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        restore()


def chunks_of(footage: Moving, start: int, length: int) -> Generator[tuple[list[int], Tensor], None, None]:
    """Footage from frame `start` on, `length` frames at once: their times, and (T, 3, H, W) uint8, RGB."""
    times: list[int] = []
    frames: list[Tensor] = []
    for time, frame in footage.read(start):
        times.append(time)
        frames.append(frame)
        if len(times) == length:
            yield times, torch.stack(frames)
            times, frames = [], []
    if times:
        yield times, torch.stack(frames)
