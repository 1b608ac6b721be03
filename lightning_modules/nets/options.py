"""Options of nets are checked in one place, by the type hints of their constructors."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

# Options that count channels or pixels, or multiply them.
SIZES = ("width", "hidden", "decoder_width", "context_channels", "decoder_channels", "working_size", "top")


def check_options(build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check values before a constructor computes with them; which of the right type it takes, it knows itself.

    Args:
        build: a class or a function with type hints.
        options: its arguments by name.

    Raises:
        ValueError: one is of another type, or a size is not above 0.
    """
    hints = {each.name: each.annotation for each in inspect.signature(build, eval_str=True).parameters.values()}
    for name, value in options.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} must be {_told(hints[name])}, got {value!r}")
        if name in SIZES and value is not None and value <= 0:
            raise ValueError(f"{name} must be above 0, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is Literal:
        return type(value) in {type(each) for each in inner}
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_fits(each, inner[0]) for each in value)
    if hint in (int, float):
        right = isinstance(value, int if hint is int else int | float)
        return right and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind or hint)


def _told(hint: Any) -> str:
    """A type hint in words.

    >>> _told(float | None), _told(Literal["a", "b"]), _told(Sequence[int])
    ('a number or null', "'a' or 'b'", 'a list, each a whole number')
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(_told(each) for each in inner)
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is Sequence:
        return f"a list, each {_told(inner[0])}"
    if kind is Mapping:
        return "a mapping, option: value"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}[hint]
