import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import statistics as stats
from experiments.statistics import Clips, Resamples


def clips_of(strata=2, foregrounds=8, scenes=1):
    names = [(f"person{p}", f"stratum{s}") for s in range(strata) for p in range(foregrounds) for _ in range(scenes)]
    return Clips(np.array([name for name, _ in names]), np.array([stratum for _, stratum in names]))


def positive_scores(generator, seeds, clips, seed_noise=0.03, clip_noise=0.3):
    logs = seed_noise * generator.normal(size=(seeds, 1)) + clip_noise * generator.normal(size=(1, len(clips)))
    return 10 * np.exp(logs + 0.05 * generator.normal(size=(seeds, len(clips))))


def test_strata_weigh_the_same_whatever_their_number_of_clips():
    clips = Clips(np.array(["a", "b", "c", "d"]), np.array(["x", "x", "x", "y"]))
    assert stats.overall_mean(np.array([[3.0, 3.0, 3.0, 9.0]]), clips) == pytest.approx([6.0])


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 100))
def test_weights_of_every_resample_sum_to_one_and_strata_keep_their_share(seeds, strata, foregrounds, scenes, start):
    clips = clips_of(strata, foregrounds, scenes)
    if not stats.can_resample(seeds, len(clips)):
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


def test_interval_of_a_fixed_seed_is_fixed():
    clips = clips_of()
    values = positive_scores(np.random.default_rng(1), 3, clips) - 10
    ends = [stats.estimate(values, clips, Resamples.draw(3, clips, 1000, np.random.default_rng(5))) for _ in range(2)]
    assert ends[0] == ends[1]
    assert ends[0] == pytest.approx((0.13937, -0.55020, 0.87188), abs=1e-5)


def test_arms_of_one_kind_differ_about_as_rarely_as_promised():
    """A/A: both arms drawn alike; the 95 % interval must hold 0 nearly as often."""
    generator = np.random.default_rng(0)
    clips = clips_of(strata=2, foregrounds=16)
    covered = 0
    for _ in range(200):
        one, other = (
            10 + generator.normal(size=(10, 1)) * 0.3 + generator.normal(size=(10, len(clips))) for _ in range(2)
        )
        low, high = stats.interval(Resamples.draw(10, clips, 300, generator).mean(one - other))
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("seeds", "share"), stats.SEED_COVERAGE.items())
def test_few_seeds_cover_as_often_as_the_report_says(seeds, share):
    generator = np.random.default_rng(0)
    clips = clips_of(strata=1, foregrounds=2)
    covered = 0
    for _ in range(1000):
        gaps = np.repeat(generator.normal(size=(seeds, 1)), len(clips), axis=1)
        low, high = stats.interval(Resamples.draw(seeds, clips, 300, generator).mean(gaps))
        covered += low <= 0 <= high
    assert covered / 1000 == pytest.approx(share, abs=0.025)


def test_the_spread_of_seeds_is_stretched_and_that_of_clips_is_not():
    clips = clips_of(strata=1, foregrounds=8)
    draws = Resamples.draw(3, clips, 500, np.random.default_rng(0))
    by_seed = np.repeat([[1.0], [2.0], [6.0]], len(clips), axis=1)
    np.testing.assert_allclose(draws.mean(by_seed), 3 + np.sqrt(3 / 2) * 4.303 / 1.96 * (draws.seeds @ [1, 2, 6] - 3))
    by_clip = np.repeat(np.arange(8.0)[None], 3, axis=0)
    np.testing.assert_allclose(draws.mean(by_clip), draws.clips @ np.arange(8.0))
    assert stats.seed_stretch(1) == 1
    stretches = [stats.seed_stretch(seeds) for seeds in range(2, 30)]
    assert stretches == sorted(stretches, reverse=True)


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
    assert swapped.probability == pytest.approx(1 - found.probability)
    assert swapped.cliffs_delta == pytest.approx(-found.cliffs_delta)


def test_equal_arms_are_equivalent_and_not_distinguishable():
    clips = clips_of()
    scores = positive_scores(np.random.default_rng(0), 3, clips)
    generator = np.random.default_rng(1)
    found = stats.compare(scores, scores.copy(), clips, Resamples.draw(3, clips, 500, generator), generator)
    assert (found.verdict, found.equivalent) == ("not distinguishable", True)
    assert found.probability == pytest.approx(0.5)
    assert found.p_value == 1


def test_one_seed_and_one_clip_are_refused():
    generator = np.random.default_rng(0)
    one = Clips(np.array(["a"]), np.array(["x"]))
    with pytest.raises(ValueError, match="no interval from 1 seed and 1 clip"):
        Resamples.draw(1, one, 100, generator)
    draws = Resamples.draw(1, clips_of(strata=2, foregrounds=1), 100, generator)
    with pytest.raises(ValueError, match="no interval"):
        draws.take(np.array([True, False]))
    assert stats.compare(np.ones((1, 1)), np.ones((1, 1)) * 2, one, None, generator).verdict == "no verdict"


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
    assert np.isnan([found.p_value, found.probability, found.relative.value]).all()


def test_sign_flip_counts_all_flips_of_few_foregrounds():
    generator = np.random.default_rng(0)
    assert stats.sign_flip_p_value(np.array([1.0, 2.0, 3.0]), generator) == pytest.approx(2 / 8)
    assert stats.sign_flip_p_value(np.array([1.0, 2.0, -3.0]), generator) == 1
    assert stats.sign_flip_p_value(np.array([0.1, 0.2, 0.3, -0.1]), generator) == pytest.approx(6 / 16)


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
    assert stats.interquartile_mean(values, clips, None).value == pytest.approx(4.5)


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


def test_curve_uses_the_clips_that_have_the_frame():
    clips = clips_of(strata=1, foregrounds=2)
    values = np.array([[[4.0, 2.0, np.nan], [8.0, np.nan, np.nan]]])
    draws = Resamples.draw(1, clips, 200, np.random.default_rng(0))
    curve = stats.curve_over_time(values, clips, draws)
    np.testing.assert_allclose(curve[:, 0], [6.0, 2.0, np.nan])
    assert curve[0, 1] == 4
    assert curve[0, 2] == 8


def test_settling_finds_the_plateau_and_when_it_is_reached():
    curve = 10 + 10 * np.exp(-np.arange(30) / 3)
    found = stats.settling(curve)
    assert found.start == 20
    assert found.plateau == pytest.approx(10, abs=0.05)
    assert found.frame == 9
