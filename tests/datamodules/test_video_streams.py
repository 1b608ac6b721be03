"""Every window of 8 frames, read by decord and by PyAV, is what decoding from the start gives, in streams of all kinds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

import datamodules.video
from datamodules.video import probe, read_frames

FRAMES, HEIGHT, WIDTH = 40, 48, 64
TURNS: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    # Rows of the display matrix, in units of one; what they do to frames (T, H, W, 3).
    "": ((1, 0, 0, 1), lambda frames: frames),
    "clockwise": ((0, 1, -1, 0), lambda frames: np.rot90(frames, -1, (1, 2))),
    "half": ((-1, 0, 0, -1), lambda frames: np.rot90(frames, 2, (1, 2))),
    "counterclockwise": ((0, -1, 1, 0), lambda frames: np.rot90(frames, 1, (1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.swapaxes(1, 2)),
}


@dataclass(frozen=True)
class Stream:
    """How frames are encoded; `plain` is whether decord is to read them from MP4, MOV and Matroska."""

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    containers: tuple[str, ...] = ("mp4", "mkv")
    plain: bool = False


def x264(params: str, plain: bool = False, pix_fmt: str = "yuv420p", bf: int = 3) -> Stream:
    options = {"crf": "4", "bf": str(bf), "x264-params": f"scenecut=0:threads=1:{params}"}
    return Stream("libx264", options, pix_fmt, ("mp4", "mov", "mkv", "avi", "ts", "flv"), plain)


def x265(params: str, pix_fmt: str = "yuv420p") -> Stream:
    options = {"x265-params": f"log-level=none:crf=4:scenecut=0:pools=1:{params}"}
    return Stream("libx265", options, pix_fmt, ("mp4", "mkv", "ts"))


STREAMS = {
    "h264_short_groups": x264("keyint=12", plain=True),
    "h264_no_b_frames": x264("keyint=12", plain=True, bf=0),
    "h264_one_group": x264("keyint=250", plain=True),
    "h264_intra": x264("keyint=1", plain=True, bf=0),
    "h264_open_groups": x264("keyint=10:open-gop=1"),
    "h264_intra_refresh": x264("keyint=10:intra-refresh=1", bf=0),
    "h264_interlaced": x264("keyint=12:tff=1"),
    "h264_10_bit": x264("keyint=12", pix_fmt="yuv420p10le"),
    "hevc_open_groups": x265("keyint=10:bframes=3:open-gop=1"),
    "hevc_closed_groups": x265("keyint=10:bframes=3:open-gop=0"),
    "hevc_10_bit": x265("keyint=20:bframes=3", "yuv420p10le"),
    "vp8_hidden_frames": Stream("libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}, containers=("webm",)),
    "vp8_alpha": Stream("libvpx", {"g": "12", "auto-alt-ref": "0"}, "yuva420p", ("webm",)),
    "vp9_hidden_frames": Stream("libvpx-vp9", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}, containers=("webm", "mp4")),
    "vp9_alpha": Stream("libvpx-vp9", {"g": "12", "auto-alt-ref": "0"}, "yuva420p", ("webm",)),
    "av1": Stream("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}, containers=("mp4", "webm")),
    "mpeg1": Stream("mpeg1video", {"g": "12", "bf": "2", "b": "4M"}, containers=("mpg", "mkv")),
    "mpeg2_b_frames": Stream("mpeg2video", {"g": "12", "bf": "2", "b": "4M"}, containers=("mpg", "ts", "mkv", "mp4")),
    "mpeg2_no_b_frames": Stream("mpeg2video", {"g": "12", "b": "4M"}, containers=("mpg", "ts", "mkv", "avi")),
    "mpeg4_b_frames": Stream("mpeg4", {"g": "12", "bf": "2", "b": "4M"}, containers=("avi", "mp4", "mkv")),
    "mpeg4_no_b_frames": Stream("mpeg4", {"g": "12", "b": "4M"}, containers=("avi", "mp4", "mkv")),
    "mjpeg": Stream("mjpeg", {"qscale": "1"}, "yuvj420p", ("mp4", "mov", "avi", "mkv")),
    "prores": Stream("prores_ks", {}, "yuv422p10le", ("mov", "mkv")),
    "prores_alpha": Stream("prores_ks", {"profile": "4"}, "yuva444p10le", ("mov",)),
    "ffv1": Stream("ffv1", {"g": "12"}, "yuv420p", ("mkv", "avi")),
    "qtrle": Stream("qtrle", {"g": "12"}, "rgb24", ("mov",)),
    "png_alpha": Stream("png", {}, "rgba", ("mov",)),
}  # fmt: skip


def picture(t: int) -> np.ndarray:
    """A ramp that brightens with t and a bar that moves: no part of a frame is that of another frame."""
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[:] = (20 + 5 * t + np.linspace(0, 15, WIDTH))[None, :, None]
    frame[: HEIGHT // 4, WIDTH * t // FRAMES :] //= 2
    return frame


def encode(path: Path, stream: Stream, times: list[int] | None = None) -> None:
    """Write 40 frames, at 25 a second or at the given times in 1/100 seconds."""
    with av.open(str(path), "w") as container:
        output = container.add_stream(stream.codec, rate=25, options=stream.options)
        output.width, output.height, output.pix_fmt = WIDTH, HEIGHT, stream.pix_fmt
        if times:
            output.codec_context.time_base = Fraction(1, 100)
        for t in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(t), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[t], Fraction(1, 100)
            container.mux(output.encode(frame))
        container.mux(output.encode())


def copy(source: Path, path: Path, trim: int = 0, behead: int = 0, turn: str = "") -> None:
    """Write a file anew without encoding it: its first frames cut by an edit list, packets left out, or turned."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = given.streams.video[0]
        output = container.add_stream_from_template(stream)
        if turn:
            a, b, c, d = (65536 * number for number in TURNS[turn][0])
            output.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        shift = int(trim / (25 * stream.time_base))
        for i, packet in enumerate(packet for packet in given.demux(stream) if packet.size):
            if i < behead:
                continue
            packet.pts -= shift
            packet.dts = packet.dts if packet.dts is None else packet.dts - shift
            packet.stream = output
            container.mux(packet)


