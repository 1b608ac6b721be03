"""MODNet with flow: its own matte in training, a smoothed or a moved one in use."""

import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.modnet_flow import FlowState, consistent, looks_alike
from lightning_modules.objectives.modnet import MODNetObjective
from tests.batches import tiny_batch

SMALL = {"width": 0.25, "hidden": 8}


def small(**options):
    net = build_net("modnet_flow", **SMALL | options)
    net.reset_parameters(0)
    return net.eval()


def modnet_of(net):
    """MODNet with the same weights."""
    twin = build_net("modnet", **SMALL)
    twin.load_state_dict(net.state_dict())
    return twin.eval()


def clip(frames=4, height=48, width=80, batch=2, seed=0):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def flow_by(dx, dy, frames=4, height=48, width=80, batch=2):
    return torch.tensor([float(dx), float(dy)])[:, None, None].expand(batch, frames, 2, height, width)


def constant(net, value=0.3):
    """The net predicts the same alpha everywhere."""
    with torch.no_grad():
        net.fusion.head.weight.zero_()
        net.fusion.head.bias.fill_(torch.logit(torch.tensor(value)))
    return net


def test_it_has_the_parameters_of_modnet_by_the_same_names():
    assert list(small().state_dict()) == list(build_net("modnet", **SMALL).state_dict())
    assert sum(p.numel() for p in build_net("modnet_flow").parameters()) == 6_487_075


@pytest.mark.parametrize("flow", ["dis", "oracle"])
def test_in_training_it_is_modnet_and_takes_its_objective(flow):
    net = small(flow=flow).train()
    twin = modnet_of(net).train()
    frames = clip(2, 64, 64)
    batch = tiny_batch(frames[:, :, :1], frames, frames)
    terms = [MODNetObjective(one)(one, batch, torch.Generator().manual_seed(0)) for one in (net, twin)]
    assert set(terms[0]) == {"loss", "semantic", "detail", "matte"}
    assert all(torch.equal(terms[0][name], terms[1][name]) for name in terms[0])
    terms[0]["loss"].backward()
    assert all(p.grad is not None for p in net.parameters())


def test_an_estimator_is_never_trained():
    net = small(flow="raft_small", flow_options={"num_updates": 1}).train()
    assert not net.flow.training
    assert not any(p.requires_grad for p in net.flow.parameters())
    own = {id(p) for name, p in net.named_parameters() if not name.startswith("flow.")}
    (group,) = MODNetObjective(net).parameter_groups(net, {"flow": 0.0, "rest": 0.01})  # as in its recipe
    assert {id(p) for p in group["params"]} == own
    without = small(flow="oracle")
    (group,) = MODNetObjective(without).parameter_groups(without, {"flow": 0.0, "rest": 0.01})
    assert len(group["params"]) == len(own)


@pytest.mark.slow
@pytest.mark.parametrize("use", ["smooth", "propagate"])
@pytest.mark.parametrize("flow", ["dis", "none", "oracle"])
@torch.no_grad()
def test_state_carried_over_chunks_equals_the_whole_clip(use, flow):
    net = small(use=use, flow=flow)
    frames = clip(3, 50, 70)
    known = {"flow": 3 * torch.randn(2, 3, 2, 50, 70)} if flow == "oracle" else {}
    whole = net(frames, **known)
    state, parts = None, []
    for start, stop in ((0, 1), (1, 3)):
        out = net(frames[:, start:stop], state, **{name: value[:, start:stop] for name, value in known.items()})
        state = out.state
        parts.append(out)
    assert isinstance(state, FlowState)
    torch.testing.assert_close(torch.cat([p.alpha for p in parts], 1), whole.alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([p.aux["flow"] for p in parts], 1), whole.aux["flow"])
    assert whole.aux["flow"].shape == (2, 3, 2, 50, 70)
    assert not whole.aux["flow"][:, 0].any()


