import numpy as np
import pytest

from tests.campaigns.coverage import DESIGNS, NOISES, Design, coverage, coverage_table

BY_NAME = {noise.name: noise for noise in NOISES}


@pytest.mark.parametrize("name", ["training", "people", "clips", "all alike", "model × clip and training"])
@pytest.mark.parametrize("design", [Design(3, 20), Design(5, 8, strata=6)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(design, name):
    share = coverage(design, BY_NAME[name], 700, np.random.default_rng(0), resamples=300)
    assert 0.93 - 0.018 <= share <= 0.97 + 0.018  # 93 to 97 % and twice the Monte Carlo error


def test_where_models_and_clips_interact_and_nothing_else_the_interval_is_too_wide_and_not_too_narrow():
    assert coverage(Design(3, 20), BY_NAME["model × clip alone"], 400, np.random.default_rng(0), 200) > 0.95


def test_a_design_is_read_as_it_is_simulated():
    design = Design(3, 5, scenes=2, strata=2, alone=True)
    clips = design.clips()
    assert (len(clips), clips.num_foregrounds, len(clips.strata)) == (20, 10, 2)
    assert str(design) == "3 seeds, 5 people × 2 scenes × 2 strata, own people"
    assert Design(3, 5, strata=2).clips().num_foregrounds == 5


def test_skewed_people_have_the_mean_and_spread_that_is_said():
    clips = Design(1, 200_000).clips()
    values = BY_NAME["skewed people"].draw(Design(1, 200_000), clips, np.random.default_rng(0))
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.05)


def test_the_table_has_a_row_a_design_and_the_same_seed_gives_it_again():
    found = coverage_table(5, 0, DESIGNS[:2])
    assert found == coverage_table(5, 0, DESIGNS[:2])
    lines = found.splitlines()
    assert [line.count("|") for line in lines[:4]] == [len(NOISES) + 2] * 4
    assert "Monte Carlo error ± 9.7" in found
