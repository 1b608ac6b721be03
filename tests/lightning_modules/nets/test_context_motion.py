import pytest
import torch
from torch import nn

from lightning_modules.nets import build_net
from lightning_modules.nets.context_motion import BACKBONES
from tests.lightning_modules.nets.mobilenet import leave_out_repeats

SMALL = {
    "backbone": "mobilenetv2", "width": 0.25, "context_channels": 16, "hidden": 8, "decoder_channels": 8,
}  # fmt: skip


def small(seed=0, **options):
    net = build_net("context_motion", **SMALL | options)
    net.reset_parameters(seed)
    return net.eval()


def clip(frames=3, height=48, width=80, batch=2, seed=0):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"backbone": "mobilenetv2"}, 4_179_234),
        ({"backbone": "resnet18"}, 13_646_178),
        ({"backbone": "resnet50"}, 26_536_802),
        ({"backbone": "mobilenetv2", "operator": "baseline"}, 2_507_300),
        ({"backbone": "mobilenetv2", "operator": "gru"}, 3_687_588),
    ],
)
def test_parameters_without_flow_are_those_of_the_design(options, count):
    assert parameters(build_net("context_motion", flow="none", **options)) == count


def test_an_estimator_is_built_only_where_motion_is_used():
    with_flow = build_net("context_motion", backbone="mobilenetv2", flow="pwcnet")
    assert parameters(with_flow) == 4_179_234 + 9_374_274
    for operator in ("baseline", "gru"):
        net = build_net("context_motion", backbone="mobilenetv2", flow="pwcnet", operator=operator)
        assert net.flow is None
        assert not net.needs_flow


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_encoder_gives_strides_2_to_16(backbone):
    net = build_net("context_motion", **SMALL | {"backbone": backbone, "flow": "none"})
    image, features = net.backbone(torch.rand(1, 3, 64, 96))
    assert image.shape == (1, 3, 64, 96)
    assert [f.shape[1] for f in features] == net.backbone.channels
    assert [tuple(f.shape[2:]) for f in features] == [(32, 48), (16, 24), (8, 12), (4, 6)]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_random_encoders_keep_their_signal_in_spite_of_frozen_norms(backbone):
    net = small(backbone=backbone, flow="none")
    # Coloured squares: like a photograph, mostly coarse, with sharp edges.
    pictures = clip(1, 8, 12, batch=4, seed=1)[:, 0].repeat_interleave(8, 2).repeat_interleave(8, 3)
    _, features = net.backbone(pictures)
    spread = [f.std().item() for f in features]
    assert min(spread) > 0.3
    assert max(spread) < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"operator": "baseline"}, {"operator": "gru"}, {"flow": "none"}, {"flow": "dis"}, {"flow": "pwcnet"}],
    ids=lambda options: "-".join(options.values()),
)
@torch.no_grad()
def test_state_carried_over_chunks_equals_the_whole_clip(options):
    net = small(**options)
    frames = clip(3, 50, 70)
    whole = net(frames)
    state, parts = None, []
    for start, stop in ((0, 1), (1, 3)):
        out = net(frames[:, start:stop], state)
        state = out.state
        parts.append(out)
    for name in ("alpha", "foreground"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)
        torch.testing.assert_close(joined, getattr(whole, name), atol=1e-5, rtol=1e-4)
    if "flow" in whole.aux:
        joined = torch.cat([part.aux["flow"] for part in parts], dim=1)
        torch.testing.assert_close(joined, whole.aux["flow"], atol=1e-3, rtol=1e-3)
        assert whole.aux["flow"][:, 0].abs().max() == 0
    assert (whole.state is None) == (options.get("operator") == "baseline")


@torch.no_grad()
def test_true_flow_over_chunks_equals_the_whole_clip_and_says_nothing_of_the_first_frame():
    net = small(flow="oracle")
    frames, flow = clip(4), 8 * torch.randn(2, 4, 2, 48, 80)
    whole = net(frames, flow=flow)
    first = net(frames[:, :2], flow=flow[:, :2])
    second = net(frames[:, 2:], first.state, flow=flow[:, 2:])
    torch.testing.assert_close(torch.cat((first.alpha, second.alpha), 1), whole.alpha, atol=1e-5, rtol=1e-4)
    flow[:, 0] = 0
    assert torch.equal(net(frames, flow=flow).alpha, whole.alpha)
    assert torch.equal(whole.aux["flow"], flow)
    assert not torch.equal(net(frames, flow=torch.zeros_like(flow)).alpha, whole.alpha)


