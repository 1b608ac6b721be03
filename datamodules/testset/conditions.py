"""The test set that a training run is scored on, as a `TestSet`: the project's own conditions, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import overload

from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.composite import collate_layers, composite
from datamodules.samples import EvaluationSamples
from datamodules.testset.frames import checked_range

HELD_VALUES = 2**26
"""Values of composited clips that a test set holds, a quarter of a GiB: what goes side by side, of large ones three."""
VALUES_OF_A_PIXEL = 12  # frame, alpha, foreground, background and flow


class ConditionTestSet(Sequence["ConditionClip"]):
    """The samples of a data module's test set, bit for bit, but readable in pieces.

    `ConditionTestSet(data.test_dataloader().dataset)`. A clip is composited whole when its first frames are read;
    the last ones are held, as many as `HELD_VALUES` allow, but three at least.
    """

    def __init__(self, samples: EvaluationSamples) -> None:
        self.samples = samples
        height, width = samples.size
        held = HELD_VALUES // (VALUES_OF_A_PIXEL * samples.num_frames * height * width)
        self.batch = lru_cache(maxsize=max(3, held))(self._batch)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> ConditionClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[ConditionClip]: ...
    def __getitem__(self, index: int | slice) -> ConditionClip | list[ConditionClip]:
        """A clip, or some of them."""
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [ConditionClip(self, number) for number in numbers]
        return ConditionClip(self, numbers)

    def _batch(self, number: int) -> MattingBatch:
        layers = collate_layers([self.samples[number]])
        return composite(layers, *self.samples.size, flow=self.samples.flow)


class ConditionClip:
    """One sample of a `ConditionTestSet`, a `TestClip`."""

    has_foreground = True
    has_background = True

    def __init__(self, test_set: ConditionTestSet, number: int) -> None:
        samples = test_set.samples
        self.test_set, self.number = test_set, number
        self.stratum, person, scene = samples.pair(number)
        self.name, self.scene = samples.foregrounds.name(person), samples.backgrounds.name(scene)
        self.key = f"{self.stratum}/{number % samples.num_clips:04d}".lstrip("/")
        self.num_frames, self.size = samples.num_frames, samples.size

    def read(self, start: int, stop: int) -> MattingBatch:
        """Frames start … stop − 1.

        Raises:
            ValueError: the clip has not so many frames.
        """
        frames = checked_range(self, start, stop)
        whole = self.test_set.batch(self.number)

        def piece(values: Tensor) -> Tensor:
            return values[:, frames.start : frames.stop]

        return replace(
            whole,
            frames=piece(whole.frames),
            alpha=piece(whole.alpha),
            foreground=piece(whole.foreground),
            background=piece(whole.background),
            flow=None if whole.flow is None else piece(whole.flow),
            background_affine=None if whole.background_affine is None else piece(whole.background_affine),
        )
