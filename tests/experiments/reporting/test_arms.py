"""Arms: their names, and their scores as arrays."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.reporting.arms import Arm, arm_label, scores, scores_over_time, value_text
from lightning_modules.metrics.table import FIGURES
from tests.experiments.cells_on_disk import WITHOUT, small


@pytest.fixture
def arm(make_cell) -> Arm:
    cells = [small(make_cell, WITHOUT, seed) for seed in (1, 3)]
    return Arm("model.brm=false", "without BRM", WITHOUT, cells, pd.concat(
        [cell.read_frames().assign(seed=cell.seed) for cell in cells]
    ))  # fmt: skip


def test_scores_are_clip_means_in_shown_units_by_seed(arm: Arm) -> None:
    clips = arm.frames.groupby(["seed", "stratum", "clip"])["mad"].mean()
    found = scores(arm, FIGURES["mad"])
    assert found.shape == (2, 6)
    assert sorted(found.ravel()) == pytest.approx(sorted(1e3 * clips))
    assert np.array_equal(scores(arm, FIGURES["mad"], [3]), found[1:])


def test_scores_over_time_have_frame_0_only_where_it_is_defined(arm: Arm) -> None:
    assert scores_over_time(arm, FIGURES["mad"]).shape == (2, 6, 4)
    assert (scores_over_time(arm, FIGURES["dtssd"])[..., 0] == 0).all()
    assert np.isnan(scores_over_time(arm, FIGURES["dtssd_later"])[..., 0]).all()


def test_a_metric_counts_as_measured_where_every_seed_has_it(arm: Arm) -> None:
    assert arm.has(FIGURES["mad"])
    assert not arm.has(FIGURES["conn"])
    frames = arm.frames.assign(mad=arm.frames["mad"].mask(arm.frames["seed"] == 3))
    assert not replace(arm, frames=frames).has(FIGURES["mad"])


def test_the_most_specific_label_wins() -> None:
    labels = {"a=1": "one", "a=1,b=null": "both"}
    assert arm_label({"a": 1, "b": None}, labels) == "both"
    assert arm_label({"a": 1, "net.b": 2}, labels) == "one, b=2"
    assert arm_label({}, labels) == "default"
    assert [value_text(value) for value in (True, None, 0.5)] == ["true", "null", "0.5"]
