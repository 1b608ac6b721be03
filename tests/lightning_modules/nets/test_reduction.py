from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.reduction import UPSAMPLERS


class Grey(MattingNet):
    """Alpha is the mean of the colours, foreground the frame, state the size that was seen."""

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        plate = None if background is None else background.shape[-2:]
        return MattingOutput(frames.mean(dim=2, keepdim=True), frames, state=(frames.shape[-2:], plate))


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_outputs_have_the_size_of_the_frames_and_the_net_sees_small_ones(upsampler: str) -> None:
    frames = torch.rand(2, 3, 3, 64, 96)
    output = Grey().matte(frames, None, frames[:, :1], None, 0.5, upsampler)
    assert output.alpha.shape == (2, 3, 1, 64, 96)
    assert output.foreground is not None
    assert output.foreground.shape == (2, 3, 3, 64, 96)
    assert output.state == ((32, 48), (32, 48))
    assert 0 <= output.alpha.min() <= output.alpha.max() <= 1


def test_the_guided_filter_brings_edges_of_the_frame_back() -> None:
    frames = (torch.arange(96) >= 41).float().expand(1, 1, 3, 64, 96)  # an edge that no small pixel begins at
    error = {
        upsampler: (Grey().matte(frames, downsample_ratio=0.5, upsampler=upsampler).alpha - frames[:, :, :1])
        .abs()
        .mean()
        for upsampler in UPSAMPLERS
    }
    assert error["fast_guided_filter"] < 0.2 * error["bilinear"]


@pytest.mark.parametrize("ratio", [None, 1.0])
def test_without_a_ratio_and_at_one_it_is_the_net_itself(ratio: float | None) -> None:
    frames, flow = torch.rand(1, 2, 3, 40, 48), torch.zeros(1, 2, 2, 40, 48)
    output = Grey().matte(frames, flow=flow, downsample_ratio=ratio)  # a net that needs no flow is given none
    assert torch.equal(output.alpha, Grey()(frames).alpha)


@torch.inference_mode()
def test_nets_that_reduce_by_themselves_are_given_whole_frames() -> None:
    frames, plate = torch.rand(1, 1, 3, 64, 96), torch.rand(1, 1, 3, 64, 96)
    rvm = build_net("rvm").eval()
    torch.testing.assert_close(
        rvm.matte(frames, downsample_ratio=0.5).alpha,
        rvm(frames, downsample_ratio=0.5).alpha,  # type: ignore[call-arg]
    )
    options = {"backbone": "mobilenetv2", "refine_mode": "full"}
    bgm, half = (build_net("background_matting_v2", backbone_scale=scale, **options).eval() for scale in (0.25, 0.5))
    half.load_state_dict(bgm.state_dict())
    expected = half(frames, background=plate).alpha
    for ratio in (0.5, 1.0):  # its refiner needs a copy of half the side at most
        torch.testing.assert_close(bgm.matte(frames, None, plate, None, ratio).alpha, expected)
    assert bgm.backbone_scale == 0.25
    with pytest.raises(ValueError, match=r"backbone_scale must be above 0 and at most 0\.5"):
        bgm(frames, background=plate, backbone_scale=0.75)


class Mover(MattingNet):
    """A net that needs the true flow, and keeps what it is given."""

    needs_flow = True

    def forward(
        self, frames: Tensor, state: Any = None, background: Tensor | None = None, flow: Tensor | None = None
    ) -> MattingOutput:
        assert flow is not None
        return MattingOutput(frames.mean(dim=2, keepdim=True), aux={"flow": flow})


def test_the_true_flow_is_in_pixels_of_the_small_frames() -> None:
    frames, flow = torch.rand(1, 2, 3, 64, 96), torch.tensor([8.0, -4.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 64, 96)
    assert torch.equal(Mover().matte(frames, flow=flow).aux["flow"], flow)
    small = Mover().matte(frames, flow=flow, downsample_ratio=0.5).aux["flow"]
    assert torch.equal(small, torch.tensor([4.0, -2.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 32, 48))
    for ratio in (None, 0.5, 1.0):
        with pytest.raises(ValueError, match="this net is given the true flow, which these clips do not know"):
            Mover().matte(frames, downsample_ratio=ratio)


@pytest.mark.parametrize(
    "options", [{"downsample_ratio": 0}, {"downsample_ratio": 1.5}, {"upsampler": "bicubic", "downsample_ratio": 1}]
)
def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Grey().matte(torch.rand(1, 1, 3, 64, 64), **options)
