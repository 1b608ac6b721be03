import numpy as np
import pytest
import scipy.stats

from experiments.statistics import comparisons as stats
from experiments.statistics.bootstrap import Clips, Resamples, can_resample, estimate


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
    found = stats.compare(arm, baseline, clips, Resamples.draw(5, clips, 2000, generator), generator)
    assert found.relative.value == pytest.approx(-0.03, abs=0.005)
    assert found.relative.low < -0.03 < found.relative.high
    assert found.verdict == "helps"
    assert found.foregrounds_better == 8
    assert found.p_value == pytest.approx(2 / 2**8)
    swapped = stats.compare(baseline, arm, clips, Resamples.draw(5, clips, 2000, generator), generator)
    assert swapped.verdict == "hurts"
    assert swapped.probability.value == pytest.approx(1 - found.probability.value)
    assert swapped.cliffs_delta == pytest.approx(-found.cliffs_delta)


def test_equal_arms_are_equivalent_and_not_distinguishable():
    clips = clips_of()
    scores = positive_scores(np.random.default_rng(0), 3, clips)
    generator = np.random.default_rng(1)
    found = stats.compare(scores, scores.copy(), clips, Resamples.draw(3, clips, 500, generator), generator)
    assert (found.verdict, found.equivalent) == ("not distinguishable", True)
    assert found.probability.value == pytest.approx(0.5)
    assert found.p_value == 1


def test_shapes_that_do_not_agree_are_named():
    clips = clips_of()
    with pytest.raises(ValueError, match=r"\(2, 16\).*\(3, 16\)"):
        stats.compare(np.ones((2, 16)), np.ones((3, 16)), clips, None, np.random.default_rng(0))


def test_a_nan_gives_no_verdict():
    clips = clips_of()
    generator = np.random.default_rng(0)
    baseline = positive_scores(generator, 3, clips)
    arm = baseline.copy()
    arm[0, 0] = np.nan
    found = stats.compare(arm, baseline, clips, Resamples.draw(3, clips, 100, generator), generator)
    assert found.verdict == "no verdict"
    assert np.isnan([found.p_value, found.probability.value, found.relative.value]).all()


def test_one_clip_of_one_seed_gives_figures_without_a_verdict():
    one = Clips(np.array(["a"]), np.array(["x"]))
    assert not can_resample(1, one)
    found = stats.compare(np.ones((1, 1)), np.ones((1, 1)) * 2, one, None, np.random.default_rng(0))
    assert (found.verdict, found.difference.value, found.spread) == ("no verdict", -1, None)


def test_a_score_of_which_more_is_better_turns_verdict_and_probability():
    generator = np.random.default_rng(0)
    clips = clips_of()
    baseline = positive_scores(generator, 5, clips)
    draws = Resamples.draw(5, clips, 500, generator)
    error, score = (
        stats.compare(1.2 * baseline, baseline, clips, draws, generator, higher) for higher in (False, True)
    )
    assert (error.verdict, score.verdict) == ("hurts", "helps")
    assert score.probability.value == pytest.approx(1 - error.probability.value)
    assert (error.foregrounds_better, score.foregrounds_better) == (0, 8)
    assert score.difference == error.difference


def test_probability_of_improvement_compares_every_pair_of_seeds_clip_by_clip():
    arm, baseline = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [4.0, 6.0]])
    share = estimate(stats.improvement_of(arm, baseline), 2, clips_of(strata=1, foregrounds=2), None).value
    assert share == pytest.approx(((1 + 1 + 0 + 1) / 4 + (0.5 + 1 + 0.5 + 1) / 4) / 2)


def test_sign_flip_counts_all_flips_of_few_foregrounds():
    generator = np.random.default_rng(0)
    assert stats.sign_flip_p_value(np.array([1.0, 2.0, 3.0]), generator) == pytest.approx(2 / 8)
    assert stats.sign_flip_p_value(np.array([1.0, 2.0, -3.0]), generator) == 1
    assert stats.sign_flip_p_value(np.array([0.1, 0.2, 0.3, -0.1]), generator) == pytest.approx(6 / 16)


def test_sign_flips_agree_with_scipy():
    contributions = np.random.default_rng(1).normal(0.3, 1, size=9)
    expected = scipy.stats.permutation_test((contributions,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert stats.sign_flip_p_value(contributions, np.random.default_rng(0)) == pytest.approx(expected.pvalue)


def test_sampled_sign_flips_agree_with_exact_ones():
    generator = np.random.default_rng(0)
    contributions = np.append(generator.normal(0.35, 1, size=20), 0.0)  # a zero changes no sum, but 21 are too many
    exact = stats.sign_flip_p_value(contributions[:20], generator)
    assert stats.sign_flip_p_value(contributions, generator) == pytest.approx(exact, abs=0.01)


def test_holm_never_lets_a_larger_p_overtake_a_smaller():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = stats.holm([0.5, float("nan"), 0.9])
    assert adjusted[0] == 1
    assert np.isnan(adjusted[1])


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
