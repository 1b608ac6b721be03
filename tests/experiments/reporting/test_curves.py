import numpy as np
import pytest

from experiments.reporting.curves import curve_over_time, performance_profile, profile_thresholds, settling
from experiments.statistics.bootstrap import Resamples
from experiments.statistics.clips import Clips


def clips_of(strata=2, foregrounds=8):
    names = [(f"person{p}", f"stratum{s}") for s in range(strata) for p in range(foregrounds)]
    return Clips(np.array([name for name, _ in names]), np.array([stratum for _, stratum in names]))


def test_curve_uses_the_clips_that_have_the_frame():
    clips = clips_of(strata=1, foregrounds=2)
    values = np.array([[[4.0, 2.0, np.nan], [8.0, np.nan, np.nan]]])
    draws = Resamples.draw(1, clips, 200, np.random.default_rng(0))
    curve = curve_over_time(values, clips, draws)
    np.testing.assert_allclose(curve[:, 0], [6.0, 2.0, np.nan])
    assert curve[0, 1] < 6 < curve[0, 2]


def test_settling_finds_the_plateau_and_when_it_is_reached():
    curve = 10 + 10 * np.exp(-np.arange(30) / 3)
    found = settling(curve)
    assert found.start == 20
    assert found.plateau == pytest.approx(10, abs=0.05)
    assert found.frame == 9


def test_settling_of_a_curve_that_starts_late_or_has_nothing():
    assert settling(np.array([np.nan, 4.0, 2.0, 2.0])) == (4, 2, 2)
    assert np.isnan(settling(np.full(3, np.nan))).all()


def test_profile_rises_from_the_best_clip_to_all_of_them():
    clips = clips_of(strata=1, foregrounds=8)
    values = np.arange(1.0, 9.0)[None].repeat(2, axis=0)
    draws = Resamples.draw(2, clips, 200, np.random.default_rng(0))
    profile = performance_profile(values, clips, draws, np.array([0.5, 4.0, 8.0]))
    np.testing.assert_allclose(profile[:, 0], [0, 0.5, 1])
    assert 0 <= profile[1, 1] < 0.5 < profile[1, 2] <= 1
    assert ((profile >= 0) & (profile <= 1)).all()


def test_thresholds_span_the_positive_scores():
    found = profile_thresholds(np.array([0.0, 2.0, np.nan, 8.0]), count=3)
    np.testing.assert_allclose(found, [2, 4, 8])
    assert profile_thresholds(np.zeros(3)).size == 0
