from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.benchmarks.inputs import MovingPortrait, Stream
from experiments.benchmarks.nets import make_step
from experiments.benchmarks.variants import (
    MODES,
    PRECISIONS,
    default_modes,
    make_variant,
    precision_context,
    runnable_precisions,
    trace_net,
)
from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput

CPU = torch.device("cpu")
WITHOUT_COMPILER = [mode for mode in MODES if mode not in ("compiled", "fastest")]
SMALL: dict[str, dict[str, Any]] = {
    **{name: {"width": 0.25, "hidden": 8} for name in ("modnet", "modnet_v", "modnet_flow")},
    "context_motion": {"width": 0.25, "hidden": 8, "backbone": "mobilenetv2"},
    "background_matting_v2": {"backbone": "mobilenetv2"},
    "deeplabv3": {"backbone": "mobilenetv3", "threshold": None},
    "lraspp": {"threshold": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
@torch.inference_mode()
def test_all_modes_give_the_mattes_of_the_eager_net_over_time(name: str) -> None:
    net = build_net(name, **SMALL.get(name, {})).eval()
    net.reset_parameters(0)
    _scatter_norms(net)
    clip = MovingPortrait(64, 64, CPU)
    frames = [clip.frame(t)[:, None] for t in range(3)]

    def mattes(mode: str) -> Tensor:
        stream = Stream(make_step(make_variant(net, mode), clip.plate[:, None], 1.0, "fp32"), frames)
        return torch.cat([stream() for _ in frames])

    expected = mattes("eager")
    for mode in WITHOUT_COMPILER:
        torch.testing.assert_close(mattes(mode), expected, atol=1e-3, rtol=0, msg=lambda text, m=mode: f"{m}: {text}")


@torch.no_grad()
def _scatter_norms(net: nn.Module) -> None:
    """Statistics unlike 0 and 1, so that a norm that is lost or folded into another layer shows."""
    generator = torch.Generator().manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.uniform_(-0.2, 0.2, generator=generator)
            norm.running_var.uniform_(0.6, 1.4, generator=generator)


def test_a_variant_leaves_the_net_as_it_was() -> None:
    net = build_net("modnet", width=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    make_variant(net, "fused")
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class _Nested(MattingNet):
    """Its step takes and gives None, numbers and nested tuples beside tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.traced = 0

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        alpha, (state, nothing, number) = self.run_step(frames[:, 0], (state, 0.5))
        assert nothing is None
        assert number == 7
        return MattingOutput(alpha[:, None], state=state)

    def step(self, frame: Tensor, memory: tuple[Tensor | None, float]) -> Any:
        self.traced += 1
        last, share = memory
        alpha = self.conv(frame).sigmoid()
        return alpha if last is None else alpha * share + last * (1 - share), (alpha, None, 7)


@torch.inference_mode()
def test_a_traced_step_takes_what_a_step_takes_and_is_traced_once_for_each_shape_and_structure() -> None:
    net = _Nested().eval()
    frames = [torch.rand(1, 1, 3, 32, 40) for _ in range(4)]
    expected, state = [], None
    for frame in frames:
        output = net(frame, state)
        expected.append(output.alpha)
        state = output.state
    trace_net(net)
    net.traced, state = 0, None
    for frame, alpha in zip(frames, expected, strict=True):
        output = net(frame, state)
        torch.testing.assert_close(output.alpha, alpha)
        state = output.state
    assert net.traced == 2  # without a state, and with one
    assert net(torch.rand(1, 1, 3, 64, 32)).alpha.shape == (1, 1, 1, 64, 32)


def test_precision_is_set_inside_alone() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    layer, x = nn.Linear(4, 4), torch.rand(1, 4)
    kinds = {}
    for precision in PRECISIONS:
        with precision_context(precision, CPU):
            kinds[precision] = layer(x).dtype
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert kinds == PRECISIONS
    assert layer(x).dtype == torch.float32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_defaults_on_a_cpu() -> None:
    assert runnable_precisions(CPU)[0] == "fp32"
    assert "tf32" not in runnable_precisions(CPU)
    assert set(default_modes(CPU)) <= set(WITHOUT_COMPILER)


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ValueError, match="no mode is called 'quick'"):
        make_variant(build_net("modnet", width=0.5), "quick")
