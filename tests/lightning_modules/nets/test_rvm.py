"""RVM without weights: shapes, memory, options, gradients. Its figures are in test_official_rvm.py."""

import pytest
import torch
from torch import nn

from lightning_modules.nets import build_net
from lightning_modules.nets.blocks import frozen_statistics
from tests.lightning_modules.nets.mobilenet import leave_out_repeats

TINY = {"width": 0.25, "decoder_width": 0.25}


def count(module):
    return sum(p.numel() for p in module.parameters())


def tiny_net(**options):
    """A small net with norms away from their start, in eval mode."""
    net = build_net("rvm", **TINY, **options)
    net.reset_parameters(0)
    net.matting_head.bias.data[3] += 0.5
    generator = torch.Generator().manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.2, 0.2, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@pytest.mark.parametrize(
    ("backbone", "parts"),
    [
        ("mobilenetv3", (2_971_952, 246_016, 529_772, 68, 17, 808, 3_748_633)),
        ("resnet50", (23_508_032, 1_049_088, 2_332_448, 68, 17, 808, 26_890_461)),
    ],
)
def test_parameters_are_those_of_the_official_network_part_by_part(backbone, parts):
    with torch.device("meta"):
        net = build_net("rvm", backbone=backbone)
        fast = build_net("rvm", backbone=backbone, refiner="fast_guided_filter")
    modules = (net.backbone, net.aspp, net.decoder, net.matting_head, net.segmentation_head, net.refiner, net)
    assert tuple(count(module) for module in modules) == parts
    assert count(fast) == parts[-1] - 808


def test_half_the_width_has_less_than_a_million_parameters():
    assert count(build_net("rvm", width=0.5, decoder_width=0.5)) < 1_000_000


@pytest.mark.parametrize("backbone", ["mobilenetv3", "resnet50"])
@pytest.mark.parametrize(("height", "width", "ratio"), [(32, 32, 1), (33, 47, 1), (101, 67, 0.375), (64, 97, 0.25)])
def test_any_size_and_ratio_works_without_padding(backbone, height, width, ratio):
    net = tiny_net(backbone=backbone)
    with torch.no_grad():
        out = net(torch.rand(2, 2, 3, height, width), downsample_ratio=ratio)
        masks = net(torch.rand(2, 2, 3, height, width), downsample_ratio=ratio, segmentation_pass=True)
    assert out.alpha.shape == masks.alpha.shape == (2, 2, 1, height, width)
    assert out.foreground.shape == (2, 2, 3, height, width)
    for values in (out.alpha, out.foreground, masks.alpha):
        assert 0 <= values.min() <= values.max() <= 1
    side, other = int(height * ratio), int(width * ratio)
    assert masks.aux["segmentation"].shape == (2, 2, 1, side, other)
    assert masks.foreground is None
    assert out.aux == {}
    for memory in out.state:
        side, other = -(-side // 2), -(-other // 2)
        assert memory.shape[0::2] == (2, side)
        assert memory.shape[3] == other


@torch.no_grad()
@pytest.mark.parametrize("recurrence", ["convgru", "convgru_full", "convlstm", "none"])
def test_chunks_with_the_state_carried_over_give_the_whole_clip(recurrence):
    net = tiny_net(recurrence=recurrence)
    frames = torch.rand(2, 5, 3, 45, 50)
    whole = net(frames, downsample_ratio=0.8)
    state, alphas = None, []
    for chunk in frames.split((2, 1, 2), dim=1):
        out = net(chunk, state, downsample_ratio=0.8)
        state = out.state
        alphas.append(out.alpha)
    torch.testing.assert_close(torch.cat(alphas, dim=1), whole.alpha, atol=1e-5, rtol=0)
    # And the memory matters, or nothing was tested.
    alone = torch.cat([net(frame, downsample_ratio=0.8).alpha for frame in frames.split(1, dim=1)], dim=1)
    assert ((alone[:, 1:] - whole.alpha[:, 1:]).abs().max() > 1e-4) == (recurrence != "none")


@torch.no_grad()
@pytest.mark.parametrize(("at_once", "groups"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5])])
def test_groups_of_frames_give_the_same(monkeypatch, at_once, groups):
    net = tiny_net()
    frames = torch.rand(2, 5, 3, 40, 64)
    expected = net(frames)
    seen, step = [], net.step
    monkeypatch.setattr(net, "_frames_at_once", lambda frames: at_once)
    monkeypatch.setattr(net, "step", lambda small, *rest: seen.append(small.shape[0] // 2) or step(small, *rest))
    torch.testing.assert_close(net(frames).alpha, expected.alpha, atol=1e-5, rtol=0)
    assert seen == groups


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other():
    net = tiny_net()
    frames = torch.rand(3, 2, 3, 40, 50)
    together = net(frames)
    torch.testing.assert_close(net(frames[1:2]).alpha, together.alpha[1:2], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_new_clip_starts_without_the_memory_of_the_last():
    net = tiny_net()
    first, second = torch.rand(2, 1, 2, 3, 40, 50)
    alone = net(second).alpha
    net(first)
    assert torch.equal(net(second).alpha, alone)


def test_a_state_of_other_frames_is_refused_in_one_line():
    net = tiny_net()
    with torch.no_grad():
        state = net(torch.rand(1, 1, 3, 64, 64)).state
    with pytest.raises(ValueError, match=r"r1 is \(1, 4, 32, 32\), these frames need \(1, 4, 32, 48\)") as error:
        net(torch.rand(1, 1, 3, 64, 96), state)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "mobilenetv2"}, "backbone must be one of mobilenetv3, resnet50"),
        ({"refiner": "none"}, "refiner must be one of"),
        ({"recurrence": "lstm"}, "recurrence must be one of convgru"),
        ({"recurrent_scales": (0, 1)}, "recurrent_scales must be one of 1, 2, 3, 4, got 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_net("rvm", **options)


@pytest.mark.parametrize("ratio", [0, 1.5])
def test_ratios_out_of_range_are_refused(ratio):
    with pytest.raises(ValueError, match="downsample_ratio must be above 0"):
        tiny_net()(torch.rand(1, 1, 3, 32, 32), downsample_ratio=ratio)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "memories"),
    [
        ({}, [4, 4, 10, 16]),
        ({"recurrence": "convgru_full"}, [8, 8, 20, 32]),
        ({"recurrence": "convlstm"}, [8, 8, 20, 32]),
        ({"recurrent_scales": (3, 4)}, [None, None, 10, 16]),
        ({"recurrence": "none"}, None),
    ],
)
def test_options_of_the_recurrence_set_the_memories(options, memories):
    state = tiny_net(**options)(torch.rand(1, 1, 3, 32, 48)).state
    got = state and [None if memory is None else memory.shape[1] for memory in state]
    assert got == memories


