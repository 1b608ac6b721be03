"""What holds for every net of the table."""

import copy

import pytest
import torch
from torch.utils._pytree import tree_leaves

from lightning_modules.nets import NETS, build_net
from tests.lightning_modules.nets.mobilenet import leave_out_repeats
from tests.lightning_modules.nets.small import SMALL

CASES = [
    *(pytest.param(name, options, id=name) for name, options in SMALL.items()),
    pytest.param("modnet_v", {"width": 0.5, "hidden": 8, "working_size": 64, "prm_mode": "all"}, id="modnet_v-prm"),
    pytest.param("modnet_v", SMALL["modnet_v"] | {"brm": False}, id="modnet_v-plain"),
    pytest.param("modnet_v", SMALL["modnet_v"] | {"motion": "global"}, id="modnet_v-motion"),
    pytest.param("modnet_flow", SMALL["modnet_flow"] | {"flow": "dis"}, id="modnet_flow-dis"),
    pytest.param("context_motion", SMALL["context_motion"] | {"flow": "dis"}, id="context_motion-dis"),
]


def clip(frames=2, height=40, width=72, batch=2, seed=0):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def run(net, frames, state=None):
    """With a plate, which some nets need: the frames upside down."""
    return net(frames, state, background=frames.flip(-2))


def test_every_net_of_the_table_has_a_case():
    assert set(NETS) == set(SMALL), "its smallest options belong into tests/lightning_modules/nets/small.py"


@pytest.mark.parametrize(("name", "options"), CASES)
def test_alpha_has_the_size_of_the_frames_and_lies_in_0_1(name, options):
    net = build_net(name, **options).eval()
    for height, width in ((32, 32), (33, 71), (97, 64)):
        with torch.no_grad():
            alpha = run(net, clip(1, height, width)).alpha
        assert alpha.shape == (2, 1, 1, height, width)
        assert alpha.min() >= 0
        assert alpha.max() <= 1


@pytest.mark.parametrize(("name", "options"), CASES)
def test_chunked_clip_equals_whole_clip(name, options):
    net = build_net(name, **options).eval()
    net.reset_parameters(3)
    make_memory_visible(net)
    frames = clip(3)
    with torch.no_grad():
        whole = run(net, frames).alpha
        state, parts = None, []
        for t in range(3):
            out = run(net, frames[:, t : t + 1], state)
            state = out.state
            parts.append(out.alpha)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_clip_leaves_nothing_behind_for_the_next(name, options):
    net = build_net(name, **options).eval()
    make_memory_visible(net)
    with torch.no_grad():
        alone = run(net, clip(1, seed=1)).alpha
        run(net, clip(2, seed=2))
        assert torch.equal(run(net, clip(1, seed=1)).alpha, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradient_reaches_every_parameter(name, options):
    net = build_net(name, **options).train()
    make_memory_visible(net)
    out = run(net, clip(2, 64, 96))
    loss = out.alpha.square().mean() + (0 if out.foreground is None else out.foreground.square().mean())
    loss = loss + sum(value.square().mean() for value in out.aux.values() if value.requires_grad)
    loss.backward()
    trained = [(key, p) for key, p in net.named_parameters() if p.requires_grad]
    without = [key for key, p in trained if p.grad is None or not p.grad.isfinite().all()]
    # RVM's second head has a pass of its own: see test_rvm.py.
    assert [key for key in without if not key.startswith("segmentation_head.")] == []


@pytest.mark.slow
def test_compiled_step_gives_the_same_and_its_copy_has_own_weights():
    """With MODNet; a net with a memory has a test of its own, next to its others."""
    net = build_net("modnet", width=0.5, hidden=16).eval()
    leave_out_repeats(net.backbone)
    frames = clip(2, 64, 64)
    with torch.no_grad():
        plain = run(net, frames).alpha
        net.compile_step(backend="eager", fullgraph=True)
        torch.testing.assert_close(run(net, frames).alpha, plain, atol=1e-6, rtol=0)
        twin = copy.deepcopy(net)
        twin.reset_parameters(7)
        changed = run(twin, frames).alpha
        torch.testing.assert_close(run(net, frames).alpha, plain, atol=1e-6, rtol=0)
    assert (changed - plain).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "options"), CASES)
def test_mixed_precision_is_close_and_keeps_the_state_in_float32(name, options):
    net = build_net(name, **options).eval()
    frames = clip()
    with torch.no_grad():
        exact = run(net, frames).alpha
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = run(net, frames)
    assert out.alpha.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in tree_leaves(out.state) if part is not None)
    assert (out.alpha - exact).abs().mean() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_start_weights_come_from_the_seed_alone(name, options):
    net = build_net(name, **options)
    before = torch.random.get_rng_state()
    states = []
    for seed in (1, 2, 1):
        net.reset_parameters(seed)
        states.append({key: value.clone() for key, value in net.state_dict().items()})
    assert torch.equal(torch.random.get_rng_state(), before)
    first, other, again = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key, _ in net.named_parameters())


def test_unknown_net_and_option_name_what_there_is():
    with pytest.raises(ValueError, match=r"'modnett'.*modnet, modnet_flow, modnet_v"):
        build_net("modnett")
    with pytest.raises(ValueError, match=r"no option bmr.*brm_update"):
        build_net("modnet_v", bmr=True)


@pytest.mark.parametrize(
    "options",
    [
        {"brm": "maybe"},
        {"brm_update": "mean"},
        {"brm_mode": "magic"},
        {"prm_mode": "some"},
        {"prm_halo": 3},
        {"prm_k": 0},
        {"semantic_scale": 0.3},
        {"last_block": "half"},
        {"prior_to_d": "f8"},
        {"working_size": 500},
        {"width": 0.5, "pretrained": True},
    ],
)
def test_wrong_value_of_an_option_is_refused_in_one_line(options):
    with pytest.raises(ValueError, match=r"must|needs") as error:
        build_net("modnet_v", **options)
    assert "\n" not in str(error.value)


def make_memory_visible(net):
    """Take what starts at zero away from zero: the fuse of BRM and the last layer of the patch refiner."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if getattr(net, "brm", None) is not None:
            net.brm.fuse_norm.weight.copy_(torch.rand(net.brm.fuse_norm.weight.shape, generator=generator) + 0.5)
        if getattr(net, "prm", None) is not None:
            net.prm.refiner.head.weight.copy_(torch.randn(net.prm.refiner.head.weight.shape, generator=generator) * 0.1)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), CASES)
def test_gpu_gives_the_same_mattes_and_chunks_equal_the_whole(name, options, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    net = build_net(name, **options).eval()
    net.reset_parameters(3)
    make_memory_visible(net)
    frames = clip(3)
    with torch.no_grad():
        on_cpu = run(net, frames).alpha
        net.cuda()
        whole = run(net, frames.cuda()).alpha
        first = run(net, frames[:, :1].cuda())
        rest = run(net, frames[:, 1:].cuda(), first.state).alpha
    torch.testing.assert_close(whole.cpu(), on_cpu, atol=2e-4, rtol=0)
    torch.testing.assert_close(torch.cat([first.alpha, rest], dim=1), whole, atol=2e-4, rtol=0)