@torch.no_grad()
def test_no_state_is_a_state_of_zeros_and_no_motion():
    net = small(flow="oracle")
    frames = clip(1)
    out = net(frames, flow=torch.zeros(2, 1, 2, 48, 80))
    zeros = out.state._replace(hidden=torch.zeros_like(out.state.hidden))
    again = net(frames, zeros, flow=torch.zeros(2, 1, 2, 48, 80))
    torch.testing.assert_close(again.alpha, out.alpha)


@torch.no_grad()
def test_true_flow_by_whole_cells_brings_the_earlier_features_to_their_place():
    net = small(flow="oracle")
    seen = {}
    net.motion.correlation[0].register_forward_pre_hook(lambda _, args: seen.update(pair=args[0]))
    frames = clip(2, 64, 96, batch=1)
    flow = torch.tensor([32.0, -16.0])[:, None, None].expand(1, 2, 2, 64, 96)
    net(frames, flow=flow)
    own, warped = seen["pair"].chunk(2, dim=1)
    torch.testing.assert_close(warped[:1], own[:1], atol=1e-5, rtol=1e-5)  # the first frame, with itself
    torch.testing.assert_close(warped[1, :, 1:, :-2], own[0, :, :-1, 2:], atol=1e-5, rtol=1e-5)
    assert warped[1, :, 0].abs().max() == 0
    assert warped[1, :, :, -2:].abs().max() == 0


@pytest.mark.slow
def test_norms_are_never_trained():
    net = small(flow="raft_large", flow_options={"num_updates": 1}).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [value.clone() for norm in norms for value in norm.state_dict().values()]
    net(clip(2, 32, 32)).alpha.mean().backward()
    assert net.training
    assert not any(norm.training for norm in norms)
    assert all(p.grad is None for norm in norms for p in norm.parameters())
    assert all(map(torch.equal, before, (value for norm in norms for value in norm.state_dict().values())))


def test_the_foreground_is_clamped_only_outside_of_training():
    net = small(flow="none")
    nn.init.constant_(net.foreground_decoder.head[-1].bias, 3.0)
    assert net(clip(1)).foreground.max() <= 1
    assert net.train()(clip(1)).foreground.max() > 1


def test_gradients_flow_through_all_frames_and_into_the_flow():
    net = small(flow="pwcnet").train()
    frames = clip(3, 64, 64, batch=1).requires_grad_()
    net(frames).alpha[:, -1].square().mean().backward()
    assert all(frames.grad[0, t].abs().max() > 0 for t in range(3))
    assert all(p.grad is not None for p in net.flow.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_compiled_step_gives_the_same():
    net = small(flow="none")
    leave_out_repeats(net.backbone.net)
    frames, flow = clip(1, 64, 64), 8 * torch.randn(2, 1, 2, 64, 64)
    state = net(clip(1, 64, 64, seed=1)).state
    plain = net(frames, state, flow=flow).alpha
    net.compile_step(backend="eager", fullgraph=True)
    torch.testing.assert_close(net(frames, state, flow=flow).alpha, plain, atol=1e-6, rtol=0)


def test_wrong_input_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"oracle' needs the true flow: .*data\.flow=true"):
        small(flow="oracle")(clip(1))
    with pytest.raises(ValueError, match=r"flow must be \(2, 1, 2, 48, 80\), got \(2, 1, 2, 3, 5\)"):
        small(flow="oracle")(clip(1), flow=torch.zeros(2, 1, 2, 3, 5))
    net = small(flow="none")
    other = net(clip(1)).state
    with pytest.raises(ValueError, match="the state is of another clip"):
        net(clip(1, 64, 64), other)
    for option, value in (("backbone", "vgg"), ("operator", "lstm"), ("flow", "pwc"), ("hidden", 0)):
        with pytest.raises(ValueError, match=f"{option} must be"):
            build_net("context_motion", **SMALL | {option: value})
    with pytest.raises(ValueError, match=r"needs width=1.0"):
        small(pretrained=True)