@torch.no_grad()
@pytest.mark.parametrize("refiner", ["deep_guided_filter", "fast_guided_filter", "bilinear"])
def test_refiners_work_at_other_ratios_than_1_alone(refiner):
    net, other = tiny_net(refiner=refiner), tiny_net()
    frames = torch.rand(1, 2, 3, 64, 96)
    assert torch.equal(net(frames).alpha, other(frames).alpha)
    differs = not torch.equal(net(frames, downsample_ratio=0.5).alpha, other(frames, downsample_ratio=0.5).alpha)
    assert differs == (refiner != "deep_guided_filter")


def test_gradient_reaches_every_parameter():
    net = build_net("rvm", **TINY).train()
    net.reset_parameters(0)
    frames = torch.rand(2, 3, 3, 64, 80)
    out = net(frames, downsample_ratio=0.75)
    (out.alpha.square().mean() + out.foreground.square().mean()).backward()
    idle = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"segmentation_head.weight", "segmentation_head.bias"}
    net.zero_grad()
    net(frames, segmentation_pass=True).aux["segmentation"].square().mean().backward()
    idle = {name for name, p in net.named_parameters() if p.grad is None}
    assert {name.split(".")[0] for name in idle} == {"matting_head", "refiner"}


def test_norms_see_all_frames_of_all_clips_and_may_be_kept():
    net = build_net("rvm", **TINY).train()
    frames = torch.rand(2, 3, 3, 32, 32)
    with frozen_statistics(net):
        before = net.aspp.norm.running_mean.clone()
        net(frames)
    assert torch.equal(net.aspp.norm.running_mean, before)
    seen = []
    net.aspp.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    net(frames)
    assert seen == [6]
    assert not torch.equal(net.aspp.norm.running_mean, before)


def test_training_clamps_with_no_gradient_outside():
    net = build_net("rvm", **TINY).train()
    nn.init.constant_(net.matting_head.bias, 3.0)
    nn.init.zeros_(net.matting_head.weight)
    out = net(torch.rand(1, 1, 3, 32, 32))
    assert (out.alpha == 1).all()
    out.alpha.sum().backward()
    assert not net.matting_head.bias.grad.any()


def test_arms_share_their_start_weights():
    plain, full = (build_net("rvm", **TINY, recurrence=kind) for kind in ("convgru", "convgru_full"))
    plain.reset_parameters(3)
    full.reset_parameters(3)
    ours, theirs = plain.state_dict(), full.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if ours[key].shape == theirs[key].shape)
    assert (plain.refiner.box.weight == 1 / 9).all()


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_serves_clips_of_every_length():
    net, graphs = tiny_net(), []
    leave_out_repeats(net.backbone)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    frames = torch.rand(1, 5, 3, 40, 48)
    expected = net(frames)
    net.compile_step(backend=backend, fullgraph=True)
    first = net(frames[:, :2])
    rest = net(frames[:, 2:], first.state)
    torch.testing.assert_close(torch.cat((first.alpha, rest.alpha), dim=1), expected.alpha, atol=1e-5, rtol=0)
    assert len(graphs) == 1


@torch.no_grad()
def test_half_precision_stays_close():
    net, frames = tiny_net(), torch.rand(1, 3, 3, 64, 96)
    expected = net(frames, downsample_ratio=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(frames, downsample_ratio=0.5)
    assert out.alpha.dtype == torch.float32
    assert all(memory.dtype == torch.float32 for memory in out.state)
    torch.testing.assert_close(out.alpha, expected.alpha, atol=0.03, rtol=0)


def test_a_matte_below_zero_is_trained_only_with_the_inward_clamp():
    frames = torch.rand(2, 2, 3, 64, 64)
    for clamp_gradient, reached in (("inside", False), ("inward", True)):
        net = tiny_net(clamp_gradient=clamp_gradient).train()
        with torch.no_grad():
            net.matting_head.bias[3] = -100.0
        out = net(frames)
        assert not out.alpha.any()
        (1 - out.alpha).mean().backward()
        assert bool(net.matting_head.weight.grad[3].any()) == reached
