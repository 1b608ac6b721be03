"""The data module of video matting: sources, splits, draws and workers, from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.augment.rvm import RVMAugmentation
from datamodules.batch import Layers, MattingBatch
from datamodules.composite import composite
from datamodules.copied_ahead import copied_ahead
from datamodules.difficulty import STRATA, Difficulty
from datamodules.samples import (
    Collate,
    EvaluationSamples,
    TrainingBatches,
    TrainingSamples,
    make_loader,
    training_position,
)
from datamodules.sources.interface import BackgroundSource, ForegroundSource
from datamodules.sources.parts import SourceSpec, open_parts
from datamodules.sources.rendering import Report, fill_caches
from datamodules.sources.splits import PARTS


class VideoMattingDataModule(LightningDataModule):
    """Composited clips as `MattingBatch`; sample i under a seed is the same on every machine, worker and rank.

    Args:
        source: the people. Without an option `size` their canvas is 4/3 of the output's shorter side.
        backgrounds: the scenes. Without an option `size` their canvas is twice that side: room for the camera.
        clip_length: frames of a training clip; (fewest, most) draws a number for each batch.
        size: of the output, (height, width) or one for both, pixels.
        seed: of all training draws.
        batch_size: training clips in a step, of all devices together.
        num_steps: training steps; one epoch is all of them.
        difficulty: ranges of all draws, or changes of the default ones.
        augment: changes of the difficulty for training alone; or {"rvm": {share: value}}, by which training clips are
            drawn in its place, see `RVMAugmentation`.
        val_strata: changes of the difficulty for each condition of validation; None for the difficulty as it is.
        test_strata: the same for the test set.
        val_clips: clips in each condition of validation.
        test_clips: clips in each condition of the test set.
        test_clip_length: frames of a validation or test clip.
        evaluation_seed: of all validation and test draws, so that runs of several seeds share one test set.
        flow: batches have the true flow; needs still backgrounds without cuts. Those of the test have it anyway where
            it is known.
        random_resolution: training batches are scaled and cropped to a size drawn for each (and on each rank):
            height and width in [size/2, size − 1]; needs one size for both.
        num_workers: processes that load; 0 loads in this one.
        device_compositing: workers hand over uint8 layers, which the device composites; the same numbers
            to float tolerance.
        parts: of the data that are opened, "train", "val", "test"; the others need not be there.

    Raises:
        ValueError: an option is unknown or out of its range.
    """

    def __init__(
        self,
        source: SourceSpec = "procedural",
        backgrounds: SourceSpec = "procedural",
        clip_length: int | tuple[int, int] = 10,
        size: int | tuple[int, int] = 96,
        seed: int = 0,
        *,
        batch_size: int = 8,
        num_steps: int = 1000,
        difficulty: Difficulty | Mapping[str, Any] | None = None,
        augment: Mapping[str, Any] | None = None,
        val_strata: Mapping[str, Mapping[str, Any]] | None = None,
        test_strata: Mapping[str, Mapping[str, Any]] = STRATA,
        val_clips: int = 4,
        test_clips: int = 8,
        test_clip_length: int = 24,
        evaluation_seed: int = 0,
        flow: bool = False,
        random_resolution: bool = False,
        num_workers: int = 0,
        device_compositing: bool = False,
        parts: Sequence[str] = PARTS,
    ) -> None:
        super().__init__()
        self.source, self.backgrounds = source, backgrounds
        self.clip_length = _pair("clip_length", clip_length)
        self.size = _pair("size", size)
        counts = {
            **{"batch_size": batch_size, "num_steps": num_steps, "val_clips": val_clips, "test_clips": test_clips},
            "test_clip_length": test_clip_length,
        }
        for name, count in counts.items():
            if not _is_count(count):
                raise ValueError(f"{name} must be a whole number from 1 on, got {count!r}")
        for name, number in (("seed", seed), ("evaluation_seed", evaluation_seed), ("num_workers", num_workers)):
            if not isinstance(number, int) or (name == "num_workers" and number < 0):
                raise ValueError(f"{name} must be a whole number, got {number!r}")
        for name, strata in (("val_strata", val_strata or {}), ("test_strata", test_strata)):
            if not isinstance(strata, Mapping):
                raise ValueError(f"{name} must be a mapping, condition: {{option: value}}, got {strata!r}")
        self.seed, self.evaluation_seed = seed, evaluation_seed
        self.batch_size, self.num_steps = batch_size, num_steps
        self.difficulty = Difficulty.of(difficulty or {})
        self.training_difficulty = _of_training(self.difficulty, augment or {}, flow)
        self.strata = {
            "val": {name: self.difficulty.but(changes) for name, changes in (val_strata or {"": {}}).items()},
            "test": {name: self.difficulty.but(changes) for name, changes in test_strata.items()},
        }
        self.num_clips = {"val": val_clips, "test": test_clips}
        self.test_clip_length, self.flow = test_clip_length, flow
        self.random_resolution = random_resolution
        self.num_workers, self.device_compositing = num_workers, device_compositing
        self.parts = tuple(parts)
        self._sources: dict[str, tuple[ForegroundSource, BackgroundSource]] = {}
        if self.clip_length[0] > self.clip_length[1]:
            raise ValueError(f"clip_length must be a number or (fewest, most), got {clip_length}")
        if random_resolution and self.size[0] != self.size[1]:
            raise ValueError(f"random_resolution=True needs one size for height and width, got {size}")
        conditions = [self.training_difficulty, *self.strata["val"].values(), *self.strata["test"].values()]
        if flow and any(isinstance(each, Difficulty) and each.cut_share > 0 for each in conditions):
            raise ValueError("flow=True needs still backgrounds and cut_share 0: motion over a cut is not known")

    def rendered(self, parts: Sequence[str] = ("train", "val")) -> list[object]:
        """Sources of these parts, which may make their own pictures (`fill_caches`)."""
        return [source for part in parts if part in self.parts for source in self.sources()[part]]

    def prepare_data(self, report: Report | None = None, parts: Sequence[str] = ("train", "val")) -> None:
        """Let sources that make their own pictures fill their caches; `report(done, total)` hears of it.

        What is read without is made then, in the process that reads it.
        """
        fill_caches(self.rendered(parts), report)

    def setup(self, stage: str | None = None) -> None:
        """Open the sources and refuse a clip or a scene that two parts share."""
        self.sources()

    def train_dataloader(self) -> Any:
        """Training batches; after a restart the ones that are still to come. They are copied ahead to a CUDA device."""
        start, rank, num_ranks = training_position(self.trainer, self.num_steps)
        return copied_ahead(self.train_loader(start, self.num_steps, rank, num_ranks), self.trainer)

    def train_loader(self, start: int, stop: int, rank: int, num_ranks: int) -> DataLoader[Any]:
        """One rank's training batches of the numbers `start` to `stop` − 1; read again, it begins with number 0."""
        foregrounds, backgrounds = self.sources()["train"]
        samples = TrainingSamples(foregrounds, backgrounds, self.size, self.training_difficulty, self.seed, self.flow)
        side = self.size[0] if self.random_resolution else None
        batches = TrainingBatches(stop, self.batch_size, self.clip_length, self.seed, start, rank, num_ranks, side)
        return self._loader(samples, batch_sampler=batches)

    def calibration_loader(self, num_batches: int) -> DataLoader[Any]:
        """The first training batches once more, as many as there are."""
        _, rank, num_ranks = training_position(self.trainer, self.num_steps)
        return self.train_loader(0, min(num_batches, self.num_steps), rank, num_ranks)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation set, a clip a batch."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """The test set, a clip a batch; of several ranks each has its share and no clip is repeated."""
        return self._evaluation_loader("test")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> MattingBatch:
        """Composite on the device what the workers left as layers."""
        if not isinstance(batch, Layers):
            return batch
        # None: where it is known; layers of training were drawn without it unless it is asked for.
        return composite(batch, *(batch.size or self.size), flow=self.flow or None)

    def _evaluation_loader(self, part: str) -> DataLoader[Any]:
        foregrounds, backgrounds = self.sources()[part]
        samples = EvaluationSamples(
            foregrounds,
            backgrounds,
            self.size,
            self.strata[part],
            self.num_clips[part],
            self.test_clip_length,
            (self.evaluation_seed, part),
            None if part == "test" and not self.flow else self.flow,  # estimates are scored by it
        )
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if len(samples) < num_ranks:
            raise ValueError(f"{part}: {len(samples)} clips for {num_ranks} devices; raise {part}_clips or use fewer")
        return self._loader(samples, sampler=range(rank, len(samples), num_ranks), batch_size=1)

    def _loader(self, samples: Any, **order: Any) -> DataLoader[Any]:
        collate = Collate(self.size, samples.flow, composited=not self.device_compositing)
        return make_loader(samples, collate, self.num_workers, **order)

    def sources(self) -> dict[str, tuple[ForegroundSource, BackgroundSource]]:
        """People and scenes of each part.

        Raises:
            ValueError: two parts share a clip or a scene, or flow is asked for and backgrounds are videos.
        """
        if not self._sources:
            extras = {part: self._extras(part) for part in self.parts}
            self._sources = open_parts(self.source, self.backgrounds, min(self.size), self.flow, extras, self.parts)
        return self._sources

    def _extras(self, part: str) -> tuple[str, ...]:
        """What clips of a part have beside colour and alpha: motion to be scored by, coordinates for camouflage."""
        drawn = [self.training_difficulty] if part == "train" else self.strata[part].values()
        camouflaged = any(isinstance(each, Difficulty) and each.camouflage[1] > 0 for each in drawn)
        asked = {"flow": self.flow or part == "test", "texture": camouflaged}
        return tuple(extra for extra, wanted in asked.items() if wanted)


def _of_training(difficulty: Difficulty, augment: Mapping[str, Any], flow: bool) -> Difficulty | RVMAugmentation:
    if "rvm" not in augment:
        return difficulty.but(augment)
    if others := sorted(augment.keys() - {"rvm"}):
        raise ValueError(f"augment: rvm draws training clips in place of the difficulty; leave out {', '.join(others)}")
    if flow:
        raise ValueError("flow=True does not go with augment=rvm: motion of frames that are skipped is not known")
    return RVMAugmentation.of(augment["rvm"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Two counts from one for both or from two."""
    pair = (value, value) if _is_count(value) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(_is_count, pair)):
        raise ValueError(f"{name} must be a whole number from 1 on, or two of them, got {value!r}")
    return pair[0], pair[1]
