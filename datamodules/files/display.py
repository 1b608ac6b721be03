"""What a player does with a decoded picture before it shows it: turns it, mirrors it, stretches its pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from datamodules.files.pictures import channels_first

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

# Transfer characteristics of ITU-T H.273: their code values are no sRGB-like brightness.
HIGH_DYNAMIC_RANGE = {16: "PQ (SMPTE 2084)", 18: "HLG (ARIB STD-B67)"}
TO_STANDARD_RANGE = (
    "ffmpeg -i IN -vf zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p OUT.mp4"
)
# Scaling to whole pixels leaves pixel aspects such as 1215:1216 behind; those are meant to be square.
SQUARE_WITHIN = 0.01


@dataclass(frozen=True)
class Display:
    """How the pictures of a video are shown; done in the order of the fields.

    Attributes:
        height: shown, pixels.
        width: shown, pixels; pixels that are not square are stretched in width, the height of a stored picture stays.
        transposed: rows and columns change places.
        mirrored: left and right change places after that.
        flipped: top and bottom change places after that.
        as_stored: nothing of it is done.
    """

    height: int
    width: int
    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False
    as_stored: bool = True

    def show(self, frame: VideoFrame, size: tuple[int, int], scaler: VideoReformatter) -> Tensor:
        """A decoded frame as (3, H, W) uint8, RGB.

        Range and matrix are those of the frame's tags; without tags limited range and BT.601, as FFmpeg takes them.
        An alpha channel is left out, the colours stay as they are stored.

        Args:
            frame: as decoded.
            size: (height, width) in which it is shown, pixels.
            scaler: one for all frames of a video, for speed.
        """
        height, width = size[::-1] if self.transposed else size
        pixels: Any = scaler.reformat(frame, width, height, format="rgb24", interpolation="BICUBIC").to_ndarray()
        shown = channels_first(pixels)
        shown = shown.mT if self.transposed else shown
        sides = [side for side, turned in ((-1, self.mirrored), (-2, self.flipped)) if turned]
        return shown.flip(sides) if sides else shown


def display_of(stream: VideoStream, frame: VideoFrame) -> Display:
    """How a stream is shown, by its first frame.

    Raises:
        ValueError: it is turned by an angle that is no quarter turn, or its colours are HLG or PQ.
    """
    if (transfer := int(stream.codec_context.color_trc)) in HIGH_DYNAMIC_RANGE:
        raise ValueError(f"its colours are {HIGH_DYNAMIC_RANGE[transfer]}; convert it first: {TO_STANDARD_RANGE}")
    height, width = frame.height, frame.width
    aspect = float(stream.sample_aspect_ratio or 1)
    stretched = abs(aspect - 1) > SQUARE_WITHIN
    if stretched:
        width = max(round(width * aspect), 1)
    transposed, mirrored, flipped = _turn(frame)
    if transposed:
        height, width = width, height
    return Display(height, width, transposed, mirrored, flipped, not (stretched or transposed or mirrored or flipped))


def _turn(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether a frame's display matrix transposes, then mirrors, then flips it."""
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return False, False, False
    # Rows of a 3×3 matrix; (x, y) is shown at (a·x + c·y, b·x + d·y), y downwards; 65536 is one.
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side_data))
    unit = max(map(abs, (a, b, c, d)))
    turn = tuple(round(number / unit, 2) for number in (a, b, c, d)) if unit else ()
    match tuple(map(abs, turn)):
        case (1, 0, 0, 1):
            return False, turn[0] < 0, turn[3] < 0
        case (0, 1, 1, 0):
            return True, turn[2] < 0, turn[1] < 0
    matrix = [number / 65536 for number in (a, b, c, d)]
    raise ValueError(f"its display matrix {matrix} is no quarter turn; write it turned: ffmpeg -i IN OUT.mp4")
