"""What a user wants matted: a video, a folder of frames or a camera, frame after frame with its time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count as count_from
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor

from datamodules.video import VideoInfo, probe, stream_frames

CAMERA_CLOCK = Fraction(1, 90_000)  # seconds, that of broadcasts


@dataclass(frozen=True)
class Footage:
    """A video file or a folder of frames.

    Attributes:
        path: of it.
        size: (height, width) as shown, pixels.
        times: when each frame is shown, in `time_base`, rising.
        time_base: seconds.
        rate: mean frames per second.
        origin: seconds of the file's clock at which `times` are 0.
    """

    path: Path
    size: tuple[int, int]
    times: Sequence[int]
    time_base: Fraction
    rate: Fraction
    origin: Fraction = Fraction(0)

    @classmethod
    def open(cls, path: Path, fps: float) -> Footage:
        """A file or a folder; `fps` is the rate of what has no times of its own.

        Raises:
            ValueError: it is missing, or nothing that can be decoded; see `probe`.
        """
        info = probe(path)
        size = (info.height, info.width)
        stamps = [stamp for stamp in info.timestamps if stamp is not None]
        if len(stamps) == info.num_frames and all(before < after for before, after in pairwise(stamps)):
            # Players begin at the first frame where a clock starts below 0.
            origin = min(info.clock_start, stamps[0] * info.time_base)
            shift = round(origin / info.time_base)
            times = [stamp - shift for stamp in stamps]
            return cls(path, size, times, info.time_base, _rate(info, fps), shift * info.time_base)
        rate = _rate(info, fps)
        return cls(path, size, range(info.num_frames), 1 / rate, rate, info.clock_start)

    @property
    def num_frames(self) -> int:
        """How many there are."""
        return len(self.times)

    def read(self, start: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Frames from number `start` on: time, and (3, H, W) uint8, RGB.

        Raises:
            ValueError: see `stream_frames`.
        """
        yield from zip(self.times[start:], stream_frames(self.path, start), strict=True)


class Camera:
    """A webcam, through OpenCV; its frames have the times at which they came. It has no path and no end.

    Attributes are those of `Footage`.
    """

    path = None
    num_frames = None
    time_base = CAMERA_CLOCK
    origin = Fraction(0)

    def __init__(self, number: int, fps: float) -> None:
        """Open camera `number` of this machine, from 0 on; `fps` is told in files if it tells none itself.

        Raises:
            ValueError: it cannot be opened, or gives no picture.
        """
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns in lines of its own
        self.number, self.capture = number, cv2.VideoCapture(number)
        given, first = self.capture.read()
        if not given:
            raise ValueError(
                f"camera {number} cannot be opened: plug it in, end other programs that use it, or give another number"
            )
        self.size: tuple[int, int] = first.shape[:2]
        self.rate = Fraction(self.capture.get(cv2.CAP_PROP_FPS) or fps).limit_denominator(1001)

    def read(self, start: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Frames as they come, until the caller ends it: time, and (3, H, W) uint8, RGB; `start` is not heeded.

        Raises:
            ValueError: the camera stops.
        """
        begin, last = time.monotonic(), -1
        try:
            while True:
                given, picture = self.capture.read()
                if not given:
                    raise ValueError(f"camera {self.number} gives no more pictures: plug it in again")
                last = max(last + 1, round((time.monotonic() - begin) / self.time_base))
                yield last, torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
        finally:
            self.capture.release()


class Loop:
    """The first frames of a film again and again until its time is up, to see how long something lasts.

    Attributes are those of `Footage`; like a camera it has no path, no sound and no known end.
    """

    path = None
    num_frames = None
    origin = Fraction(0)

    def __init__(self, film: Footage, count: int, seconds: float) -> None:
        """Show `count` frames at most of the film, for as many seconds from its first frame on."""
        self.film, self.count, self.seconds = film, min(count, film.num_frames), seconds
        self.size, self.time_base, self.rate = film.size, film.time_base, film.rate

    def read(self, start: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Time, and (3, H, W) uint8, RGB; one frame at least. `start` is not heeded."""
        end = time.monotonic() + self.seconds
        step = max(round(1 / self.rate / self.time_base), 1)
        length = self.film.times[self.count - 1] - self.film.times[0] + step
        for turn in count_from(0):
            for shown, frame in islice(self.film.read(), self.count):
                yield turn * length + shown, frame
                if time.monotonic() >= end:
                    return


Moving = Footage | Camera | Loop


def open_footage(named: str, fps: float = 30) -> Footage | Camera:
    """A video file, a folder of frames, or a camera by its number.

    Args:
        named: path, or digits that are no path.
        fps: frames per second of what has no times.

    Raises:
        ValueError: it cannot be opened.
    """
    if named.isdecimal() and not Path(named).exists():
        return Camera(int(named), fps)
    return Footage.open(Path(named), fps)


def _rate(info: VideoInfo, fps: float) -> Fraction:
    return Fraction(info.fps or fps).limit_denominator(1001) or Fraction(1)  # a slide show
