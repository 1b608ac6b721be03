"""The data modules of a config: one kind of batch, or passes that take turns."""

from pathlib import Path
from typing import Any

import pytest

from datamodules.interleaved import InterleavedDataModule
from datamodules.segmentation import SegmentationDataModule
from datamodules.video_matting import VideoMattingDataModule
from experiments.training.data import make_data
from experiments.training.settings import Settings, Stage
from tests.experiments.training.composed import config_of, settings_of, stage_of

SEGMENTATION = {"clip_length": [3, 3], "size": 32, "batch_size": 2}


def smoke(*overrides: str) -> Settings:
    return settings_of("scale=smoke", *overrides)


def stage(**changes: Any) -> Stage:
    passes = {
        "low": {"data": "matting", "clip_length": [2, 3], "size": 32, "batch_size": 2, "random_resolution": True},
        "high": {"data": "matting", "clip_length": [2, 2], "size": 64, "batch_size": 1},
        "video": {"data": "segmentation.video", **SEGMENTATION},
        "image": {"data": "segmentation.image", **SEGMENTATION, "clip_length": 1},
        "unused": None,
    }
    return stage_of(**{"passes": passes, "order": ["low", "high", "video", "low", "image"], "steps": 10, **changes})


def test_passes_of_a_stage_become_one_data_module(tmp_path: Path) -> None:
    data = make_data(
        smoke(f"output_dir={tmp_path}", "trainer.num_workers=6", "trainer.accumulate_grad_batches=2"), stage()
    )
    assert isinstance(data, InterleavedDataModule)
    assert data.num_steps == 20
    assert data.order == ("low", "high", "video", "low", "image")
    kinds = {name: type(each) for name, each in data.passes.items()}
    assert kinds == {
        "low": VideoMattingDataModule, "high": VideoMattingDataModule,
        "video": SegmentationDataModule, "image": SegmentationDataModule,
    }  # fmt: skip
    assert {each.num_workers for each in data.passes.values()} == {2}
    assert len({each.seed for each in data.passes.values()}) == 4
    low, high = data.passes["low"], data.passes["high"]
    assert (low.clip_length, low.random_resolution, high.random_resolution) == ((2, 3), True, False)


@pytest.mark.slow
def test_passes_run_without_files(tmp_path: Path) -> None:
    data = make_data(smoke(f"output_dir={tmp_path}"), stage())
    assert isinstance(data, InterleavedDataModule)
    names = [data.on_after_batch_transfer(batch, 0).pass_name for batch in data.train_dataloader()]
    assert names == ["low", "high", "video", "low", "image"] * 2


def test_stage_without_passes_has_one_kind_of_batch() -> None:
    plain = smoke()
    assert isinstance(make_data(plain, plain.stages["matting"]), VideoMattingDataModule)
    assert make_data(plain, None).num_steps == 1


def test_files_are_named_by_their_folders() -> None:
    folders = [f"segmentation.{name}=/{name}" for name in ("youtubevis", "coco", "supervisely")]
    plain = smoke("segmentation=files", *folders, "segmentation.image.supervisely=null")
    data = make_data(plain, stage())
    assert isinstance(data, InterleavedDataModule)
    assert data.passes["video"].sources == {"youtubevis": {"root": "/youtubevis"}}
    assert list(data.passes["image"].sources) == ["coco", "supervisely"]
    with pytest.raises(ValueError, match=r"/youtubevis/train/instances.json: no such annotation file"):
        data.setup()


def test_wrong_passes_are_refused() -> None:
    with pytest.raises(ValueError, match="no pass named 'unused'"):
        make_data(smoke(), stage(order=["low", "unused"]))
    with pytest.raises(ValueError, match=r"stage.passes.low.data must be 'matting' or 'segmentation\.video' or"):
        stage(passes={"low": {"data": "people", "batch_size": 1, "size": 32}}, order=["low"])
    low = {"data": "matting", "batch_size": 1, "size": 32, "sise": 3}
    mistyped = stage(passes={"low": low}, order=["low"])
    with pytest.raises(ValueError, match="pass low has no option sise; the nearest is size; it has: source"):
        make_data(smoke(), mistyped)


def test_augment_context_motion_reads_like_the_papers_section_on_data() -> None:
    data = make_data(smoke("+augment=context_motion"), None)
    assert isinstance(data, VideoMattingDataModule)
    trained, tested = data.training_difficulty, data.difficulty
    assert (trained.foreground_brightness, trained.foreground_contrast) == ((0.85, 1.15), (0.85, 1.15))
    assert (trained.foreground_saturation, trained.foreground_hue) == ((0.7, 1.3), (-0.1, 0.1))
    assert (trained.alpha_gamma, trained.jpeg_quality) == ((0.2, 2.0), (70, 100))
    assert min(trained.alpha_gamma_share, trained.jpeg_share, trained.h264_share, trained.flip_share) > 0
    size = config_of("scale=paper")["scale"]["context_motion"]["size"]
    assert (size, round(size * trained.crop_height)) == (384, 432)
    assert (tested.jpeg_share, tested.h264_share, tested.alpha_gamma_share, tested.crop_height) == (0, 0, 0, 1)
    assert not data.strata["test"]["moving fast plain"].jpeg_share


def test_compression_conditions_are_those_of_a_clean_one_compressed() -> None:
    data = make_data(smoke("+test_strata=compression"), None)
    assert isinstance(data, VideoMattingDataModule)
    added = {name: each for name, each in data.strata["test"].items() if name.startswith("moving fast plain ")}
    assert len(added) == 4
    assert len(data.strata["test"]) == 12
    for each in added.values():
        assert (each.jpeg_share, each.h264_share) in ((1, 0), (0, 1))
        clean = {"jpeg_share": 0.0, "h264_share": 0.0, "jpeg_quality": (70, 100), "h264_crf": (18, 32)}
        assert each.but(clean) == data.strata["test"]["moving fast plain"]


@pytest.mark.slow
def test_the_true_flow_is_given_where_it_is_asked_for(tmp_path: Path) -> None:
    for flow in (False, True):
        plain = smoke(f"output_dir={tmp_path}", f"data.flow={str(flow).lower()}")
        data = make_data(plain, plain.stages["matting"])
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert (batch.flow is not None) == flow
