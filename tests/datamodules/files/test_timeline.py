"""Every window of 8 frames, by decord and by PyAV, is what decoding from the start gives, in streams of all kinds."""

import contextlib
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

FRAMES, HEIGHT, WIDTH = 30, 48, 64
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
    "vp9_hidden_frames": Stream(
        "libvpx-vp9", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}, containers=("webm", "mp4")
    ),
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
    """Write 30 frames, at 25 a second or at the given times in 1/100 seconds."""
    index_first = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=index_first) as container:
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


def copy(source: Path, path: Path, trim: int = 0, behead: int = 0, turn: str = "", double: int | None = None) -> None:
    """Write a file anew without encoding it.

    Args:
        source: the file to copy.
        path: where to.
        trim: frames that are cut by an edit list, or the times that come earlier by so many where there is none.
        behead: packets left out at the start.
        turn: one of TURNS.
        double: a frame that gets the time of the one before.
    """
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = given.streams.video[0]
        output = container.add_stream_from_template(stream)
        if turn:
            a, b, c, d = (65536 * number for number in TURNS[turn][0])
            output.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        step = int(1 / (25 * stream.time_base))
        packets = [packet for packet in given.demux(stream) if packet.size]
        for packet in packets[behead:]:
            packet.pts -= trim * step + (step if double is not None and packet.pts == double * step else 0)
            packet.dts = packet.dts if packet.dts is None else packet.dts - trim * step
            packet.stream = output
            container.mux(packet)


def play(path: Path) -> np.ndarray:
    """All frames that play (T, H, W, 3), decoded from the start; what cannot be decoded is passed over."""
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            with contextlib.suppress(av.error.InvalidDataError):
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    return np.stack(frames).astype(int)


def wrong_windows(path: Path, truth: np.ndarray) -> list[int]:
    wrong = []
    for start in range(len(truth) - 7):
        window = read_frames(path, list(range(start, start + 8))).permute(0, 2, 3, 1).numpy()
        # Neighbours differ by 5.
        if np.abs(window - truth[start : start + 8]).mean((1, 2, 3)).max() > 1.5:
            wrong.append(start)
    return wrong


def check(path: Path, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every reader that is used for a file gives every window; whether decord is one."""
    info = probe(path)
    assert (info.num_frames, info.height, info.width) == truth.shape[:3]
    assert not wrong_windows(path, truth)
    if info.plain:
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


FILES = [(name, container) for name, stream in STREAMS.items() for container in stream.containers]
# PyAV copies no AV1 stream.
CUT = [pair for pair in FILES if pair[1] in ("mp4", "mov") and pair[0] != "av1"]
# Trimmed within a group and at its end.
TRIMMED = [*product(CUT, (7,)), *product((("h264_short_groups", "mp4"), ("h264_short_groups", "mov")), (12,))]
TURNED = [("h264_short_groups", "mp4"), ("h264_short_groups", "mov"), ("hevc_open_groups", "mp4"), ("prores", "mov")]
BEHEADED = [pair for pair in FILES if pair[1] in ("mp4", "avi", "mkv") and pair[0] not in ("av1", "h264_one_group")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "container"), FILES)
def test_every_window_of_every_stream(
    name: str, container: str, encoded: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoded(name, container)
    truth = play(path)
    assert len(truth) == FRAMES
    plain = check(path, truth, monkeypatch)
    assert plain == (STREAMS[name].plain and container in ("mp4", "mov", "mkv"))


@pytest.mark.parametrize(("file", "trim"), TRIMMED)
def test_every_window_of_a_lossless_trim(
    file: tuple[str, str], trim: int, encoded: Callable[[str, str], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / f"cut.{file[1]}"
    copy(encoded(*file), path, trim=trim)
    truth = play(path)
    assert len(truth) == FRAMES - trim
    check(path, truth, monkeypatch)


@pytest.mark.parametrize(
    ("file", "trim", "turn"),
    [
        *product(TURNED, (0, 7), ["clockwise"]),
        *((TURNED[0], 0, turn) for turn in TURNS if turn not in ("", "clockwise")),
    ],
)
def test_every_window_of_a_turned_stream(
    file: tuple[str, str], trim: int, turn: str, encoded: Callable[[str, str], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / f"turned.{file[1]}"
    copy(encoded(*file), path, trim, turn=turn)
    assert not check(path, TURNS[turn][1](play(path)), monkeypatch)


@pytest.mark.parametrize(("name", "container"), BEHEADED)
def test_every_window_of_a_stream_that_begins_within_a_group(
    name: str, container: str, encoded: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"cut.{container}"
    copy(encoded(name, container), path, behead=5)
    check(path, play(path), monkeypatch)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("name", ["h264_short_groups", "hevc_closed_groups", "mjpeg"])
def test_every_window_of_a_stream_whose_rate_varies(
    name: str, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.{container}"
    encode(path, STREAMS[name], np.random.default_rng(0).integers(1, 9, FRAMES).cumsum().tolist())
    check(path, play(path), monkeypatch)


@pytest.mark.parametrize("name", ["h264_short_groups", "hevc_closed_groups"])
@pytest.mark.parametrize("double", [11, 12, 20])
def test_every_window_of_a_stream_with_two_frames_of_one_time(
    name: str, double: int, encoded: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(encoded(name, "mkv"), tmp_path / "x.mkv", double=double)
    assert not check(tmp_path / "x.mkv", play(tmp_path / "x.mkv"), monkeypatch)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_every_window_of_a_stream_that_starts_late(
    container: str, encoded: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"late.{container}"
    copy(encoded("h264_short_groups", container), path, trim=-1000)
    check(path, play(path), monkeypatch)


@pytest.mark.parametrize("share", [0.55, 0.8])
@pytest.mark.parametrize(
    "file",
    [("h264_short_groups", "mkv"), ("h264_short_groups", "ts"), ("h264_short_groups", "mp4"), ("prores", "mov"),
     ("hevc_open_groups", "mkv"), ("mpeg2_b_frames", "mpg"), ("vp9_hidden_frames", "webm"), ("mjpeg", "avi")],
)  # fmt: skip
def test_every_window_of_a_file_that_was_cut_off(
    file: tuple[str, str], share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"cut.{file[1]}"
    encode(path, STREAMS[file[0]])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    check(path, play(path), monkeypatch)
