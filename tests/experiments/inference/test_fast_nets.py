"""A net made fast has no norm left that a convolution can take over, and gives the same mattes but for rounding."""

import copy

import pytest
import torch
from torch import nn

from experiments.inference.fast_nets import fold_batch_norms, make_fast, weights_in_half
from experiments.inference.streaming import Streaming, run_frames
from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.blocks import ConvBlock
from lightning_modules.nets.interface import MattingNet

# Batch norms of the published net, none of which is left.
NORMS = {
    "modnet": 69,
    "modnet_flow": 69,
    "modnet_v": 55,
    "rvm": 54,
    "context_motion": 53,
    "background_matting_v2": 65,
    "deeplabv3": 111,
    "lraspp": 47,
}


def net_of(name: str) -> MattingNet:
    """As published, with statistics unlike 0 and 1, so that a norm that is lost or folded into another layer shows."""
    net = build_net(name, **({"threshold": None} if name in ("deeplabv3", "lraspp") else {})).eval()
    net.reset_parameters(0)
    draw = torch.Generator().manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.uniform_(-0.2, 0.2, generator=draw)
            norm.running_var.uniform_(0.6, 1.4, generator=draw)
    return net


def count_norms(net: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in net.modules())


def test_every_net_of_the_table_has_its_number_of_norms() -> None:
    assert NORMS.keys() == NETS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_published_net_made_fast_has_its_norms_folded_and_streams_the_same_mattes(name: str) -> None:
    net = net_of(name)
    fast = copy.deepcopy(net)
    make_fast(fast)
    assert (count_norms(net), count_norms(fast)) == (NORMS[name], 0)
    kernels = [part.weight for part in fast.modules() if type(part) is nn.Conv2d and part.kernel_size != (1, 1)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    frames, plate, how = torch.rand(1, 3, 3, 64, 64), torch.rand(1, 1, 3, 64, 64), Streaming()
    expected = state = None
    for t in range(3):
        expected = run_frames(net, frames[:, t : t + 1], expected and expected.state, plate, how)
        output = run_frames(fast, frames[:, t : t + 1], state, plate, how)
        state = output.state
        torch.testing.assert_close(output.alpha, expected.alpha, atol=1e-3, rtol=0)


def test_only_a_norm_that_follows_a_convolution_is_folded() -> None:
    parts = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    fold_batch_norms(parts)
    assert [type(part).__name__ for part in parts] == ["Conv2d", "Identity", "ReLU", "BatchNorm2d"]


@pytest.mark.parametrize("size", [(9, 7), (1, 1)])
@pytest.mark.parametrize("channels", [8, 5])
def test_of_an_ib_norm_the_half_that_is_a_batch_norm_is_folded(channels: int, size: tuple[int, int]) -> None:
    block = ConvBlock(3, channels, 3).eval()
    norm = block.norm.batch_norm
    for statistic in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        assert statistic is not None
        statistic.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        expected = block(x)
        make_fast(block)
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=0)
    assert count_norms(block) == 0


def test_weights_and_buffers_are_halved_but_those_of_norms_and_of_nets_for_flow() -> None:
    net = build_net("context_motion", backbone="mobilenetv2", width=0.25)
    weights_in_half(net)
    kinds = {name: tensor.dtype for name, tensor in net.named_parameters()} | {
        name: buffer.dtype for name, buffer in net.named_buffers()
    }
    assert kinds["project.weight"] == kinds["backbone.scale"] == torch.float16
    assert {kinds["flow.net.context.6.weight"], kinds["backbone.net.features.0.1.running_var"]} == {torch.float32}