@pytest.mark.parametrize("flow", ["dis", "oracle", "none"])
@torch.no_grad()
def test_smoothing_leaves_a_constant_prediction_of_a_still_clip_unchanged(flow):
    net = constant(small(flow=flow))
    frames = clip(1).expand(-1, 3, -1, -1, -1)
    known = {"flow": torch.zeros(2, 3, 2, 48, 80)} if flow == "oracle" else {}
    torch.testing.assert_close(net(frames, **known).alpha, modnet_of(net)(frames).alpha, atol=1e-6, rtol=0)


@pytest.mark.parametrize("use", ["smooth", "propagate"])
@torch.no_grad()
def test_true_flow_by_whole_pixels_moves_alpha_exactly(use):
    """Over a still picture, so that what the net says of a later frame can be told from what was moved there."""
    net = small(use=use, flow="oracle", past_weight=1.0)
    frames = torch.full((2, 3, 3, 48, 80), 0.5) + torch.linspace(0, 0.2, 80)
    first = net(frames[:, :1], flow=flow_by(0, 0, 1)).alpha[:, 0]
    alpha = net(frames, flow=flow_by(3, -2, 3)).alpha
    for t in (1, 2):
        expected = first[..., : 48 - 2 * t, 3 * t :]
        torch.testing.assert_close(alpha[:, t, :, 2 * t :, : 80 - 3 * t], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_smoothing_keeps_the_own_matte_where_the_last_frame_does_not_show_the_same():
    net = small(flow="oracle")
    frames = clip(2)
    own = modnet_of(net)(frames).alpha
    assert torch.equal(net(frames, flow=flow_by(200, 0, 2)).alpha, own)  # from outside of the picture
    frames[:, 1] = frames[:, 0]
    frames[:, 1, :, :, :40] = 1 - frames[:, 0, :, :, :40].round()
    own = modnet_of(net)(frames).alpha
    smooth = net(frames, flow=flow_by(0, 0, 2)).alpha
    assert torch.equal(smooth[:, 1, ..., :40], own[:, 1, ..., :40])
    torch.testing.assert_close(smooth[:, 1, ..., 40:], own[..., 40:].mean(1), atol=1e-5, rtol=0)


@torch.no_grad()
def test_propagation_asks_the_net_once_a_clip():
    net = small(use="propagate", flow="none")
    calls = []
    net.fusion.register_forward_hook(lambda *_: calls.append(1))
    first = net(clip(3))
    net(clip(2, seed=1), first.state)
    assert len(calls) == 1


def test_consistency_is_the_published_criterion():
    backward = torch.zeros(1, 2, 1, 6)
    forward = torch.zeros(1, 2, 1, 6)
    backward[0, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0, -9.0, 0.0])
    forward[0, 0] = torch.tensor([0.7, 0.72, 0.0, 0.0, 0.0, -1.0])
    # 0.49 < 0.01 · 0.49 + 0.5; 0.5184 > 0.01 · 0.5184 + 0.5; still; 1 + 0; outside; 0 − 1
    assert consistent(backward, forward).flatten().tolist() == [1, 0, 1, 0, 0, 0]


def test_looks_alike_asks_the_colour_at_the_end_of_the_flow():
    frame = torch.tensor([0.2, 0.5, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    previous = torch.tensor([0.5, 0.95, 0.2]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[:, 0] = -1
    assert looks_alike(frame, previous, flow).flatten().tolist() == [0, 1, 1]


def test_wrong_input_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"oracle' needs the true flow: .*data\.flow=true"):
        small(flow="oracle")(clip(1))
    with pytest.raises(ValueError, match=r"flow must be \(2, 1, 2, 48, 80\), got \(2, 1, 2, 3, 5\)"):
        small()(clip(1), flow=torch.zeros(2, 1, 2, 3, 5))
    with torch.no_grad(), pytest.raises(ValueError, match="the state is of another clip"):
        small()(clip(1, 64, 64), small()(clip(1)).state)
    for options in ({"use": "blend"}, {"past_weight": 1.5}, {"flow": "pwc"}):
        with pytest.raises(ValueError, match="must"):
            small(**options)
