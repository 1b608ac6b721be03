from collections import Counter
from pathlib import Path

import pytest
import torch

from datamodules.segmentation import build_segmentation
from datamodules.sources.interface import SegmentationSource, SegmentedClip
from datamodules.sources.rendering import fill_caches
from datamodules.sources.segmentation import JoinedSegmentation, ProceduralSegmentation


def procedural(cache: Path, **options: object) -> ProceduralSegmentation:
    return ProceduralSegmentation(**{"num_clips": 3, "num_frames": 4, "size": 32, "cache_dir": cache, **options})  # type: ignore[arg-type]


def test_clip_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    first, again = (procedural(tmp_path).read(1, [2, 0]) for _ in range(2))
    assert first.images.shape == (2, 3, 32, 32)
    assert first.masks.shape == (2, 1, 32, 32)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.images, procedural(tmp_path, seed=1).read(1, [2, 0]).images)


def test_masks_show_as_many_people_as_the_shares_say(tmp_path: Path) -> None:
    def share(*shares: float) -> list[float]:
        source = procedural(tmp_path, shares=shares)
        masks = [source.read(i, [0, 3]).masks for i in range(3)]
        assert {value for mask in masks for value in mask.unique().tolist()} <= {0, 255}
        return [float(mask.float().mean() / 255) for mask in masks]

    nobody, one, three = share(1), share(0, 1), share(0, 0, 0, 1)
    assert nobody == [0, 0, 0]
    assert all(0.02 < each < 0.95 for each in one)
    assert sum(three) > sum(one)
    with pytest.raises(ValueError, match="shares of clips"):
        procedural(tmp_path, shares=(0, 0))


def test_people_are_where_the_mask_says(tmp_path: Path) -> None:
    empty, one = procedural(tmp_path, shares=(1,)).read(0, [0]), procedural(tmp_path, shares=(0, 1)).read(0, [0])
    differs = (empty.images.int() - one.images.int()).abs().sum(1, keepdim=True) > 0
    assert not (differs & (one.masks == 0)).float().mean() > 0.15  # soft outlines alone
    assert (differs & (one.masks == 255)).sum() > 0.9 * (one.masks == 255).sum()


def test_its_people_and_rooms_fill_the_cache(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    fill_caches(procedural(tmp_path).rendered(), lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]
    assert len(list(tmp_path.rglob("*-train-*.*"))) == 6


class Numbered:
    """Clips whose pixels tell which they are."""

    def __init__(self, count: int, num_frames: int, base: int) -> None:
        self.count, self.frames, self.base = count, num_frames, base

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return str(i)

    def num_frames(self, i: int) -> int:
        return self.frames

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        pixels = torch.full((len(frames), 4, 2, 2), self.base + i, dtype=torch.uint8)
        return SegmentedClip(pixels[:, :3], pixels[:, 3:])


def test_joined_sources_give_every_clip_once() -> None:
    joined = JoinedSegmentation({"a": Numbered(2, 1, 0), "b": Numbered(3, 5, 10)})
    assert isinstance(joined, SegmentationSource)
    assert [joined.name(i) for i in range(len(joined))] == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    assert [joined.num_frames(i) for i in range(5)] == [1, 1, 5, 5, 5]
    values = Counter(int(joined.read(i, [0]).images[0, 0, 0, 0]) for i in range(5))
    assert values == Counter([0, 1, 10, 11, 12])


def test_sources_are_built_by_name_and_null_leaves_one_out(tmp_path: Path) -> None:
    source = build_segmentation({"procedural": {"num_clips": 2, "num_frames": 1}, "coco": None}, 32)
    assert source.name(1) == "procedural/scene-0001"
    assert source.read(0, [0]).images.shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="segmentation needs a source; known are procedural, coco"):
        build_segmentation({"coco": None}, 32)
    with pytest.raises(ValueError, match="no source named 'cocoa'"):
        build_segmentation({"cocoa": {}}, 32)
    with pytest.raises(ValueError, match=r"source supervisely: missing .*'root'"):
        build_segmentation({"supervisely": {}}, 32)
