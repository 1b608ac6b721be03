import pytest
import torch
from torch import nn

from lightning_modules.nets import build_net
from lightning_modules.nets.modnet import one_frame_delay


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_those_of_the_official_network_part_by_part():
    net = build_net("modnet")
    assert count(net) == 6_487_075
    assert count(net.backbone) == 2_223_872
    assert count(net.semantic) == 3_968_545
    assert count(net.semantic.gate) == 819_200
    assert count(net.semantic.conv_lr16) == 3_072_192
    assert count(net.semantic.conv_lr8) == 76_864
    assert count(net.semantic.head) == 289
    assert count(net.detail) == 245_409
    assert count(net.detail.predict) == 10_177
    assert count(net.fusion) == 49_249


@pytest.mark.parametrize(("height", "width"), [(512, 512), (288, 512), (512, 672)])
def test_shapes_of_all_three_outputs(height, width):
    net = build_net("modnet", width=0.25, hidden=8).eval()
    with torch.no_grad():
        out = net(torch.rand(1, 1, 3, height, width))
    assert out.alpha.shape == (1, 1, 1, height, width)
    assert out.aux["semantic"].shape == (1, 1, 1, height // 16, width // 16)
    assert out.aux["detail"].shape == (1, 1, 1, height, width)


def test_inference_flag_skips_the_heads_and_does_not_change_alpha():
    net = build_net("modnet", width=0.5, hidden=16).eval()
    frames = torch.rand(1, 2, 3, 64, 96)
    with torch.no_grad():
        whole = net(frames)
        net.inference = True
        short = net(frames)
    assert torch.equal(whole.alpha, short.alpha)
    assert set(whole.aux) == {"semantic", "detail"}
    assert short.aux == {}


def test_frames_do_not_see_each_other():
    net = build_net("modnet", width=0.5, hidden=16).eval()
    frames = torch.rand(1, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(frames).alpha[:, 1:2], net(frames[:, 1:2]).alpha, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "groups"), [(64, [8, 3]), (1088, [1, 1])])
def test_evaluation_takes_a_clip_in_groups(monkeypatch, side, groups):
    net = build_net("modnet", width=0.5, hidden=16).eval()
    seen, step = [], net.step
    monkeypatch.setattr(net, "step", lambda frames: seen.append(len(frames)) or step(frames[:, :, :64, :64]))
    frames = torch.rand(1, sum(groups), 3, side, side)
    with torch.no_grad():
        out = net(frames)
        assert seen == groups
        torch.testing.assert_close(out.alpha[:, -1:], net(frames[:, -1:]).alpha, atol=1e-5, rtol=0)
    assert out.aux["semantic"].shape[:2] == (1, sum(groups))


def test_start_weights_are_kaiming_uniform_with_zero_bias():
    net = build_net("modnet")
    conv = net.semantic.conv_lr16.conv
    bound = (6 / (1280 * 25)) ** 0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None)
    # The linear layers keep the framework's default, uniform up to 1 / sqrt(fan in).
    assert net.semantic.gate.squeeze.weight.abs().max() <= 1280**-0.5


@pytest.mark.parametrize(
    ("before", "now", "after", "expected"),
    [
        (0.2, 0.9, 0.24, 0.22),  # flicker
        (0.2, 0.9, 0.35, 0.9),  # neighbours disagree
        (0.2, 0.28, 0.2, 0.28),  # too small a difference
        (0.2, 0.28, 0.15, 0.28),  # differs from one neighbour only
        (0.8, 0.1, 0.8, 0.8),  # a hole
    ],
)
def test_one_frame_delay_truth_table(before, now, after, expected):
    alpha = torch.tensor([before, now, after]).view(1, 3, 1, 1, 1)
    out = one_frame_delay(alpha).flatten()
    torch.testing.assert_close(out, torch.tensor([before, expected, after]))


def test_one_frame_delay_looks_at_raw_neighbours_and_keeps_short_clips():
    alpha = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 4, 1, 1, 1)
    assert one_frame_delay(alpha).flatten().tolist() == [0.0, 0.0, 1.0, 1.0]
    for frames in (1, 2):
        assert torch.equal(one_frame_delay(alpha[:, :frames]), alpha[:, :frames])
