"""Pictures: a few frames of a clip side by side, written whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datamodules.files.writing import write_file
from experiments.records.cell_record import SHEET_FRAMES

STRIP_FRAMES, STRIP_SIDE = 5, 512  # of a strip: frames, and their longest side in pixels
SHEET_SIDE = 256  # of a sheet, whose frames follow each other
# Of file names, what they hold and how it is written: WebP's method 2 is faster than the usual 4.
FORMATS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"quality": 85, "method": 2}),
}


class Strips:
    """A row of frames for each layer of one clip, collected while the clip passes in pieces."""

    def __init__(self, shown: Iterable[int], longest_side: int = STRIP_SIDE) -> None:
        """Show the frames of these numbers, none larger than `longest_side`."""
        self.shown, self.longest_side = set(shown), longest_side
        self.frames: dict[str, list[Tensor]] = {}

    @classmethod
    def across(cls, num_frames: int) -> Self:
        """A few frames of a clip of `num_frames`, its first and last among them."""
        return cls(np.linspace(0, num_frames - 1, min(STRIP_FRAMES, num_frames)).round().astype(int).tolist())

    @classmethod
    def sheet(cls, num_frames: int) -> Self:
        """The frames from the first on, for a viewer that plays them."""
        return cls(range(min(SHEET_FRAMES, num_frames)), SHEET_SIDE)

    def add(self, start: int, layers: Mapping[str, Tensor]) -> None:
        """Keep what is shown of a piece that begins with frame `start`; layers (T, C, h, w) in [0, 1] by name."""
        num_frames = len(next(iter(layers.values())))
        shown = [t for t in range(num_frames) if start + t in self.shown]
        for name, layer in layers.items():
            kept = self.frames.setdefault(name, [])
            kept += [_fit(layer[t : t + 1].float().cpu(), self.longest_side) for t in shown]

    def write(self, stem: Path, suffix: str = ".png") -> None:
        """Write STEM__LAYER.SUFFIX for every layer, all at the size of the first one."""
        size = next(iter(self.frames.values()))[0].shape[-2:]
        for name, frames in self.frames.items():
            write_picture(stem.with_name(f"{stem.name}__{name}{suffix}"), strip(torch.cat(frames), size))


def _fit(frame: Tensor, longest_side: int) -> Tensor:
    """(1, C, H, W), reduced to the longest side of a shown frame."""
    ratio = longest_side / max(frame.shape[-2:])
    return frame if ratio >= 1 else F.interpolate(frame, scale_factor=ratio, mode="area")


def strip(frames: Tensor, size: Any) -> Tensor:
    """Frames (T, C, h, w) in [0, 1] side by side at one size: (3, H, T·W)."""
    if frames.shape[-2:] != torch.Size(size):
        frames = F.interpolate(frames, size, mode="nearest")
    return frames.expand(-1, 3, -1, -1).permute(1, 2, 0, 3).flatten(2)


def write_picture(path: Path, picture: Tensor) -> None:
    """Write (3, H, W) in [0, 1] with 8 bits, in the format of the file's name, whole or not at all.

    Raises:
        ValueError: the name is of none of `FORMATS`.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: pictures are written as {', '.join(FORMATS)}")
    kind, options = FORMATS[path.suffix]
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    data = BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    write_file(path, data.getvalue())
