"""How often a report's headline is false, and how often it finds what is there, by simulation.

    python -m tests.campaigns.headlines                     prints two Markdown tables; a minute or two
    python -m tests.campaigns.headlines --repetitions 300   rougher and sooner

An experiment compares arms with one baseline in two primary metrics. Log scores are drawn as they come about: noise of
training (a seed's model is off on all people), of people (an arm suits some better than others), and of both together.
Test, degrees, Holm and verdict are those of reports.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from experiments.statistics.bootstrap import jackknife
from experiments.statistics.clips import FloatArray
from experiments.statistics.comparisons import holm, mean_of
from experiments.statistics.verdicts import ALPHA, FEWEST_SEEDS, WaldTest
from tests.campaigns.coverage import Design

ARMS = (1, 3, 6)
EFFECTS = (0.10, 0.21)  # 21 %: from MODNet to MODNet-V in the latter's paper
DESIGNS = tuple(Design(seeds, people) for people in (8, 20) for seeds in (1, 2, 3, 4, 5, 10))


class Noise(NamedTuple):
    """Standard deviations of the parts of one metric's log ratio of two arms."""

    seed: float
    person: float
    both: float


# MAD and dtSSD of `brm_ablation` at scale tiny, with BRM against without, 3 seeds and 8 people: analysis of variance of
# the log ratios; seeds from the arms' own log scores, for the ratios of three seeds say next to nothing.
NOISES = (Noise(seed=0.082, person=0.080, both=0.272), Noise(seed=0.065, person=0.067, both=0.136))


@dataclass(frozen=True)
class Found:
    """What simulated experiments without an effect found: lists over experiments, then arms × metrics.

    Attributes:
        design: seeds and people.
        tests: of each comparison, those of one arm side by side.
    """

    design: Design
    tests: list[list[WaldTest]]

    def false_headlines(self, arms: int, fewest_seeds: int = FEWEST_SEEDS) -> float:
        """The share of experiments of so many arms that call one of them better or worse."""
        if self.design.seeds < fewest_seeds:
            return 0.0
        families = [tests[: arms * len(NOISES)] for tests in self.tests]
        return float(np.mean([min(holm([test.p for test in family])) <= ALPHA for family in families]))

    def power(self, effect: float, fewest_seeds: int = FEWEST_SEEDS) -> tuple[float, float]:
        """The share of experiments of one arm that show a rise of its MAD by `effect` (0.1: 10 %), and the predicted.

        The other metric stays. Predicted is the mean of what the reports of these experiments would say.
        """
        if self.design.seeds < fewest_seeds:
            return 0.0, 0.0
        true, shown, predicted = float(np.log1p(effect)), [], []
        for tests in self.tests:
            moved = [replace(tests[0], value=tests[0].value + true), *tests[1 : len(NOISES)]]
            shown.append(holm([test.p for test in moved])[0] <= ALPHA and moved[0].value > 0)
            predicted.append(moved[0].power(true, len(NOISES)))
        return float(np.mean(shown)), float(np.mean(predicted))


def simulate(design: Design, repetitions: int, generator: np.random.Generator, arms: int = max(ARMS)) -> Found:
    """Experiments of `arms` arms and a baseline, none of which differs from it."""
    clips = design.clips()
    found = []
    for _ in range(repetitions):
        by_metric = []
        for noise in NOISES:
            scores = _scores(design, noise, arms + 1, generator)
            spreads = [jackknife(mean_of(logs), design.seeds, clips) for logs in scores[1:] - scores[0]]
            means = (scores[1:] - scores[0]).mean(axis=(1, 2)).tolist()
            by_metric.append([WaldTest(m, s.error, s.degrees, True) for m, s in zip(means, spreads, strict=True)])
        found.append([test for arm in zip(*by_metric, strict=True) for test in arm])
    return Found(design, found)


def _scores(design: Design, noise: Noise, arms: int, generator: np.random.Generator) -> FloatArray:
    """(arms, seeds, people) log scores less what all arms share; a part of a ratio comes from two arms alike."""
    seed, person, both = (part / np.sqrt(2) for part in noise)
    values = seed * generator.normal(size=(arms, design.seeds, 1))
    values = values + person * generator.normal(size=(arms, 1, design.people))
    return values + both * generator.normal(size=(arms, design.seeds, design.people))


def headline_tables(repetitions: int, seed: int, designs: Sequence[Design] = DESIGNS) -> str:
    """False headlines and power in per cent, a row a design, as Markdown."""
    found = [simulate(design, repetitions, np.random.default_rng([seed, row])) for row, design in enumerate(designs)]
    false = [[f"{100 * each.false_headlines(arms):.1f}" for arms in ARMS] for each in found]
    bare = [[f"{100 * each.false_headlines(arms, 1):.1f}" for arms in ARMS] for each in found]
    rows = [[str(design), *one, *other] for design, one, other in zip(designs, false, bare, strict=True)]
    lines = _table(["", *map(_arms, ARMS), *(f"{_arms(n)}, one seed enough" for n in ARMS)], rows)
    error = 100 * np.sqrt(ALPHA * (1 - ALPHA) / repetitions)
    note = (
        f"Share (per cent) of {repetitions} experiments without any effect whose report calls an arm better or worse "
    )
    note += f"in one of two metrics; Monte Carlo error ± {error:.1f}. On the right: were one seed enough."
    lines += ["", note, ""]
    rows = []
    for each in found:
        powers = [each.power(effect) for effect in EFFECTS]
        rows.append([str(each.design), *(f"{100 * share:.0f} ({100 * told:.0f})" for share, told in powers)])
    lines += _table(["", *(f"{100 * effect:.0f} %" for effect in EFFECTS)], rows)
    note = "Share (per cent) of experiments of one arm and two metrics that show a rise of MAD by so much "
    note += "(dtSSD stays), and in brackets what their reports predict on average."
    lines += ["", note]
    return "\n".join(lines)


def _arms(count: int) -> str:
    return f"{count} arm{'' if count == 1 else 's'}"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "| :--- |" + " ---: |" * (len(columns) - 1)]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.headlines", description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1500, help="simulated experiments a row")
    parser.add_argument("--seed", type=int, default=0, help="of the generator")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    print(headline_tables(options.repetitions, options.seed))


if __name__ == "__main__":
    main()