def play(path: Path) -> np.ndarray:
    """All frames that play (T, H, W, 3), decoded from the start."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def wrong_windows(path: Path, truth: np.ndarray) -> list[int]:
    wrong = []
    for start in range(max(len(truth) - 7, 1)):
        window = read_frames(path, list(range(start, min(start + 8, len(truth))))).permute(0, 2, 3, 1).numpy()
        difference = np.abs(window.astype(int) - truth[start : start + 8])
        # The next frame differs by 5.
        if difference.mean((1, 2, 3)).max() > 1.5:
            wrong.append(start)
    return wrong


def check(path: Path, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both readers give every window; whether decord was asked."""
    info = probe(path)
    assert (info.num_frames, info.height, info.width) == truth.shape[:3]
    assert not wrong_windows(path, truth)
    monkeypatch.setattr(datamodules.video, "_import_decord", lambda: None)
    assert not wrong_windows(path, truth)
    return info.plain


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The file of a stream in a container, encoded once."""
    folder = tmp_path_factory.mktemp("streams")

    def get(name: str, container: str) -> Path:
        path = folder / f"{name}.{container}"
        if not path.exists():
            encode(path, STREAMS[name])
        return path

    return get


@pytest.mark.parametrize(("name", "container"), [(n, c) for n, stream in STREAMS.items() for c in stream.containers])
def test_every_window_of_every_stream(
    name: str, container: str, encoded: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoded(name, container)
    plain = check(path, play(path), monkeypatch)
    assert plain == (STREAMS[name].plain and container in ("mp4", "mov", "mkv"))


CUT = [(n, c) for n, stream in STREAMS.items() for c in stream.containers if c in ("mp4", "mov")]


@pytest.mark.parametrize(("name", "container", "trim"), [(*pair, trim) for pair, trim in product(CUT, (3, 7, 12, 17))])
def test_every_window_of_a_lossless_trim(
    name: str, container: str, trim: int, encoded: Callable[[str, str], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    copy(encoded(name, container), tmp_path / f"cut.{container}", trim=trim)
    truth = play(tmp_path / f"cut.{container}")
    assert len(truth) == FRAMES - trim
    assert not check(tmp_path / f"cut.{container}", truth, monkeypatch)


TURNED = [
    (n, c)
    for n, c in CUT
    if n in ("h264_short_groups", "h264_open_groups", "hevc_open_groups", "mpeg4_b_frames", "prores")
]


@pytest.mark.parametrize(
    ("name", "container", "trim", "turn"),
    [(*pair, *more) for pair, *more in product(TURNED, (0, 7), filter(None, TURNS))],
)
def test_every_window_of_a_turned_stream(
    name: str, container: str, trim: int, turn: str, encoded: Callable[[str, str], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / f"turned.{container}"
    copy(encoded(name, container), path, trim, turn=turn)
    pair = [*product(TURNED)]
    assert pair
    assert not check(path, TURNS[turn][1](play(path)), monkeypatch)


HEADED = [(n, c) for n, s in STREAMS.items() for c in s.containers]


@pytest.mark.parametrize(("name", "container"), HEADED)
def test_every_window_of_a_stream_that_begins_within_a_group(
    name: str, container: str, encoded: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(encoded(name, container), tmp_path / f"cut.{container}", behead=5)
    check(tmp_path / f"cut.{container}", play(tmp_path / f"cut.{container}"), monkeypatch)
