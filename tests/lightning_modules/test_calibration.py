"""Statistics of norms against their means over batches, taken by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.calibration import recalibrate
from lightning_modules.nets.blocks import IBNorm
from lightning_modules.synchronised_norms import SynchronisedNorms
from tests.lightning_modules.processes import in_two_processes


class Net(nn.Module):
    """Two norms that see a batch, one in the middle that does not, and dropout before the last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.idle = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv, self.dropout, self.last = nn.Conv2d(4, 6, 1), nn.Dropout(0.5), IBNorm(6)
        for norm in (self.first, self.idle, self.last.batch_norm):
            nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.dropout(self.conv(self.first(x))))
        return y


def batches(number: int = 3) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(4, 4, 5, 6, generator=draw) * (1 + each) + each for each in range(number)]


def run(net: nn.Module) -> Callable[[Tensor, int], Tensor]:
    return lambda batch, number: net(batch)


def moments(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Means over batches of the mean and of the unbiased variance of (N, C, H, W)."""
    flat = [each.detach().transpose(0, 1).flatten(1) for each in maps]
    return torch.stack([each.mean(1) for each in flat]).mean(0), torch.stack([each.var(1) for each in flat]).mean(0)


def assert_moments(norm: nn.BatchNorm2d, maps: list[Tensor]) -> None:
    for got, expected in zip((norm.running_mean, norm.running_var), moments(maps), strict=True):
        torch.testing.assert_close(got, expected)


def test_statistics_are_the_means_over_the_batches_whatever_they_were_and_all_else_stays() -> None:
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recalibrate(net, batches(), run(net))
    assert_moments(net.first, batches())
    seen = [net.conv(nn.functional.batch_norm(batch, None, None, training=True)) for batch in batches()]
    assert_moments(net.last.batch_norm, [each[:, :3] for each in seen])
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{norm}.running_{what}" for norm in ("first", "last.batch_norm") for what in ("mean", "var")}
    assert all(module.training for module in net.modules())
    assert net.first.momentum == 0.1


def test_a_second_time_changes_nothing() -> None:
    net = Net().train()
    recalibrate(net, batches(), run(net))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recalibrate(net, batches(), run(net))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_frozen_norms_stay() -> None:
    net = Net().train()
    net.first.eval()
    before = net.first.running_mean.clone()  # type: ignore[union-attr]
    recalibrate(net, batches(), run(net))
    assert torch.equal(net.first.running_mean, before)  # type: ignore[arg-type]
    assert not net.first.training


@pytest.mark.parametrize("net", [nn.Conv2d(4, 4, 1), nn.InstanceNorm2d(4), Net().eval()])
def test_without_a_norm_to_be_set_no_batch_is_read(net: nn.Module) -> None:
    def unread() -> Iterator[Tensor]:
        raise AssertionError
        yield

    recalibrate(net, unread(), run(net))


def share(rank: int, synchronised: bool) -> dict[str, Tensor]:
    net = Net().train()
    if synchronised:
        SynchronisedNorms("cpu").apply(net)
    recalibrate(net, [batch[rank::2] for batch in batches()], run(net))
    return net.state_dict()


@pytest.mark.parametrize("synchronised", [True, False])
def test_two_processes_take_the_batches_of_both_and_end_alike(tmp_path: Path, synchronised: bool) -> None:
    one, other = in_two_processes(share, tmp_path, synchronised)
    assert all(torch.equal(one[name], other[name]) for name in one)
    net = Net()
    net.load_state_dict(one)
    halves = [batch[rank::2] for batch in batches() for rank in range(2)]
    assert_moments(net.first, batches() if synchronised else halves)
