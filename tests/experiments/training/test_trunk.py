"""What arms share is trained once, whoever comes first, and is cut off and goes on like any stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.cells.work import train
from experiments.records.locks import lock_cell
from experiments.records.progress import read_progress
from experiments.training.devices import MemoryExhaustedError
from experiments.training.nets import make_net
from experiments.training.settings import Settings
from experiments.training.stages import make_objective
from experiments.training.trunk import describe_trunk, shared_steps, start_from_trunk
from lightning_modules.objectives.modnet_v import MODNetVObjective
from tests.experiments.training.composed import settings_of

FEW = ["scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4", "scale.val_clips=1"]
FEW += ["scale.test_clips=1", "scale.test_frames=2", "scale.steps=6"]


def arm(folder: Path, *settings: str) -> Settings:
    words = ["scale=smoke", "model.prm=false", "recipe.stages.refinement=null", "+trunk=without_brm", *FEW, *settings]
    return settings_of(*words, f"data.cache_dir={folder}/cache")


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "checkpoints/matting.pt", weights_only=True)["net"]


def test_the_shared_steps_and_an_arms_own_add_up(tmp_path: Path) -> None:
    stage = arm(tmp_path).stages["matting"]
    assert (stage.steps, shared_steps(stage)) == (6, 4)


def test_arms_that_differ_in_more_than_the_trunks_options_share_none(tmp_path: Path) -> None:
    told = "the first 4 of 6 steps are those of model.brm=false"
    words = (["model.brm=true"], ["model.brm=false"], ["model.brm=oracle"], ["model.brm_threshold=0.9"], ["seed=1"])
    found = [describe_trunk(arm(tmp_path, *more), "matting") for more in words]
    assert all((trunk["steps"], trunk["told"]) == (4, told) for trunk in found)
    one, two, three, *others = (trunk["identity"] for trunk in found)
    assert one == two == three
    assert len({one, *others}) == 3


@pytest.mark.slow
def test_arms_share_one_trunk_and_who_finds_it_becomes_who_trains_it_even_if_that_was_cut_off(
    tmp_path: Path, fill_memory: Callable[..., Iterator[int]]
) -> None:
    minimised = fill_memory(MODNetVObjective, -1)
    train(arm(tmp_path), "", tmp_path / "first", None)
    alone = next(minimised)
    train(arm(tmp_path), "", tmp_path / "again", None)
    found = next(minimised) - alone
    train(arm(tmp_path, "model.brm=false"), "", tmp_path / "plain", None)
    assert next(minimised) - alone - found == found
    assert found - 1 == alone - 4  # which counts this look at it, too; and a trunk's norms are not calibrated
    assert len(list((tmp_path / "trunks").iterdir())) == 1
    fill_memory(MODNetVObjective, 3)
    with pytest.raises(MemoryExhaustedError):
        train(arm(tmp_path), "", tmp_path / "other/cut", None)
    train(arm(tmp_path), "", tmp_path / "other/cut", None)
    first, again, plain, cut = (weights(tmp_path / name) for name in ("first", "again", "plain", "other/cut"))
    assert all(torch.equal(value, again[name]) and torch.equal(value, cut[name]) for name, value in first.items())
    assert set(plain) < set(first)
    assert any(not torch.equal(value, first[name]) for name, value in plain.items())


@pytest.mark.slow
def test_an_arm_starts_as_the_net_that_the_trunk_has_left_and_sees_other_clips(
    tmp_path: Path,
) -> None:
    settings = arm(tmp_path)
    net = make_net(settings.model, settings.seed)
    objective = make_objective(settings.stages["matting"], net, settings.seed)
    (tmp_path / "cell").mkdir()
    after, seconds, found = start_from_trunk(settings, "matting", net, objective, tmp_path / "cell")
    assert after.stages["matting"].steps == 2
    assert seconds > 0 == found
    assert after.seed != settings.seed
    (place,) = (tmp_path / "trunks").iterdir()
    bare = make_net({**settings.model, "brm": False}, 1)
    bare.load_state_dict(weights(place))
    frames = torch.rand(1, 3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net.eval()(frames).alpha, bare.eval()(frames).alpha)


@pytest.mark.slow
def test_a_cell_waits_for_the_trunk_that_another_one_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = arm(tmp_path)
    net = make_net(settings.model, settings.seed)
    objective = make_objective(settings.stages["matting"], net, settings.seed)
    (tmp_path / "cell").mkdir()
    start_from_trunk(settings, "matting", net, objective, tmp_path / "cell")
    (place,) = (tmp_path / "trunks").iterdir()
    told = []
    with ExitStack() as other:
        assert other.enter_context(lock_cell(place)) is not None

        def ends(_: float) -> None:
            told.append(str(read_progress(tmp_path / "cell")))
            other.close()

        monkeypatch.setattr("experiments.training.trunk.time.sleep", ends)
        _, seconds, found = start_from_trunk(settings, "matting", net, objective, tmp_path / "cell")
    assert seconds == found > 0
    assert told == ["trunk of matting by another cell 0/1"]
