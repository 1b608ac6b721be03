"""What an experiment asks, what its arms are compared with, and in what: config group `experiment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from lightning_modules.options import check_names, check_options

TEXTS = ("question", "claim", "source")


@dataclass(frozen=True)
class Experiment:
    """The description in an experiment's file.

    Attributes:
        name: of its folders.
        question: what it asks.
        claim: the published statement that it tests; none where it only asks.
        source: where that statement stands.
        baseline: settings of the arm that others are compared with; settings that it does not name are free.
        bound: settings of the arm that is given what others have to find: the share of its gain is told.
        primary: metrics that are declared before it runs; none: those of every report.
        labels: readable names of arms, by their overrides.
        strata: test conditions of its own, which its file puts in place of those of the data.
    """

    name: str
    question: str = ""
    claim: str = ""
    source: str = ""
    baseline: Mapping[str, Any] = field(default_factory=dict)
    bound: Mapping[str, Any] = field(default_factory=dict)
    primary: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From a config, in which null stands for the default.

        Raises:
            ValueError: there is no such option, or one does not fit its type; tells the nearest name.
        """
        given = {str(name): value for name, value in options.items() if value is not None}
        given |= {name: str(given[name]) for name in TEXTS if isinstance(given.get(name), int | float)}  # 2109.11818
        check_names("experiment", given, [each.name for each in fields(cls)])
        if "name" not in given:
            raise ValueError("experiment.name is missing: what its folders are called")
        try:
            check_options(cls, given)
        except ValueError as error:
            raise ValueError(f"experiment.{error}") from None
        return cls(**given)
