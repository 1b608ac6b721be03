import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics.bootstrap import Resamples, can_resample, estimate, jackknife
from experiments.statistics.clips import Clips
from experiments.statistics.comparisons import interquartile_mean_of, mean_of


def clips_of(strata=2, foregrounds=8, scenes=1):
    names = [(f"person{p}", f"stratum{s}") for s in range(strata) for p in range(foregrounds) for _ in range(scenes)]
    return Clips(np.array([name for name, _ in names]), np.array([stratum for _, stratum in names]))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 100))
def test_weights_of_every_resample_sum_to_one_and_strata_keep_their_share(seeds, strata, foregrounds, scenes, start):
    clips = clips_of(strata, foregrounds, scenes)
    if not can_resample(seeds, clips):
        return
    draws = Resamples.draw(seeds, clips, 20, np.random.default_rng(start))
    np.testing.assert_allclose(draws.seeds.sum(axis=1), 1)
    for stratum in clips.strata:
        np.testing.assert_allclose(draws.clips[:, clips.stratum == stratum].sum(axis=1), 1 / strata)


def test_strata_with_the_same_foregrounds_draw_the_same_foregrounds():
    clips = clips_of(strata=2, foregrounds=6)
    draws = Resamples.draw(3, clips, 50, np.random.default_rng(0)).clips
    np.testing.assert_allclose(draws[:, :6], draws[:, 6:])


def test_clips_of_one_foreground_come_and_go_together():
    clips = Clips(np.array(["a"] * 3 + ["b"]), np.array(["x"] * 4))
    draws = Resamples.draw(1, clips, 200, np.random.default_rng(0)).clips
    only_b = np.isclose(draws[:, 3], 1)
    assert 0.15 < only_b.mean() < 0.35  # "b" drawn twice: a quarter of the resamples


def test_a_foreground_is_one_unit_in_all_strata_that_show_it():
    clips = Clips(np.array(["a", "b", "b", "c", "d", "e"]), np.array(["x", "x", "y", "y", "z", "z"]))
    units, group = clips.units
    assert units.sum(axis=0).tolist() == [1] * 6
    assert [sorted(set(clips.foreground[unit])) for unit in units] == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert group[0] == group[1] == group[2] != group[3] == group[4]


def test_strata_that_share_people_by_others_alone_are_of_one_group():
    shown = {"v": "ab", "w": "yz", "x": "bc", "y": "cd", "z": "de"}  # v … z in a chain, and w alone
    names = [(person, stratum) for stratum, people in shown.items() for person in people]
    clips = Clips(np.array([person for person, _ in names]), np.array([stratum for _, stratum in names]))
    units, group = clips.units
    people = [set(clips.foreground[unit]).pop() for unit in units]
    assert sorted(zip(group.tolist(), people, strict=True)) == [*((0, each) for each in "abcde"), (1, "y"), (1, "z")]


def test_clips_are_the_units_where_a_stratum_shows_one_foreground():
    clips = Clips(np.array(["a", "a", "a", "b"]), np.array(["x", "x", "x", "y"]))
    units, _ = clips.units
    assert units.tolist() == [[i == j for j in range(4)] for i in range(3)]  # and the clip of "y" never goes


@pytest.mark.parametrize("statistic", [mean_of, interquartile_mean_of])
def test_interval_of_a_fixed_generator_is_fixed(statistic):
    clips = clips_of()
    values = np.random.default_rng(1).normal(size=(3, len(clips)))
    found = [Resamples.draw(3, clips, 500, np.random.default_rng(5)).estimate(statistic(values)) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].low < found[0].value < found[0].high


