"""How hard the composited clips are: every range that a sample's draws come from, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

Range = tuple[float, float]


@dataclass(frozen=True)
class Difficulty:
    """What is drawn for a clip, and how wildly; the defaults follow MODNet and MODNet-V where these tell theirs.

    Ranges are (low, high), drawn uniformly once a clip; shares are probabilities; lengths are in shorter
    sides of the output.
    """

    frame_stride: tuple[int, int] = (1, 1)
    """Source frames from one frame of the clip to the next, both ends included."""
    reverse_share: float = 0.0
    """Share of clips played backwards."""

    foreground_scale: Range = (0.75, 1.5)
    """Size of the person's canvas; at 1 it just covers the output. MODNet: 384 to 768 for 512."""
    foreground_speed: Range = (0.0, 0.0)
    """Own camera path of the foreground, as `background_speed`; 0 for none. Stills move only by it."""
    absence_share: float = 0.0
    """Share of clips in which the person is out of the picture for a part: comes, goes, or goes and comes back."""
    foreground_offset: float = 0.0
    """How far the person's middle may lie beside the frame's, where the canvas's size alone would keep it nearer."""
    flip_share: float = 0.5
    """Share of foregrounds that are mirrored."""

    background_speed: Range = (1.0, 1.0)
    """Factor of the background's shift from pose to pose, a new pose every 10 frames (shift ±8 %, rotation ±5°,
    zoom 1–1.25, shear ±3°; above 1 only the shift grows)."""
    background_view: float = 1.0
    """Side of the largest piece of the scene that the output shows, in sides of the scene; a camera that needs more
    room shows less. With 1 a still camera shows a scene from further away than a moving one does."""
    static_share: float = 0.3
    """Share of clips whose background does not move at all."""
    shake_share: float = 0.5
    """Share of clips, of those that move, with hand shake."""
    shake_std: float = 0.002
    """Standard deviation of hand shake per frame, sides."""
    pan: Range = (0.0, 0.0)
    """Constant shift of the background per frame, in a random direction, sides."""
    parallax: Range = (1.2, 1.8)
    """How many times as far as the background a near plane shifts."""
    cut_share: float = 0.0
    """Share of clips in which a still background changes to another one in some frame."""

    foreground_defocus: Range = (0.0, 0.0)
    """Side of the square that a point of the person is spread over, sides; its alpha is spread with it."""
    background_defocus: Range = (0.0, 0.0)
    """The same for the scene. Both are drawn apart: if one were always the sharper, sharpness would tell alpha."""

    crop_height: float = 1.0
    """Height of the composite that the output is a random window of, in heights of the output; 1: the whole."""
    crop_width: float = 1.0
    """The same for the width. `foreground_scale` and the camera's lengths are then those of the whole composite."""

    camouflage: Range = (0.0, 0.0)
    """Share of the foreground's colour that is taken from its own background."""
    gain: float = 0.1
    """Colour factors of foreground and background, each channel in 1 ± this, fixed for a clip."""
    light_change: Range = (0.0, 0.0)
    """Amplitude of a slow change of the background's brightness; 0.2 means up to ±20 %."""
    photometric: float = 0.0
    """Strength in [0, 1] of colour jitter and gamma on decoded pixels; for real layers (takes time)."""
    foreground_brightness: Range = (1.0, 1.0)
    """Factor of the foreground's colours."""
    foreground_contrast: Range = (1.0, 1.0)
    """Factor of their distance from the person's mean grey."""
    foreground_saturation: Range = (1.0, 1.0)
    """Factor of their distance from their own grey."""
    foreground_hue: Range = (0.0, 0.0)
    """Shift of their hue, in turns."""
    alpha_gamma_share: float = 0.0
    """Share of clips whose alpha is raised to a power; the result is the truth, and what is composited."""
    alpha_gamma: Range = (0.2, 2.0)
    """That power."""
    noise_std: Range = (0.0, 0.0)
    """Standard deviation of Gaussian noise on the composite, in units of [0, 1]."""
    jpeg_share: float = 0.0
    """Share of clips whose frames, after the noise, go through JPEG; the truth does not."""
    jpeg_quality: tuple[int, int] = (70, 100)
    """Its quality, from 1 on, both ends included."""
    h264_share: float = 0.0
    """Share of clips whose frames, after noise and JPEG, go through H.264 (on the CPU, which takes time)."""
    h264_crf: tuple[int, int] = (18, 32)
    """Its constant rate factor, 0 (best) to 51, both ends included."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(item.default, tuple):
                _check_range(item.name, value, type(item.default[0]))
                object.__setattr__(self, item.name, tuple(value))
            elif not _is_number(value):
                raise ValueError(f"difficulty: {item.name} must be a number, got {value!r}")
            low, high = _limits(item.name)
            if not all(low <= each <= high for each in (value if isinstance(value, Sequence) else (value,))):
                raise ValueError(f"difficulty: {item.name} must lie in [{low:g}, {high:g}], got {value}")

    @classmethod
    def of(cls, options: Self | Mapping[str, Any]) -> Self:
        """A difficulty from its options by name, or as it is."""
        return options if isinstance(options, cls) else cls().but(options)

    def but(self, changes: Any) -> Self:
        """The same difficulty but for some options.

        Raises:
            ValueError: an option does not exist.
        """
        if not isinstance(changes, Mapping):
            raise ValueError(f"difficulty must be a mapping, option: value, got {changes!r}")
        known = {item.name for item in fields(self)}
        if unknown := sorted(set(map(str, changes)) - known):
            raise ValueError(f"difficulty: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return replace(self, **changes)


def _check_range(name: str, value: Any, kind: type) -> None:
    right = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    if not right or value[0] > value[1]:
        raise ValueError(f"difficulty: {name} must be (low, high) with low ≤ high, got {value}")
    if kind is int and not all(isinstance(each, int) for each in value):
        raise ValueError(f"difficulty: {name} must be two whole numbers, got {value}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _limits(name: str) -> Range:
    """Between which numbers an option must lie."""
    return (0.0, 1.0) if name.endswith("_share") else _LIMITS.get(name, (-math.inf, math.inf))


_LIMITS = {
    "camouflage": (0.0, 1.0),
    "photometric": (0.0, 1.0),
    "foreground_hue": (-0.5, 0.5),
    "foreground_offset": (0.0, 1.0),
    "foreground_defocus": (0.0, 0.25),
    "background_defocus": (0.0, 0.25),
    "alpha_gamma": (0.01, 100.0),
    "background_view": (0.1, 1.0),
    "crop_height": (1.0, 8.0),
    "crop_width": (1.0, 8.0),
    "jpeg_quality": (1.0, 100.0),
    "h264_crf": (0.0, 51.0),
}
_PLAIN = {"camouflage": (0.0, 0.0)}
_CAMOUFLAGED = {"camouflage": (0.5, 0.5)}
_STILL = {"foreground_speed": (0.0, 0.0), "absence_share": 0.0}
_MOVING = {"foreground_speed": (2.0, 2.0), "absence_share": 0.5}
_STATIC = {"static_share": 1.0}
_FAST = {"static_share": 0.0, "background_speed": (3.0, 3.0)}

STRATA = MappingProxyType(
    {
        f"{person_name} {camera_name} {colour_name}": {**person, **camera, **colour}
        for colour_name, colour in (("plain", _PLAIN), ("camouflaged", _CAMOUFLAGED))
        for camera_name, camera in (("static", _STATIC), ("fast", _FAST))
        for person_name, person in (("still", _STILL), ("moving", _MOVING))
    }
)
"""Conditions of the default test set: whether the person moves about × how fast the camera moves × whether the person
looks like what is behind."""
