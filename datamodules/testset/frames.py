"""What all test sets share: frames with 8 bits, and the batch that they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.testset.interface import TestClip

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass
class Frames:
    """Successive frames as the files of a test set hold them: uint8, RGB.

    Attributes:
        com: (T, 3, H, W) the composite.
        pha: (T, 1, H, W) alpha.
        fgr: (T, 3, H, W) straight foreground colours, or None where they are not known.
        bgr: (T, 3, H, W) the background, or None where it is not known.
    """

    com: Tensor
    pha: Tensor
    fgr: Tensor | None
    bgr: Tensor | None

    def to_batch(self, clip: TestClip) -> MattingBatch:
        """The batch of one clip; what is not known is NaN."""
        return MattingBatch(
            frames=self._unit(self.com),
            alpha=self._unit(self.pha),
            foreground=self._unit(self.fgr),
            background=self._unit(self.bgr),
            flow=None,
            background_affine=None,
            clip=[clip.name],
            scene=[clip.scene],
            stratum=[clip.stratum],
        )

    def _unit(self, pixels: Tensor | None) -> Tensor:
        if pixels is None:
            return torch.full((1, *self.com.shape), torch.nan)
        return pixels[None].to(torch.float32, copy=True, memory_format=torch.contiguous_format).div_(255)


def checked_range(clip: TestClip, start: int, stop: int) -> range:
    """The frames start … stop − 1 of a clip.

    Raises:
        ValueError: it has not all of them.
    """
    if not 0 <= start < stop <= clip.num_frames:
        raise ValueError(f"{clip.key}: frames {start} to {stop - 1} asked, the clip has 0 to {clip.num_frames - 1}")
    return range(start, stop)


class Last(Generic[Key, Value]):
    """A function that remembers its last result, for what a clip read piece by piece needs every time."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self.make = make
        self._held: tuple[Key, Value] | None = None

    def __call__(self, key: Key) -> Value:
        """What `make` gives for a key."""
        held = self._held
        if held is None or held[0] != key:
            held = self._held = (key, self.make(key))
        return held[1]
