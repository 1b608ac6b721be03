"""What scores are read against is scored once for all cells that have the same."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from experiments.inference.streaming import Streaming
from experiments.scoring import baselines
from experiments.scoring.baselines import baselines_of
from experiments.scoring.evaluation import evaluate
from experiments.scoring.sets import condition_test_set
from experiments.training.data import make_data
from experiments.training.nets import make_net
from experiments.training.settings import Settings
from tests.experiments.training.composed import settings_of

CPU = torch.device("cpu")
FEW = ["scale=smoke", "model.prm=false", "recipe.stages.refinement=null", "scale.train_clips=2", "scale.train_scenes=2"]
FEW += ["scale.train_clip_frames=4", "scale.val_clips=1", "scale.test_clips=1", "scale.test_frames=2"]


# Threads of one process draw from one generator; cells are processes.
FLOORS = "method != 'untrained'"


def scored(folder: Path, *words: str) -> pd.DataFrame:
    return scored_by(settings_of(*FEW, *words, f"data.cache_dir={folder}/cache"), folder)


def scored_by(settings: Settings, folder: Path) -> pd.DataFrame:
    data = make_data(settings, stage=None)
    data.prepare_data()
    data.setup("test")
    return baselines_of(settings, data, condition_test_set(data), CPU, folder / "baselines")


@pytest.mark.slow
def test_cells_share_what_they_have_alike_and_a_damaged_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scored(tmp_path, "+trunk=without_brm", "model.brm=true")
    methods = {"constant alpha", "untrained", "empty matte", "first true matte held", "mean training matte above ½"}
    assert methods <= set(first["method"])
    file, *_ = (tmp_path / "baselines").glob("*/*/scores.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "evaluate_floors", None)  # nothing is scored again
        others = ("seed=7", "model.brm=false"), ("seed=8", "model.brm=oracle"), ("scale.steps=9",)
        for words in others:
            pd.testing.assert_frame_equal(scored(tmp_path, "+trunk=without_brm", *words), first)
    file.write_bytes(b"torn")
    pd.testing.assert_frame_equal(scored(tmp_path, "+trunk=without_brm"), first)
    scored(tmp_path)  # the untrained net is another
    scored(tmp_path, "data.difficulty.noise_std=[0.1,0.1]")  # so are the clips
    assert len(list((tmp_path / "baselines").iterdir())) == 3


@pytest.mark.slow
def test_cells_that_come_together_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On eight conditions: two groups of clips.
    settings = settings_of(*FEW, "scale.test_clips=4", f"data.cache_dir={tmp_path}/cache")
    alone = scored_by(settings, tmp_path).query(FLOORS)
    shutil.rmtree(tmp_path / "baselines")
    floors, both = baselines.evaluate_floors, threading.Barrier(2)
    scored_groups: list[str] = []

    def met(group: Any, *args: Any) -> pd.DataFrame:
        scored_groups.append(group[0].key)
        both.wait(60)  # until each of the two cells has a group
        return floors(group, *args)

    monkeypatch.setattr(baselines, "evaluate_floors", met)
    with ThreadPoolExecutor(2) as cells:
        for table in cells.map(scored_by, [settings] * 2, [tmp_path] * 2):
            pd.testing.assert_frame_equal(table.query(FLOORS), alone)
    assert len(scored_groups) == len(set(scored_groups)) == 2


@pytest.mark.slow
def test_the_untrained_net_is_that_of_the_evaluations_seed(tmp_path: Path) -> None:
    settings = settings_of(*FEW, "seed=5", f"data.cache_dir={tmp_path}/cache")
    table = scored(tmp_path, "seed=5")
    data = make_data(settings, stage=None)
    data.setup("test")
    net = make_net(settings.model, settings.data["evaluation_seed"])
    expected = evaluate(net, condition_test_set(data), CPU, Streaming())
    found = table[table["method"] == "untrained"].sort_values(["stratum", "clip", "frame"])["mad"]
    assert found.tolist() == pytest.approx(expected.sort_values(["stratum", "clip", "frame"])["mad"].tolist(), rel=1e-5)
