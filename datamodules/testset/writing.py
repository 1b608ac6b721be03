"""Writing a test set to a folder, in the layout of RVM's scripts; a killed run goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.files.names import inside
from datamodules.files.writing import place_folder, remove_abandoned, write_file
from datamodules.testset.folder import MANIFEST
from datamodules.testset.interface import TestClip, TestSet

FRAMES_AT_ONCE = 8
PICTURE_FORMATS = ("png", "jpg")


def write_test_set(
    test_set: TestSet,
    root: str | Path,
    manifest: Mapping[str, Any],
    picture_format: str = "png",
    report: Callable[[TestClip, int], None] | None = None,
) -> None:
    """Write `ROOT/STRATUM/CLIP/{com,pha,fgr,bgr}/0000.png` and the manifest; clips that are there are left alone.

    A clip gets its name when all its frames are written. The frames of a still background are links to the first.

    Args:
        test_set: its clips; values are rounded to 8 bits (those of a `CompositeTestSet` have no more).
        root: the folder, new or of the same set.
        manifest: what the set is made of, as JSON holds it; its "clips" have stratum, folder, foreground, background.
        picture_format: "png", or "jpg" (quality 95), which adds errors to the truth.
        report: called with the clip and the number of its frames just done.

    Raises:
        ValueError: the folder holds something else or is being written, the format is unknown, or the name of a
            condition leads out of the folder.
    """
    if picture_format not in PICTURE_FORMATS:
        raise ValueError(f"format of pictures must be {' or '.join(PICTURE_FORMATS)}, got {picture_format!r}")
    root = Path(root)
    _begin(root, {**manifest, "picture_format": picture_format})
    with (root / MANIFEST).open() as held, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{root}: another process is writing it; wait for it or choose another folder") from error
        for clip in test_set:
            folder = root / inside(clip.key)
            if folder.exists():
                if report is not None:
                    report(clip, clip.num_frames)
            else:
                _write_clip(clip, folder, picture_format, threads, report)


def _begin(root: Path, manifest: dict[str, Any]) -> None:
    """Leave the manifest in the folder; refuse a folder with another one, or with anything else.

    Versions may differ: a set that is gone on with keeps those that it began with.
    """
    file = root / MANIFEST
    wanted = json.loads(json.dumps(manifest))
    if file.is_file():
        there = json.loads(file.read_text(encoding="utf-8"))
        differing = [key for key in {**there, **wanted} if key != "versions" and there.get(key) != wanted.get(key)]
        if differing:
            raise ValueError(f"{root} holds a test set with other {', '.join(differing)}: choose another folder")
        return
    remove_abandoned(root)
    if root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no {MANIFEST}: choose another folder")
    write_file(file, json.dumps(wanted, indent=1, ensure_ascii=False).encode())


def _write_clip(
    clip: TestClip,
    folder: Path,
    picture_format: str,
    threads: ThreadPoolExecutor,
    report: Callable[[TestClip, int], None] | None,
) -> None:
    unfinished = folder.with_name(f".{folder.name}")
    if unfinished.exists():
        shutil.rmtree(unfinished)  # of a run that was killed
    pending: list[Future[None]] = []
    first_background = torch.empty(0)
    for start in range(0, clip.num_frames, FRAMES_AT_ONCE):
        batch = clip.read(start, min(start + FRAMES_AT_ONCE, clip.num_frames))
        # The pictures before these were written meanwhile.
        _finish(pending)
        for layer, pixels in _pictures(batch).items():
            (unfinished / layer).mkdir(parents=True, exist_ok=True)
            for t, picture in enumerate(pixels, start):
                file = unfinished / layer / f"{t:04d}.{picture_format}"
                if layer == "bgr" and torch.equal(picture, first_background):
                    file.symlink_to(f"0000.{picture_format}")
                    continue
                if layer == "bgr" and t == 0:
                    first_background = picture
                pending.append(threads.submit(_write_picture, file, picture))
        if report is not None:
            report(clip, batch.frames.shape[1])
    _finish(pending)
    place_folder(unfinished, folder)


def _finish(pending: list[Future[None]]) -> None:
    """Wait for the writing of pictures, and raise what went wrong."""
    for picture in pending:
        picture.result()
    pending.clear()


def _pictures(batch: MattingBatch) -> dict[str, Tensor]:
    """The layers that are known, (T, C, H, W) uint8."""
    layers = {"com": batch.frames, "pha": batch.alpha, "fgr": batch.foreground, "bgr": batch.background}
    return {
        name: (values[0] * 255).round().to(torch.uint8)
        for name, values in layers.items()
        if not bool(values.flatten()[0].isnan())
    }


def _write_picture(file: Path, picture: Tensor) -> None:
    import cv2

    pixels = np.ascontiguousarray(picture.flip(0).permute(1, 2, 0).numpy())  # OpenCV takes BGR
    _, data = cv2.imencode(file.suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 95] if file.suffix == ".jpg" else [])
    file.write_bytes(data.tobytes())
