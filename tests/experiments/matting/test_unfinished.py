from pathlib import Path

import pytest
import torch

from experiments.matting.looks import parse_targets
from experiments.matting.unfinished import Earlier, Unfinished
from lightning_modules.nets import build_net
from lightning_modules.nets.brm import BRMState

TARGETS = parse_targets(["alpha.mp4"])


@pytest.fixture
def begun(tmp_path: Path) -> Unfinished:
    unfinished = Unfinished(tmp_path, {"scales": (1, 2), "crf": 12, "over": "white"})
    unfinished.work.mkdir()
    unfinished.begin(TARGETS)
    return unfinished


def test_settings_that_changed_are_told_and_no_others(begun: Unfinished) -> None:
    earlier = Earlier.read(begun.folder)
    assert earlier is not None
    assert earlier.changed({"scales": (1, 2), "crf": 12, "over": "white"}) == []
    assert earlier.changed({"scales": (1, 2), "crf": 18, "sound": True}) == ["crf", "over", "sound"]


def test_a_state_comes_back_as_the_net_knows_it(begun: Unfinished) -> None:
    net = build_net("modnet_v", width=0.25, hidden=8)
    begun.segments, begun.times = 1, [0, 7]
    begun.state = BRMState(*(torch.rand(1, channels, 2, 3) for channels in (4, 1, 1)))
    begun.segment(TARGETS[0], 0).touch()
    begun.save()
    again = Unfinished(begun.folder, begun.settings)
    again.resume(net, TARGETS)
    assert (again.segments, again.times) == (1, [0, 7])
    assert isinstance(again.state, BRMState)
    assert all(torch.equal(one, other) for one, other in zip(again.state, begun.state, strict=True))


@pytest.mark.parametrize("harm", ["half a file", "a lost segment"])
def test_what_is_damaged_is_begun_anew(begun: Unfinished, harm: str) -> None:
    begun.segments, begun.times = 1, [0]
    begun.segment(TARGETS[0], 0).touch()
    begun.save()
    if harm == "half a file":
        file = begun.work / "progress.pt"
        file.write_bytes(file.read_bytes()[:100])
    else:
        begun.segment(TARGETS[0], 0).unlink()
    again = Unfinished(begun.folder, begun.settings)
    again.resume(build_net("modnet_v", width=0.25, hidden=8), TARGETS)
    assert (again.segments, again.times) == (0, [])
    again.begin(TARGETS)
    assert list(begun.work.iterdir()) == []


def test_a_record_that_cannot_be_read_is_of_nothing_complete(tmp_path: Path) -> None:
    assert Earlier.read(tmp_path) is None
    (tmp_path / "matte.json").write_text("{half")
    earlier = Earlier.read(tmp_path)
    assert earlier is not None
    assert not earlier.complete
