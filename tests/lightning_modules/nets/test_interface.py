"""The door of every net: what does not fit the contract is refused with what was given and what is expected."""

import copy

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput
from tests.lightning_modules.nets.small import SMALL

WITH_STATE = [name for name in SMALL if NETS[name].state_type is not object]


@pytest.fixture(scope="module")
def nets():
    return {name: build_net(name, **options).eval().requires_grad_(False) for name, options in SMALL.items()}


def pictures(frames=1, height=32, width=40, batch=1):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ((pictures() * 255).to(torch.uint8), r"floating-point numbers in \[0, 1\], got torch.uint8: divide by 255"),
        ((pictures() * 255).long(), r"floating-point numbers in \[0, 1\], got torch.int64"),
        (pictures() > 0.5, "floating-point numbers .* got torch.bool"),
        (pictures() * 255, r"must lie in \[0, 1\], got values from .* to 25"),
        (pictures() * 2 - 1, r"must lie in \[0, 1\], got values from -0.9"),
        (pictures() * torch.nan, r"must lie in \[0, 1\], got values from nan"),
        (pictures() + torch.inf, r"must lie in \[0, 1\], got values from inf"),
        (pictures().double(), "frames are torch.float64, the net's weights torch.float32"),
        (pictures().half(), "frames are torch.float16, the net's weights torch.float32"),
        (pictures().to("meta"), "frames are on meta, the net is on cpu"),
        (pictures()[0], r"frames must be \(B, T, 3, H, W\), got \(1, 3, 32, 40\)"),
        (pictures()[:, :, :1], r"frames must be \(B, T, 3, H, W\), got \(1, 1, 1, 32, 40\)"),
        (pictures()[:, :0], r"frames must be \(B, T, 3, H, W\), got \(1, 0, 3, 32, 40\)"),
        (pictures().movedim(2, -1), r"frames must be \(B, T, 3, H, W\), got \(1, 1, 32, 40, 3\)"),
        (pictures(1, 31), r"at least 32 pixels high and wide, got \(31, 40\)"),
        (np.zeros((1, 1, 3, 32, 40)), "frames must be a tensor .* got a ndarray"),
        (None, "frames must be a tensor .* got a NoneType"),
    ],
)
def test_wrong_frames_are_refused(name, frames, told, nets):
    with pytest.raises(ValueError, match=told) as refused:
        nets[name](frames, background=pictures())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["background_matting_v2", "modnet"])
@pytest.mark.parametrize(
    ("background", "told"),
    [
        (pictures(1, 32, 48), r"background must be .* for frames \(1, 3, 3, 32, 40\), got \(1, 1, 3, 32, 48\)"),
        (pictures(2), r"background must be .* got \(1, 2, 3, 32, 40\)"),
        (pictures(1, batch=2), r"background must be .* got \(2, 1, 3, 32, 40\)"),
        (pictures()[0], r"background must be \(B, 1 or T, 3, H, W\), got \(1, 3, 32, 40\)"),
        (pictures() * 255, r"background must lie in \[0, 1\]"),
        ((pictures() * 255).to(torch.uint8), "background must be floating-point numbers"),
        (pictures().double(), "background are torch.float64"),
        (np.zeros((1, 1, 3, 32, 40)), "background must be a tensor"),
    ],
)
def test_a_wrong_plate_is_refused(name, background, told, nets):
    with pytest.raises(ValueError, match=told):
        nets[name](pictures(3), background=background)


@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize(
    ("height", "batch"), [pytest.param(64, 1, id="another size"), pytest.param(32, 2, id="another batch")]
)
def test_a_state_of_other_frames_is_refused(name, height, batch, nets):
    state = nets[name](pictures()).state
    assert state is not None
    with pytest.raises(ValueError, match="the state is of another clip"):
        nets[name](pictures(1, height, batch=batch), state)


@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize("state", ["r1", 5, pictures(), {"r1": None}, pictures], ids=type)
def test_what_is_no_state_is_refused(name, state, nets):
    with pytest.raises(ValueError, match="give the state of its output for the chunk before"):
        nets[name](pictures(), state)


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_state_of_another_net_is_refused(name, nets):
    other = "rvm" if name != "rvm" else "modnet_flow"
    with pytest.raises(ValueError, match="the state"):
        nets[name](pictures(), nets[other](pictures()).state)


@pytest.mark.parametrize("name", ["modnet", "rvm"])
def test_what_fits_passes(name, nets):
    """Rounding steps out of [0, 1] a little; autocast casts; a net in half precision takes such frames."""
    net = nets[name]
    found = [net(pictures() * 1.005 - 0.001), net(pictures().expand(2, 3, -1, -1, -1))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found.append(net(pictures().bfloat16()))
    found.append(copy.deepcopy(net).bfloat16()(pictures().bfloat16()))
    assert all(output.alpha.isfinite().all() for output in found)


class Grey(MattingNet):
    """The smallest net: the frames' mean over colours, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, frames, state=None, background=None):
        self.check_inputs(frames, state, background)
        return MattingOutput(frames.mean(2, keepdim=True) * self.weight)


class Alpha(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, frames):
        return self.net(frames).alpha


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "graph_of"),
    [
        ("modnet", lambda net: torch.jit.trace(net, pictures(), check_trace=False)),
        # A small net, since these take a second for some ten layers, and the door is the same.
        ("grey", lambda net: torch.compile(net, backend="eager", fullgraph=True)),
        ("grey", lambda net: torch.export.export(net, (pictures(),)).module()),
    ],
    ids=["traced", "compiled", "exported"],
)
def test_a_graph_looks_at_no_values(name, graph_of, nets):
    net = Alpha(Grey() if name == "grey" else nets[name])
    torch.testing.assert_close(graph_of(net)(pictures()), net(pictures()), atol=1e-5, rtol=0)


def test_an_output_is_a_tree_of_its_tensors():
    state = (torch.ones(1), None)
    output = MattingOutput(torch.zeros(1, 1, 1, 2, 2), None, state, {"flow": torch.ones(2)})
    doubled = tree_map_only(torch.Tensor, lambda tensor: tensor.double(), output)
    assert isinstance(doubled, MattingOutput)
    assert {leaf.dtype for leaf in tree_leaves(doubled) if leaf is not None} == {torch.float64}
    assert (doubled.foreground, doubled.state[1]) == (None, None)
    assert list(doubled.aux) == ["flow"]


@pytest.mark.slow
def test_an_exported_net_gives_the_same_output():
    net, frames = build_net("modnet", width=0.25).eval(), torch.rand(1, 1, 3, 32, 32)
    exported = torch.export.export(net, (frames,)).module()
    with torch.no_grad():
        assert torch.allclose(exported(frames).alpha, net(frames).alpha, atol=1e-5)
