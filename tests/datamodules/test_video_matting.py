from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from datamodules.batch import MattingBatch, num_bytes
from datamodules.sources.rendering import Cost
from datamodules.video import write_video
from datamodules.video_matting import VideoMattingDataModule
from tests.datamodules.fake_trainer import FakeTrainer

MakeData = Callable[..., VideoMattingDataModule]
HARD = {
    "noise_std": (0.01, 0.02), "camouflage": (0, 1), "photometric": 0.5, "cut_share": 0.3, "light_change": (0, 0.3),
    "foreground_speed": (1, 1),
}  # fmt: skip
COMPRESSED = {"jpeg_share": 0.4, "h264_share": 0.4}


@pytest.fixture
def make_data(people_folder: Path, rooms_folder: Path) -> MakeData:
    def make(**options: Any) -> VideoMattingDataModule:
        return VideoMattingDataModule(
            **{
                "source": {"name": "image_mattes", "root": str(people_folder), "shares": (0.4, 0.3, 0.3)},
                "backgrounds": {"name": "folder", "root": str(rooms_folder), "shares": (0.4, 0.3, 0.3)},
                "clip_length": 3, "size": (32, 40), "batch_size": 4, "num_steps": 4, "difficulty": HARD,
                "val_clips": 2, "test_clips": 2, "test_clip_length": 3,
                **options,
            }
        )  # fmt: skip

    return make


def assert_equal(first: MattingBatch, second: MattingBatch) -> None:
    for name, value in vars(first).items():
        other = getattr(second, name)
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


def test_batches_have_the_promised_shapes_and_blend_exactly(make_data: MakeData) -> None:
    batches = list(make_data(difficulty={}, flow=True).train_dataloader())
    assert len(batches) == 4
    for batch in batches:
        assert isinstance(batch, MattingBatch)
        assert batch.frames.shape == batch.foreground.shape == batch.background.shape == (4, 3, 3, 32, 40)
        assert batch.alpha.shape == (4, 3, 1, 32, 40)
        assert batch.flow is not None
        assert batch.flow.shape == (4, 3, 2, 32, 40)
        assert batch.background_affine is not None
        assert batch.background_affine.shape == (4, 3, 2, 3)
        blend = batch.alpha * batch.foreground + (1 - batch.alpha) * batch.background
        assert (batch.frames - blend).abs().max() < 1e-6
        assert len(batch.clip) == len(batch.scene) == len(batch) == 4
        assert batch.stratum == [""] * 4
        assert 0.02 < batch.alpha.mean() < 0.9


@pytest.mark.slow
def test_workers_give_the_same_batches_in_the_same_order(make_data: MakeData) -> None:
    options = {"clip_length": (1, 4), "augment": COMPRESSED}
    alone = list(make_data(**options).train_dataloader())
    shared = list(make_data(**options, num_workers=2).train_dataloader())
    assert len({batch.frames.shape[1] for batch in alone}) > 1
    for first, second in zip(alone, shared, strict=True):
        assert_equal(first, second)
    again = make_data(num_workers=1).train_dataloader()
    assert_equal(next(iter(again)), next(iter(again)))  # workers persist, and nothing in them is used up


