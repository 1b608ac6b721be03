from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from datamodules.batch import MattingBatch, SegmentationBatch
from datamodules.interleaved import InterleavedDataModule, count
from datamodules.segmentation import SegmentationDataModule
from datamodules.video_matting import VideoMattingDataModule
from tests.datamodules.fake_trainer import FakeTrainer

ORDER = ("low", "high", "video", "low", "high", "image")
MakeData = Callable[..., InterleavedDataModule]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_data(people_folder: Path, rooms_folder: Path, cache: Path) -> MakeData:
    def make(num_steps: int = 14, order: tuple[str, ...] = ORDER, **options: Any) -> InterleavedDataModule:
        def matting(**own: Any) -> VideoMattingDataModule:
            return VideoMattingDataModule(
                {"name": "image_mattes", "root": str(people_folder), "shares": (0.4, 0.3, 0.3)},
                {"name": "folder", "root": str(rooms_folder), "shares": (0.4, 0.3, 0.3)},
                val_clips=1, test_clips=1, test_clip_length=2, random_resolution=True, **options, **own,
            )  # fmt: skip

        sources = {"procedural": {"num_clips": 2, "num_frames": 3, "cache_dir": cache}}
        passes = {
            "low": matting(clip_length=3, size=24, batch_size=4, seed=1),
            "high": matting(clip_length=2, size=64, batch_size=2, seed=2),
            "video": SegmentationDataModule(sources, 3, 32, 3, batch_size=2, random_resolution=True, **options),
            "image": SegmentationDataModule(sources, 1, 32, 4, batch_size=6, random_resolution=True, **options),
        }
        return InterleavedDataModule(passes, order, num_steps)

    return make


def finished(data: InterleavedDataModule) -> Iterator[MattingBatch | SegmentationBatch]:
    return (data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader())


def pixels(batch: MattingBatch | SegmentationBatch) -> Tensor:
    return batch.frames if isinstance(batch, MattingBatch) else batch.images


def test_passes_take_turns_each_with_sizes_of_its_own(make_data: MakeData) -> None:
    data = make_data()
    assert len(data.train_dataloader()) == 14
    batches = list(finished(data))
    assert [batch.pass_name for batch in batches] == [ORDER[i % 6] for i in range(14)]
    expected = {
        "low": (MattingBatch, (4, 3, 3), 24), "high": (MattingBatch, (2, 2, 3), 64),
        "video": (SegmentationBatch, (2, 3, 3), 32), "image": (SegmentationBatch, (6, 1, 3), 32),
    }  # fmt: skip
    for batch in batches:
        kind, shape, side = expected[batch.pass_name]
        assert isinstance(batch, kind)
        assert pixels(batch).shape[:3] == shape
        assert all(side // 2 <= length < side for length in pixels(batch).shape[-2:])
        if isinstance(batch, MattingBatch):
            blend = batch.alpha * batch.foreground + (1 - batch.alpha) * batch.background
            assert (batch.frames - blend).abs().max() < 1e-6
    assert len({tuple(pixels(batch).shape[-2:]) for batch in batches if batch.pass_name == "low"}) > 2


def test_each_pass_goes_through_its_samples_as_if_it_were_alone(make_data: MakeData) -> None:
    data = make_data()
    mixed = list(finished(data))
    for name, alone in data.passes.items():
        turns = [batch for batch in mixed if batch.pass_name == name]
        assert len(turns) >= 2
        for batch, same in zip(turns, alone.train_loader(0, len(turns), 0, 1), strict=True):
            assert torch.equal(pixels(batch), pixels(same))


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 9])
def test_restart_at_any_step_gives_the_rest_in_order(make_data: MakeData, step: int) -> None:
    whole, data = list(finished(make_data())), make_data()
    data.trainer = FakeTrainer(global_step=step)  # type: ignore[assignment]
    loader = data.train_dataloader()
    assert len(loader) == 14
    rest = list(finished(data))
    assert [batch.pass_name for batch in rest] == [batch.pass_name for batch in whole[step:]]
    assert all(torch.equal(pixels(a), pixels(b)) for a, b in zip(rest, whole[step:], strict=True))


