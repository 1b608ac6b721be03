"""All estimators: shapes, sides that need padding, direction; their accuracy only where no weights are needed."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.metrics.flow import end_point_error
from lightning_modules.nets.flow import FLOWS, PTLFlow, build_flow


class Recorder(nn.Module):
    """Stands in for a model of ptlflow; keeps what it was given."""

    pretrained_checkpoints = {"things": "…", "sintel": "…"}  # noqa: RUF012

    def __init__(self, checkpoint=None):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 1.0 if checkpoint == "sintel" else 0.0))

    def forward(self, inputs):
        self.images = inputs["images"]
        first = self.images[:, 0]
        return {"flows": torch.zeros(len(first), 1, 2, *first.shape[-2:]) + self.weight}


@pytest.fixture
def fake_ptlflow(monkeypatch):
    def get_model(name, ckpt_path=None):
        if name == "nothing":
            raise ValueError("Unknown model name: nothing.\nChoose from [raft, …]")
        return Recorder(ckpt_path)

    monkeypatch.setitem(sys.modules, "ptlflow", types.SimpleNamespace(get_model=get_model))


@pytest.mark.parametrize("name", [name for name in FLOWS if name != "maskflownet"])
@pytest.mark.parametrize(("height", "width"), [(33, 70), (130, 64)])
def test_any_size_gives_a_flow_of_that_size(name, height, width):
    torch.manual_seed(0)
    options = {"num_updates": 1} if name.startswith("raft") else {}
    estimator = build_flow(name, **options).eval()
    with torch.no_grad():
        flow = estimator(*torch.rand(2, 2, 3, height, width))
    assert flow.shape == (2, 2, height, width)
    assert flow.dtype == torch.float32
    assert flow.isfinite().all()


@pytest.mark.parametrize("name", ["pwcnet", "raft_small"])
def test_mixed_precision_changes_nothing(name):
    torch.manual_seed(0)
    estimator = build_flow(name).eval()
    pair = torch.rand(2, 1, 3, 128, 128).unbind(0)
    with torch.no_grad():
        exact = estimator(*pair)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(estimator(*pair), exact)


def textured(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse, fine = (
        torch.rand(1, 3, height // 8, width // 8, generator=generator),
        torch.rand(1, 3, height // 2, width // 2, generator=generator),
    )
    return sum(F.interpolate(x, (height, width), mode="bicubic") for x in (coarse, 0.3 * fine)).clamp(0, 1.3) / 1.3


@pytest.mark.parametrize(("right", "down"), [(4, 0), (-3, 2), (0, -5)])
def test_dis_finds_a_known_shift_and_its_direction(right, down):
    scene = textured(176, 208)
    previous = scene[..., 24:152, 24:184]
    frame = scene[..., 24 - down : 152 - down, 24 - right : 184 - right]  # everything went right and down
    flow = build_flow("dis")(frame, previous)[:, None]
    truth = torch.tensor([-right, -down], dtype=torch.float32)[:, None, None].expand_as(flow)
    inner = torch.zeros(1, 1, 1, 128, 160, dtype=torch.bool)
    inner[..., 16:-16, 16:-16] = True
    assert end_point_error(flow, truth, inner).item() < 0.1


def test_raft_uses_torchvisions_net_and_its_range():
    torch.manual_seed(0)
    estimator = build_flow("raft_small", num_updates=2).eval()
    a, b = torch.rand(2, 1, 3, 128, 136).unbind(0)
    with torch.no_grad():
        assert torch.equal(estimator(a, b), estimator.net(2 * a - 1, 2 * b - 1, num_flow_updates=2)[-1])
    assert sum(p.numel() for p in estimator.parameters()) == 990_162
    assert sum(p.numel() for p in build_flow("raft_large").parameters()) == 5_257_536


def test_pwcnet_sees_the_published_colour_order():
    torch.manual_seed(0)
    bgr, rgb = build_flow("pwcnet").eval(), build_flow("pwcnet", channel_order="rgb").eval()
    rgb.load_state_dict(bgr.state_dict())
    a, b = torch.rand(2, 1, 3, 64, 64).unbind(0)
    with torch.no_grad():
        assert torch.equal(bgr(a, b), rgb(a.flip(1), b.flip(1)))


def test_ptlflow_is_given_both_frames_in_its_order(fake_ptlflow):
    estimator = build_flow("ptlflow:raft")
    frame, previous = torch.rand(2, 2, 3, 128, 192).unbind(0)
    assert estimator(frame, previous).shape == (2, 2, 128, 192)
    assert torch.equal(estimator.net.images, torch.stack((frame.flip(1), previous.flip(1)), dim=1))


def test_ptlflow_takes_the_sintel_weights_when_it_is_asked_to(fake_ptlflow):
    estimator = build_flow("maskflownet")
    assert isinstance(estimator, PTLFlow)
    assert estimator.net.weight.item() == 0
    estimator.load_pretrained()
    assert estimator.net.weight.item() == 1


def test_a_missing_package_or_name_is_said_in_one_line(fake_ptlflow, monkeypatch):
    with pytest.raises(ValueError, match=r"ptlflow gives no 'nothing'") as error:
        build_flow("ptlflow:nothing")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "ptlflow", None)
    with pytest.raises(ValueError, match=r"flow 'maskflownet' needs ptlflow.*pip install") as error:
        build_flow("maskflownet")
    assert "\n" not in str(error.value)


def test_unknown_names_options_and_frames_are_refused():
    assert build_flow("oracle") is build_flow("none") is None
    with pytest.raises(ValueError, match=r"flow must be one of pwcnet, .*ptlflow:NAME, got 'pwc'"):
        build_flow("pwc")
    with pytest.raises(ValueError, match="'dis' has no option updates; it has: preset"):
        build_flow("dis", updates=2)
    with pytest.raises(ValueError, match="'none' has no option updates"):
        build_flow("none", updates=2)
    with pytest.raises(ValueError, match="preset must be"):
        build_flow("dis", preset="slow")
    with pytest.raises(ValueError, match="num_updates must be"):
        build_flow("raft_small", num_updates=0)
    with pytest.raises(ValueError, match="channel_order must be"):
        build_flow("pwcnet", channel_order="grb")
    with pytest.raises(ValueError, match=r"two frames \(N, 3, H, W\) of one size"):
        build_flow("dis")(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 32))