def test_sample_does_not_depend_on_the_batch_size(make_data: MakeData) -> None:
    small, large = make_data(batch_size=2), make_data(batch_size=8)
    halves = list(small.train_dataloader())
    whole = next(iter(large.train_dataloader()))
    for n in range(8):
        half = halves[n // 2]
        assert torch.equal(half.frames[n % 2], whole.frames[n])
        assert half.clip[n % 2] == whole.clip[n]


def test_seed_changes_training_but_not_the_test_set(make_data: MakeData) -> None:
    first, second = make_data(seed=1), make_data(seed=2)
    assert not torch.equal(next(iter(first.train_dataloader())).frames, next(iter(second.train_dataloader())).frames)
    for one, other in zip(first.test_dataloader(), second.test_dataloader(), strict=True):
        assert_equal(one, other)
    other_set = make_data(evaluation_seed=1).test_dataloader()
    assert not torch.equal(next(iter(other_set)).frames, next(iter(first.test_dataloader())).frames)


def test_device_compositing_gives_the_same_numbers(make_data: MakeData) -> None:
    worker_side, device_side = make_data(augment=COMPRESSED), make_data(augment=COMPRESSED, device_compositing=True)
    for batch, layers in zip(worker_side.train_dataloader(), device_side.train_dataloader(), strict=True):
        assert_equal(batch, device_side.on_after_batch_transfer(layers, 0))
        assert worker_side.on_after_batch_transfer(batch, 0) is batch


def test_augment_is_for_training_alone(make_data: MakeData) -> None:
    plain, augmented = make_data(), make_data(augment={**COMPRESSED, "alpha_gamma_share": 1.0, "crop_height": 1.2})
    for part in ("val", "test"):
        for one, other in zip(*(getattr(data, f"{part}_dataloader")() for data in (plain, augmented)), strict=True):
            assert_equal(one, other)
    one, other = (next(iter(data.train_dataloader())) for data in (plain, augmented))
    assert not torch.equal(one.alpha, other.alpha)
    with pytest.raises(ValueError, match="unknown wind"):
        make_data(augment={"wind": 1})


RVM = {"rvm": {"noise_share": 1.0, "colour_share": 1.0, "sharpness_share": 0.5, "blur_share": 1.0}}


@pytest.mark.slow
def test_training_as_rvm_draws_it_is_repeatable_in_workers_and_on_the_device(make_data: MakeData) -> None:
    plain, here, workers, device = (
        make_data(), make_data(augment=RVM), make_data(augment=RVM, num_workers=2),
        make_data(augment=RVM, device_compositing=True),
    )  # fmt: skip
    loaders = (data.train_dataloader() for data in (plain, here, workers, device))
    for as_it_is, one, other, layers in zip(*loaders, strict=True):
        assert not torch.equal(as_it_is.frames, one.frames)
        assert_equal(one, other)
        assert_equal(one, device.on_after_batch_transfer(layers, 0))
    for one, other in zip(plain.test_dataloader(), here.test_dataloader(), strict=True):
        assert_equal(one, other)


def test_rvms_draws_stand_in_place_of_a_difficulty(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="rvm draws training clips in place of the difficulty; leave out jpeg_share"):
        make_data(augment={**RVM, "jpeg_share": 0.5})
    with pytest.raises(ValueError, match="rvm: unknown wind"):
        make_data(augment={"rvm": {"wind": 1}})
    with pytest.raises(ValueError, match="flow=True does not go with augment=rvm"):
        make_data(augment={"rvm": {}}, flow=True)
    sizes = {
        tuple(batch.frames.shape[-2:])
        for batch in make_data(augment=RVM, size=64, random_resolution=True).train_dataloader()
    }
    assert len(sizes) > 1


def test_compression_changes_frames_alone(make_data: MakeData) -> None:
    plain, compressed = make_data(), make_data(augment=COMPRESSED)
    changed = []
    for one, other in zip(plain.train_dataloader(), compressed.train_dataloader(), strict=True):
        for name in ("alpha", "foreground", "background"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        changed += [not torch.equal(a, b) for a, b in zip(one.frames, other.frames, strict=True)]
        assert (one.frames - other.frames).abs().mean() < 0.1
    assert 0 < sum(changed) < len(changed) == 16


def test_conditions_may_ask_for_compression(make_data: MakeData) -> None:
    strata = {
        "clean": {}, "jpeg": {"jpeg_share": 1.0, "jpeg_quality": (10, 10)},
        "h264": {"h264_share": 1.0, "h264_crf": (45, 45)},
    }  # fmt: skip
    clean, jpeg, h264 = (
        [batch for batch in make_data(test_strata=strata).test_dataloader() if batch.stratum == [name]]
        for name in strata
    )
    for first, *others in zip(clean, jpeg, h264, strict=True):
        for other in others:
            assert torch.equal(first.alpha, other.alpha)
            assert 0.001 < (first.frames - other.frames).abs().mean() < 0.15


def test_evaluation_is_a_clip_a_batch_with_named_strata(make_data: MakeData) -> None:
    data = make_data(test_strata={"easy": {}, "noisy": {"noise_std": (0.1, 0.1)}}, test_clips=3)
    batches = list(data.test_dataloader())
    assert [batch.stratum for batch in batches] == [["easy"]] * 3 + [["noisy"]] * 3
    assert [batch.clip for batch in batches[:3]] == [batch.clip for batch in batches[3:]]
    assert len(data.val_dataloader()) == 2
    assert {len(batch) for batch in batches} == {1}


def test_parts_share_no_clip_and_no_scene(make_data: MakeData) -> None:
    data = make_data(num_steps=8, test_clips=4, val_clips=4)
    seen = [
        {name for batch in loader for name in (*batch.clip, *batch.scene)}
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


@pytest.mark.parametrize("part", ["train", "test"])
def test_ranks_see_every_sample_once(make_data: MakeData, part: str) -> None:
    def samples(data: VideoMattingDataModule) -> list[tuple[str, float]]:
        loader = data.train_dataloader() if part == "train" else data.test_dataloader()
        return [
            (name, float(frames.mean()))
            for batch in loader
            for name, frames in zip(batch.clip, batch.frames, strict=True)
        ]

    whole, ranks = samples(make_data()), []
    for rank in range(2):
        data = make_data()
        data.trainer = FakeTrainer(rank, 2)  # type: ignore[assignment]
        ranks.append(samples(data))
    assert sorted(ranks[0] + ranks[1]) == sorted(whole)
    assert abs(len(ranks[0]) - len(ranks[1])) <= 1


class Recorder(lightning.LightningModule):
    """Learns nothing; keeps the mean of each batch it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[float] = []

    def training_step(self, batch: MattingBatch, batch_idx: int) -> Tensor:
        assert isinstance(batch, MattingBatch)
        self.seen.append(float(batch.frames.double().mean()))
        return self.layer(batch.alpha.mean().view(1)).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(folder: Path, **options: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        max_epochs=1, default_root_dir=folder, use_distributed_sampler=False, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize(
    ("options", "accumulate"), [({}, 1), ({"num_workers": 1}, 1), ({"device_compositing": True}, 1), ({}, 2)]
)
def test_resumed_training_goes_on_with_the_next_sample(
    make_data: MakeData, tmp_path: Path, options: dict[str, Any], accumulate: int
) -> None:
    options = {"num_steps": 8, "batch_size": 2, "clip_length": (1, 3), **options}
    whole, after = Recorder(), Recorder()
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4 // accumulate, save_top_k=-1)
    trainer(tmp_path, callbacks=[keep], accumulate_grad_batches=accumulate).fit(whole, make_data(**options))
    resumed = trainer(tmp_path, accumulate_grad_batches=accumulate)
    resumed.fit(after, make_data(**options), ckpt_path=tmp_path / f"step={4 // accumulate}.ckpt")
    assert len(whole.seen) == 8
    assert after.seen == whole.seen[4:]
    assert resumed.global_step == 8 // accumulate


@dataclass
class Named:
    """A source of which only the names are asked."""

    names: list[str]
    cache: Path = Path("people")
    prepared: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        return self.names[i]

    def read(self, *_: object) -> None:
        raise NotImplementedError

    def cost(self) -> Cost:
        return Cost(0, 0)

    def outdated(self) -> list[Path]:
        return []

    def missing(self) -> list[int]:
        return [0]

    def fill(self, i: int) -> None:
        self.prepared += 1


def test_parts_that_are_not_asked_for_need_not_be_there(make_data: MakeData) -> None:
    whole = make_data()
    everybody = {**whole.source, "shares": (0, 0, 1)}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="no names for train"):
        make_data(source=everybody).setup()
    data = make_data(source=everybody, parts=("test",))
    people = sum(len(part[0]) for part in whole.sources().values())
    assert {part: len(pair[0]) for part, pair in data.sources().items()} == {"test": people}
    data.prepare_data()


def test_name_that_two_parts_share_is_refused() -> None:
    fine = {part: Named([part]) for part in ("train", "val", "test")}
    leaking = {**fine, "test": Named(["train"])}
    with pytest.raises(ValueError, match="clip 'train' is in train and in test"):
        VideoMattingDataModule(leaking, fine).setup()
    with pytest.raises(ValueError, match="scene 'train' is in train and in test"):
        VideoMattingDataModule(fine, leaking).setup()


def test_sources_that_render_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = {part: Named([part]) for part in ("train", "val", "test")}
    places = {part: Named([part], Path("places")) for part in sources}
    VideoMattingDataModule(sources, places).prepare_data()
    assert [source.prepared for source in sources.values()] == [1, 1, 0]  # the test part is for who tests


def test_only_what_is_used_travels_to_the_device(tmp_path: Path) -> None:
    cached = {"cache_dir": tmp_path}
    people = {"name": "procedural", "num_clips": 2, "num_frames": 3, "size": 32, **cached}
    rooms = {"name": "procedural", "num_scenes": 8, "size": 48, "parallax": 0.5, **cached}
    options: dict[str, Any] = {"batch_size": 8, "num_steps": 1, "augment": {"camouflage": (0.5, 0.5)}}
    data = VideoMattingDataModule(people, rooms, 3, 32, **options, device_compositing=True)
    layers = next(iter(data.train_dataloader()))
    assert 0 < len(layers.near) < 8
    pixels = 3 * 32 * 32
    in_bytes = 8 * pixels * (3 + 1 + 2 * 2) + 8 * 3 * 48 * 48 + len(layers.near) * 4 * 48 * 48
    draws = num_bytes(layers) - in_bytes
    assert 0 < draws < 8 * 1000


def test_procedural_sources_need_no_data(tmp_path: Path) -> None:
    people = {"name": "procedural", "num_clips": 2, "num_frames": 4, "cache_dir": tmp_path}
    rooms = {"name": "procedural", "num_scenes": 2, "cache_dir": tmp_path}
    data = VideoMattingDataModule(people, rooms, 2, 32, batch_size=2, num_steps=1, flow=True)
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (2, 2, 3, 32, 32)
    assert batch.flow.abs().max() > 0


def test_wrong_options_are_refused(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="no source named 'people'; known are procedural"):
        make_data(source="people").setup()
    with pytest.raises(ValueError, match=r"source image_mattes: .*'colour'"):
        make_data(source={"name": "image_mattes", "root": ".", "colour": 1}).setup()
    with pytest.raises(ValueError, match="val, test missing"):
        make_data(source={"train": "procedural"}).setup()
    with pytest.raises(ValueError, match="unknown wind"):
        make_data(test_strata={"a": {"wind": 1}})
    with pytest.raises(ValueError, match="a source must be a name, a mapping"):
        make_data(source=5).setup()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clip_length": 0}, "clip_length must be a whole number from 1 on, or two of them, got 0"),
        ({"clip_length": "long"}, "clip_length must be a whole number from 1 on"),
        ({"clip_length": (4, 2)}, "fewest, most"),
        ({"size": "big"}, "size must be a whole number from 1 on, or two of them, got 'big'"),
        ({"size": (32, 32, 3)}, "size must be a whole number from 1 on, or two of them"),
        ({"num_steps": -5}, "num_steps must be a whole number from 1 on, got -5"),
        ({"batch_size": None}, "batch_size must be a whole number from 1 on, got None"),
        ({"val_clips": 1.5}, "val_clips must be a whole number from 1 on, got 1.5"),
        ({"seed": "abc"}, "seed must be a whole number, got 'abc'"),
        ({"num_workers": -1}, "num_workers must be a whole number, got -1"),
        ({"test_strata": ["fast"]}, "test_strata must be a mapping"),
        ({"test_strata": {"fast": 5}}, "difficulty must be a mapping, option: value, got 5"),
        ({"difficulty": ["pan"]}, "difficulty must be a mapping"),
        ({"difficulty": {"pan": ["a", "b"]}}, "difficulty: pan must be .low, high."),
        ({"difficulty": {"pan": [0, float("nan")]}}, "difficulty: pan must be .low, high."),
        ({"difficulty": {"cut_share": "half"}}, "difficulty: cut_share must be a number, got 'half'"),
        ({"augment": {5: 1}}, "difficulty: unknown 5"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(make_data: MakeData, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        make_data(**options)
    assert "\n" not in str(refused.value)


def test_canvases_follow_the_size_of_the_output_unless_they_are_given() -> None:
    rooms = {part: {"name": "procedural", "num_scenes": 1} for part in ("train", "val", "test")}
    data = VideoMattingDataModule({"name": "procedural", "num_clips": 1, "num_frames": 2}, rooms, 2, (48, 64))
    for people, places in data.sources().values():
        assert people.read(0, [0]).fgr.shape[-2:] == (64, 64)
        assert places.read(0, 1, torch.Generator()).pictures.shape[-2:] == (96, 96)
    data = VideoMattingDataModule("procedural", {**rooms, "test": {**rooms["test"], "size": 50}}, 2, 48)
    assert [pair[1].read(0, 1, torch.Generator()).pictures.shape[-1] for pair in data.sources().values()] == [
        96,
        96,
        50,
    ]


def test_flow_over_cuts_or_videos_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flow=True needs still backgrounds and cut_share 0"):
        make_data(flow=True)
    with pytest.raises(ValueError, match="flow=True needs still backgrounds and cut_share 0"):
        make_data(flow=True, difficulty={}, test_strata={"cut": {"cut_share": 1.0}})
    for k in range(3):
        write_video(tmp_path / f"{k}.mp4", torch.zeros(3, 3, 32, 32, dtype=torch.uint8), 25)
    videos = {"name": "folder", "root": str(tmp_path)}
    with pytest.raises(ValueError, match="set kinds=stills"):
        make_data(flow=True, difficulty={}, backgrounds=videos).setup()
