"""Frames a second that one process makes of each source, drawn and composited; beside RVM's own training data.

All sources show the same people before the same places, which are made for it: painted clips from the cache, stills,
frames as JPEG files and H.264 videos. RVM's classes come from the user's own clone and read the JPEG files.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torchvision.utils import save_image

from datamodules.difficulty import Difficulty
from datamodules.processes import keep_memory
from datamodules.samples import Collate, SampleKey, TrainingSamples
from datamodules.sources import build_backgrounds, build_foregrounds
from datamodules.sources.rendering import fill_caches
from datamodules.video import write_video
from experiments.benchmarks.inputs import MovingPortrait, portrait
from experiments.benchmarks.output import Columns
from experiments.benchmarks.timing import interleave, load_average, ratio_interval

CLIPS, FRAMES = 4, 20  # of each source
THEIRS = "RVM's own"
COLUMNS: Columns = {
    "source": ("source", ""),
    "fps": ("frames/s", ".1f"),
    "drawing": ("read and drawn, ms a frame", ".2f"),
    "compositing": ("composited, ms a frame", ".2f"),
    "ratio": ("× RVM's", ".2f"),
    "ratio_low": ("at least", ".2f"),
    "ratio_high": ("at most", ".2f"),
    "load": ("load", ".1f"),
}
LEGEND = (
    "Of one process with one thread, all sources in turns; frames/s are of the median clip, the ratio is the median of "
    "the rounds' with its 95 % interval."
)
Sample = Callable[[], object]


def benchmark_data(
    folder: Path,
    clip_length: int,
    file_size: tuple[int, int],
    side: int,
    seconds: float,
    code: Path | None,
    progress: Callable[[str], None],
) -> pd.DataFrame:
    """A row a source.

    Args:
        folder: where the files are made.
        clip_length: T of a sample.
        file_size: (height, width) of the files' frames.
        side: of a sample, pixels.
        seconds: of timing for each source.
        code: a clone of RobustVideoMatting, or None.
        progress: called after each part.

    Raises:
        ValueError: `code` is none, or a package that it needs is missing.
    """
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_memory()  # as loading processes do
    write_files(folder, *file_size)
    progress("painted clips")
    ours = {name: _ours(folder, name, clip_length, side) for name in SOURCES}
    works: dict[str, Sample] = {name: partial(_whole, *pair) for name, pair in ours.items()}
    if code is not None:
        works[THEIRS] = _theirs(code, folder, clip_length, side)
    for work in works.values():
        work()
    progress("timing")
    device = torch.device("cpu")
    times = dict(zip(works, interleave(list(works.values()), device, seconds * len(works), min_rounds=5), strict=True))
    rows: list[dict[str, Any]] = []
    for name, its in times.items():
        row: dict[str, Any] = {"source": name, "fps": 1e3 * clip_length / its.median, "load": load_average()}
        if name != THEIRS:
            drawn, composited = _parts(*ours[name], seconds / 2)
            row |= {"drawing": drawn / clip_length, "compositing": composited / clip_length}
            if code is not None:
                ratios = ratio_interval(times[THEIRS].wall, its.wall)
                row |= dict(zip(("ratio", "ratio_low", "ratio_high"), ratios, strict=True))
        rows.append(row)
    progress("done")
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def write_files(folder: Path, height: int, width: int) -> None:
    """The people and places of all sources: jpeg/train/{fgr,pha}, videos, stills; places/{stills,videos}."""
    place = MovingPortrait(height, width, torch.device("cpu")).plate
    colour, alpha = portrait(height, width)
    for clip in range(CLIPS):
        shown = [torch.cat((colour, alpha), 1).roll(4 * t * (clip + 1), dims=3)[0] for t in range(FRAMES)]
        for layer, frames in {"fgr": [f[:3] for f in shown], "pha": [f[3:].expand(3, -1, -1) for f in shown]}.items():
            ending = "rgb" if layer == "fgr" else "pha"
            _write_frames(folder / "jpeg" / "train" / layer / f"{clip:03d}", frames)
            (folder / "h264").mkdir(exist_ok=True)
            write_video(folder / "h264" / f"{clip:03d}_{ending}.mp4", torch.stack(frames), 25)
        (folder / "stills").mkdir(exist_ok=True)
        save_image(shown[0][:3], folder / "stills" / f"{clip:03d}.jpg")
        save_image(shown[0][3:].expand(3, -1, -1), folder / "stills" / f"{clip:03d}_pha.png")
        moving = [place[0].roll(2 * t * (clip + 1), dims=2) for t in range(FRAMES)]
        _write_frames(folder / "places" / "videos" / f"{clip:03d}", moving)
        (folder / "places" / "stills").mkdir(exist_ok=True)
        save_image(moving[0], folder / "places" / "stills" / f"{clip:03d}.jpg")


def _write_frames(folder: Path, frames: list[Tensor]) -> None:
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        save_image(frame, folder / f"{t:04d}.jpg")


ALL: Mapping[str, Any] = {"part": "train", "shares": (1.0, 0.0, 0.0)}
SOURCES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "painted": lambda folder: {"name": "procedural", "num_clips": CLIPS, "num_frames": FRAMES, "part": "train",
                               "cache_dir": str(folder / "cache")},
    "stills": lambda folder: {"name": "image_mattes", "root": folder / "stills", "unmix": False, **ALL},
    "JPEG frames": lambda folder: {"name": "videomatte240k", "root": folder / "jpeg", "part": "train"},
    "H.264 videos": lambda folder: {"name": "video_mattes", "root": folder / "h264", **ALL},
}  # fmt: skip


def _ours(folder: Path, name: str, clip_length: int, side: int) -> tuple[Sample, Callable[[Any], object]]:
    """What draws the layers of the next sample of a source, and what composites them."""
    people = build_foregrounds(**{"size": round(4 / 3 * side), **SOURCES[name](folder)})
    rooms: dict[str, Any] = {"name": "folder", "root": [folder / "places" / each for each in ("stills", "videos")]}
    if name == "painted":
        rooms = {"name": "procedural", "num_scenes": CLIPS, "cache_dir": str(folder / "cache")}
    places = build_backgrounds(**{"size": 2 * side, **(ALL if "root" in rooms else {"part": "train"}), **rooms})
    fill_caches([people, places])
    size, numbers = (side, side), count()
    samples = TrainingSamples(people, places, size, Difficulty(), seed=0)
    collate = Collate(size, flow=False, composited=True)
    return lambda: samples[SampleKey(next(numbers), clip_length)], lambda layers: collate([layers])


def make_work(folder: Path, name: str, clip_length: int, side: int) -> Sample:
    """What draws and composites the next sample of a source; arguments as for `benchmark_data`, files are written."""
    return partial(_whole, *_ours(folder, name, clip_length, side))


def _whole(draw: Sample, composite: Callable[[Any], object]) -> object:
    return composite(draw())


def _theirs(code: Path, folder: Path, clip_length: int, side: int) -> Sample:
    """RVM's training set on the same JPEG files, augmented as in its first stage."""
    if not (code / "dataset" / "videomatte.py").is_file():
        raise ValueError(f"{code} has no dataset/videomatte.py: --code must be a clone of RobustVideoMatting")
    sys.path.insert(0, str(code))
    try:
        data, augmentation = (importlib.import_module(f"dataset.{name}") for name in ("videomatte", "augmentation"))
    except ModuleNotFoundError as error:
        package = str(error.name).replace("_", "-")
        raise ValueError(f"RVM's training data need a package that is missing: pip install {package}") from error
    finally:
        sys.path.remove(str(code))
    samples = data.VideoMatteDataset(
        videomatte_dir=str(folder / "jpeg" / "train"),
        background_image_dir=str(folder / "places" / "stills"),
        background_video_dir=str(folder / "places" / "videos"),
        size=side,
        seq_length=clip_length,
        seq_sampler=augmentation.TrainFrameSampler(),
        transform=data.VideoMatteTrainAugmentation(side),
    )
    numbers = count()
    return lambda: samples[next(numbers) % len(samples)]


def _parts(draw: Sample, composite: Callable[[Any], object], seconds: float) -> tuple[float, float]:
    """Median milliseconds of drawing a sample's layers and of compositing them."""
    held: list[Any] = [draw()]

    def drawn() -> None:
        held[0] = draw()

    both = interleave([drawn, lambda: composite(held[0])], torch.device("cpu"), seconds)
    return both[0].median, both[1].median
