"""The data module of people segmentation: pictures or clips with masks, for training, from one seed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from datamodules.augment.segmentation import OF_PICTURES, OF_VIDEOS, change_colours, view
from datamodules.batch import SegmentationBatch
from datamodules.copied_ahead import copied_ahead
from datamodules.dice import Draws
from datamodules.resample import resample
from datamodules.samples import SampleKey, TrainingBatches, make_loader, shuffled, training_position
from datamodules.sources import build_source
from datamodules.sources.coco import Coco
from datamodules.sources.interface import SegmentationSource, SegmentedClip
from datamodules.sources.rendering import fill_caches
from datamodules.sources.segmentation import JoinedSegmentation, ProceduralSegmentation
from datamodules.sources.supervisely import SuperviselyPerson
from datamodules.sources.youtubevis import YouTubeVIS

SEGMENTATIONS: dict[str, Callable[..., SegmentationSource]] = {
    "procedural": ProceduralSegmentation,
    "coco": Coco,
    "supervisely": SuperviselyPerson,
    "youtubevis": YouTubeVIS,
}


def build_segmentation(sources: Mapping[str, Mapping[str, Any] | None], size: int) -> SegmentationSource:
    """One source of all that are named; their options are their classes' arguments, None leaves a source out.

    Args:
        sources: options of each by its name.
        size: shorter side, for those whose options have none, pixels.

    Raises:
        ValueError: a name or an option is unknown, or no source is left.
    """
    named = {name: options for name, options in sources.items() if options is not None}
    if not named:
        raise ValueError(f"segmentation needs a source; known are {', '.join(SEGMENTATIONS)}")
    return JoinedSegmentation(
        {name: build_source(SEGMENTATIONS, name, {"size": size, **options}) for name, options in named.items()}
    )


class SegmentationDataModule(LightningDataModule):
    """Training batches of `SegmentationBatch`; sample i under a seed is the same on every machine, worker and rank.

    Clips of one frame are augmented as RVM's pictures (affine, crop, colours), longer ones as its videos.

    Args:
        sources: options of each source by its name, or None to leave it out; or one ready source.
        clip_length: frames of a clip; (fewest, most) draws a number for each batch.
        size: height and width of the output, pixels.
        seed: of all draws.
        batch_size: pictures or clips in a step, of all devices together.
        num_steps: training steps; one epoch is all of them.
        random_resolution: batches have a size drawn for each (and on each rank), height and width in
            [size/2, size − 1].
        num_workers: processes that load; 0 loads in this one.
        device_compositing: workers hand over uint8, which becomes float on the device; the same numbers.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        sources: Mapping[str, Mapping[str, Any] | None] | SegmentationSource,
        clip_length: int | tuple[int, int] = 1,
        size: int = 512,
        seed: int = 0,
        *,
        batch_size: int = 8,
        num_steps: int = 1000,
        random_resolution: bool = False,
        num_workers: int = 0,
        device_compositing: bool = False,
    ) -> None:
        super().__init__()
        self.sources = sources
        self.clip_length = (clip_length,) * 2 if isinstance(clip_length, int) else (clip_length[0], clip_length[1])
        self.size, self.seed, self.batch_size, self.num_steps = size, seed, batch_size, num_steps
        self.random_resolution = random_resolution
        self.num_workers, self.device_compositing = num_workers, device_compositing
        self._source: SegmentationSource | None = None
        if min(*self.clip_length, size, batch_size, num_steps) < 1 or self.clip_length[0] > self.clip_length[1]:
            raise ValueError(
                f"segmentation: lengths, size and counts must be at least 1, clip_length (low, high): got {clip_length}"
            )

    def rendered(self) -> list[object]:
        """Sources that may make their own pictures (`fill_caches`)."""
        source = self.source()
        return source.rendered() if isinstance(source, ProceduralSegmentation | JoinedSegmentation) else []

    def prepare_data(self) -> None:
        """Let sources that make their own pictures fill their caches."""
        fill_caches(self.rendered())

    def setup(self, stage: str | None = None) -> None:
        """Open the sources."""
        self.source()

    def train_dataloader(self) -> Any:
        """As that of `VideoMattingDataModule`."""
        start, rank, num_ranks = training_position(self.trainer, self.num_steps)
        return copied_ahead(self.train_loader(start, self.num_steps, rank, num_ranks), self.trainer)

    def train_loader(self, start: int, stop: int, rank: int, num_ranks: int) -> DataLoader[Any]:
        """One rank's training batches of the numbers `start` to `stop` − 1; read again, it begins with number 0."""
        side = self.size if self.random_resolution else None
        batches = TrainingBatches(stop, self.batch_size, self.clip_length, self.seed, start, rank, num_ranks, side)
        samples = SegmentationSamples(self.source(), self.size, self.seed)
        collate = CollateSegmentation(as_float=not self.device_compositing)
        return make_loader(samples, collate, self.num_workers, batch_sampler=batches)

    def on_after_batch_transfer(self, batch: SegmentationBatch, dataloader_idx: int) -> SegmentationBatch:
        """Floats from what the workers left as uint8."""
        return _as_float(batch)

    def source(self) -> SegmentationSource:
        """All sources as one.

        Raises:
            ValueError: a source or an option is unknown, or a file is missing.
        """
        if self._source is None:
            sources = self.sources
            self._source = build_segmentation(sources, self.size) if isinstance(sources, Mapping) else sources
        return self._source


