import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.blocks import frozen_statistics
from lightning_modules.nets.brm import BRMState
from lightning_modules.objectives.modnet_v import MODNetVObjective
from tests.batches import tiny_batch
from tests.lightning_modules.nets.mobilenet import leave_out_repeats

SMALL = {"width": 0.5, "hidden": 16, "working_size": 64}
PRM = 27_898


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2_159_741),
        ({"prm": False}, 2_131_843),
        ({"brm": False}, 2_136_413),
        ({"feed_mask": True}, 2_159_741 + 432),
        ({"semantic_scale": 0.75}, 2_159_741),
        ({"semantic_scale": 1.0}, 2_159_741),
        ({"top": 96}, 1_089_917),
        ({"top": 384}, 1_878_461),
        ({"width": 0.75}, 1_581_437),
        ({"width": 0.5}, 1_058_013),
        ({"width": 1.4}, 3_320_989),
        ({"last_block": "full"}, 6_418_045),
        ({"last_block": "narrow"}, 2_563_005),
        # The plan's totals add the refiner of 32 channels to every row; ours reads `hidden` channels.
        ({"hidden": 16, "prm": False}, 2_041_437 - PRM),
        ({"hidden": 24, "prm": False}, 2_092_813 - PRM),
        ({"hidden": 48, "prm": False}, 2_340_253 - PRM),
        ({"width": 0.5, "hidden": 16, "prm": False}, 939_965 - PRM),
    ],
    ids=str,
)
def test_parameters_are_those_of_the_plan(options, expected):
    with torch.device("meta"):
        assert count(build_net("modnet_v", **options)) == expected


def test_parts_have_the_parameters_of_the_plan():
    net = build_net("modnet_v")
    assert count(net.brm) == 22_128 + 1_200
    assert count(net.prm) == PRM
    assert count(net.prm.refiner) == 27_593
    assert count(net) - count(net.detail.predict) == 2_149_564


@pytest.mark.parametrize(
    ("height", "width", "working"),
    [(64, 64, (64, 64)), (50, 70, (64, 96)), (128, 256, (64, 128)), (301, 127, (160, 64)), (64, 200, (64, 224))],
)
def test_working_frame_has_the_shorter_side_at_most_and_fitting_sides(height, width, working):
    net = build_net("modnet_v", **SMALL).eval()
    frames = torch.rand(1, 1, 3, height, width)
    with torch.no_grad():
        out = net(frames)
    assert out.alpha.shape == (1, 1, 1, height, width)
    assert out.aux["semantic"].shape[-2:] == (working[0] // 32, working[1] // 32)
    assert out.aux["background_mask"].shape[-2:] == (working[0] // 8, working[1] // 8)
    assert ("flaw_map" in out.aux) == (max(height, width) > 64)


@pytest.mark.parametrize("semantic_scale", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("last_block", ["deleted", "narrow", "full"])
def test_every_scale_and_encoder_takes_odd_sizes(semantic_scale, last_block):
    net = build_net("modnet_v", semantic_scale=semantic_scale, last_block=last_block, width=0.25, hidden=8).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 2, 3, 45, 83)).alpha.shape == (1, 2, 1, 45, 83)


def test_extras_of_training_and_evaluation():
    net = build_net("modnet_v", **SMALL).train()
    aux = net(torch.rand(2, 3, 3, 64, 72)).aux
    assert aux["detail"].shape == (2, 3, 1, 64, 72)
    assert aux["semantic"].shape == (2, 3, 1, 2, 3)
    assert aux["background_feature"].shape == (2, 3, 16, 8, 12)
    with torch.no_grad():
        out = net.eval()(torch.rand(2, 3, 3, 64, 64))
        assert set(out.aux) == {"semantic", "background_feature", "background_mask"}
        assert torch.equal(out.aux["background_feature"][:, -1], out.state.feature)
        plain = build_net("modnet_v", brm=False, **SMALL).eval()(torch.rand(1, 2, 3, 64, 64))
    assert plain.state is None
    assert set(plain.aux) == {"semantic"}


def test_fresh_net_does_not_depend_on_its_memory():
    net = build_net("modnet_v", **SMALL).eval()
    frames = torch.rand(1, 1, 3, 64, 64)
    full = BRMState(torch.randn(1, 16, 8, 8), torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    with torch.no_grad():
        assert torch.equal(net(frames).alpha, net(frames, full).alpha)


@pytest.mark.parametrize("training", [True, False])
def test_fresh_nets_with_and_without_memory_agree(training):
    nets = [build_net("modnet_v", brm=brm, **SMALL).train(training) for brm in (True, False)]
    for net in nets:
        net.reset_parameters(5)
    frames = torch.rand(2, 2, 3, 64, 64)
    with torch.no_grad():
        first, second = (net(frames).alpha for net in nets)
    assert torch.equal(first, second)


def test_memory_reaches_detail_through_f4_only():
    frames = torch.rand(1, 1, 3, 64, 64)
    full = BRMState(torch.randn(1, 16, 8, 8), torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    for prior in ("f4", "e4"):
        net = build_net("modnet_v", prior_to_d=prior, **SMALL).eval()
        torch.nn.init.ones_(net.brm.fuse_norm.weight)
        seen = []
        net.detail.to_e4.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            empty_alpha, full_alpha = net(frames).alpha, net(frames, full).alpha
        assert torch.equal(*seen) == (prior == "e4")
        assert not torch.equal(empty_alpha, full_alpha)  # with e4 through the semantic branch


@pytest.mark.parametrize("update", ["average", "count_mean"])
def test_advance_gives_the_state_of_a_forward_pass(update):
    net = build_net("modnet_v", brm_update=update, **SMALL).eval()
    torch.nn.init.ones_(net.brm.fuse_norm.weight)
    frames = torch.rand(2, 4, 3, 70, 90)
    with torch.no_grad():
        start = net(frames[:, :1]).state
        for got, expected in zip(net.advance(frames[:, 1:], start), net(frames[:, 1:], start).state, strict=True):
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        assert net.advance(frames[:, :0], start) is start
    assert build_net("modnet_v", brm=False, **SMALL).advance(frames) is None


def test_gradient_reaches_an_earlier_frame_through_the_state_only():
    net = build_net("modnet_v", **SMALL).train()
    torch.nn.init.ones_(net.brm.fuse_norm.weight)
    earlier, later = torch.rand(2, 1, 3, 64, 64).requires_grad_(), torch.rand(2, 1, 3, 64, 64)
    state = net(earlier).state
    (gradient,) = torch.autograd.grad(net(later, state).alpha.mean(), earlier, retain_graph=True)
    assert gradient.abs().max() > 0
    cut = BRMState(*(part.detach() for part in state))
    assert torch.autograd.grad(net(later, cut).alpha.mean(), earlier, allow_unused=True) == (None,)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 64, 96)])