def test_interval_of_a_known_table_is_known():
    values = np.array([[1.0, 2.0, 4.0, 5.0], [1.5, 2.5, 4.0, 6.5], [0.5, 2.0, 5.0, 4.0]])
    clips = clips_of(strata=1, foregrounds=4)
    found = Resamples.draw(3, clips, 2000, np.random.default_rng(5)).estimate(mean_of(values))
    # By hand: mean squares of seeds, clips and both over 12 cells, and Satterthwaite's degrees of freedom.
    gap = values - values.mean()
    seeds, columns = gap.mean(axis=1), gap.mean(axis=0)
    both = (gap - seeds[:, None] - columns) ** 2
    parts = (seeds**2).sum() / 2 / 3, (columns**2).sum() / 3 / 4, both.sum() / 6 / 12
    assert parts[0] > parts[2]
    error = np.sqrt(sum(parts[:2]) - parts[2])
    spread = jackknife(mean_of(values), 3, clips)
    assert spread.error == pytest.approx(error)
    assert (spread.seeds, spread.clips) == pytest.approx(np.sqrt(parts[:2]))
    degrees = error**4 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3 + parts[2] ** 2 / 6)
    assert spread.degrees == pytest.approx(degrees)
    assert found == pytest.approx((3.16667, 0.29, 6.04), abs=0.4)


def test_a_component_below_zero_counts_as_none():
    clips = clips_of(strata=1, foregrounds=2)
    values = np.array([[1.0, -1.0], [-1.0, 1.0]])  # all is interaction: rows and columns have one mean
    spread = jackknife(mean_of(values), 2, clips)
    assert (spread.seeds, spread.clips) == (0, 0)
    assert spread.error == pytest.approx(1.0)  # mean square 4 over 4 cells


def test_a_foreground_with_many_like_clips_counts_once():
    generator = np.random.default_rng(0)
    few, many = clips_of(strata=1, foregrounds=6), clips_of(strata=1, foregrounds=6, scenes=10)
    values = generator.normal(size=(1, 6))
    repeated = np.repeat(values, 10, axis=1)
    assert jackknife(mean_of(repeated), 1, many) == pytest.approx(jackknife(mean_of(values), 1, few), nan_ok=True)
    assert jackknife(mean_of(values), 1, few).error == pytest.approx(values.std(ddof=1) / np.sqrt(6))


def test_the_longer_arm_points_to_the_longer_tail():
    clips = clips_of(strata=1, foregrounds=20)
    values = np.exp(np.random.default_rng(0).normal(size=(1, 20)))
    found = Resamples.draw(1, clips, 2000, np.random.default_rng(1)).estimate(mean_of(values))
    assert found.high - found.value > found.value - found.low


def test_one_seed_and_one_clip_are_refused():
    generator = np.random.default_rng(0)
    one = Clips(np.array(["a"]), np.array(["x"]))
    with pytest.raises(ValueError, match="no interval from 1 seed and 1 clip; run more seeds or clips"):
        Resamples.draw(1, one, 100, generator)
    alone = clips_of(strata=3, foregrounds=1)
    with pytest.raises(ValueError, match="no interval from 1 seed and 3 clips, one a stratum"):
        Resamples.draw(1, alone, 100, generator)
    draws = Resamples.draw(2, alone, 100, generator).estimate(mean_of(np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])))
    assert draws.low < 2.5 < draws.high  # of two seeds, one has an interval over seeds alone
    part = Resamples.draw(1, Clips(np.array(["a", "b", "c"]), np.array(["x", "x", "y"])), 100, generator)
    with pytest.raises(ValueError, match="no interval"):
        part.take(np.array([False, False, True]))


def test_without_draws_there_is_a_figure_and_no_interval():
    found = estimate(mean_of(np.array([[4.0]])), 1, Clips(np.array(["a"]), np.array(["x"])), None)
    assert found.value == 4
    assert np.isnan([found.low, found.high]).all()


def test_the_planned_error_is_that_of_as_many_seeds():
    """By variances that are known: training, people, and both."""
    generator, clips = np.random.default_rng(0), clips_of(strata=1, foregrounds=12)

    def spreads(seeds):
        for _ in range(200):
            values = generator.normal(size=(seeds, 1)) + generator.normal(size=12)
            yield jackknife(mean_of(values + generator.normal(size=(seeds, 12))), seeds, clips)

    planned = [spread.planned(4, 16, 12)[0] ** 2 for spread in spreads(4)]
    assert np.mean(planned) == pytest.approx(np.mean([spread.error**2 for spread in spreads(16)]), rel=0.15)
    error, degrees = next(iter(spreads(4))).planned(4, 4, 12)
    assert error > 0
    assert 3 <= degrees <= 2.5 * 3
