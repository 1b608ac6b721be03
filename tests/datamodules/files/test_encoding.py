"""Segments and what they are joined to, with sound: decoded again."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.files.encoding import join_segments, write_segment
from tests.datamodules.films import frame_times, sound_codec, sound_packets, write_film

BASE = Fraction(1, 12800)
TIMES = [700, 1000, 1900, 2400, 2500, 3700, 4000]
RATE = Fraction(25)


def pictures(channels: int, size: tuple[int, int] = (62, 96)) -> Tensor:
    """(T, channels, H, W) uint8: colours, and a soft disc that moves as grey or alpha."""
    y, x = np.mgrid[: size[0], : size[1]]
    found = []
    for t in range(len(TIMES)):
        disc = np.clip(255 * (1.5 - np.hypot(y - 31, x - 40 - 2 * t) / 22), 0, 255)
        colours = [40 + 2 * x, 250 - 3 * y, np.full_like(x, 90 + 9 * t)]
        found.append(np.stack({1: [disc], 3: colours, 4: [*colours, disc]}[channels]))
    return torch.from_numpy(np.stack(found).astype(np.uint8))


def join(folder: Path, suffix: str, frames: Tensor, cuts: tuple[int, ...] = (3,), **sound: Path | bool) -> Path:
    """Frames in segments that begin anew at `cuts`, joined."""
    segments = []
    for begin, end in zip((0, *cuts), (*cuts, len(frames)), strict=True):
        segments.append(folder / f"{begin}.mkv")
        with write_segment(segments[-1], suffix, RATE, 8) as add:
            for frame in frames[begin:end]:
                add(frame)
    path = folder / f"whole{suffix}"
    join_segments(path, segments, TIMES, BASE, RATE, **sound)  # type: ignore[arg-type]
    return path


def decoded(path: Path, pixels: str) -> Tensor:
    """(T, C, H, W) uint8. Only libvpx decodes alpha of VP9, into planes that it uses again for the next frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context if path.suffix != ".webm" else av.CodecContext.create("libvpx-vp9", "r")
        frames = [
            frame.to_ndarray(format=pixels)
            for packet in container.demux(stream)
            if packet.size or path.suffix != ".webm"
            for frame in decoder.decode(packet if packet.size else None)
        ]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("suffix", "channels", "mean", "largest"),
    [(".mp4", 1, 0.7, 6), (".mp4", 3, 2.5, 90), (".mov", 4, 1.0, 70), (".webm", 4, 2.5, 120)],
)
def test_pictures_come_out_as_they_went_in_at_their_times(
    tmp_path: Path, suffix: str, channels: int, mean: float, largest: int
) -> None:
    frames = pictures(channels)
    path = join(tmp_path, suffix, frames)
    found = decoded(path, "rgba" if channels == 4 else "rgb24")
    difference = (found[:, :channels].int() - frames.int()).abs()
    assert difference.float().mean() < mean
    assert difference.max() <= largest  # of colours at edges, where chroma is halved
    if channels == 4:
        assert difference[:, 3].max() <= {".mov": 1, ".webm": 8}[suffix]
    tolerance = Fraction(1, 1000) if suffix == ".webm" else 0  # milliseconds are all that it stores
    assert all(abs(t - u * BASE) <= tolerance for t, u in zip(frame_times(path), TIMES, strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_colours_are_tagged_as_bt709_of_limited_range(tmp_path: Path, suffix: str) -> None:
    with av.open(str(join(tmp_path, suffix, pictures(4 if suffix != ".mp4" else 3)))) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
    assert [int(tag) for tag in tags] == [1, 1, 1, 1]


def test_webm_says_that_it_has_alpha(tmp_path: Path) -> None:
    with av.open(str(join(tmp_path, ".webm", pictures(4)))) as container:
        assert container.streams.video[0].metadata["ALPHA_MODE"] == "1"


@pytest.mark.parametrize(("suffix", "size"), [(".mp4", (64, 98)), (".mov", (63, 97)), (".webm", (63, 97))])
def test_odd_sides_are_kept_where_they_can_be(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    channels = 1 if suffix == ".mp4" else 4
    found = decoded(join(tmp_path, suffix, pictures(channels, (63, 97))), "rgb24")
    assert tuple(found.shape[-2:]) == size


def test_segments_join_to_the_same_pictures_wherever_they_are_cut(tmp_path: Path) -> None:
    frames = pictures(4)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    once, often = (
        decoded(join(tmp_path / name, ".mov", frames, cuts), "rgba") for name, cuts in (("a", ()), ("b", (1, 2, 6)))
    )
    assert torch.equal(once, often)


@pytest.mark.parametrize(
    ("codec", "suffix", "written"),
    [("aac", ".mp4", "aac"), ("aac", ".mov", "aac"), ("libopus", ".webm", "opus")],
)
def test_sound_is_copied_packet_by_packet(tmp_path: Path, codec: str, suffix: str, written: str) -> None:
    source = write_film(tmp_path / "source.mkv", TIMES, BASE, sound=codec)
    path = join(tmp_path, suffix, pictures(1 if suffix == ".mp4" else 4), sound=source)
    assert sound_codec(path) == written
    expected, found = sound_packets(source), sound_packets(path)
    assert [data for _, data in found] == [data for _, data in expected]
    assert all(abs(a - b) < Fraction(1, 500) for (a, _), (b, _) in zip(found, expected, strict=True))


@pytest.mark.parametrize(("codec", "suffix", "written"), [("pcm_s16le", ".mp4", "aac"), ("aac", ".webm", "opus")])
def test_sound_that_a_file_cannot_hold_is_coded_anew_and_told(
    tmp_path: Path, codec: str, suffix: str, written: str
) -> None:
    source = write_film(tmp_path / "source.mov", TIMES, BASE, sound=codec)
    path = join(tmp_path, suffix, pictures(1 if suffix == ".mp4" else 4), sound=source)
    assert sound_codec(path) == written
    seconds = [time for time, _ in sound_packets(path)]
    assert 0.95 < seconds[-1] - seconds[0] < 1.1
    assert len(frame_times(path)) == len(TIMES)


def test_sound_ends_with_the_pictures_of_what_is_not_whole(tmp_path: Path) -> None:
    source = write_film(tmp_path / "source.mp4", TIMES, BASE, sound="aac")
    path = join(tmp_path, ".mp4", pictures(1), sound=source, whole=False)
    assert max(time for time, _ in sound_packets(path)) < TIMES[-1] * BASE + Fraction(1, 25)


def test_lost_pictures_are_told(tmp_path: Path) -> None:
    with write_segment(tmp_path / "0.mkv", ".mp4", RATE, 8) as add:
        add(pictures(1)[0])
    with pytest.raises(ValueError, match="6 pictures are lost; give again=true"):
        join_segments(tmp_path / "whole.mp4", [tmp_path / "0.mkv"], TIMES, BASE, RATE)
    assert not (tmp_path / "whole.mp4").exists()


def test_nothing_is_left_of_a_segment_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with write_segment(tmp_path / "0.mkv", ".mp4", RATE, 8) as add:
            add(pictures(1)[0])
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert list(tmp_path.iterdir()) == []
