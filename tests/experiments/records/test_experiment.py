"""What an experiment's file says."""

from typing import Any

import pytest

from experiments.records.experiment import Experiment


def test_null_is_the_default() -> None:
    given = {"name": "mine", "question": None, "baseline": {"model.brm": False}, "primary": None}
    assert Experiment.of(given) == Experiment("mine", baseline={"model.brm": False})


def test_a_number_is_a_source_too() -> None:
    assert Experiment.of({"name": "mine", "source": 2109.11818}).source == "2109.11818"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"basline": {}}, "experiment has no option basline; the nearest is baseline"),
        ({"baseline": "false"}, "experiment.baseline must be a mapping, option: value, got 'false'"),
        ({"primary": "mad"}, "experiment.primary must be a list, each a text, got 'mad'"),
        ({"name": 3}, "experiment.name must be a text, got 3"),
        ({"name": None}, "experiment.name is missing"),
        ({"labels": {"model.brm=true": 3}}, "experiment.labels must be a mapping"),
        ({1: "x"}, "experiment has no option 1"),
    ],
)
def test_what_is_mistyped_is_told_in_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        Experiment.of({"name": "mine"} | options)
    assert "\n" not in str(raised.value)
