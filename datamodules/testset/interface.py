"""What a fixed test set promises, whether it lies in a folder or is made while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from datamodules.batch import MattingBatch


@runtime_checkable
class TestClip(Protocol):
    """One clip of a test set; frames are read when they are asked for, a few at a time."""

    @property
    def key(self) -> str:
        """Its place in the set, unique and fit for a file's path: STRATUM/0003, or 0003 without strata."""
        ...

    @property
    def name(self) -> str:
        """Name of the foreground, the column `clip` of a record; several clips may show one person.

        No two clips of a set share stratum, name and scene.
        """
        ...

    @property
    def scene(self) -> str:
        """Name of the background."""
        ...

    @property
    def stratum(self) -> str:
        """Name of the condition, "" for a set that has none."""
        ...

    @property
    def num_frames(self) -> int:
        """How many frames the clip has, all of which are scored."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, pixels."""
        ...

    @property
    def has_foreground(self) -> bool:
        """Whether the true foreground colours are known; if not, `read` gives NaN for them."""
        ...

    @property
    def has_background(self) -> bool:
        """Whether the true background is known; if not, `read` gives NaN for it."""
        ...

    def read(self, start: int, stop: int) -> MattingBatch:
        """Frames start … stop − 1 as a batch of one clip, on the CPU.

        The pieces of a clip have the bits of the whole clip, however it is cut. `flow` and `background_affine` are
        pieces of the whole clip's too (from frame `start` they lead to frame `start` − 1), or None.

        Raises:
            ValueError: a file is missing or broken, or the clip has not so many frames.
        """
        ...


TestSet: TypeAlias = Sequence[TestClip]
"""Clips in the order of the set, stratum after stratum."""