def test_accumulated_batches_of_a_step_are_of_one_pass(make_data: MakeData) -> None:
    data = make_data(num_steps=16)
    data.trainer = FakeTrainer(accumulate_grad_batches=2)  # type: ignore[assignment]
    batches = list(finished(data))
    assert [batch.pass_name for batch in batches] == [ORDER[i // 2 % 6] for i in range(16)]
    assert not torch.equal(pixels(batches[0])[..., :9, :9], pixels(batches[1])[..., :9, :9])
    data.trainer = FakeTrainer(global_step=3, accumulate_grad_batches=2)  # type: ignore[assignment]
    assert all(torch.equal(pixels(a), pixels(b)) for a, b in zip(finished(data), batches[6:], strict=True))


def test_ranks_see_different_samples(make_data: MakeData) -> None:
    # Ranks draw sizes of their own, so samples are told apart by what does not depend on them.
    names = []
    for rank in range(2):
        data = make_data()
        data.trainer = FakeTrainer(rank, 2)  # type: ignore[assignment]
        loader = data.train_dataloader()
        names.append([list(part.batch_sampler) for part in loader.loaders.values()])
    for first, second in zip(*names, strict=True):
        for one, other in zip(first, second, strict=True):
            assert not {key.number for key in one} & {key.number for key in other}
            assert len(one) == len(other)


@pytest.mark.slow
def test_workers_and_device_compositing_change_no_batch(make_data: MakeData) -> None:
    order = ("low", "video")
    plain = list(finished(make_data(4, order)))
    others = finished(make_data(4, order, num_workers=2, device_compositing=True))
    for batch, other in zip(plain, others, strict=True):
        assert batch.pass_name == other.pass_name
        assert torch.equal(pixels(batch), pixels(other))


def test_validation_and_test_are_those_of_the_first_pass(make_data: MakeData) -> None:
    data = make_data()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            labelled = data.on_after_batch_transfer(batch, 0)
            assert labelled.pass_name == ""
            assert pixels(labelled).shape[-2:] == (24, 24)


def test_caches_are_filled_only_with_what_training_needs(tmp_path: Path) -> None:
    def matting(size: int) -> VideoMattingDataModule:
        source = {"name": "procedural", "num_clips": 1, "num_frames": 2, "cache_dir": tmp_path / "people"}
        scenes = {"name": "procedural", "num_scenes": 1, "cache_dir": tmp_path / "rooms"}
        return VideoMattingDataModule(source, scenes, 2, size)

    InterleavedDataModule({"low": matting(32), "high": matting(48)}, ["low", "high"], 2).prepare_data()
    rendered = sorted(path.stem for path in (tmp_path / "people").rglob("*.rgba"))
    assert rendered == ["person-train-0000", "person-train-0000", "person-val-0000"]


class Recorder(lightning.LightningModule):
    """Learns nothing; keeps the name and the mean of each batch it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[tuple[str, float]] = []
        self.validated = 0

    def training_step(self, batch: MattingBatch | SegmentationBatch, batch_idx: int) -> Tensor:
        self.seen.append((batch.pass_name, float(pixels(batch).double().mean())))
        return self.layer(pixels(batch).mean().view(1)).sum()

    def validation_step(self, batch: MattingBatch, batch_idx: int) -> None:
        assert isinstance(batch, MattingBatch)
        self.validated += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("options", [{}, {"device_compositing": True}])
def test_resumed_training_goes_on_with_the_next_pass(make_data: MakeData, tmp_path: Path, options: Any) -> None:
    def trainer(**more: Any) -> lightning.Trainer:
        return lightning.Trainer(
            accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            max_epochs=1, max_steps=8, val_check_interval=4, num_sanity_val_steps=0, default_root_dir=tmp_path,
            use_distributed_sampler=False, **more,
        )  # fmt: skip

    whole, after = Recorder(), Recorder()
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    trainer(callbacks=[keep]).fit(whole, make_data(num_steps=8, **options))
    trainer().fit(after, make_data(num_steps=8, **options), ckpt_path=tmp_path / "step=5.ckpt")
    assert [name for name, _ in whole.seen] == [ORDER[i % 6] for i in range(8)]
    assert after.seen == whole.seen[5:]
    assert whole.validated == 2


def test_turns_are_counted() -> None:
    for position in range(20):
        for name in ORDER:
            assert count(ORDER, name, position) == sum(ORDER[i % 6] == name for i in range(position))


def test_wrong_orders_are_refused(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="no pass named 'middle'; there are low, high, video, image"):
        make_data(order=("low", "middle"))
    with pytest.raises(ValueError, match="must begin with a matting pass"):
        make_data(order=("video", "low"))
    with pytest.raises(ValueError, match="must begin with a matting pass"):
        make_data(order=())
    with pytest.raises(ValueError, match="random_resolution=True needs one size"):
        VideoMattingDataModule(size=(32, 40), random_resolution=True)
