"""What a stage writes down while it trains."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.trainer.states import TrainerFn, TrainerState

from experiments.training.callbacks import History


def trainer(accumulated: int = 1) -> SimpleNamespace:
    settings = {"accumulate_grad_batches": accumulated, "callback_metrics": {}, "is_global_zero": True, "loggers": []}
    return SimpleNamespace(global_step=0, max_steps=100, state=TrainerState(TrainerFn.FITTING), **settings)


def see(history: History, trainer: SimpleNamespace, batch: int, **terms: float) -> None:
    trainer.global_step = (batch + 1) // trainer.accumulate_grad_batches
    history.on_train_batch_end(trainer, None, {"terms": terms}, None, batch)  # type: ignore[arg-type]


def test_a_row_holds_the_mean_of_each_loss_since_the_row_before(tmp_path: Path) -> None:
    fit, history = trainer(), History(tmp_path / "history.csv", every=4)
    history.on_train_start(fit)  # type: ignore[arg-type]
    for batch, value in enumerate((1.0, 2.0, 3.0)):
        see(history, fit, batch, loss=value, matting=value)
    saved = copy.deepcopy(history.state_dict())
    see(history, fit, 3, loss=10.0, segmentation=10.0)
    history = History(tmp_path / "history.csv", every=4)  # cut off within a row, and gone on with
    history.load_state_dict(saved)
    history.on_train_start(fit)  # type: ignore[arg-type]
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
    history.on_train_start(fit)  # type: ignore[arg-type]
    for batch in range(8):
        see(history, fit, batch, loss=float(batch))
    assert history.rows == [{"step": 2, "loss": 1.5}, {"step": 4, "loss": 5.5}]


def test_loggers_are_told_what_a_checkpoint_brought(tmp_path: Path, told: Any) -> None:
    fit, history = trainer(), History(tmp_path / "history.csv", every=1)
    history.load_state_dict({"rows": [{"step": 1, "loss": 2.0}], "sums": {}, "seconds": 0.0})
    fit.loggers = [told]
    history.on_train_start(fit)  # type: ignore[arg-type]
    assert told.rows == [{"step": 1, "loss": 2.0}]
