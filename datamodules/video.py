"""Videos, as files or as folders of numbered frames: counting, reading single frames, writing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from datamodules.files.display import Display, display_of
from datamodules.files.folders import VIDEO_SUFFIXES, frame_files, pictures_in
from datamodules.files.pictures import channels_first, read_image, refuse_other_size
from datamodules.files.timeline import (
    TIMED_CONTAINERS,
    Start,
    frames_from,
    main_stream,
    scan,
    timeline_of_frames,
    timeline_of_packets,
)
from datamodules.files.writing import whole_file
from datamodules.images import resize

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        num_frames: that play, counted, since headers of cut-off files lie; files of a folder.
        height: as shown, pixels.
        width: as shown, pixels.
        fps: mean frames per second; 0 for a folder, or if the file tells none.
        codec: name of the decoder; "" for a folder.
        timestamps: of the frames in the order of display, in the stream's time base; () for a folder.
        starts: where decoding may begin; () if only at the first frame.
        display: what turns a stored picture into the shown one; None for a folder.
        plain: decord reads it right.
        time_base: seconds that a time stamp counts in.
        clock_start: seconds that the file's clock shows at its beginning; broadcasts begin anywhere.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    codec: str
    timestamps: tuple[int | None, ...]
    starts: tuple[Start, ...] = ()
    display: Display | None = None
    plain: bool = False
    time_base: Fraction = Fraction(1)
    clock_start: Fraction = Fraction(0)


def is_video(path: Path) -> bool:
    """Whether a path is a video file, or a folder with frames in it."""
    if path.is_dir():
        return bool(pictures_in(path))
    return path.suffix.lower() in VIDEO_SUFFIXES


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and frames of a video, as a player shows it.

    Frame t is the t-th that plays: edit lists cut it, its display matrix turns and mirrors it, pixels that are not
    square are stretched in width. Cover pictures are passed over; of several streams the default one is taken.

    decord reads what is plain: progressive H.264 of 8 bits and 4:2:0 in MP4, MOV or Matroska, the only video stream;
    no packet of it is cut away, nothing turned or stretched; each packet is whole and has a time of display of its
    own, from 0 up, the first the earliest; each key frame is an IDR picture. PyAV reads all else, from the last key
    frame that surely forgets what was before it, or from the first frame. Where the packets alone do not tell the
    frames (AVI and broadcast streams, VP8, MPEG-1, -2 and -4, cuts, doubled times, interlacing, damage) all are
    decoded, once in a process.

    Raises:
        ValueError: the file is missing or no video, is damaged before its end, turned by no quarter turn, or HLG or
            PQ.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"cannot decode {path}: no such file; check the path")
    state = path.stat()
    return _probe(path, state.st_mtime_ns, state.st_size)


def count_frames(path: str | Path) -> int:
    """Frames that a video really has, counted as `probe` does and not as its header says."""
    return probe(path).num_frames


def read_frames(path: str | Path, indices: list[int], height: int | None = None, width: int | None = None) -> Tensor:
    """Single frames of a video, by decord where it reads right (see `probe`) and is installed, else by PyAV.

    The file is opened for this call alone: decord keeps whole clips in memory and cannot be sent to workers.

    Args:
        path: a video file or a folder of frames.
        indices: wanted frames, in any order, repeats allowed.
        height: to scale to while decoding, with width; None for the video's own.
        width: likewise.

    Returns:
        (T, 3, H, W) uint8, RGB.

    Raises:
        ValueError: the video is missing or broken, or has not so many frames.
    """
    path, info = Path(path), probe(path)
    if not indices or min(indices) < 0 or max(indices) >= info.num_frames:
        raise ValueError(f"cannot decode {path}: frames {indices} asked, the video has 0 to {info.num_frames - 1}")
    size = (height or info.height, width or info.width)
    wanted = sorted(set(indices))
    if path.is_dir():
        files = frame_files(path)
        pictures = torch.empty(len(wanted), 3, *size, dtype=torch.uint8)
        for place, i in enumerate(wanted):
            pictures[place] = resize(_read_frame(files, i, info)[None], size)[0]
    else:
        pictures = _decode(path, info, wanted, size)
    return pictures[[wanted.index(i) for i in indices]] if wanted != indices else pictures


def stream_frames(path: str | Path, start: int = 0) -> Iterator[Tensor]:
    """The frames of a video one after the other, each decoded once; by PyAV.

    Args:
        path: a video file or a folder of frames.
        start: the first frame that is wanted.

    Yields:
        (3, H, W) uint8, RGB.

    Raises:
        ValueError: the video is missing or broken, or a frame of it is damaged.
    """
    path, info = Path(path), probe(path)
    if path.is_dir():
        files = frame_files(path)
        yield from (_read_frame(files, i, info) for i in range(start, info.num_frames))
        return
    import av
    from av.video.reformatter import VideoReformatter

    assert info.display is not None
    scaler, wanted = VideoReformatter(), start
    starts = [each for each in info.starts if 0 < each.index <= start]
    for begin in (*starts[-1:], None):  # from the first frame where the file's index leads elsewhere
        try:
            with av.open(str(path)) as container:
                main_stream(container).thread_type = "AUTO"
                for index, frame in _numbered(container, info, begin):
                    if index == wanted:
                        yield info.display.show(frame, (info.height, info.width), scaler)
                        wanted += 1
        except av.error.FFmpegError as error:
            raise ValueError(f"cannot decode {path}: {_reason(error)}; replace or remove the file") from error
        if wanted > start:
            break
    if wanted < info.num_frames:
        raise ValueError(f"cannot decode {path}: frame {wanted} is damaged; replace or remove the file")


# libx264 options with which the same frames give the same bytes: with its macroblock tree they depend on where in
# memory the frames lie (seen with libx264 165 and AVX-512).
REPEATABLE = {"threads": "1", "x264-params": "mbtree=0"}


def write_video(path: str | Path, frames: Tensor, fps: float, crf: int = 18) -> None:
    """Write an H.264 video that plays everywhere; odd sizes repeat their last row or column.

    Args:
        path: file to write, .mp4, .mov or .avi; appears only when it is whole.
        frames: (T, 3, H, W), uint8 or float in [0, 1].
        fps: frames per second.
        crf: 0 (lossless) to 51; 18 looks lossless.

    Raises:
        ValueError: frames are not (T, 3, H, W).
    """
    import av

    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) == 0:
        raise ValueError(f"frames to write must be (T, 3, H, W) with T ≥ 1, got {tuple(frames.shape)}")
    if frames.is_floating_point():
        frames = (frames.clamp(0, 1) * 255).round().to(torch.uint8)
    height, width = frames.shape[-2:]
    images = np.pad(frames.permute(0, 2, 3, 1).cpu().numpy(), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    container_format = Path(path).suffix.removeprefix(".")
    options = {"crf": str(crf), **REPEATABLE}
    with whole_file(path) as unfinished, av.open(str(unfinished), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = images.shape[1], images.shape[2], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@lru_cache(maxsize=4096)
def _probe(path: Path, modified: int, num_bytes: int) -> VideoInfo:
    if path.is_dir():
        files = frame_files(path)
        if not files:
            raise ValueError(f"cannot decode {path}: a folder without pictures; expected frames like 00000.jpg")
        _, height, width = read_image(files[0]).shape
        return VideoInfo(len(files), height, width, 0.0, "", ())
    import av

    try:
        return _probe_file(path)
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"cannot decode {path}: {_reason(error)}; replace or remove the file") from error


def _probe_file(path: Path) -> VideoInfo:
    import av

    with av.open(str(path)) as container:
        stream = main_stream(container)
        packets, first = scan(container, stream)
        if first is None:
            raise ValueError(f"cannot decode {path}: it holds no frames; replace or remove the file")
        try:
            display = display_of(stream, first)
        except ValueError as error:
            raise ValueError(f"cannot decode {path}: {error}") from None
        timeline = timeline_of_packets(container, stream, packets, first.interlaced_frame)
        codec, fps, time_base = stream.codec_context.name, float(stream.average_rate or 0), stream.time_base
        timed = container.format.name.startswith(TIMED_CONTAINERS)
        clock_start = Fraction(0 if timed else container.start_time or 0, av.time_base)
        plain = (
            (timeline is not None and timeline.regular)
            and (codec == "h264" and first.format.name in ("yuv420p", "yuvj420p"))
            and (display.as_stored and len(container.streams.video) == 1)
        )
    if timeline is None:
        with av.open(str(path)) as container:
            timeline = timeline_of_frames(container, main_stream(container), packets)
    num_frames = len(timeline.times)
    return VideoInfo(
        num_frames,
        display.height,
        display.width,
        fps,
        codec,
        timeline.times,
        timeline.starts,
        display,
        plain,
        time_base or Fraction(1),
        clock_start,
    )


def _read_frame(files: list[Path], i: int, info: VideoInfo) -> Tensor:
    picture = read_image(files[i])
    refuse_other_size(files[i], picture, files[0], (info.height, info.width))
    return picture


def _reason(error: Exception) -> str:
    return "no video stream in it" if isinstance(error, IndexError) else str(getattr(error, "strerror", error))


def _decode(path: Path, info: VideoInfo, wanted: list[int], size: tuple[int, int]) -> Tensor:
    if info.plain and (decord := _import_decord()) is not None:
        try:
            return _decode_by_decord(decord, path, info, wanted, size)
        except (RuntimeError, decord.DECORDError):
            pass  # PyAV reads more kinds of files, and says what is wrong with the others.
    return _decode_by_pyav(path, info, wanted, size)


def _import_decord() -> Any:
    # The only import of decord, after those that it would break: torch crashes if it comes later, and OpenCV reads
    # no PNG any more, since decord lays its zlib over all that is loaded after it.
    import cv2  # noqa: F401

    try:
        import decord
    except ImportError:
        return None
    return decord


def _decode_by_decord(decord: Any, path: Path, info: VideoInfo, wanted: list[int], size: tuple[int, int]) -> Tensor:
    reader = decord.VideoReader(str(path), num_threads=1, height=size[0], width=size[1])
    if len(reader) != info.num_frames:
        raise RuntimeError("decord sees other frames")  # it would wait for ever for those it does not see
    return channels_first(reader.get_batch(wanted).asnumpy())


def _decode_by_pyav(path: Path, info: VideoInfo, wanted: list[int], size: tuple[int, int]) -> Tensor:
    import av

    starts = [start for start in info.starts if 0 < start.index <= wanted[0]]
    for start in (*starts[-1:], None):
        try:
            with av.open(str(path)) as container:
                found = _collect(container, info, start, wanted, size)
        except av.error.FFmpegError as error:
            if start is not None:
                continue  # the file's index leads elsewhere; all is found from the first frame
            raise ValueError(f"cannot decode {path}: {_reason(error)}; replace or remove the file") from error
        if len(found) == len(wanted):
            return torch.stack([found[i] for i in wanted])
    lost = [i for i in wanted if i not in found]
    raise ValueError(f"cannot decode {path}: frames {lost} are damaged; replace or remove the file")


def _collect(
    container: InputContainer, info: VideoInfo, start: Start | None, wanted: list[int], size: tuple[int, int]
) -> dict[int, Tensor]:
    """Those of the wanted frames that come."""
    from av.video.reformatter import VideoReformatter

    assert info.display is not None
    scaler = VideoReformatter()
    found: dict[int, Tensor] = {}
    for index, frame in _numbered(container, info, start):
        if index in wanted:
            found[index] = info.display.show(frame, size, scaler)
            if len(found) == len(wanted):
                break
    return found


def _numbered(container: InputContainer, info: VideoInfo, start: Start | None) -> Iterator[tuple[int, VideoFrame]]:
    """Frames and their numbers by their time of display, or by their count where times do not tell; −1: not shown."""
    times: Any = info.timestamps
    for count, frame in enumerate(frames_from(container, main_stream(container), start)):
        index = count
        if info.starts:
            place = -1 if frame.pts is None else bisect_left(times, frame.pts)
            index = place if 0 <= place < len(times) and times[place] == frame.pts else -1
        yield index, frame
