import numpy as np
import pytest
import scipy.stats

from experiments.statistics import comparisons as stats
from experiments.statistics.bootstrap import Resamples, can_resample, estimate, jackknife
from experiments.statistics.clips import Clips
from experiments.statistics.verdicts import Verdict


def clips_of(strata=2, foregrounds=8, scenes=1):
    names = [(f"person{p}", f"stratum{s}") for s in range(strata) for p in range(foregrounds) for _ in range(scenes)]
    return Clips(np.array([name for name, _ in names]), np.array([stratum for _, stratum in names]))


def positive_scores(generator, seeds, clips, seed_noise=0.03, clip_noise=0.3):
    logs = seed_noise * generator.normal(size=(seeds, 1)) + clip_noise * generator.normal(size=(1, len(clips)))
    return 10 * np.exp(logs + 0.05 * generator.normal(size=(seeds, len(clips))))


def test_strata_weigh_the_same_whatever_their_number_of_clips():
    clips = Clips(np.array(["a", "b", "c", "d"]), np.array(["x", "x", "x", "y"]))
    assert stats.overall_mean(np.array([[3.0, 3.0, 3.0, 9.0]]), clips) == pytest.approx([6.0])


def test_arms_of_one_kind_differ_about_as_rarely_as_promised():
    """A/A: the seeds of one variant split into two arms; the 95 % interval must hold 0 at its nominal rate."""
    generator = np.random.default_rng(0)
    clips = clips_of(strata=2, foregrounds=10)
    covered = 0
    for _ in range(400):
        scores = positive_scores(generator, 10, clips)
        gap = stats.mean_of(stats.log_ratio(scores[:5], scores[5:]))
        found = Resamples.draw(5, clips, 200, generator).estimate(gap)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_planted_effect_is_recovered():
    generator = np.random.default_rng(0)
    clips = clips_of(strata=3, foregrounds=8)
    baseline = positive_scores(generator, 5, clips)
    arm = 0.97 * baseline * np.exp(0.01 * generator.normal(size=baseline.shape))
    found = stats.compare(arm, baseline, clips, Resamples.draw(5, clips, 2000, generator))
    assert found.relative.value == pytest.approx(-0.03, abs=0.005)
    assert found.relative.low < -0.03 < found.relative.high
    assert found.verdict == Verdict.BETTER
    assert found.foregrounds_better == 8
    assert found.p_value < 1e-6
    swapped = stats.compare(baseline, arm, clips, Resamples.draw(5, clips, 2000, generator))
    assert swapped.verdict == Verdict.WORSE
    assert swapped.probability.value == pytest.approx(1 - found.probability.value)
    assert swapped.cliffs_delta == pytest.approx(-found.cliffs_delta)


def test_equal_arms_are_the_same():
    clips = clips_of()
    scores = positive_scores(np.random.default_rng(0), 3, clips)
    generator = np.random.default_rng(1)
    found = stats.compare(scores, scores.copy(), clips, Resamples.draw(3, clips, 500, generator))
    assert (found.verdict, found.equivalent) == (Verdict.SAME, True)
    assert found.probability.value == pytest.approx(0.5)
    assert found.p_value == 1


def test_shapes_that_do_not_agree_are_named():
    clips = clips_of()
    with pytest.raises(ValueError, match=r"\(2, 16\).*\(3, 16\)"):
        stats.compare(np.ones((2, 16)), np.ones((3, 16)), clips, None)


def test_a_nan_gives_no_verdict():
    clips = clips_of()
    generator = np.random.default_rng(0)
    baseline = positive_scores(generator, 3, clips)
    arm = baseline.copy()
    arm[0, 0] = np.nan
    found = stats.compare(arm, baseline, clips, Resamples.draw(3, clips, 100, generator))
    assert found.verdict == Verdict.NOT_TESTABLE
    assert np.isnan([found.p_value, found.probability.value, found.relative.value]).all()


def test_one_clip_of_one_seed_gives_figures_without_a_verdict():
    one = Clips(np.array(["a"]), np.array(["x"]))
    assert not can_resample(1, one)
    found = stats.compare(np.ones((1, 1)), np.ones((1, 1)) * 2, one, None)
    assert (found.verdict, found.difference.value, found.spread) == (Verdict.NOT_TESTABLE, -1, None)


def test_a_score_of_which_more_is_better_turns_verdict_and_probability():
    generator = np.random.default_rng(0)
    clips = clips_of()
    baseline = positive_scores(generator, 5, clips)
    draws = Resamples.draw(5, clips, 500, generator)
    error, score = (stats.compare(1.2 * baseline, baseline, clips, draws, higher) for higher in (False, True))
    assert (error.verdict, score.verdict) == (Verdict.WORSE, Verdict.BETTER)
    assert score.probability.value == pytest.approx(1 - error.probability.value)
    assert (error.foregrounds_better, score.foregrounds_better) == (0, 8)
    assert score.difference == error.difference


def test_probability_of_improvement_compares_every_pair_of_seeds_clip_by_clip():
    arm, baseline = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [4.0, 6.0]])
    share = estimate(stats.improvement_of(arm, baseline), 2, clips_of(strata=1, foregrounds=2), None).value
    assert share == pytest.approx(((1 + 1 + 0 + 1) / 4 + (0.5 + 1 + 0.5 + 1) / 4) / 2)


def test_holm_never_lets_a_larger_p_overtake_a_smaller():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = stats.holm([0.5, float("nan"), 0.9])
    assert adjusted[0] == 1
    assert np.isnan(adjusted[1])


