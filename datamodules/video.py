"""Videos, as files or as folders of numbered frames: counting, reading single frames, writing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.files.writing import whole_file
from datamodules.images import IMAGE_SUFFIXES, read_image, resize

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
# decord fails on VP9 with some thread counts and cannot open AV1.
CODECS_FOR_PYAV = {"vp8", "vp9", "av1", "libdav1d", "libaom-av1"}


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        num_frames: counted packet by packet, since headers of cut-off files lie; files of a folder.
        height: pixels.
        width: pixels.
        fps: mean frames per second; 0 for a folder.
        codec: name of the decoder; "" for a folder.
        timestamps: of the frames in the order of display, in the stream's time base; () for a folder.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    codec: str
    timestamps: tuple[int, ...]


def is_video(path: Path) -> bool:
    """Whether a path is a video file, or a folder with nothing but frames (and hidden files)."""
    if path.is_dir():
        return bool(frame_files(path))
    return path.suffix.lower() in VIDEO_SUFFIXES


def frame_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames of a video.

    Raises:
        ValueError: the file is missing or no video.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"cannot decode {path}: no such file; check the path")
    state = path.stat()
    return _probe(path, state.st_mtime_ns, state.st_size)


def count_frames(path: str | Path) -> int:
    """Number of frames of a video."""
    return probe(path).num_frames


def read_frames(path: str | Path, indices: list[int], height: int | None = None, width: int | None = None) -> Tensor:
    """Single frames of a video, by decord where it decodes right and is installed, else by PyAV.

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
        pictures = torch.cat([resize(read_image(files[i])[None], size) for i in wanted])
    else:
        pictures = _decode(path, info, wanted, size)
    return pictures[[wanted.index(i) for i in indices]] if wanted != indices else pictures


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
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
            codec = stream.codec_context
            info = VideoInfo(
                len(times), codec.height, codec.width, float(stream.average_rate or 0), codec.name, tuple(times)
            )
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"cannot decode {path}: {_reason(error)}; replace or remove the file") from error
    if not times:
        raise ValueError(f"cannot decode {path}: it holds no frames; replace or remove the file")
    return info


def _reason(error: Exception) -> str:
    return "no video stream in it" if isinstance(error, IndexError) else str(getattr(error, "strerror", error))


def _decode(path: Path, info: VideoInfo, wanted: list[int], size: tuple[int, int]) -> Tensor:
    if info.codec not in CODECS_FOR_PYAV and (decord := _import_decord()) is not None:
        try:
            return _decode_by_decord(decord, path, wanted, size)
        except (RuntimeError, decord.DECORDError):
            pass  # PyAV reads more kinds of files, and says what is wrong with the others.
    return _decode_by_pyav(path, info, wanted, size)


def _import_decord() -> Any:
    try:
        import decord  # only here, after torch: the other order crashes
    except ImportError:
        return None
    return decord


def _decode_by_decord(decord: Any, path: Path, wanted: list[int], size: tuple[int, int]) -> Tensor:
    reader = decord.VideoReader(str(path), num_threads=1, height=size[0], width=size[1])
    if max(wanted) >= len(reader):
        raise RuntimeError("decord sees fewer frames")  # it would wait for ever
    return torch.from_numpy(reader.get_batch(wanted).asnumpy()).permute(0, 3, 1, 2)


def _decode_by_pyav(path: Path, info: VideoInfo, wanted: list[int], size: tuple[int, int]) -> Tensor:
    import av

    missing = {info.timestamps[i]: i for i in wanted}
    found: dict[int, Tensor] = {}
    # From the nearest key frame; from the start if frames before that key frame's successors were lost by it.
    for start in (min(missing), None):
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                if start is not None:
                    container.seek(start, stream=stream)
                for frame in container.decode(stream):
                    index = missing.pop(frame.pts, None) if frame.pts is not None else None
                    if index is not None:
                        frame = frame.reformat(size[1], size[0], format="rgb24", interpolation="BICUBIC")
                        found[index] = torch.from_numpy(frame.to_ndarray()).permute(2, 0, 1)
                    if not missing:
                        return torch.stack([found[i] for i in wanted])
        except av.error.FFmpegError as error:
            raise ValueError(f"cannot decode {path}: {_reason(error)}; replace or remove the file") from error
    lost = sorted(missing.values())
    raise ValueError(f"cannot decode {path}: frames {lost} are damaged; replace or remove the file")
