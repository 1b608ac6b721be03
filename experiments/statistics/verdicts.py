"""What may be said of one arm against another: the test, its power, and the words; and of what else a report judges.

There is one verdict a comparison. Its p is of the interval's own t: a Wald test with the standard error that knows
seeds and people, adjusted within the family of comparisons that the experiment declares. `python -m
tests.campaigns.headlines` simulates how often an experiment without an effect gets a headline, and how often an effect
is found, beside what `WaldTest.power` predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import stdtr, stdtrit

ALPHA = 0.05  # of a family of comparisons
POWER = 0.8
FEWEST_SEEDS = 3  # from which training is spoken of
FEWEST_PEOPLE = 3  # from which one condition of the test is spoken of


class Verdict(StrEnum):
    """What a comparison says; the value is how it is written."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "the same within ±2 %"
    NOT_SHOWN = "no difference shown"
    FEW_SEEDS = "nothing is said of training"
    NOT_TESTABLE = "not testable"


class MemoryUse(StrEnum):
    """What the interval of a state that is replaced says of a net's memory; the value stands in a list of arms."""

    USED = "used"
    HARMFUL = "harmful"
    NOT_SHOWN = "no use shown"
    NOT_KNOWN = "not known"

    @property
    def answer(self) -> str:
        """Of one arm, to the question whether its memory is used."""
        return {
            MemoryUse.USED: "the memory is used",
            MemoryUse.HARMFUL: "the memory is used, to its harm",
            MemoryUse.NOT_SHOWN: "the memory is not used",
            MemoryUse.NOT_KNOWN: "whether the memory is used cannot be told",
        }[self]


class Finding(StrEnum):
    """What is known of a published claim."""

    SUPPORTED = "supported"
    IN_PART = "supported in part"
    CONTRADICTED = "contradicted"
    NOT_SHOWN = "no difference shown"
    TOO_FEW = "too few seeds"
    NOT_RUN = "not run"
    UNTESTABLE = "not testable here"


class Shift(StrEnum):
    """How far a score is in one report from where it is in another."""

    SAME = "the same"
    WITHIN = "within what seeds do"
    BEYOND = "beyond what seeds do"
    ONE_SEED = "one seed: not known"
    OTHER_TEST = "another test set: not compared"


@dataclass(frozen=True)
class WaldTest:
    """A figure that is zero without an effect, against its standard error.

    Attributes:
        value: mean log ratio of the scores, or their mean difference.
        error: its standard error; NaN where none can be had.
        degrees: of freedom of `error`.
        relative: whether `value` is a log ratio.
    """

    value: float
    error: float
    degrees: float
    relative: bool

    @property
    def p(self) -> float:
        """Two-sided; NaN without an error, 1 where nothing differs."""
        if not np.isfinite(self.error):
            return float("nan")
        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.degrees, -abs(self.value) / self.error))

    def interval(self, tests: int = 1) -> tuple[float, float]:
        """What `value` may truly be, at the level of a family of `tests` (Bonferroni)."""
        width = self._critical(tests) * self.error
        return self.value - width, self.value + width

    def power(self, effect: float, tests: int = 1) -> float:
        """The share of such experiments that would show a true `effect`, in the units of `value`."""
        with np.errstate(divide="ignore"):
            return float(stdtr(self.degrees, abs(effect) / np.float64(self.error) - self._critical(tests)))

    def smallest_effect(self, tests: int = 1) -> float:
        """The effect whose `power` is 80 %, in the units of `value`.

        Args:
            tests: in the family: the level is that of Holm's first step, which no other is stricter than.
        """
        return float((self._critical(tests) + stdtrit(self.degrees, POWER)) * self.error)

    def _critical(self, tests: int) -> float:
        return -float(stdtrit(self.degrees, ALPHA / tests / 2))
