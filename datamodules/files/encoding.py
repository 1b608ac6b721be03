"""Videos written in segments, each whole on the disk, and joined without coding anything again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from datamodules.files.sound import Sound
from datamodules.files.writing import whole_file

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# H.273: matrix, primaries and transfer are BT.709's, the range is limited, as players take untagged HD for.
BT709, LIMITED = 1, 1
TICK = Fraction(1, 1000)  # seconds; in a segment packets are counted in it
LUMA = np.rint(16 + np.arange(256) * np.float32(219 / 255)).astype(np.uint8)  # of a grey value


@dataclass(frozen=True)
class Coding:
    """How the pictures of a kind of file are coded; each picture is a packet, in the order of display.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of their format.
        options: of the encoder.
        quality: whether there is a `crf`.
        even: sides must be even.
    """

    codec: str
    pixels: str
    options: dict[str, str]
    quality: bool = True
    even: bool = False


CODINGS = {
    # Without B-frames packets stand in the order of display, so that segments join at any frame, whatever its time.
    ".mp4": Coding("libx264", "yuv420p", {"bf": "0", "preset": "veryfast"}, even=True),
    ".mov": Coding("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}, quality=False),
    # The encoder refuses alternate reference frames beside alpha.
    ".webm": Coding("libvpx-vp9", "yuva420p", {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1",
                                               "auto-alt-ref": "0"}),
}  # fmt: skip


@contextmanager
def write_segment(path: Path, suffix: str, rate: Fraction, crf: int) -> Iterator[Callable[[Tensor], None]]:
    """Write some successive pictures of a video as a file of their own, in Matroska; there whole or not at all.

    Args:
        path: of the segment.
        suffix: of the file that it becomes part of, a key of `CODINGS`.
        rate: frames per second, by which encoders judge how long a picture is seen.
        crf: 0 (lossless) to 51, where the coding has it.

    Yields:
        What takes the next picture, (1, 3 or 4, H, W) uint8: grey, RGB or RGBA.
    """
    import av

    coding, counts = CODINGS[suffix], {"pictures": 0, "packets": 0}
    stream: Any = None
    options = coding.options | ({"crf": str(crf)} if coding.quality else {})

    def mux(packets: list[Packet]) -> None:
        for packet in packets:
            packet.pts = packet.dts = counts["packets"]
            packet.time_base = TICK
            counts["packets"] += 1
            container.mux(packet)

    def add(picture: Tensor) -> None:
        nonlocal stream
        frame = _coded(picture, coding)
        if stream is None:
            stream = container.add_stream(coding.codec, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, coding.pixels
            _tag(stream.codec_context)
        frame.pts, frame.time_base = counts["pictures"], 1 / rate
        counts["pictures"] += 1
        mux(stream.encode(frame))

    with whole_file(path) as unfinished, av.open(str(unfinished), "w", format="matroska") as container:
        yield add
        if stream is not None:
            mux(stream.encode())


def join_segments(
    path: Path,
    segments: Sequence[Path],
    times: Sequence[int],
    time_base: Fraction,
    rate: Fraction,
    sound: Path | None = None,
    origin: Fraction = Fraction(0),
    whole: bool = True,
) -> list[str]:
    """Join segments to one file, with sound; no picture is coded again.

    Args:
        path: of the file, which appears only when it is whole; its suffix is a key of `CODINGS`.
        segments: one or more, in order.
        times: of display of all pictures in them, in `time_base`, rising.
        time_base: seconds; WebM stores milliseconds, whatever it is.
        rate: frames per second; the last picture is shown for as long as one has.
        sound: file whose sound is taken; None for no sound.
        origin: seconds of that file's clock at which `times` are 0.
        whole: all of the sound is taken, also what is heard after the last picture.

    Returns:
        What is to be told of the sound, a line each.

    Raises:
        ValueError: the segments do not hold as many pictures as there are times.
    """
    import av

    suffix = path.suffix
    ends = [*times[1:], times[-1] + max(round(1 / rate / time_base), 1)]
    options = {} if suffix == ".webm" else {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}
    with ExitStack() as stack:
        unfinished = stack.enter_context(whole_file(path))
        container = stack.enter_context(av.open(str(unfinished), "w", suffix.removeprefix("."), options=options))
        with av.open(str(segments[0])) as first:
            stream = container.add_stream_from_template(first.streams.video[0])
        stream.time_base = time_base
        if suffix == ".webm":
            stream.metadata["alpha_mode"] = "1"
        pictures = _packets(segments, stream, times, ends, time_base)
        tracks = None
        if sound is not None:
            until = math.inf if whole else float(ends[-1] * time_base)
            tracks = stack.enter_context(Sound(sound, container, suffix, origin, until))
        for _, packet in merge(pictures, *([tracks.packets()] if tracks else []), key=itemgetter(0)):
            container.mux(packet)
        return tracks.notes if tracks else []


def _packets(
    segments: Sequence[Path], stream: VideoStream, times: Sequence[int], ends: Sequence[int], time_base: Fraction
) -> Iterator[tuple[float, Packet]]:
    """All pictures of segments with the seconds at which they are shown."""
    import av

    number = 0
    for path in segments:
        with av.open(str(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                if number == len(times):
                    raise ValueError(f"{path} holds more pictures than are known of; give again=true")
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = times[number]
                packet.duration = ends[number] - times[number]
                yield float(times[number] * time_base), packet
                number += 1
    if number < len(times):
        raise ValueError(f"{segments[-1].parent}: {len(times) - number} pictures are lost; give again=true")


def _coded(picture: Tensor, coding: Coding) -> VideoFrame:
    """A picture as an encoder takes it: BT.709, limited range; odd sides repeat their last row or column."""
    import av
    import cv2
    from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

    planes = picture.numpy()
    channels, height, width = planes.shape
    if coding.even and (height % 2 or width % 2):
        planes = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), "edge")
        height, width = planes.shape[1:]
    if channels == 1:
        colourless = np.full((height // 2, width), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(np.concatenate([cv2.LUT(planes[0], LUMA), colourless]), format="yuv420p")
    else:
        frame = av.VideoFrame.from_ndarray(cv2.merge(list(planes)), format={3: "rgb24", 4: "rgba"}[channels])
        frame = VideoReformatter().reformat(
            frame, width, height, coding.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
    _tag(frame)
    return frame


def _tag(tagged: Any) -> None:
    """Say that colours are BT.709's, with limited range."""
    tagged.colorspace = tagged.color_primaries = tagged.color_trc = BT709
    tagged.color_range = LIMITED
