"""How often the 95 % intervals of a report hold the truth, by simulation.

    python -m tests.campaigns.coverage                     prints a Markdown table; a few minutes
    python -m tests.campaigns.coverage --repetitions 500   rougher and sooner

Differences of two arms are drawn as they come about: noise of training (a seed's models are off on all clips), of
the choice of people and clips, and of both together (a model is off on one clip); the truth is zero. The interval is
that of the paired difference, made by the code that reports use.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics.bootstrap import Resamples
from experiments.statistics.clips import Clips, FloatArray
from experiments.statistics.comparisons import mean_of

LOWEST, HIGHEST = 0.93, 0.97


@dataclass(frozen=True)
class Design:
    """Of what size an experiment is: `scenes` clips of each of `people` in each of `strata`, under `seeds`.

    Attributes:
        alone: whether each stratum shows people of its own; else all show the same.
    """

    seeds: int
    people: int
    scenes: int = 1
    strata: int = 1
    alone: bool = False

    def clips(self) -> Clips:
        """The columns of its scores."""
        names = [
            (f"stratum {s} person {p}" if self.alone else f"person {p}", f"stratum {s}")
            for s in range(self.strata)
            for p in range(self.people)
            for _ in range(self.scenes)
        ]
        return Clips(np.array([name for name, _ in names]), np.array([stratum for _, stratum in names]))

    def __str__(self) -> str:
        people = f"{self.people} people" + (f" × {self.scenes} scenes" if self.scenes > 1 else "")
        strata = f" × {self.strata} strata" + (", own people" if self.alone else "") if self.strata > 1 else ""
        return f"{self.seeds} seed{'s' if self.seeds > 1 else ''}, {people}{strata}"


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the parts that a difference is made of; `skewed` people come from a log-normal."""

    name: str
    seed: float
    person: float
    clip: float
    both: float
    skewed: bool = False

    def draw(self, design: Design, clips: Clips, generator: np.random.Generator) -> FloatArray:
        """(seeds, clips) differences whose true mean is 0. One seed is taken as given: then training is no noise."""
        _, member = np.unique(clips.foreground, return_inverse=True)
        person = generator.normal(size=member.max() + 1)
        if self.skewed:  # skewness 1.75, as of a log-normal with σ = 0.5
            person = (np.exp(person / 2) - np.exp(1 / 8)) / np.sqrt((np.exp(1 / 4) - 1) * np.exp(1 / 4))
        shape = (design.seeds, len(clips))
        training = self.seed if design.seeds > 1 else 0.0
        values = training * generator.normal(size=(design.seeds, 1)) + self.person * person[member]
        return values + self.clip * generator.normal(size=len(clips)) + self.both * generator.normal(size=shape)


DESIGNS = (
    Design(1, 20),
    Design(2, 20),
    Design(3, 20),
    Design(3, 5, scenes=4),
    Design(3, 8, strata=6),
    Design(3, 10, strata=2, alone=True),
    Design(5, 20),
    Design(5, 8, strata=6),
    Design(5, 5, scenes=10, strata=2),
    Design(10, 50),
)
NOISES = (
    Noise("training", 1.0, 0.1, 0.1, 0.1),
    Noise("people", 0.05, 1.0, 0.1, 0.1),
    Noise("skewed people", 0.05, 1.0, 0.1, 0.1, skewed=True),
    Noise("clips", 0.05, 0.1, 1.0, 0.1),
    Noise("all alike", 0.5, 1.0, 0.5, 0.5),
    Noise("model × clip and training", 0.3, 0.1, 0.1, 1.0),
    Noise("model × clip alone", 0.0, 0.0, 0.0, 1.0),
)


def coverage(
    design: Design, noise: Noise, repetitions: int, generator: np.random.Generator, resamples: int = 1000
) -> float:
    """Share of `repetitions` in which the 95 % interval holds the truth.

    Raises:
        ValueError: one seed and one clip in each stratum.
    """
    clips = design.clips()
    draws = Resamples.draw(design.seeds, clips, resamples, generator)
    held = 0
    for _ in range(repetitions):
        found = draws.estimate(mean_of(noise.draw(design, clips, generator)))
        held += found.low <= 0 <= found.high
    return held / repetitions


def coverage_table(repetitions: int, seed: int, designs: Sequence[Design] = DESIGNS) -> str:
    """Coverage in per cent, a row a design and a column a kind of noise, as Markdown; ← marks what is off."""
    lines = [f"| | {' | '.join(noise.name for noise in NOISES)} |", "| :--- |" + " ---: |" * len(NOISES)]
    error = np.sqrt(0.95 * 0.05 / repetitions)
    for row, design in enumerate(designs):
        cells = []
        for column, noise in enumerate(NOISES):
            share = coverage(design, noise, repetitions, np.random.default_rng([seed, row, column]))
            cells.append(f"{100 * share:.1f}" + ("" if LOWEST <= share <= HIGHEST else " ←"))
        lines.append(f"| {design} | {' | '.join(cells)} |")
    note = (
        f"Share of {repetitions} simulated experiments (per cent) whose 95 % interval of the paired difference holds "
        f"the truth; Monte Carlo error ± {100 * error:.1f}. Columns: what most of the noise is. ← below "
        f"{100 * LOWEST:.0f} or above {100 * HIGHEST:.0f}. With one seed the trained models are taken as given."
    )
    return "\n".join([*lines, "", note])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000, help="simulated experiments a cell of the table")
    parser.add_argument("--seed", type=int, default=0, help="of the generator")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    print(coverage_table(options.repetitions, options.seed))


if __name__ == "__main__":
    main()
