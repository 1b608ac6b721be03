import math

import pytest

from datamodules.augment.easing import EASINGS, LINEAR_SHARE, draw_progress
from datamodules.dice import Draws

# Of some curves, values at 1/4 and 3/4 that were worked by hand from the published formulas.
BY_HAND = {
    "quad out": (0.4375, 0.9375),
    "cubic in out": (0.0625, 0.9375),
    "quartic in": (0.25**4, 0.75**4),
    "quintic out": (1 - 0.75**5, 1 - 0.25**5),
    "sine in out": ((1 - math.cos(math.pi / 4)) / 2, (1 - math.cos(3 * math.pi / 4)) / 2),
    "circular out": (math.sqrt(1.75 * 0.25), math.sqrt(1.25 * 0.75)),
    "exponential in out": (2**-5 / 2, 1 - 2**-5 / 2),
    "elastic out": (
        math.sin(-13 * math.pi / 2 * 1.25) * 2**-2.5 + 1,
        math.sin(-13 * math.pi / 2 * 1.75) * 2**-7.5 + 1,
    ),
    "back in": (0.25**3 - 0.25 * math.sin(math.pi / 4), 0.75**3 - 0.75 * math.sin(3 * math.pi / 4)),
    "bounce out": (121 * 0.0625 / 16, 4356 / 361 * 0.5625 - 35442 / 1805 * 0.75 + 16061 / 1805),
    "step": (0.0, 1.0),
}


def test_there_are_thirty_one_curves() -> None:
    assert len(EASINGS) == 31


@pytest.mark.parametrize("name", EASINGS)
def test_a_curve_leads_from_0_to_1(name: str) -> None:
    begin, end = EASINGS[name](0.0), EASINGS[name](1.0)
    assert begin == pytest.approx(0, abs=1e-3)  # elastic and exponential come to 2⁻¹⁰ of it
    assert end == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "values"), BY_HAND.items())
def test_a_curve_is_the_published_one(name: str, values: tuple[float, float]) -> None:
    assert [EASINGS[name](t) for t in (0.25, 0.75)] == pytest.approx(values)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("back in", -0.38, 1), ("elastic in", -0.36, 1), ("back out", 0, 1.38), ("elastic in out", -0.18, 1.18)],
)
def test_back_and_elastic_swing_beyond_the_ends(name: str, low: float, high: float) -> None:
    values = [EASINGS[name](t / 1000) for t in range(1001)]
    assert (min(values), max(values)) == pytest.approx((low, high), abs=0.011)


def test_a_fifth_of_the_motions_is_linear_and_all_curves_come() -> None:
    drawn = [tuple(draw_progress(11, Draws((0, i)), "motion")) for i in range(2000)]
    linear = tuple(t / 10 for t in range(11))
    assert sum(each == linear for each in drawn) / len(drawn) == pytest.approx(LINEAR_SHARE, abs=0.03)
    assert len(set(drawn)) == 32
    assert draw_progress(1, Draws((0, 0)), "motion")[0] <= 0.01
