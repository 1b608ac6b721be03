"""Which sample is which: data sets that are pure functions of (seed, index), and the order they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.augment.resolution import at_size, random_size
from datamodules.augment.rvm import RVMAugmentation
from datamodules.batch import Layers, MattingBatch
from datamodules.composite import collate_layers, composite
from datamodules.dice import Draws, seed_of
from datamodules.difficulty import Difficulty
from datamodules.draw_layers import draw_layers
from datamodules.draw_rvm_layers import draw_rvm_layers
from datamodules.processes import keep_memory, worker_context
from datamodules.sources.interface import BackgroundSource, ForegroundSource


class SampleKey(NamedTuple):
    """What a loader asks a training set for.

    Attributes:
        number: of the sample.
        num_frames: T.
        size: (height, width) where it is drawn for each batch, else None.
    """

    number: int
    num_frames: int
    size: tuple[int, int] | None = None


class TrainingSamples(Dataset[Layers]):
    """Endless samples: every clip and every scene once in random order, then again in another order."""

    def __init__(
        self,
        foregrounds: ForegroundSource,
        backgrounds: BackgroundSource,
        size: tuple[int, int],
        difficulty: Difficulty | RVMAugmentation,
        seed: int,
        flow: bool = False,
    ) -> None:
        """Sources, output (height, width), ranges or shares of the draws, seed; flow keeps the source's motion."""
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.size, self.difficulty, self.seed, self.flow = size, difficulty, seed, flow

    def __getitem__(self, key: SampleKey) -> Layers:
        """One sample; of a size that is drawn for the batch only the affines know."""
        index, num_frames, size = key
        clip = shuffled(index, len(self.foregrounds), self.seed, "clips")
        scene = shuffled(index, len(self.backgrounds), self.seed, "scenes")
        sample = (self.foregrounds, self.backgrounds, clip, scene, num_frames, self.size)
        draws = Draws((self.seed, "train", index))
        if isinstance(self.difficulty, RVMAugmentation):
            layers = draw_rvm_layers(*sample, self.difficulty, draws, self.flow)
        else:
            layers = draw_layers(*sample, self.difficulty, draws, self.flow)
        return layers if size is None else at_size(layers, self.size[0], size)


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
        flow: bool | None = False,
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
            flow: keep the source's motion; None: where it is known.
        """
        num_clips = min(num_clips, len(foregrounds) * len(backgrounds))
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.size, self.strata, self.num_clips, self.num_frames = size, dict(strata), num_clips, num_frames
        self.key, self.flow = key, flow

    def __len__(self) -> int:
        return len(self.strata) * self.num_clips

    def pair(self, index: int) -> tuple[str, int, int]:
        """Condition of sample `index`, and the numbers of its clip and its scene."""
        lap, clip = divmod(index % self.num_clips, len(self.foregrounds))
        # One scene on with each lap over the clips: no clip meets a scene twice.
        return list(self.strata)[index // self.num_clips], clip, (clip + lap) % len(self.backgrounds)

    def __getitem__(self, index: int) -> Layers:
        """Sample `index`, condition after condition."""
        stratum, clip, scene = self.pair(index)
        return draw_layers(
            self.foregrounds,
            self.backgrounds,
            clip,
            scene,
            self.num_frames,
            self.size,
            self.strata[stratum],
            Draws((*self.key, index % self.num_clips)),
            self.flow,
            stratum,
        )


class TrainingBatches(Sampler[list[SampleKey]]):
    """The samples of each batch of one rank; of a global batch it takes every n-th sample."""

    def __init__(
        self,
        num_steps: int,
        batch_size: int,
        clip_length: tuple[int, int],
        seed: int,
        start: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        side: int | None = None,
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
            side: draw the size of each batch, on each rank another: height and width in [side/2, side − 1].

        Raises:
            ValueError: the batch cannot be shared out equally.
        """
        if batch_size % num_ranks:
            raise ValueError(f"batch_size {batch_size} (of all devices together) must divide by {num_ranks} devices")
        self.num_steps, self.batch_size, self.clip_length, self.seed = num_steps, batch_size, clip_length, seed
        self.start, self.rank, self.num_ranks, self.side = start, rank, num_ranks, side

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        # A loader may ask for several iterators before it reads from one: only reading uses the start up.
        start, self.start = self.start, 0
        for step in range(start, self.num_steps):
            num_frames = Draws((self.seed, "clip length")).integer(str(step), *self.clip_length)
            size = None
            if self.side is not None:
                size = random_size(self.side, Draws((self.seed, "size", self.rank)).generator(str(step)))
            first = step * self.batch_size
            indices = range(first + self.rank, first + self.batch_size, self.num_ranks)
            yield [SampleKey(i, num_frames, size) for i in indices]


@dataclass(frozen=True)
class Collate:
    """Stacks samples to a batch of layers and, where the worker composites, to a `MattingBatch`."""

    size: tuple[int, int]
    flow: bool | None
    composited: bool

    def __call__(self, samples: list[Layers]) -> Layers | MattingBatch:
        """The batch of some samples."""
        layers = collate_layers(samples)
        return composite(layers, *(layers.size or self.size), flow=self.flow) if self.composited else layers


def prepare_worker(worker: int) -> None:
    """One thread for each worker: more would fight over the same cores."""
    import cv2

    keep_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def make_loader(samples: Dataset[Any], collate: Callable[..., Any], num_workers: int, **order: Any) -> DataLoader[Any]:
    """A loader of some samples in the order of a sampler; `num_workers` processes load, 0 loads in this one."""
    if num_workers > 0:
        order["multiprocessing_context"] = worker_context()
    return DataLoader(
        samples,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=prepare_worker,
        **order,
    )


def training_position(trainer: Any, num_steps: int) -> tuple[int, int, int]:
    """How many of `num_steps` batches are done, this process's rank, and the number of ranks; alone without trainer."""
    if trainer is None:
        return 0, 0, 1
    done = trainer.global_step * trainer.accumulate_grad_batches % num_steps
    return done, trainer.global_rank, trainer.world_size


def shuffled(index: int, count: int, seed: int, what: str) -> int:
    """Number `index` of an endless row: all of range(count) in random order, then again in another order."""
    lap, position = divmod(index, count)
    return int(_order(count, seed_of(seed, what, lap))[position])


@lru_cache(maxsize=8)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
