"""What a stage leaves, whole or cut off."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from datamodules.batch import MattingBatch
from experiments.cells.work import train
from experiments.logging.cell_logger import CellLogger, logged_names
from experiments.training.data import make_data
from experiments.training.devices import MemoryExhaustedError
from experiments.training.settings import Settings
from experiments.training.stages import history_every
from lightning_modules.metrics import MAD
from lightning_modules.module import MattingModule
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.rvm import RVMObjective
from tests.experiments.training.composed import settings_of, stage_of


@pytest.mark.parametrize("passes", [0, 2, 4, 6])
@pytest.mark.parametrize("steps", [4, 480, 960, 18_150])
def test_a_row_is_a_hundredth_of_the_stage_in_whole_laps_and_fifty_steps_at_most(steps: int, passes: int) -> None:
    turns = {"passes": {"matting": {"data": "matting", "batch_size": 1, "size": 32}}, "order": ["matting"] * passes}
    every = history_every(stage_of(steps=steps, **turns if passes else {}))
    assert every % max(passes, 1) == 0
    assert every == pytest.approx(min(steps / 100, 50), abs=passes or 1)


def few_of(folder: Path, *settings: str) -> Settings:
    """Of few short clips, which tests that run one after the other share."""
    few = ["scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4", "scale.val_clips=1"]
    few += ["scale.test_clips=1", "scale.test_frames=2", "scale.rvm.size=64", f"data.cache_dir={folder.parent}/cache"]
    return settings_of("scale=smoke", *few, *settings)


@pytest.mark.slow
def test_a_stage_that_is_cut_off_within_a_row_or_at_its_end_leaves_what_a_whole_one_does_and_loggers_get_the_same(
    tmp_path: Path, fill_memory: Callable[..., Iterator[int]]
) -> None:
    settings = ["model=rvm", "recipe=rvm", "scale.rvm.steps=[14,0,0,0]", "trainer.calibration_batches=3"]
    settings += [f"recipe.stages.stage{number}=null" for number in (2, 3, 4)]
    config = few_of(tmp_path, *settings, "trainer.checkpoint_every=5", "trainer.validate_every=7")
    train(config, "", tmp_path / "whole", CellLogger(CSVLogger(tmp_path, name="", version="csv")))
    name, weights = "history_stage1.csv", "checkpoints/stage1.pt"
    whole = torch.load(tmp_path / "whole" / weights, weights_only=True)["net"]
    for call in (6, 15):  # the second of the batches that calibrate
        fill_memory(RVMObjective, call)
        with pytest.raises(MemoryExhaustedError):
            train(config, "", tmp_path / f"cut{call}", None)
        train(config, "", tmp_path / f"cut{call}", None)  # from step 5 or 10 on
        assert (tmp_path / f"cut{call}" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        cut = torch.load(tmp_path / f"cut{call}" / weights, weights_only=True)["net"]
        assert all(torch.equal(value, whole[key]) for key, value in cut.items())
    history = pd.read_csv(tmp_path / "whole" / name).set_index("step")
    assert list(history.index) == [4, 7, 8, 12, 14]
    logged = pd.read_csv(tmp_path / "csv" / "metrics.csv").set_index("step")
    assert set(logged) == set(logged_names(dict.fromkeys(history, 0.0)))
    for name in history:
        (column,) = logged_names({name: 0.0})
        assert dict(logged[column].dropna()) == pytest.approx(dict(history[name].dropna()))


@pytest.mark.slow
def test_a_stage_that_is_asked_to_end_in_its_last_validation_is_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = few_of(tmp_path, "model=modnet", "recipe=modnet", "scale.modnet_steps=2")
    validate = MattingModule.validation_step

    def asked(module: MattingModule, *batch: Any) -> None:
        if module.trainer.state.fn == TrainerFn.VALIDATING:
            os.kill(os.getpid(), signal.SIGTERM)
        validate(module, *batch)

    monkeypatch.setattr(MattingModule, "validation_step", asked)
    with pytest.raises(SystemExit, match="143"):
        train(config, "", tmp_path / "cell", None)
    history = pd.read_csv(tmp_path / "cell" / "history_matting.csv").set_index("step")
    assert history["val/mad"].notna()[2]
    assert (tmp_path / "cell" / "checkpoints" / "matting.pt").is_file()
    monkeypatch.setattr(MattingModule, "training_step", None)  # nothing is left to train
    train(config, "", tmp_path / "cell", None)


@pytest.mark.slow
def test_checkpoints_of_another_cell_are_not_used_and_none_stays_when_the_stage_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: Any
) -> None:
    settings = ("trainer.checkpoint_every=1", "trainer.calibration_batches=1", "scale.modnet_steps=2")
    config = few_of(tmp_path, "model=modnet", "recipe=modnet", *settings)
    (stage,) = config.stages
    expected, _, _ = train(config, "one", tmp_path / "one", None)
    train(replace(config, seed=1), "other", tmp_path / "other", None)
    done, left = (tmp_path / "one" / "checkpoints" / f"{stage}{suffix}" for suffix in (".pt", ".ckpt"))
    left.write_bytes(b"left by a kill")
    capsys.readouterr()
    train(config, "one", tmp_path / "one", told)  # nothing is trained
    assert [row["step"] for row in told.rows] == [1, 2]
    assert not left.exists()
    assert capsys.readouterr().out == ""
    foreign = tmp_path / "other" / "checkpoints" / f"{stage}.pt"
    done.write_bytes(foreign.read_bytes())
    again, _, _ = train(config, "one", tmp_path / "one", None)
    assert capsys.readouterr().out == f"{done} is of another cell, stage or version and is not used\n"
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in expected.state_dict().items())


def validated(net: MattingNet, data: Any) -> float:
    """The error of a net on the validation clips, as a user would score it by hand."""
    mad = MAD()
    with torch.no_grad():
        for batch in (data.on_after_batch_transfer(clip, 0) for clip in data.val_dataloader()):
            mad.update(net.eval().matte(batch.frames).alpha, batch.alpha)
    return float(mad.compute())


def recalibrated(net: MattingNet, batches: Iterable[MattingBatch]) -> MattingNet:
    """The net with its norms' statistics taken anew, as a user would by hand."""
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
    with torch.no_grad():
        for batch in batches:
            net.train()(batch.frames)
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rvm", "lraspp"])
def test_an_averaged_net_is_the_same_net_recalibrated_by_hand_and_the_history_ends_with_its_error(
    tmp_path: Path, model: str
) -> None:
    settings = [f"model={model}", "scale.steps=4", "scale.rvm.short_steps=4", "trainer.calibration_batches=2"]
    settings += ["trainer.validate_every=2"]
    settings += ["recipe=rvm_without_segmentation_short"] if model == "rvm" else []
    config = few_of(tmp_path, *settings)
    assert config.stages["matting"].average_decay == 0.5
    delivered, _, _ = train(config, "", tmp_path / "delivered", None)
    config = replace(config, trainer=replace(config.trainer, calibration_batches=0))
    averaged, _, _ = train(config, "", tmp_path / "as trained", None)
    frames = torch.rand(1, 3, 3, 64, 64)
    before = averaged.eval()(frames).alpha
    data: Any = make_data(config, config.stages["matting"], "matting")
    batches = data.calibration_loader(2)
    by_hand = recalibrated(averaged, (data.on_after_batch_transfer(batch, 0) for batch in batches))
    for name, value in delivered.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, by_hand.state_dict()[name], msg=lambda text, n=name: f"{n}: {text}")
    errors = pd.read_csv(tmp_path / "delivered" / "history_matting.csv").set_index("step")["val/mad"].dropna()
    assert list(errors.index) == [2, 4]
    assert errors[4] == pytest.approx(validated(delivered, data), rel=1e-5)
    scored = delivered.eval()(frames).alpha
    torch.testing.assert_close(scored, by_hand(frames).alpha)
    if model == "rvm":  # the other's masks are 0 and 1
        assert not torch.allclose(scored, before, atol=1e-3)


@pytest.mark.slow
def test_a_stage_that_holds_its_norms_frozen_leaves_their_statistics(tmp_path: Path) -> None:
    train(few_of(tmp_path, "model=modnet", "recipe=modnet_soc"), "", tmp_path / "cell", None)
    saved = [tmp_path / "cell" / "checkpoints" / f"{stage}.pt" for stage in ("matting", "adaptation")]
    before, after = (torch.load(path, weights_only=True)["net"] for path in saved)
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    running = [name for name in before if ".running_" in name]
    assert running
    assert all(torch.equal(before[name], after[name]) for name in running)
