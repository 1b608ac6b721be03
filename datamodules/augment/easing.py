"""How far a motion has come: curves from 0 to 1 over a time from 0 to 1. Some swing beyond both ends on their way.

Source: RVM's motion augmentation takes the usual families of easings, each at its start, at its end, and at both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

from datamodules.dice import Draws

Easing = Callable[[float], float]

LINEAR_SHARE = 0.2


def _bounce_out(t: float) -> float:
    if t < 4 / 11:
        return 121 * t**2 / 16
    if t < 8 / 11:
        return 363 / 40 * t**2 - 99 / 10 * t + 17 / 5
    if t < 9 / 10:
        return 4356 / 361 * t**2 - 35442 / 1805 * t + 16061 / 1805
    return 54 / 5 * t**2 - 513 / 25 * t + 268 / 25


_IN: dict[str, Easing] = {
    "quad": lambda t: t**2,
    "cubic": lambda t: t**3,
    "quartic": lambda t: t**4,
    "quintic": lambda t: t**5,
    "sine": lambda t: 1 - math.cos(t * math.pi / 2),
    "circular": lambda t: 1 - math.sqrt(1 - t**2),
    "exponential": lambda t: 2 ** (10 * (t - 1)) if t > 0 else 0.0,
    "elastic": lambda t: math.sin(13 * math.pi / 2 * t) * 2 ** (10 * (t - 1)),
    "back": lambda t: t**3 - t * math.sin(t * math.pi),
    "bounce": lambda t: 1 - _bounce_out(1 - t),
}


def _out(begin: Easing) -> Easing:
    return lambda t: 1 - begin(1 - t)


def _in_out(begin: Easing) -> Easing:
    return lambda t: begin(2 * t) / 2 if t < 0.5 else 1 - begin(2 - 2 * t) / 2


def _step(t: float) -> float:
    return float(t >= 0.5)


EASINGS = MappingProxyType(
    {f"{name} in": begin for name, begin in _IN.items()}
    | {f"{name} out": _out(begin) for name, begin in _IN.items()}
    | {f"{name} in out": _in_out(begin) for name, begin in _IN.items()}
    | {"step": _step}
)
"""The 31 curves that are not linear, by name."""


def draw_progress(num_frames: int, draws: Draws, purpose: str) -> list[float]:
    """How far a motion has come at each frame: linearly in a fifth of the clips, else along one of the 31 curves."""
    times = [t / max(num_frames - 1, 1) for t in range(num_frames)]
    if draws.happens(f"{purpose} is linear", LINEAR_SHARE):
        return times
    easing = list(EASINGS.values())[draws.integer(f"{purpose} easing", 0, len(EASINGS) - 1)]
    return [easing(t) for t in times]
