from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.batch import SegmentationBatch
from datamodules.samples import SampleKey
from datamodules.segmentation import SegmentationDataModule, SegmentationSamples
from datamodules.sources.interface import SegmentedClip

MakeData = Callable[..., SegmentationDataModule]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_data(cache: Path) -> MakeData:
    def make(**options: Any) -> SegmentationDataModule:
        sources = {"procedural": {"num_clips": 3, "num_frames": 4, "cache_dir": cache}}
        return SegmentationDataModule(
            **{"sources": sources, "clip_length": 3, "size": 32, "batch_size": 2, "num_steps": 3, **options}
        )

    return make


def assert_equal(first: SegmentationBatch, second: SegmentationBatch) -> None:
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.masks, second.masks)
    assert first.clip == second.clip


@pytest.mark.parametrize("clip_length", [1, 3])
def test_batches_have_the_promised_shapes_and_ranges(make_data: MakeData, clip_length: int) -> None:
    batches = list(make_data(clip_length=clip_length).train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        assert isinstance(batch, SegmentationBatch)
        assert batch.images.shape == (2, clip_length, 3, 32, 32)
        assert batch.masks.shape == (2, clip_length, 1, 32, 32)
        assert batch.images.dtype == batch.masks.dtype == torch.float32
        assert 0 <= batch.images.min() < batch.images.max() <= 1
        assert 0 <= batch.masks.min() <= batch.masks.max() <= 1
        assert len(batch.clip) == len(batch) == 2
        assert batch.pass_name == ""


def test_sample_is_a_function_of_seed_and_number(make_data: MakeData) -> None:
    whole = next(iter(make_data(batch_size=6, num_steps=1).train_dataloader()))
    parts = list(make_data(batch_size=2, num_steps=3).train_dataloader())
    assert torch.equal(whole.images, torch.cat([batch.images for batch in parts]))
    assert torch.equal(whole.masks, torch.cat([batch.masks for batch in parts]))
    assert not torch.equal(whole.images, next(iter(make_data(batch_size=6, seed=1).train_dataloader())).images)


def test_ranks_share_out_each_batch_and_a_restart_goes_on(make_data: MakeData) -> None:
    data = make_data(batch_size=4)
    whole = list(data.train_loader(0, 3, 0, 1))
    ranks = [list(data.train_loader(0, 3, rank, 2)) for rank in range(2)]
    for batch, first, second in zip(whole, *ranks, strict=True):
        assert torch.equal(batch.images[0::2], first.images)
        assert torch.equal(batch.images[1::2], second.images)
    resumed = list(data.train_loader(2, 3, 0, 1))
    assert len(resumed) == 1
    assert_equal(resumed[0], whole[2])
    with pytest.raises(ValueError, match="must divide by 3 devices"):
        data.train_loader(0, 3, 0, 3)


def test_each_batch_and_rank_has_a_size_of_its_own(make_data: MakeData) -> None:
    data = make_data(random_resolution=True, num_steps=8, batch_size=4)
    sizes = [[tuple(batch.images.shape[-2:]) for batch in data.train_loader(0, 8, rank, 2)] for rank in range(2)]
    assert all(16 <= length <= 31 for rank in sizes for size in rank for length in size)
    assert len(set(sizes[0])) > 4
    assert sizes[0] != sizes[1]
    assert sizes[0] == [tuple(batch.images.shape[-2:]) for batch in data.train_loader(0, 8, 0, 2)]
    batch = next(iter(data.train_loader(0, 8, 0, 2)))
    assert batch.masks.shape[-2:] == batch.images.shape[-2:]


def test_conversion_on_the_device_gives_the_same_numbers(make_data: MakeData) -> None:
    plain, later = make_data(), make_data(device_compositing=True)
    for batch, pixels in zip(plain.train_dataloader(), later.train_dataloader(), strict=True):
        assert pixels.images.dtype == pixels.masks.dtype == torch.uint8
        assert_equal(later.on_after_batch_transfer(pixels.to("cpu"), 0), batch)
        assert plain.on_after_batch_transfer(batch, 0) is batch


class Clock:
    """Two clips, whose frames are a bright square and its mask; the red level tells clip and frame."""

    lengths = (5, 3)

    def __len__(self) -> int:
        return 2

    def name(self, i: int) -> str:
        return f"clip{i}"

    def num_frames(self, i: int) -> int:
        return self.lengths[i]

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        assert all(0 <= frame < self.lengths[i] for frame in frames)
        self.asked = (i, frames)
        images, masks = torch.zeros(len(frames), 3, 24, 40).byte(), torch.zeros(len(frames), 1, 24, 40).byte()
        images[:, :, 6:18, 12:28], masks[:, :, 6:18, 12:28] = 255, 255
        return SegmentedClip(images, masks)


def test_every_frame_begins_a_clip_once_and_clips_run_forth_or_back_around_the_end() -> None:
    source = Clock()
    samples, asked = SegmentationSamples(source, 16, seed=0), []
    for number in range(8):
        samples[SampleKey(number, 1)]
        asked.append((source.asked[0], *source.asked[1]))
    assert sorted(asked) == [(0, t) for t in range(5)] + [(1, t) for t in range(3)]
    steps = set()
    for number in range(30):
        samples[SampleKey(number, 4)]
        clip, frames = source.asked
        steps |= {(later - frame) % source.lengths[clip] for frame, later in pairwise(frames)}
    assert steps <= {1, 2, 4}  # one frame on or, modulo 3 and 5, one back
    assert len(steps) == 3


@pytest.mark.parametrize("num_frames", [1, 4])
def test_picture_and_mask_move_together(num_frames: int) -> None:
    samples = SegmentationSamples(Clock(), 32, seed=0)
    for number in range(10):
        clip, name = samples[SampleKey(number, num_frames, (20, 27))]
        assert name.startswith("clip")
        assert clip.images.shape == (num_frames, 3, 20, 27)
        bright = clip.images.float().amax(1, keepdim=True) > 127
        assert ((clip.masks > 127) == bright).float().mean() > 0.97
        assert all(torch.equal(clip.images[0], image) for image in clip.images)  # one draw for all frames


def test_wrong_options_are_refused(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_data(clip_length=0)
    with pytest.raises(ValueError, match="at least 1"):
        make_data(clip_length=(3, 2))
    with pytest.raises(ValueError, match="no source named 'x'"):
        make_data(sources={"x": {}}).setup()