def few_draws(seeds, clips):
    return Resamples.draw(seeds, clips, 50, np.random.default_rng(0))


def test_p_is_that_of_the_intervals_own_t_on_the_log_ratio():
    clips = clips_of()
    generator = np.random.default_rng(2)
    arm, baseline = (positive_scores(generator, 4, clips) for _ in range(2))
    found = stats.compare(arm, baseline, clips, few_draws(4, clips))
    logs = np.log(arm / baseline)
    spread = jackknife(stats.mean_of(logs), 4, clips)
    expected = 2 * scipy.stats.t.sf(abs(logs.mean()) / spread.error, spread.degrees)
    assert found.test.relative
    assert found.p_value == pytest.approx(expected)


def test_where_a_score_is_zero_the_difference_is_tested():
    clips = clips_of()
    baseline = positive_scores(np.random.default_rng(2), 4, clips)
    arm = 0.5 * baseline
    arm[0, 0] = 0.0
    found = stats.compare(arm, baseline, clips, few_draws(4, clips))
    assert not found.test.relative
    assert found.test.value == pytest.approx(found.difference.value)
    assert found.verdict is Verdict.BETTER
    assert found.excluded[1] < 0


def test_the_verdict_follows_the_adjusted_p_alone():
    clips = clips_of()
    baseline = positive_scores(np.random.default_rng(2), 4, clips)
    found = stats.compare(0.5 * baseline, baseline, clips, few_draws(4, clips))
    assert found.verdict is Verdict.BETTER
    assert found.within(0.05, 3).verdict is Verdict.BETTER
    assert found.within(0.051, 3).verdict is Verdict.NOT_SHOWN
    assert found.within(np.nan, 3).verdict is Verdict.NOT_TESTABLE


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_say_nothing_of_training(seeds):
    clips = clips_of()
    baseline = positive_scores(np.random.default_rng(2), seeds, clips)
    found = stats.compare(0.5 * baseline, baseline, clips, few_draws(seeds, clips))
    assert found.verdict is Verdict.FEW_SEEDS
    assert np.isnan(found.smallest_effect).all()


def test_what_is_excluded_holds_zero_wherever_no_difference_is_shown():
    clips = clips_of(strata=1)
    generator = np.random.default_rng(3)
    for _ in range(50):
        family = [
            stats.compare(positive_scores(generator, 3, clips), positive_scores(generator, 3, clips), clips,
                          few_draws(3, clips))
            for _ in range(4)
        ]  # fmt: skip
        adjusted = stats.holm([found.p_value for found in family])
        for found, p in zip(family, adjusted, strict=True):
            low, high = found.within(p, len(family)).excluded
            if found.within(p, len(family)).verdict is Verdict.NOT_SHOWN:
                assert low < 0 < high


def test_one_seed_has_a_verdict_where_no_training_is_between_the_arms():
    clips = clips_of(strata=1, foregrounds=20)
    generator = np.random.default_rng(0)
    baseline = positive_scores(generator, 1, clips)
    draws = Resamples.draw(1, clips, 200, generator)
    trained, tested = (
        stats.compare(0.5 * baseline, baseline, clips, draws, same_weights=same) for same in (False, True)
    )
    assert (trained.verdict, tested.verdict) == (Verdict.FEW_SEEDS, Verdict.BETTER)
    assert np.isnan(trained.smallest_effect).all()
    assert np.isfinite(tested.smallest_effect).all()
    assert (trained.p_value, trained.difference) == (tested.p_value, tested.difference)


def test_benjamini_and_hochberg_pass_over_what_was_not_tested():
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    adjusted = stats.benjamini_hochberg([0.04, float("nan")])
    assert adjusted[0] == pytest.approx(0.04)
    assert np.isnan(adjusted[1])
    assert stats.benjamini_hochberg([]) == []


@pytest.mark.parametrize("tests", [1, 2, 7, 60])
def test_benjamini_and_hochberg_equal_scipy_to_the_last_bit(tests):
    p_values = np.random.default_rng(tests).uniform(size=tests).round(2).tolist()  # some alike
    assert stats.benjamini_hochberg(p_values) == scipy.stats.false_discovery_control(p_values).tolist()


def test_interquartile_mean_passes_over_outliers():
    clips = clips_of(strata=1, foregrounds=8)
    values = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e6]])
    middle = estimate(stats.interquartile_mean_of(values), 1, clips, None).value
    assert middle == pytest.approx(scipy.stats.trim_mean(values[0], 0.25)) == 4.5


def test_interaction_is_one_for_a_uniform_effect_and_finds_a_stratum_that_differs():
    generator = np.random.default_rng(0)
    clips = clips_of(strata=2, foregrounds=8)
    baseline = positive_scores(generator, 5, clips)
    draws = Resamples.draw(5, clips, 1000, generator)
    uniform = stats.interaction(0.8 * baseline, baseline, clips, draws)
    assert uniform["stratum0"].value == pytest.approx(1)
    arm = np.where(clips.stratum == "stratum1", 2.0, 1.0) * baseline
    found = stats.interaction(arm, baseline, clips, draws)
    assert found["stratum1"].value == pytest.approx(2)
    assert found["stratum0"].high < 1


def test_a_ratio_is_that_of_the_means_and_not_the_mean_of_ratios() -> None:
    part, whole = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[1.0, 7.0], [4.0, 4.0]])
    equal = np.full((1, 2), 0.5)
    assert stats.ratio_of(part, whole)(equal, equal) == pytest.approx([0.5])
    assert stats.ratio_of(part, whole)(np.array([[1.0, 0.0]]), equal) == pytest.approx([1.5 / 4])
