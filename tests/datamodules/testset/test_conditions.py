"""The clips that a run is tested on, read in pieces."""

import pytest
import torch

from datamodules.composite import composite
from datamodules.testset import ConditionTestSet, conditions
from datamodules.testset.interface import TestClip as Clip  # by its own name pytest would take it for a test
from datamodules.video_matting import VideoMattingDataModule


@pytest.fixture(scope="module")
def data() -> VideoMattingDataModule:
    people = {part: {"name": "procedural", "num_clips": 2, "num_frames": 5} for part in ("train", "val", "test")}
    rooms = {part: {"name": "procedural", "num_scenes": 2} for part in ("train", "val", "test")}
    return VideoMattingDataModule(people, rooms, size=(32, 40), test_clips=3, test_clip_length=5)


def test_they_have_the_bits_of_the_data_modules_test_set(data: VideoMattingDataModule) -> None:
    loader = data.test_dataloader()
    clips = ConditionTestSet(loader.dataset)  # type: ignore[arg-type]
    assert len(clips) == len(loader)
    for clip, batch in zip(clips, loader, strict=True):
        assert isinstance(clip, Clip)
        assert ([clip.name], [clip.scene], [clip.stratum]) == (batch.clip, batch.scene, batch.stratum)
        assert (clip.num_frames, clip.size) == (5, (32, 40))
        for start, stop in ((0, 2), (2, 5)):
            piece = clip.read(start, stop)
            for layer in ("frames", "alpha", "foreground", "background", "background_affine"):
                assert torch.equal(getattr(piece, layer), getattr(batch, layer)[:, start:stop])


@pytest.mark.parametrize(("held", "made"), [(conditions.HELD_VALUES, 24), (0, 48)])
def test_clips_are_composited_once_where_there_is_room_for_them(
    data: VideoMattingDataModule, held: int, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "HELD_VALUES", held)
    calls: list[object] = []
    monkeypatch.setattr(conditions, "composite", lambda *layers, **how: calls.append(0) or composite(*layers, **how))
    clips = ConditionTestSet(data.test_dataloader().dataset)  # type: ignore[arg-type]
    for clip in [*clips, *clips]:
        clip.read(0, 2)
        clip.read(2, 5)
    assert len(calls) == made


def test_keys_are_unique_and_slices_are_lists(data: VideoMattingDataModule) -> None:
    clips = ConditionTestSet(data.test_dataloader().dataset)  # type: ignore[arg-type]
    assert len({clip.key for clip in clips}) == len(clips) == 24
    assert [clip.key for clip in clips[2:4]] == ["still static plain/0002", "moving static plain/0000"]
    assert clips[-1].key == "moving fast camouflaged/0002"
    with pytest.raises(IndexError):
        clips[24]
    with pytest.raises(ValueError, match="still static plain/0000: frames 4 to 5 asked"):
        clips[0].read(4, 6)


def test_they_have_the_true_flow_where_it_is_known_though_training_does_without(data: VideoMattingDataModule) -> None:
    clip = ConditionTestSet(data.test_dataloader().dataset)[-1]  # type: ignore[arg-type]
    flow = clip.read(2, 5).flow
    assert flow is not None
    assert flow.abs().max() > 1
    assert next(iter(data.val_dataloader())).flow is None
    asked = VideoMattingDataModule(
        data.source, data.backgrounds, size=(32, 40), test_clips=3, test_clip_length=5, flow=True
    )
    same = ConditionTestSet(asked.test_dataloader().dataset)[-1].read(2, 5)  # type: ignore[arg-type]
    assert torch.equal(same.flow, flow)  # type: ignore[arg-type]
    assert torch.equal(same.frames, clip.read(2, 5).frames)


def test_over_a_cut_they_have_none(data: VideoMattingDataModule) -> None:
    cut = VideoMattingDataModule(
        data.source, data.backgrounds, size=32, test_strata={"cut": {"cut_share": 1.0}}, test_clip_length=5
    )
    clip = ConditionTestSet(cut.test_dataloader().dataset)[0]  # type: ignore[arg-type]
    assert clip.read(0, 5).flow is None
    assert clip.read(0, 5).frames.shape == (1, 5, 3, 32, 32)
