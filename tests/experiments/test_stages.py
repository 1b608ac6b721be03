"""What a stage writes down while it trains."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from experiments.stages import History, history_every, log_every


def step(history: History, trainer: SimpleNamespace, **terms: float) -> None:
    trainer.global_step += 1
    history.on_train_batch_end(trainer, None, {"terms": terms}, None, trainer.global_step - 1)  # type: ignore[arg-type]


@pytest.fixture
def trainer() -> SimpleNamespace:
    return SimpleNamespace(global_step=0, accumulate_grad_batches=1, callback_metrics={}, is_global_zero=True)


def test_a_row_holds_the_mean_of_each_loss_since_the_row_before(tmp_path: Path, trainer: SimpleNamespace) -> None:
    history = History(tmp_path / "history.csv", every=4)
    history.on_train_start()
    for value in (1.0, 2.0, 3.0):
        step(history, trainer, loss=value, matting=value)
    saved = copy.deepcopy(history.state_dict())
    step(history, trainer, loss=10.0, segmentation=10.0)
    history = History(tmp_path / "history.csv", every=4)  # cut off within a row, and gone on with
    history.load_state_dict(saved)
    history.on_train_start()
    trainer.global_step = 3
    step(history, trainer, loss=10.0, segmentation=10.0)
    trainer.callback_metrics = {"val/mad": 0.5, "train/matting": 3.0}
    history.on_validation_end(trainer)  # type: ignore[arg-type]
    step(history, trainer, loss=6.0, segmentation=6.0)
    history.on_train_end(trainer)  # type: ignore[arg-type]
    rows = pd.read_csv(tmp_path / "history.csv")
    expected = {"step": [4, 5], "loss": [4.0, 6.0], "matting": [2.0, None], "segmentation": [10.0, 6.0]}
    pd.testing.assert_frame_equal(rows, pd.DataFrame(expected | {"val/mad": [0.5, None]}))


@pytest.mark.parametrize("passes", [1, 2, 4, 6])
@pytest.mark.parametrize("steps", [4, 100, 480, 960, 18_150])
def test_rows_are_whole_iterations_and_loggers_see_every_pass(steps: int, passes: int) -> None:
    stage = {"steps": steps} | ({"order": list(range(passes))} if passes > 1 else {})
    assert history_every(stage) % passes == 0
    assert steps < 480 or 50 <= steps / history_every(stage) <= 150
    assert 1 <= log_every(stage) <= 10
    assert {(turn * log_every(stage)) % passes for turn in range(passes)} == set(range(passes))
