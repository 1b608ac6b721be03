"""BatchNorm over two processes against BatchNorm over the whole batch in one."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_modules.nets.blocks import IBNorm
from lightning_modules.synchronised_norms import SynchronisedBatchNorm, SynchronisedNorms
from tests.lightning_modules.processes import in_two_processes


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), IBNorm(6)).double()


def batch() -> Tensor:
    return torch.randn(6, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def step(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients of the mean of all outputs, and what the layers remember, after a training step."""
    y = net.train()(x)
    y.pow(3).mean().backward()
    gradients = {f"{name} gradient": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {"y": y.detach(), **gradients, **{name: b for name, b in net.named_buffers() if "num_batches" not in name}}


def share(rank: int) -> dict[str, Tensor]:
    return step(SynchronisedNorms("cpu").apply(make_net()), batch()[rank::2])


def test_two_processes_normalise_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    parts, whole = in_two_processes(share, tmp_path), step(make_net(), batch())
    for name, value in whole.items():
        for rank, part in enumerate(parts):
            mean = sum(each[name] for each in parts) / 2  # as DDP takes it of gradients
            got, expected = (part[name], value[rank::2]) if name == "y" else (mean, value)
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


def test_layers_are_what_they_were_afterwards() -> None:
    net, plugin = make_net(), SynchronisedNorms("cpu")
    kinds = [type(layer) for layer in net.modules()]
    layers = list(net.modules())
    assert sum(isinstance(layer, SynchronisedBatchNorm) for layer in plugin.apply(net).modules()) == 2
    alone = net.train()(batch())
    plugin.revert(net)
    assert [type(layer) for layer in net.modules()] == kinds
    assert all(before is after for before, after in zip(layers, net.modules(), strict=True))
    torch.testing.assert_close(net(batch()), alone)


def test_on_gpus_the_layers_are_pytorchs_own() -> None:
    net = SynchronisedNorms("cuda").apply(make_net())
    assert sum(isinstance(layer, nn.SyncBatchNorm) for layer in net.modules()) == 2
    assert net.eval()(batch()).isfinite().all()