class SegmentationSamples(Dataset[tuple[SegmentedClip, str]]):
    """Endless samples: every frame of every clip once as the first one, in random order, then in another order.

    Source: RVM's training counts each (video, frame) of YouTubeVIS as a sample.
    """

    def __init__(self, source: SegmentationSource, side: int, seed: int) -> None:
        """Clips, height and width of the output (before a batch's own size is cut from it), seed."""
        self.source, self.side, self.seed = source, side, seed
        self.ends = list(accumulate(source.num_frames(i) for i in range(len(source))))

    def __getitem__(self, key: SampleKey) -> tuple[SegmentedClip, str]:
        """One sample in its output size, and the name of its clip."""
        size = key.size or (self.side, self.side)
        draws = Draws((self.seed, "segmentation", key.number))
        number = shuffled(key.number, self.ends[-1], self.seed, "first frames")
        i = bisect_right(self.ends, number)
        first, count = number - (self.ends[i] - self.source.num_frames(i)), self.source.num_frames(i)
        clip = self.source.read(i, _choose_frames(first, count, key.num_frames, draws))

        ranges = OF_PICTURES if key.num_frames == 1 else OF_VIDEOS
        picture = (clip.images.shape[-2], clip.images.shape[-1])
        affine = view(picture, self.side, size, ranges, draws).expand(1, key.num_frames, 2, 3)
        layers = torch.cat([clip.images, clip.masks], dim=1)[None].float() / 255
        seen = resample(layers, affine, *size, padding="zeros")[0].clamp(0, 1)
        images = change_colours(seen[:, :3], ranges, draws)
        pixels = (torch.cat([images, seen[:, 3:]], dim=1) * 255).round().to(torch.uint8)
        return SegmentedClip(pixels[:, :3], pixels[:, 3:]), self.source.name(i)


@dataclass(frozen=True)
class CollateSegmentation:
    """Stacks samples to a `SegmentationBatch`, of floats or still of uint8."""

    as_float: bool

    def __call__(self, samples: list[tuple[SegmentedClip, str]]) -> SegmentationBatch:
        """The batch of some samples."""
        images, masks = (torch.stack([getattr(clip, name) for clip, _ in samples]) for name in ("images", "masks"))
        batch = SegmentationBatch(images, masks, [name for _, name in samples])
        return _as_float(batch) if self.as_float else batch


def _as_float(batch: SegmentationBatch) -> SegmentationBatch:
    if batch.images.dtype != torch.uint8:
        return batch
    return replace(batch, images=batch.images.float() / 255, masks=batch.masks.float() / 255)


def _choose_frames(first: int, count: int, num_frames: int, draws: Draws) -> list[int]:
    """A run of frames at or after `first`, forth or back, from the end of the clip on to its beginning."""
    start = first + draws.integer("shift", 0, num_frames - 1)
    frames = [(start + t) % count for t in range(num_frames)]
    return frames[::-1] if draws.happens("reverse", 0.5) else frames