def test_state_of_other_frames_is_refused_in_one_line(shape):
    net = build_net("modnet_v", **SMALL).eval()
    with torch.no_grad():
        state = net(torch.rand(2, 1, 3, 64, 64)).state
        for run in (net, net.advance):
            with pytest.raises(ValueError, match=r"start a new clip with state=None") as error:
                run(torch.rand(shape)[:, None], state)
            assert "\n" not in str(error.value)


@pytest.mark.slow
def test_advance_is_compiled_with_the_step_and_gives_the_same_in_training():
    net = build_net("modnet_v", **SMALL).train()
    leave_out_repeats(net.backbone)
    frames, calls = torch.rand(2, 3, 3, 64, 64), []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    with torch.no_grad(), frozen_statistics(net):
        expected = net.advance(frames)
        net.compile_step(backend=backend, fullgraph=True)
        compiled = net.advance(frames)
    assert len(calls) in (1, 2)  # at most one graph more, as the empty memory lies differently
    for got, wanted in zip(compiled, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("clips", "options"), [(1, {}), (2, {}), (2, {"motion": "oracle"})], ids=str)
def test_clips_of_any_length_are_trained_by_one_graph_of_the_step_and_matted_by_another(clips, options):
    net, graphs = build_net("modnet_v", prm=False, **SMALL, **options), []
    leave_out_repeats(net.backbone)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()  # graphs of one function are counted together, whatever net they are of
    net.compile_step(backend=backend, fullgraph=True)
    net._compiled_memory_step = None  # a graph of its own
    objective = MODNetVObjective(net.train())
    for length in (6, 3, 1, 5):
        frames, alpha = torch.rand(clips, length, 3, 64, 64), torch.rand(clips, length, 1, 64, 64)
        batch = tiny_batch(alpha, frames, frames, torch.zeros(clips, length, 2, 64, 64))
        objective(net, batch, torch.Generator().manual_seed(0))["loss"].backward()
    assert len(graphs) == 1
    with torch.no_grad():
        net.eval().matte(torch.rand(clips, 8, 3, 64, 64), flow=torch.zeros(clips, 8, 2, 64, 64))
    assert len(graphs) == 2


