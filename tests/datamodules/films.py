"""Small videos as users have them, made by PyAV: any times, with sound, turned."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SOUND_RATE = 48_000


def write_film(
    path: Path, times: Sequence[int], time_base: Fraction, size: tuple[int, int] = (64, 96), sound: str | None = None,
    turn: tuple[int, int, int, int] | None = None,
) -> Path:  # fmt: skip
    """A blob that moves over a slope, H.264, shown at `times`; with a second of a tone in a codec called `sound`."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "6"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = time_base
        if turn:
            a, b, c, d = turn
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        track = None if sound is None else container.add_stream(sound, rate=SOUND_RATE, layout="stereo")
        for number, time in enumerate(times):
            blob = 255 * (np.hypot(y - height / 2, x - 20 - 2 * number) < 15)
            pixels = np.stack([blob, 2 * x % 256, 3 * y % 256], axis=-1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            tone = (8000 * np.sin(np.arange(SOUND_RATE) / 20)).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None], format="s16", layout="stereo")
            heard.rate, heard.pts, heard.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
            container.mux(track.encode(heard))
            container.mux(track.encode())
    return path


def frame_times(path: Path) -> list[Fraction]:
    """Seconds at which a player shows the frames."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(container.streams.video[0])]


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Seconds and bytes of the first sound track."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(track) if packet.size]


def sound_codec(path: Path) -> str | None:
    """Of the first sound track, None where there is none."""
    with av.open(str(path)) as container:
        return next((track.codec_context.name for track in container.streams.audio), None)
