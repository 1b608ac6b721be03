"""Options of every net: a wrong value is refused by name before anything is computed with it."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.command.messages import one_line
from lightning_modules.nets import NETS, build_net
from lightning_modules.options import check_choice, check_options

OPTIONS = [(name, option) for name, net in NETS.items() for option in inspect.signature(net).parameters]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
@pytest.mark.parametrize("value", [object(), float("nan"), b"wide", {1, 2}], ids=type)
def test_what_no_option_takes_is_refused_by_name(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"net '{name}': {option} must be .*, got ") as told:
        build_net(name, **{option: value})
    assert "\n" not in one_line(told.value)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("modnet", {"width": "wide"}, "width must be a number, got 'wide'"),
        ("modnet", {"width": -1}, "width must be above 0, got -1"),
        ("modnet", {"hidden": 0}, "hidden must be above 0"),
        ("modnet", {"hidden": 2.5}, "hidden must be a whole number, got 2.5"),
        ("modnet", {"hidden": True}, "hidden must be a whole number, got True"),
        ("modnet", {"hidden": 2**63}, "hidden must be a whole number, got 9223372036854775808"),
        ("modnet", {"inference": "yes"}, "inference must be true or false, got 'yes'"),
        ("modnet", {"width": float("inf")}, "width must be a number, got inf"),
        ("rvm", {"recurrent_scales": 3}, "recurrent_scales must be a list, each a whole number, got 3"),
        ("rvm", {"recurrent_scales": ["one"]}, "recurrent_scales must be a list"),
        ("rvm", {"recurrent_scales": [5]}, "recurrent_scales must be one of 1, 2, 3, 4, got 5"),
        ("rvm", {"backbone": "vgg"}, "backbone must be one of mobilenetv3, resnet50, got 'vgg'"),
        ("rvm", {"backbone": None}, "backbone must be a text, got None"),
        ("background_matting_v2", {"refine_mode": 3}, "refine_mode must be 'sampling' or 'thresholding' or"),
        ("background_matting_v2", {"refine_share": "all"}, "refine_share must be a number or null, got 'all'"),
        ("context_motion", {"flow_options": [1]}, "flow_options must be a mapping, option: value or null"),
        ("modnet_flow", {"past_weight": "half"}, "past_weight must be a number"),
        ("lraspp", {"threshold": "high"}, "threshold must be a number or null"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        build_net(name, **options)
    assert told in str(refused.value)


def test_defaults_of_every_net_fit_their_hints() -> None:
    def defaults(net: Callable[..., Any]) -> dict[str, Any]:
        return {each.name: each.default for each in inspect.signature(net).parameters.values()}

    for net in NETS.values():
        check_options(net, defaults(net))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(-2, 2)
    | st.sampled_from(["", "none", "motion", "dis"])
    | st.lists(st.integers(-1, 5), max_size=2)
    | st.dictionaries(st.sampled_from(["num_updates", "x"]), st.integers(-1, 2), max_size=1)
)


@settings(max_examples=40)
@given(option=st.sampled_from([each for each in OPTIONS if each[1] != "pretrained"]), value=VALUES)
def test_any_value_builds_a_net_or_is_refused_by_name(option: tuple[str, str], value: Any) -> None:
    name, setting = option
    with torch.device("meta"):
        try:
            build_net(name, **{setting: value})
        except ValueError as error:
            told = one_line(error)
        else:
            return
    assert name in told


def test_a_value_that_is_none_of_the_choices_is_told_with_all_of_them() -> None:
    check_choice("scale", 2, (1, 2))
    with pytest.raises(ValueError, match=r"^scale must be one of 1, 2, got '2'$"):
        check_choice("scale", "2", (1, 2))
