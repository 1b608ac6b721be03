"""What a stage writes down while it trains."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf

import experiments
from experiments.cell import train
from experiments.cell_logger import CellLogger, logged_names
from experiments.devices import MemoryExhaustedError
from experiments.stages import History, history_every
from lightning_modules.rvm import RVMObjective


def trainer(accumulated: int = 1) -> SimpleNamespace:
    settings = {"accumulate_grad_batches": accumulated, "callback_metrics": {}, "is_global_zero": True, "loggers": []}
    return SimpleNamespace(global_step=0, **settings)


def see(history: History, trainer: SimpleNamespace, batch: int, **terms: float) -> None:
    trainer.global_step = (batch + 1) // trainer.accumulate_grad_batches
    history.on_train_batch_end(trainer, None, {"terms": terms}, None, batch)  # type: ignore[arg-type]


def test_a_row_holds_the_mean_of_each_loss_since_the_row_before(tmp_path: Path) -> None:
    fit, history = trainer(), History(tmp_path / "history.csv", every=4)
    history.on_train_start()
    for batch, value in enumerate((1.0, 2.0, 3.0)):
        see(history, fit, batch, loss=value, matting=value)
    saved = copy.deepcopy(history.state_dict())
    see(history, fit, 3, loss=10.0, segmentation=10.0)
    history = History(tmp_path / "history.csv", every=4)  # cut off within a row, and gone on with
    history.load_state_dict(saved)
    history.on_train_start()
    see(history, fit, 3, loss=10.0, segmentation=10.0)
    see(history, fit, 4, loss=6.0, segmentation=6.0)
    fit.callback_metrics = {"val/mad": torch.tensor(0.5), "loss": torch.tensor(6.0)}
    history.on_validation_end(fit)  # type: ignore[arg-type]
    see(history, fit, 5, loss=8.0, segmentation=8.0)
    history.on_train_end(fit)  # type: ignore[arg-type]
    expected = {"step": [4, 5, 6], "loss": [4.0, None, 7.0], "matting": [2.0, None, None]}
    expected |= {"segmentation": [10.0, None, 7.0], "val/mad": [None, 0.5, None]}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), pd.DataFrame(expected))


def test_a_row_counts_every_batch_of_accumulated_steps(tmp_path: Path) -> None:
    fit, history = trainer(accumulated=2), History(tmp_path / "history.csv", every=2)
    history.on_train_start()
    for batch in range(8):
        see(history, fit, batch, loss=float(batch))
    assert history.rows == [{"step": 2, "loss": 1.5}, {"step": 4, "loss": 5.5}]


@pytest.mark.parametrize("passes", [0, 2, 4, 6])
@pytest.mark.parametrize("steps", [4, 480, 960, 18_150])
def test_a_row_is_a_hundredth_of_the_stage_in_whole_laps_and_fifty_steps_at_most(steps: int, passes: int) -> None:
    every = history_every({"steps": steps} | ({"order": ["matting"] * passes} if passes else {}))
    assert every % max(passes, 1) == 0
    assert every == pytest.approx(min(steps / 100, 50), abs=passes or 1)


def test_losses_of_a_stage_that_is_cut_off_within_a_row_are_those_of_a_whole_one_and_loggers_get_the_same(
    tmp_path: Path, fill_memory: Callable[..., Iterator[int]]
) -> None:
    settings = ["model=rvm", "recipe=rvm", "scale=smoke", "scale.rvm.steps=[14,0,0,0]", "trainer.accelerator=cpu"]
    settings += [f"recipe.stages.stage{number}=null" for number in (2, 3, 4)]
    settings += ["trainer.checkpoint_every=5", "trainer.validate_every=7", f"data.cache_dir={tmp_path}/cache"]
    with initialize_config_dir(str(Path(experiments.__file__).parent / "configs"), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", overrides=settings), resolve=True)
    train(config, tmp_path / "whole", CellLogger(CSVLogger(tmp_path, name="", version="csv")))
    fill_memory(RVMObjective, 6)
    with pytest.raises(MemoryExhaustedError):
        train(config, tmp_path / "cut", None)
    train(config, tmp_path / "cut", None)  # from step 5 on
    name = "history_stage1.csv"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    history = pd.read_csv(tmp_path / "whole" / name).set_index("step")
    assert list(history.index) == [4, 7, 8, 12, 14]
    logged = pd.read_csv(tmp_path / "csv" / "metrics.csv").set_index("step")
    assert set(logged) == set(logged_names(dict.fromkeys(history, 0.0)))
    for name in history:
        (column,) = logged_names({name: 0.0})
        assert dict(logged[column].dropna()) == pytest.approx(dict(history[name].dropna()))


def test_checkpoints_of_another_cell_are_not_used_and_none_stays_when_the_stage_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["model=modnet", "recipe=modnet", "scale=smoke", "trainer.accelerator=cpu", "model.width=0.25"]
    settings += ["trainer.checkpoint_every=2", f"data.cache_dir={tmp_path}/cache", "scale.steps=4"]
    with initialize_config_dir(str(Path(experiments.__file__).parent / "configs"), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", overrides=settings), resolve=True)
    (stage,) = (name for name, stage in config["recipe"]["stages"].items() if stage)
    one, other = ({**config, "seed": seed} for seed in (0, 1))
    expected, _, _ = train(one, tmp_path / "one", None)
    train(other, tmp_path / "other", None)
    done, left = (tmp_path / "one" / "checkpoints" / f"{stage}{suffix}" for suffix in (".pt", ".ckpt"))
    left.write_bytes(b"left by a kill")
    capsys.readouterr()
    train(one, tmp_path / "one", None)  # nothing is trained
    assert not left.exists()
    assert capsys.readouterr().out == ""
    foreign = tmp_path / "other" / "checkpoints" / f"{stage}.pt"
    done.write_bytes(foreign.read_bytes())
    again, _, _ = train(one, tmp_path / "one", None)
    assert capsys.readouterr().out == f"{done} is of another cell, stage or version and is not used\n"
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in expected.state_dict().items())
