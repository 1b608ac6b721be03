"""Several passes of training in turn: matting at one size, at another, segmentation, each from its own data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.batch import MattingBatch, SegmentationBatch
from datamodules.copied_ahead import copied_ahead
from datamodules.samples import training_position
from datamodules.segmentation import SegmentationDataModule
from datamodules.sources.rendering import Report, fill_caches
from datamodules.video_matting import VideoMattingDataModule

TrainingPass = VideoMattingDataModule | SegmentationDataModule


class InterleavedDataModule(LightningDataModule):
    """Gives each optimiser step the batch of one pass, in a fixed order that repeats.

    Optimiser step i gets a batch of the pass `order[i % len(order)]` (with accumulated gradients, all batches of the
    step are of this pass). An objective tells them apart by type and by name: `MattingBatch` or
    `SegmentationBatch`, with the pass's name in `pass_name`. Each pass goes through its own samples as if it
    were alone; a resumed run goes on with the next batch of each.

    Validation and test clips are those of the first pass of the order; they have no `pass_name`.

    Args:
        passes: data modules by the names of the passes; seed, batch size, clip length, size and workers are each
            pass's own, its `num_steps` and `trainer` are not used.
        order: names of passes; RVM's iterations with a low-resolution, a high-resolution and a segmentation step,
            which sees videos in even and pictures in odd iterations, are [low, high, video, low, high, image].
        num_steps: training batches of all passes together; one epoch is all of them.

    Raises:
        ValueError: the order names what is no pass, or does not begin with a matting pass.
    Source: RVM's official training loop, in which each pass has an optimiser step of its own.
    """

    def __init__(self, passes: Mapping[str, TrainingPass], order: Sequence[str], num_steps: int) -> None:
        super().__init__()
        if unknown := [name for name in order if name not in passes]:
            raise ValueError(f"order: no pass named {unknown[0]!r}; there are {', '.join(passes)}")
        if not order or not isinstance(first := passes[order[0]], VideoMattingDataModule):
            raise ValueError("order must begin with a matting pass: its clips are those of validation")
        self.passes = {name: passes[name] for name in dict.fromkeys(order)}
        self.order, self.num_steps, self.first = tuple(order), num_steps, first

    def rendered(self) -> list[object]:
        """Sources that training needs, which may make their own pictures (`fill_caches`)."""
        sources: list[object] = self.first.rendered(("val",))
        for data in self.passes.values():
            sources += data.rendered() if isinstance(data, SegmentationDataModule) else data.rendered(("train",))
        return sources

    def prepare_data(self, report: Report | None = None) -> None:
        """Let sources that make their own pictures fill their caches, as far as training needs them."""
        fill_caches(self.rendered(), report)

    def setup(self, stage: str | None = None) -> None:
        """Open the sources of all passes."""
        for data in self.passes.values():
            data.setup(stage)

    def train_dataloader(self) -> Any:
        """Training batches with the name of their pass, otherwise as those of `VideoMattingDataModule`."""
        start, _, _ = training_position(self.trainer, self.num_steps)
        repeat = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        loader = self._loader([name for name in self.order for _ in range(repeat)], start, self.num_steps)
        return copied_ahead(loader, self.trainer)

    def calibration_loader(self, num_batches: int) -> InterleavedLoader:
        """The first training batches of the matting passes in their order, without those of segmentation between."""
        order = [name for name in self.order if isinstance(self.passes[name], VideoMattingDataModule)]
        return self._loader(order, 0, min(num_batches, self.num_steps))

    def _loader(self, order: Sequence[str], start: int, stop: int) -> InterleavedLoader:
        _, rank, num_ranks = training_position(self.trainer, self.num_steps)
        loaders = {
            name: self.passes[name].train_loader(count(order, name, start), count(order, name, stop), rank, num_ranks)
            for name in dict.fromkeys(order)
        }
        return InterleavedLoader(loaders, order, start, stop)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation set of the first pass."""
        self.first.trainer = self.trainer
        return self.first.val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        """The test set of the first pass."""
        self.first.trainer = self.trainer
        return self.first.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> MattingBatch | SegmentationBatch:
        """Finish a batch on the device as its pass does, and label it with the name of the pass."""
        if not isinstance(batch, tuple):
            return self.first.on_after_batch_transfer(batch, dataloader_idx)
        name, content = batch
        return replace(self.passes[name].on_after_batch_transfer(content, dataloader_idx), pass_name=name)


class InterleavedLoader:
    """Batches of several loaders in turn, each with the name of its loader.

    Args:
        loaders: by name; each begins with its own batches that come first at or after `start`.
        order: names, in the order of the batches, from batch 0 on; it repeats.
        start: batches to leave out when it is read for the first time.
        num_batches: in all.
    """

    def __init__(
        self, loaders: Mapping[str, DataLoader[Any]], order: Sequence[str], start: int, num_batches: int
    ) -> None:
        self.loaders, self.order, self.start, self.num_batches = loaders, order, start, num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        # As in `TrainingBatches`: only reading uses the start up.
        start, self.start = self.start, 0
        iterators = {name: iter(loader) for name, loader in self.loaders.items()}
        for position in range(start, self.num_batches):
            name = self.order[position % len(self.order)]
            yield name, next(iterators[name])


def count(order: Sequence[str], name: str, position: int) -> int:
    """How many of the batches before number `position` are of one pass.

    >>> [count(("low", "video", "low", "image"), "low", position) for position in range(7)]
    [0, 1, 1, 2, 2, 3, 3]
    """
    laps, rest = divmod(position, len(order))
    return laps * list(order).count(name) + list(order[:rest]).count(name)
