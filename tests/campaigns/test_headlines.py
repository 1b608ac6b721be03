import numpy as np
import pytest

from tests.campaigns.coverage import Design
from tests.campaigns.headlines import NOISES, headline_tables, simulate


@pytest.fixture(scope="module")
def found():
    return {seeds: simulate(Design(seeds, 20), 250, np.random.default_rng(0)) for seeds in (1, 3, 5)}


@pytest.mark.parametrize("arms", [1, 6])
@pytest.mark.parametrize("seeds", [3, 5])
def test_without_an_effect_one_experiment_in_twenty_has_a_headline_at_most(found, seeds, arms):
    assert found[seeds].false_headlines(arms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 250)


def test_one_seed_would_have_most_headlines_false_and_gets_none(found):
    assert found[1].false_headlines(6, fewest_seeds=1) > 0.3
    assert found[1].false_headlines(6) == 0
    assert found[1].power(0.21) == (0, 0)


@pytest.mark.parametrize("effect", [0.10, 0.21])
def test_the_power_that_reports_predict_is_about_the_simulated_one(found, effect):
    shown, predicted = found[5].power(effect)
    assert predicted == pytest.approx(shown, abs=0.1)


def test_more_seeds_find_more(found):
    assert found[5].power(0.21)[0] > found[3].power(0.21)[0] + 0.1


def test_the_tables_have_a_row_a_design_and_the_same_seed_gives_them_again():
    designs = (Design(1, 4), Design(3, 4))
    text = headline_tables(3, 0, designs)
    assert text == headline_tables(3, 0, designs)
    assert text.count("\n| 3 seeds, 4 people |") == 2


def test_variances_are_those_of_two_metrics():
    assert len(NOISES) == 2
    assert all(0 < part < 1 for noise in NOISES for part in noise)
