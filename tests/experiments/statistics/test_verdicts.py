import numpy as np
import pytest
import scipy.stats

from experiments.statistics.verdicts import WaldTest


def test_p_is_two_sided_and_known_for_what_does_not_vary():
    assert WaldTest(-0.2, 0.1, 4, True).p == pytest.approx(2 * scipy.stats.t.sf(2, 4))
    assert WaldTest(0.0, 0.0, 2, True).p == 1
    assert WaldTest(0.1, 0.0, 2, True).p == 0
    assert np.isnan(WaldTest(0.1, np.nan, np.nan, True).p)


@pytest.mark.parametrize("tests", [1, 12])
def test_the_smallest_effect_is_found_in_four_of_five(tests):
    test = WaldTest(0.0, 0.05, 6.0, True)
    assert test.power(test.smallest_effect(tests), tests) == pytest.approx(0.8)
    assert test.smallest_effect(12) > test.smallest_effect(1)


def test_the_predicted_power_is_near_that_of_the_noncentral_t():
    test = WaldTest(0.0, 0.05, 8.0, True)
    critical = scipy.stats.t.isf(0.025, 8)
    for effect in (0.1, 0.15, 0.2):
        assert test.power(effect) == pytest.approx(scipy.stats.nct.sf(critical, 8, effect / 0.05), abs=0.05)