def test_half_precision_weights_refine():
    net = build_net("modnet_v", prm_mode="all", **SMALL).eval()
    torch.nn.init.normal_(net.prm.refiner.head.weight, std=0.1)
    frames = torch.rand(1, 1, 3, 90, 130).bfloat16()
    with torch.no_grad():
        exact = net.float()(frames.float())
        out = net.bfloat16()(frames)
    assert out.aux["flaw_map"].dtype == torch.float32
    assert (out.alpha - exact.alpha).abs().mean() < 0.05


def test_feature_is_reduced_before_it_is_enlarged():
    net = build_net("modnet_v", prm_mode="all", **SMALL).eval()
    seen = []
    net.prm.refiner.conv_feature.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    with torch.no_grad():
        net(torch.rand(1, 1, 3, 50, 90))
    assert seen == [(25, 45)]


def test_mixed_precision_trains():
    net = build_net("modnet_v", **SMALL).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(torch.rand(2, 2, 3, 64, 64))
    (out.alpha.mean() + out.aux["detail"].mean() + out.aux["background_feature"].mean()).backward()
    trained = [p for name, p in net.named_parameters() if not name.startswith("prm.")]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_oracle_fills_the_memory_from_the_background_in_every_frame():
    net = build_net("modnet_v", brm="oracle", **SMALL).train()  # short for brm_mode
    frames, plates = torch.rand(2, 3, 3, 64, 64), torch.rand(2, 3, 3, 64, 64)
    statistics = net.backbone.features[0][1].running_mean.clone()
    moving = net(frames, background=plates)
    assert moving.aux["background_mask"].all()
    assert not torch.allclose(moving.aux["background_feature"][:, 0], moving.aux["background_feature"][:, 1])
    assert not torch.equal(net.backbone.features[0][1].running_mean, statistics)
    net.eval()
    with torch.no_grad():
        still = net(frames, background=plates[:, :1])
    assert torch.equal(still.aux["background_feature"][:, 0], still.aux["background_feature"][:, 2])
    with pytest.raises(ValueError, match="needs the true background"):
        net(frames)


def test_no_refinement_is_the_enlarged_alpha():
    net = build_net("modnet_v", prm_mode="none", **SMALL).eval()
    fresh = build_net("modnet_v", prm_mode="all", **SMALL).eval()
    fresh.load_state_dict(net.state_dict())
    frames = torch.rand(1, 1, 3, 130, 201)
    with torch.no_grad():
        plain, refined = net(frames), fresh(frames)
    assert "flaw_map" not in plain.aux
    assert torch.equal(refined.alpha, plain.alpha)
    assert torch.equal(refined.aux["coarse_alpha"], plain.alpha)
    assert refined.aux["refined_share"].tolist() == [[1.0]]


@pytest.mark.parametrize("size", [(1080, 1920), (1079, 1917)])
def test_full_size_frames_come_back_at_full_size(size):
    net = build_net("modnet_v", width=0.5, hidden=16, prm_mode="topk", prm_k=None).eval()
    with torch.inference_mode():
        out = net(torch.rand(1, 1, 3, *size))
    assert out.alpha.shape[-2:] == size
    assert out.aux["flaw_map"].shape[-2:] == (16, 16)


MOTIONS = pytest.mark.parametrize("motion", ["global", "dense", "oracle"])


def panning(frames=4, height=64, width=96, step=8):
    """Pictures that move to the left by `step` pixels a frame, and their flow."""
    coarse = torch.rand(2, 3, 4, 8)
    size = (height, width + frames * step)
    wide = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    clip = torch.stack([wide[..., t * step : t * step + width] for t in range(frames)], dim=1)
    flow = torch.tensor([float(step), 0.0])[:, None, None].expand(2, frames, 2, height, width)
    return clip, flow


@MOTIONS
def test_motion_adds_no_parameters_and_changes_nothing_in_a_clips_first_frame(motion):
    net, plain = (build_net("modnet_v", motion=kind, **SMALL).eval() for kind in (motion, "none"))
    plain.load_state_dict(net.state_dict())
    clip, flow = panning(1)
    known = {"flow": flow} if net.needs_flow else {}
    with torch.no_grad():
        assert torch.equal(net(clip, **known).alpha, plain(clip).alpha)
        assert type(plain(clip).state) is BRMState


