"""Options and settings are checked in one place, by the type hints of what takes them."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

# Options that count channels or pixels, or multiply them.
SIZES = ("width", "hidden", "decoder_width", "context_channels", "decoder_channels", "working_size", "top")


@dataclass(frozen=True)
class From:
    """Of a number's hint, `Annotated[int, From(1)]`: the lowest that it may be, and that which it must stay below."""

    lowest: float
    below: float = math.inf

    def __str__(self) -> str:
        return f"from {self.lowest} on" if self.below == math.inf else f"from {self.lowest} to below {self.below}"


def check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Check that all names are known.

    Raises:
        ValueError: one is not; tells the nearest that is.
    """
    known = list(known)
    if unknown := sorted(set(names) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        told = f"; the nearest is {near[0]}" if near else ""
        raise ValueError(f"{what} has no option {', '.join(unknown)}{told}; it has: {', '.join(known)}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Check that an option is one of its choices.

    Raises:
        ValueError: it is none of them.
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def check_options(build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check values before a constructor computes with them; what else it asks of them, it knows itself.

    Args:
        build: a class or a function with type hints.
        options: its arguments by name.

    Raises:
        ValueError: one does not fit its hint (type, range, choices), or is a size not above 0.
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
    if kind is Annotated:
        return _fits(value, inner[0]) and inner[1].lowest <= value < inner[1].below
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_fits(each, inner[0]) for each in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(each, inner[0]) and _fits(of, inner[1]) for each, of in value.items()
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63  # as torch's are
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind or hint)


def _told(hint: Any) -> str:
    """A type hint in words.

    >>> _told(float | None), _told(Literal["a", "b"]), _told(Sequence[int]), _told(Annotated[int, From(1)])
    ('a number or null', "'a' or 'b'", 'a list, each a whole number', 'a whole number from 1 on')
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return f"{_told(inner[0])} {inner[1]}"
    if kind in (Union, UnionType):
        return " or ".join(_told(each) for each in inner)
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is Sequence:
        return f"a list, each {_told(inner[0])}"
    if kind is Mapping:
        return "a mapping, option: value"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}[hint]
