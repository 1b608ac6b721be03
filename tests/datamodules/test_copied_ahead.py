"""Batches that are copied to a device one step ahead."""

import pytest
import torch

from datamodules.batch import SegmentationBatch
from datamodules.copied_ahead import CopiedAhead, copied_ahead
from tests.datamodules.fake_trainer import FakeTrainer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def batches(count: int, side: int = 4) -> list[tuple[str, SegmentationBatch]]:
    """Named ones, as those of interleaved passes, whose pixels are their number."""
    made = [torch.full((1, 1, 3, side, side), float(number)) for number in range(count)]
    return [(str(n), SegmentationBatch(images, images[:, :, :1], [str(n)])) for n, images in enumerate(made)]


@pytest.mark.parametrize("device", DEVICES)
def test_all_batches_come_once_in_order_on_the_device(device: str) -> None:
    loader = batches(5)
    ahead = CopiedAhead(loader, torch.device(device, 0) if device == "cuda" else torch.device(device))
    assert len(ahead) == 5
    for _ in range(2):
        got = list(ahead)
        assert [name for name, _ in got] == ["0", "1", "2", "3", "4"]
        assert [float(batch.images.mean()) for _, batch in got] == [0, 1, 2, 3, 4]
        assert {batch.images.device.type for _, batch in got} == {device}
    assert list(CopiedAhead([], ahead.device)) == []


def test_the_next_batch_is_fetched_before_one_is_given() -> None:
    fetched = []

    def loader():  # type: ignore[no-untyped-def]
        for name, batch in batches(3):
            fetched.append(name)
            yield name, batch

    seen = [(name, len(fetched)) for name, _ in CopiedAhead(loader(), torch.device("cpu"))]
    assert seen == [("0", 2), ("1", 3), ("2", 3)]


def test_only_a_trainer_on_cuda_has_its_batches_copied_ahead() -> None:
    loader, trainer = batches(1), FakeTrainer()
    assert copied_ahead(loader, None) is loader
    assert copied_ahead(loader, trainer) is loader
    trainer.strategy.root_device = torch.device("cuda", 0)
    assert isinstance(copied_ahead(loader, trainer), CopiedAhead)


@pytest.mark.gpu
def test_a_copy_never_overwrites_what_is_still_computed_with() -> None:
    pinned = [(name, batch.pin_memory()) for name, batch in batches(40, side=1024)]
    sums = []
    for _, batch in CopiedAhead(pinned, torch.device("cuda", 0)):
        torch.cuda._sleep(2_000_000)  # a millisecond's work before the pixels are looked at
        sums.append(batch.images.mean())
        del batch
    assert torch.stack(sums).tolist() == list(range(40))
