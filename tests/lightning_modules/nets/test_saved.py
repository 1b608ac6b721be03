"""A net that a run left is built again from its file alone."""

from pathlib import Path

import pytest
import torch

from lightning_modules.nets import NETS, build_net, load_net
from lightning_modules.nets.interface import MattingNet


def saved(path: Path) -> torch.nn.Module:
    net = build_net("modnet", width=0.25).eval()
    torch.save({"model": {"name": "modnet", "width": 0.25}, "state_dict": net.state_dict()}, path)
    return net


def test_the_net_of_a_file_gives_the_same_matte(tmp_path: Path) -> None:
    net, frames = saved(tmp_path / "model.pt"), torch.rand(1, 2, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(load_net(str(tmp_path / "model.pt"))(frames).alpha, net(frames).alpha)


def test_what_is_none_of_ours_is_told(tmp_path: Path) -> None:
    torch.save(saved(tmp_path / "model.pt").state_dict(), tmp_path / "other.pth")
    for path, told in ((tmp_path / "other.pth", "no net of this project"), (tmp_path / "no.pt", "there is no")):
        with pytest.raises(ValueError, match=told):
            load_net(path)


def test_weights_that_do_not_fit_changed_options_are_told(tmp_path: Path) -> None:
    saved(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"does not fit this modnet with width=0\.5"):
        load_net(tmp_path / "model.pt", width=0.5)


def test_a_net_that_nobody_published_weights_for_needs_no_such_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare(MattingNet):
        def __init__(self, channels: int = 3) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, channels, 1)

    monkeypatch.setitem(NETS, "bare", Bare)
    state = Bare(5).state_dict()
    torch.save({"model": {"name": "bare", "channels": 5}, "state_dict": state}, tmp_path / "model.pt")
    assert torch.equal(load_net(tmp_path / "model.pt").state_dict()["convolution.weight"], state["convolution.weight"])
