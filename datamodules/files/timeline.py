"""Which frames a video file shows, in which order, and where its decoding may begin."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers that store when a frame is shown; an AVI stores when it is decoded, streams of broadcasts have no index.
TIMED_CONTAINERS = ("mov,mp4", "matroska")
# Codecs whose every packet gives one frame, beside those of single pictures.
ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1", "libdav1d", "ffv1", "png"}
# Codecs whose key frames forget all that was before, beside H.264 and HEVC, where only the packet itself tells.
CLOSED_KEY_FRAMES = {"vp8", "vp9", "av1", "libdav1d", "ffv1", "png"}


@dataclass(frozen=True)
class Start:
    """A packet where decoding may begin: all frames from `index` on come out as if decoded from the first packet.

    Attributes:
        index: of the first such frame in the order of display.
        pts: time of display of the packet, in the stream's time base.
        dts: time of decoding, if it has one.
    """

    index: int
    pts: int
    dts: int | None


@dataclass(frozen=True)
class Timeline:
    """The frames of a stream.

    Attributes:
        times: of display, in the order of display, in the stream's time base; None where the file has none.
        starts: in order; empty where times cannot tell the frames apart, so that they must be counted from the first.
        regular: the packets alone tell the frames, and each key frame is a start.
    """

    times: tuple[int | None, ...]
    starts: tuple[Start, ...]
    regular: bool


class PacketFacts(NamedTuple):
    """What matters of a packet.

    Attributes:
        pts: time of display, if it has one.
        dts: time of decoding, if it has one.
        key: it is marked as a key frame.
        resets: decoding may begin with it.
        shown: it lies within the cut of the edit list.
        whole: the file was not cut off within it.
    """

    pts: int | None
    dts: int | None
    key: bool
    resets: bool
    shown: bool
    whole: bool


def main_stream(container: InputContainer) -> VideoStream:
    """The video stream that a player shows: the default one, else the first; never a cover picture.

    Raises:
        IndexError: there is none.
    """
    import av

    films = [
        stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    return next((stream for stream in films if stream.disposition & av.stream.Disposition.default), films[0])


def frames_from(container: InputContainer, stream: VideoStream, start: Start | None = None) -> Iterator[VideoFrame]:
    """The frames of a stream in the order of display, from a start (after some that are not to be used) or the first.

    What cannot be decoded before the first frame or after the last is passed over, as players do.

    Raises:
        FFmpegError: a packet between is damaged.
    """
    import av

    if start is not None:
        container.seek(min(start.pts, start.pts if start.dts is None else start.dts), stream=stream)
    begun, shown, damage = start is None, False, None
    for packet in container.demux(stream):
        if start is not None and not begun and packet.is_keyframe and packet.pts is not None:
            if packet.pts > start.pts:
                return
            begun = packet.pts == start.pts
        if not begun:
            continue
        if damage and packet.size:
            raise damage
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            damage = error if shown else None
            continue
        shown = shown or bool(frames)
        yield from frames


def scan(container: InputContainer, stream: VideoStream) -> tuple[list[PacketFacts], VideoFrame | None]:
    """All packets of a stream that was just opened, in the order of decoding, and its first frame if there is one."""
    import av

    packets, first = [], None
    for packet in container.demux(stream):
        if packet.size:
            key, resets = packet.is_keyframe, packet.is_keyframe and _resets(stream, packet)
            packets.append(
                PacketFacts(packet.pts, packet.dts, key, resets, not packet.is_discard, not packet.is_corrupt)
            )
        if first is None:
            with contextlib.suppress(av.error.FFmpegError):
                first = next(iter(packet.decode()), None)
    return packets, first


def timeline_of_packets(
    container: InputContainer, stream: VideoStream, packets: list[PacketFacts], interlaced: bool
) -> Timeline | None:
    """The timeline if the packets alone tell the frames, else None, and all frames must be decoded to know them.

    They tell them if each packet is a frame of its own time, the first is a key frame that no frame precedes, and
    the container stores times of display.
    """
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    codec = stream.codec_context.codec
    told = (
        container.format.name.startswith(TIMED_CONTAINERS)
        and (codec.name in ONE_FRAME_A_PACKET or codec.intra_only)
        and len(set(times)) == len(packets)
        and all(packet.shown and packet.whole for packet in packets)
        and packets[0].resets
        and packets[0].pts == times[0] >= 0
        and not interlaced
    )
    if not told:
        return None
    regular = all(packet.resets for packet in packets if packet.key)
    return Timeline(tuple(times), _starts(times, packets), regular)


def timeline_of_frames(container: InputContainer, stream: VideoStream, packets: list[PacketFacts]) -> Timeline:
    """The timeline by decoding all frames of a stream that was just opened.

    Raises:
        FFmpegError: the stream is damaged.
    """
    times = [frame.pts for frame in frames_from(container, stream)]
    stamps = [time for time in times if time is not None]
    sound = container.format.name.startswith(TIMED_CONTAINERS) and len(stamps) == len(times)
    sound = sound and all(before < after for before, after in pairwise(stamps))
    return Timeline(tuple(times), _starts(stamps, packets) if sound else (), regular=False)


def _starts(times: list[int], packets: list[PacketFacts]) -> tuple[Start, ...]:
    """Where decoding may begin; a key frame of a time that another packet has too cannot be found again."""
    uses = Counter(packet.pts for packet in packets)
    keys = [(packet.pts, packet.dts) for packet in packets if packet.resets and packet.pts is not None]
    return tuple(Start(bisect_left(times, pts), pts, dts) for pts, dts in sorted(keys) if uses[pts] == 1)


def _resets(stream: VideoStream, packet: Packet) -> bool:
    """Whether all that is shown from a key frame on is decoded without anything before it.

    H.264: an IDR picture, not one of an open group of pictures or the middle of an intra refresh. HEVC: any
    random access picture; what it leads in is shown before it. MPEG-1, -2, -4 and the rest: nobody knows.
    """
    codec = stream.codec_context.codec
    if codec.name not in ("h264", "hevc"):
        return codec.name in CLOSED_KEY_FRAMES or codec.intra_only
    extradata = bytes(stream.codec_context.extradata or b"")
    if codec.name == "h264":
        return any(unit & 31 == 5 for unit in _nal_headers(bytes(packet), extradata, 4))
    return any(16 <= unit >> 1 & 63 <= 21 for unit in _nal_headers(bytes(packet), extradata, 21))


def _nal_headers(data: bytes, extradata: bytes, length_at: int) -> Iterator[int]:
    """The first byte of each network abstraction layer unit in a packet of H.264 or HEVC."""
    if not extradata.startswith(b"\1"):
        return  # divided by start codes, as in broadcasts, where it does not matter
    # Units stand behind their lengths; how many bytes a length has stands in the decoder's configuration record.
    size = extradata[length_at] % 4 + 1
    place = 0
    while place + size < len(data):
        yield data[place + size]
        place += size + int.from_bytes(data[place : place + size], "big")
