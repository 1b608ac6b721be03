"""A net made fast has no norm left that a convolution can take over, and gives the same mattes but for rounding."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from experiments.inference.fast_nets import fold_batch_norms, make_fast
from experiments.inference.streaming import Streaming, run_frames
from lightning_modules.nets import NETS, build_net
from tests.lightning_modules.nets.small import SMALL


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_net_made_fast_streams_the_same_mattes(name: str) -> None:
    torch.manual_seed(0)
    net = build_net(name, **SMALL.get(name, {})).eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.6, 1.4)
    fast = copy.deepcopy(net)
    make_fast(fast)
    frames, plate, how = torch.rand(1, 3, 3, 64, 64), torch.rand(1, 1, 3, 64, 64), Streaming()
    states: list[Any] = [None, None]
    for t in range(3):
        outputs = [
            run_frames(each, frames[:, t : t + 1], state, plate, how)
            for each, state in zip((net, fast), states, strict=True)
        ]
        states = [output.state for output in outputs]
        torch.testing.assert_close(outputs[1].alpha, outputs[0].alpha, atol=1e-3, rtol=0)


def test_only_a_norm_that_follows_a_convolution_is_folded() -> None:
    parts = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    fold_batch_norms(parts)
    assert [type(part).__name__ for part in parts] == ["Conv2d", "Identity", "ReLU", "BatchNorm2d"]
