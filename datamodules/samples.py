"""Which sample is which: data sets that are pure functions of (seed, index), and the order they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset, Sampler

from datamodules.batch import Layers, MattingBatch
from datamodules.composite import collate_layers, composite
from datamodules.difficulty import Difficulty
from datamodules.draw_layers import Draws, draw_layers, seed_of
from datamodules.sources.interface import BackgroundSource, ForegroundSource


class TrainingSamples(Dataset[Layers]):
    """Endless samples: every clip and every scene once in random order, then again in another order."""

    def __init__(
        self,
        foregrounds: ForegroundSource,
        backgrounds: BackgroundSource,
        size: tuple[int, int],
        difficulty: Difficulty,
        seed: int,
        flow: bool = False,
    ) -> None:
        """Sources, output (height, width), ranges of the draws, seed; flow keeps the source's motion."""
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.size, self.difficulty, self.seed, self.flow = size, difficulty, seed, flow

    def __getitem__(self, index_and_length: tuple[int, int]) -> Layers:
        """Sample (index, number of frames)."""
        index, num_frames = index_and_length
        return draw_layers(
            self.foregrounds,
            self.backgrounds,
            _shuffled(index, len(self.foregrounds), self.seed, "clips"),
            _shuffled(index, len(self.backgrounds), self.seed, "scenes"),
            num_frames,
            self.size,
            self.difficulty,
            Draws((self.seed, "train", index)),
            self.flow,
        )


class EvaluationSamples(Dataset[Layers]):
    """A fixed set: the same clips, scenes and draws under each condition, one condition after the other."""

    def __init__(
        self,
        foregrounds: ForegroundSource,
        backgrounds: BackgroundSource,
        size: tuple[int, int],
        strata: Mapping[str, Difficulty],
        num_clips: int,
        num_frames: int,
        key: tuple[int | str, ...],
        flow: bool = False,
    ) -> None:
        """Take what a fixed set is made of.

        Args:
            foregrounds: the source of people.
            backgrounds: the source of scenes.
            size: (height, width) of the output, pixels.
            strata: conditions by name.
            num_clips: clips in each condition; fewer where the data has not so many pairs of a clip and a scene.
            num_frames: of a clip.
            key: seed and part.
            flow: keep the source's motion.
        """
        num_clips = min(num_clips, len(foregrounds) * len(backgrounds))
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.size, self.strata, self.num_clips, self.num_frames = size, dict(strata), num_clips, num_frames
        self.key, self.flow = key, flow

    def __len__(self) -> int:
        return len(self.strata) * self.num_clips

    def __getitem__(self, index: int) -> Layers:
        """Sample `index`, condition after condition."""
        stratum, i = list(self.strata)[index // self.num_clips], index % self.num_clips
        lap, clip = divmod(i, len(self.foregrounds))
        return draw_layers(
            self.foregrounds,
            self.backgrounds,
            clip,
            # One scene on with each lap over the clips: no clip meets a scene twice.
            (clip + lap) % len(self.backgrounds),
            self.num_frames,
            self.size,
            self.strata[stratum],
            Draws((*self.key, i)),
            self.flow,
            stratum,
        )


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """The (index, number of frames) of each batch of one rank; of a global batch it takes every n-th sample."""

    def __init__(
        self,
        num_steps: int,
        batch_size: int,
        clip_length: tuple[int, int],
        seed: int,
        start: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Order the samples.

        Args:
            num_steps: batches in all.
            batch_size: samples of all ranks together in a batch.
            clip_length: (fewest, most) frames; one number is drawn for a batch, the same on every rank.
            seed: of that draw.
            start: batches to leave out of the first pass, done before training was cut off.
            rank: of this process.
            num_ranks: processes in all.

        Raises:
            ValueError: the batch cannot be shared out equally.
        """
        if batch_size % num_ranks:
            raise ValueError(f"batch_size {batch_size} (of all devices together) must divide by {num_ranks} devices")
        self.num_steps, self.batch_size, self.clip_length, self.seed = num_steps, batch_size, clip_length, seed
        self.start, self.rank, self.num_ranks = start, rank, num_ranks

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # A loader may ask for several iterators before it reads from one: only reading uses the start up.
        start, self.start = self.start, 0
        for step in range(start, self.num_steps):
            num_frames = Draws((self.seed, "clip length")).integer(str(step), *self.clip_length)
            first = step * self.batch_size
            yield [(i, num_frames) for i in range(first + self.rank, first + self.batch_size, self.num_ranks)]


@dataclass(frozen=True)
class Collate:
    """Stacks samples to a batch of layers and, where the worker composites, to a `MattingBatch`."""

    size: tuple[int, int]
    flow: bool
    composited: bool

    def __call__(self, samples: list[Layers]) -> Layers | MattingBatch:
        """The batch of some samples."""
        layers = collate_layers(samples)
        return composite(layers, *self.size, flow=self.flow) if self.composited else layers


def prepare_worker(worker: int) -> None:
    """One thread for each worker: more would fight over the same cores."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _shuffled(index: int, count: int, seed: int, what: str) -> int:
    lap, position = divmod(index, count)
    generator = torch.Generator().manual_seed(seed_of(seed, what, lap))
    return int(torch.randperm(count, generator=generator)[position])
