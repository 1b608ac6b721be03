"""What the sources of foregrounds, of backgrounds and of segmented clips promise: plain pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass
class ForegroundClip:
    """The frames of one person, cut out.

    Attributes:
        fgr: (T, 3, Hs, Ws) uint8 colour, straight (not multiplied with alpha), sensible also where alpha is 0.
        pha: (T, 1, Hs, Ws) uint8 alpha, 255 is opaque.
        flow: (T, 2, Hs, Ws) float, motion (dx, dy) in source pixels from the frame to its predecessor
            in the source: what is seen at x was at x + flow(x) there. Zero in the source's frame 0,
            defined wherever alpha > 0. None when unknown.
        texture: (T, 2, Hs, Ws) float, coordinates (x, y) in units of Hs that stay with a point of the
            body's surface while it moves. None when unknown.
    """

    fgr: Tensor
    pha: Tensor
    flow: Tensor | None = None
    texture: Tensor | None = None


@dataclass
class Scene:
    """A background as it lies in its source, before it is moved, cropped or coloured.

    Attributes:
        pictures: (K, 3, Hb, Wb) uint8; K = 1 for a still, the asked number of frames for a video.
        near: (4, Hb, Wb) uint8 RGBA, straight colour: things that stand nearer than the rest, or None.
        is_video: pictures are successive frames (else they are one still).
    """

    pictures: Tensor
    near: Tensor | None = None
    is_video: bool = False


@dataclass
class SegmentedClip:
    """Pictures, and where people are in them.

    Attributes:
        images: (T, 3, H, W) uint8, RGB.
        masks: (T, 1, H, W) uint8, 255 is person.
    """

    images: Tensor
    masks: Tensor


@runtime_checkable
class ForegroundSource(Protocol):
    """Clips of cut-out people, on one canvas size (Hs, Ws), or on a smaller one of its shape where their files are."""

    def __len__(self) -> int:
        """Number of clips."""
        ...

    def name(self, i: int) -> str:
        """Name of clip i, unique in the source and across its train, val and test parts."""
        ...

    def num_frames(self, i: int) -> int:
        """Number of frames of clip i."""
        ...

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        """The given frames of clip i, in the order given."""
        ...


@runtime_checkable
class BackgroundSource(Protocol):
    """Backgrounds, on one canvas size (Hb, Wb), or on a smaller one of its shape where their files are."""

    def __len__(self) -> int:
        """Number of scenes."""
        ...

    def name(self, i: int) -> str:
        """Name of scene i, unique in the source and across its train, val and test parts."""
        ...

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        """Scene i; a video gives `num_frames` frames from a start that `generator` draws."""
        ...


@runtime_checkable
class VideoBackgrounds(BackgroundSource, Protocol):
    """Backgrounds of which some are videos that can be read frame by frame."""

    def is_video(self, i: int) -> bool:
        """Whether scene i is a video."""
        ...

    def num_frames(self, i: int) -> int:
        """Frames of scene i; 1 of a still."""
        ...

    def read_frames(self, i: int, frames: list[int]) -> Tensor:
        """The given frames (T, 3, Hb, Wb) uint8 of scene i, which is a video."""
        ...


@runtime_checkable
class FromFiles(Protocol):
    """A source whose clips or scenes have a size of their own, and are scaled to the canvas where that is smaller."""

    def own_size(self, i: int) -> tuple[int, int]:
        """(height, width) of clip or scene i in its file, pixels."""
        ...


@runtime_checkable
class SegmentationSource(Protocol):
    """Pictures or clips with masks of people, for training; each may have a size of its own."""

    def __len__(self) -> int:
        """Number of clips; a picture is a clip of one frame."""
        ...

    def name(self, i: int) -> str:
        """Name of clip i."""
        ...

    def num_frames(self, i: int) -> int:
        """Number of frames of clip i."""
        ...

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """The given frames of clip i, in the order given."""
        ...