@pytest.mark.slow
@MOTIONS
def test_a_moving_memory_is_the_same_in_chunks_as_whole_and_without_mattes(motion):
    net = build_net("modnet_v", motion=motion, brm_threshold=0.0, **SMALL).eval()
    torch.nn.init.ones_(net.brm.fuse_norm.weight)
    clip, flow = panning()
    known = {"flow": flow} if net.needs_flow else {}
    with torch.no_grad():
        whole = net(clip, **known)
        first, rest = ({name: value[:, part] for name, value in known.items()} for part in (slice(0, 2), slice(2, 4)))
        start = net(clip[:, :2], **first)
        end = net(clip[:, 2:], start.state, **rest)
        advanced = net.advance(clip[:, 2:], start.state, **rest)
    torch.testing.assert_close(torch.cat((start.alpha, end.alpha), 1), whole.alpha, atol=1e-5, rtol=0)
    for a, b, c in zip(end.state, whole.state, advanced, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        torch.testing.assert_close(c, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("motion", "scale", "height", "width"),
    [
        ("oracle", 1, 64, 96),
        ("oracle", 2, 128, 192),
        ("oracle", 1, 52, 72),
        ("global", 1, 52, 72),
        ("dense", 2, 128, 192),
    ],
)
def test_the_memory_of_a_panned_room_moves_by_whole_cells(motion, scale, height, width):
    """A cell is 8 pixels of the working frame, which is the frame, half of it, or the frame padded."""
    net = build_net("modnet_v", motion=motion, brm_threshold=0.0, brm_update="first_sight", **SMALL).eval()
    clip, flow = panning(2, height, width, 8 * scale)
    known = {"flow": flow} if net.needs_flow else {}
    with torch.no_grad():
        features = net(clip, **known).aux["background_feature"]
    before, after = features[:, 0, :, :6, 1:8], features[:, 1, :, :6, :7]
    exact = motion == "oracle"
    error = (after - before).abs()
    assert error.max() < 1e-4 if exact else error.mean() < 0.25 * (features[:, 0, :, :6, :7] - before).abs().mean()


def test_motion_needs_a_memory_and_the_oracle_its_flow():
    for options in ({"brm": False}, {"brm_mode": "oracle"}, {"brm_mode": "first_frame"}):
        with pytest.raises(ValueError, match="motion='global' moves a restored background: it needs brm=True"):
            build_net("modnet_v", motion="global", **options)
    with pytest.raises(ValueError, match="motion must be one of none, global, dense, oracle"):
        build_net("modnet_v", motion="local")
    net = build_net("modnet_v", motion="oracle", **SMALL).eval()
    assert net.needs_flow
    for run in (net, net.advance):
        with pytest.raises(ValueError, match="motion='oracle' needs the true flow"):
            run(torch.rand(1, 2, 3, 64, 64))


def test_a_memory_that_is_told_the_true_alpha_holds_what_that_shows():
    net = build_net(
        "modnet_v", width=0.25, hidden=8, prm=False, semantic_scale=1.0, brm_mask="truth", brm_threshold=0.9
    ).eval()
    frames, alpha = torch.rand(1, 2, 3, 64, 64), torch.zeros(1, 2, 1, 64, 64)
    alpha[..., :32] = 1
    state = net(frames, alpha=alpha).state
    assert torch.equal(state.mask[..., :8], torch.zeros(1, 1, 16, 8))
    assert torch.equal(state.mask[..., 8:], torch.ones(1, 1, 16, 8))
    small = net.matte(frames, downsample_ratio=0.5, true_alpha=alpha)  # of which the net sees 32 × 32
    assert torch.equal(small.state.mask, state.mask[..., ::2, ::2])
    with pytest.raises(ValueError, match="brm_mask='truth' needs the true alpha"):
        net(frames)
    with pytest.raises(ValueError, match=r"alpha must be \(1, 2, 1, 64, 64\), got"):
        net(frames, alpha=alpha[:, :1])


def test_a_memory_told_by_the_matte_is_the_same_in_chunks_and_without_mattes():
    net = build_net("modnet_v", width=0.25, hidden=8, prm=False, brm_mask="matte").eval()
    frames = torch.rand(1, 4, 3, 64, 64)
    whole = net(frames)
    first = net(frames[:, :3])
    second = net(frames[:, 3:], state=first.state)
    torch.testing.assert_close(second.alpha, whole.alpha[:, 3:])
    for state in (second.state, net.advance(frames)):
        for part, expected in zip(state, whole.state, strict=True):
            torch.testing.assert_close(part, expected)
