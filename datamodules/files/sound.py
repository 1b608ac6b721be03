"""The sound of one file on its way into another: copied where the other may hold it, else coded anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

# By the suffix of the file: codecs that it may hold and players know, and the encoder for all others.
HELD = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"},
    ".webm": {"opus", "vorbis"},
}
ENCODERS = {".mp4": "aac", ".mov": "aac", ".webm": "libopus"}
OPUS_RATE = 48_000  # Hz; the encoder takes few others


class Sound:
    """All sound tracks of a file; use it in a `with` statement.

    Attributes:
        notes: a line for each track that is not copied.
    """

    def __init__(self, source: Path, container: OutputContainer, suffix: str, origin: Fraction, until: float) -> None:
        """Add a stream to `container` for each track of `source`; nothing where it has none.

        Args:
            source: any file, a video or not.
            container: to be written, of the kind that `suffix` says.
            suffix: a key of `HELD`.
            origin: seconds of the source's clock that become 0.
            until: seconds after which nothing is taken.
        """
        import av

        self.notes: list[str] = []
        self.origin, self.until = origin, until
        self.stack = ExitStack()
        self.source = self.stack.enter_context(av.open(str(source)))
        # The stream of each track, and whether its packets are copied.
        self.tracks: dict[int, tuple[Any, bool]] = {}
        for track in self.source.streams.audio:
            self._add(track, container, suffix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """What is to be written, with the seconds at which it is heard."""
        kept = [track for track in self.source.streams.audio if track.index in self.tracks]
        if not kept:
            return
        for packet in self.source.demux(*kept):
            track: Any = packet.stream
            stream, copied = self.tracks[track.index]
            if packet.size and packet.pts is None:
                continue
            if packet.size:
                packet.pts -= (shift := round(self.origin / track.time_base))
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                seconds = float(packet.pts * track.time_base)
                if seconds >= self.until:
                    continue
                for ready in self._written(packet, stream, copied):
                    yield seconds, ready
            elif not copied:
                for ready in [*self._encoded(packet, stream), *stream.encode(None)]:
                    yield self.until, ready

    def _add(self, track: AudioStream, container: OutputContainer, suffix: str) -> None:
        import av

        name = track.codec_context.name
        try:
            if name in HELD[suffix]:
                self.tracks[track.index] = container.add_stream_from_template(track), True
                return
            encoder = ENCODERS[suffix]
            stream: Any = container.add_stream(encoder, rate=OPUS_RATE if encoder == "libopus" else track.rate)
            stream.layout = track.layout
        except (av.error.FFmpegError, ValueError) as error:
            self.notes.append(f"{suffix} is written without the sound in {name}: {error}")
            return
        self.tracks[track.index] = stream, False
        self.notes.append(f"{suffix} cannot hold sound in {name}: coded anew as {encoder}")

    def _written(self, packet: Packet, stream: Any, copied: bool) -> list[Packet]:
        if not copied:
            return self._encoded(packet, stream)
        packet.stream = stream
        return [packet]

    def _encoded(self, packet: Packet, stream: Any) -> list[Packet]:
        import av

        try:
            return [ready for frame in packet.decode() for ready in stream.encode(frame)]
        except av.error.FFmpegError:  # a damaged spot is silent
            return []
