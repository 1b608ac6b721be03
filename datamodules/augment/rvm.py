"""What RVM's training clips go through: motion, changes of speed, pauses, colour, grain and blur, from one seed.

Source: Lin et al., 2021, arXiv 2108.11515, section 4.1; shares and ranges are those of the official training on
videos. Affines are composed, so that a pixel is resampled once; there each step resamples 8-bit pictures again.
Backgrounds that leave the frame go on with the colours of their border, not in black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from datamodules.augment.easing import draw_progress
from datamodules.augment.look import Colours, Grain, Look
from datamodules.augment.pose import Pose, pose_matrices
from datamodules.dice import Draws, seed_of

FOREGROUND_SCALE, BACKGROUND_SCALE = (0.5, 1.0), (1.0, 1.5)
CROP_ASPECT = (0.9, 1.1)
COLOUR_STD, MOST_COLOUR_CHANGE = 0.1, 0.2
GRAIN_SIZE, MOST_NOISE = (1.0, 4.0), 0.2
MOST_SHARPNESS = 8.0
MOST_BLUR = 10 / 512  # sides; there 10 pixels whatever the size, here as on frames of 512


@dataclass(frozen=True)
class RVMAugmentation:
    """Shares of the clips that each change happens to, and speeds; ranges are constants of this file."""

    foreground_motion_share: float = 0.3
    """The person moves from one pose to another."""
    still_motion_share: float = 0.95
    """The same where the person is a still picture."""
    background_motion_share: float = 0.3
    """Half of it: the background moves so. The other half, drawn apart: person and background move together."""
    noise_share: float = 0.1
    colour_share: float = 0.3
    """Colours change over time, of person and background apart."""
    grey_share: float = 0.02
    sharpness_share: float = 0.1
    blur_share: float = 0.02
    """A third of it each: the person is blurred, the background, both."""
    flip_share: float = 0.5
    """Mirrored, person and background apart."""
    pause_share: float = 0.03
    """All stands still for some frames, noise too, and then goes on from where it would be."""
    reverse_share: float = 0.5
    """Played backwards, person and background apart."""
    speeds: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
    """Source frames from one frame to the next, one for the person and one for a background video."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "speeds":
                if not isinstance(value, Sequence) or not value or not all(_is_number(v) and v > 0 for v in value):
                    raise ValueError(f"augment.rvm: speeds must be numbers above 0, got {value!r}")
                object.__setattr__(self, "speeds", tuple(value))
            elif not _is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"augment.rvm: {item.name} must lie in [0, 1], got {value!r}")

    @classmethod
    def of(cls, options: Any) -> Self:
        """From its options by name.

        Raises:
            ValueError: an option does not exist, or does not fit.
        """
        if not isinstance(options, Mapping):
            raise ValueError(f"augment.rvm must be a mapping, option: value, got {options!r}")
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(map(str, options)) - known):
            raise ValueError(f"augment.rvm: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return cls(**options)


def draw_frames(
    num_source_frames: int, num_frames: int, augmentation: RVMAugmentation, draws: Draws, purpose: str
) -> list[int]:
    """Which frames of a source a clip shows: at a drawn speed from a drawn start, perhaps backwards.

    A source that is too short begins again.
    """
    speeds = augmentation.speeds
    speed = speeds[draws.integer(f"{purpose} speed", 0, len(speeds) - 1)]
    start = draws.integer(f"{purpose} start", 0, num_source_frames - 1)
    frames = [(start + int(t * speed)) % num_source_frames for t in range(num_frames)]
    return frames[::-1] if draws.happens(f"{purpose} backwards", augmentation.reverse_share) else frames


def draw_pause(num_frames: int, share: float, draws: Draws) -> list[int]:
    """The frame that each frame of the clip shows: itself, or the one at which the clip has paused."""
    shown = list(range(num_frames))
    if num_frames < 2 or not draws.happens("pause", share):
        return shown
    at = draws.integer("pause at", 0, num_frames - 2)
    length = draws.integer("pause length", 0, num_frames - at - 1)
    return [at if at < t < at + length else t for t in shown]


def draw_affines(
    augmentation: RVMAugmentation,
    num_frames: int,
    size: tuple[int, int],
    foreground: tuple[int, int],
    background: tuple[int, int],
    still: bool,
    draws: Draws,
) -> tuple[Tensor, Tensor]:
    """Output → canvas pixel (T, 2, 3) float32 of the person and of the background.

    Args:
        augmentation: shares.
        num_frames: T.
        size: (height, width) of the output.
        foreground: (height, width) of the person's canvas.
        background: (height, width) of the background's canvas.
        still: the person is a still picture.
        draws: the sample's dice.
    """
    half = augmentation.background_motion_share / 2
    share = augmentation.still_motion_share if still else augmentation.foreground_motion_share
    together = _motion("common motion", half, num_frames, draws)
    layers = {
        "foreground": (foreground, FOREGROUND_SCALE, share),
        "background": (background, BACKGROUND_SCALE, half),
    }
    affines = []
    for name, (canvas, scale, own_share) in layers.items():
        rest = Pose.drawn(draws, f"{name} rest", scale)
        matrices = _cropped(size, canvas, draws.happens(f"{name} flip", augmentation.flip_share))
        motions = (_motion(f"{name} motion", own_share, num_frames, draws), together, (rest, rest, [0.0]))
        for motion in reversed([each for each in motions if each is not None]):
            matrices = pose_matrices(*motion, canvas) @ matrices
        affines.append(matrices.expand(num_frames, 3, 3)[:, :2].float())
    return affines[0], affines[1]


def _motion(purpose: str, share: float, num_frames: int, draws: Draws) -> tuple[Pose, Pose, list[float]] | None:
    """Two poses and how far the way between them is gone at each frame; None if nothing moves."""
    if not draws.happens(purpose, share):
        return None
    ends = (Pose.drawn(draws, f"{purpose} {end}") for end in ("first", "last"))
    return next(ends), next(ends), draw_progress(num_frames, draws, purpose)


def _cropped(size: tuple[int, int], canvas: tuple[int, int], flip: bool) -> Tensor:
    """(3, 3) float64 output → canvas pixel: the largest piece in the middle with an aspect within 10 % of the output's.

    It is the canvas's own where that is near enough; the piece is stretched to the output. So does RVM's random crop,
    which asks for the whole area and practically always falls back to this.
    """
    (height, width), (canvas_height, canvas_width) = size, canvas
    own = (canvas_width / canvas_height) / (width / height)
    aspect = min(max(own, CROP_ASPECT[0]), CROP_ASPECT[1]) * width / height
    seen = (min(canvas_width, canvas_height * aspect), min(canvas_height, canvas_width / aspect))
    matrix = torch.eye(3, dtype=torch.float64)
    for axis, (length, pixels, extent) in enumerate(
        zip((width, height), seen, (canvas_width, canvas_height), strict=True)
    ):
        matrix[axis, axis] = pixels / length
        matrix[axis, 2] = (extent - pixels + pixels / length - 1) / 2
    if flip:
        matrix[0] = torch.tensor([0, 0, canvas_width - 1], dtype=torch.float64) - matrix[0]
    return matrix


def draw_look(augmentation: RVMAugmentation, shown: list[int], draws: Draws) -> Look:
    """Noise, colours, sharpness and blur of one clip; `shown` is what `draw_pause` gives."""
    third, num_frames = augmentation.blur_share / 3, len(shown)

    def in_time(values: list[Any]) -> list[Any]:
        return [values[t] for t in shown]

    def colours(name: str) -> list[Colours]:
        if not draws.happens(f"{name} colours", augmentation.colour_share):
            return []
        ends = COLOUR_STD * torch.randn(2, 4, generator=draws.generator(f"{name} colour ends"))
        strength = draws.number(f"{name} colour strength", (0, MOST_COLOUR_CHANGE))
        progress = draw_progress(num_frames, draws, f"{name} colours")
        return in_time([_colours(torch.lerp(ends[0], ends[1], p * strength).tolist()) for p in progress])

    def blur(name: str) -> list[float]:
        if not draws.happens(f"{name} blur", third):
            return []
        first, last = (draws.number(f"{name} blur {end}", (0, MOST_BLUR)) for end in ("first", "last"))
        progress = draw_progress(num_frames, draws, f"{name} blur")
        return in_time([max(first + (last - first) * p, 0.0) for p in progress])

    grain = None
    if draws.happens("noise", augmentation.noise_share):
        pixels = draws.number("grain", GRAIN_SIZE)
        amplitudes = [MOST_NOISE / pixels * draws.number(f"{name} noise") for name in ("foreground", "background")]
        seeds = [seed_of(*draws.key, f"{name} noise field") for name in ("foreground", "background")]
        grain = Grain(pixels, draws.happens("monochrome noise", 0.5), amplitudes[0], amplitudes[1], seeds[0], seeds[1])
    sharpens = draws.happens("sharpness", augmentation.sharpness_share)
    return Look(
        shown=shown,
        grain=grain,
        foreground_colours=colours("foreground"),
        background_colours=colours("background"),
        grey=draws.happens("grey", augmentation.grey_share),
        sharpness=draws.number("sharpness factor", (0, MOST_SHARPNESS)) if sharpens else None,
        foreground_blur=blur("foreground"),
        background_blur=blur("background"),
        common_blur=blur("common"),
    )


def _colours(change: list[float]) -> Colours:
    brightness, contrast, _, hue = change
    # The official code draws a change of the saturation and then takes that of the brightness.
    return Colours(
        max(1 + brightness, 0.1), max(1 + contrast, 0.1), max(1 + brightness, 0.1), min(max(0.1 * hue, -0.5), 0.5)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
