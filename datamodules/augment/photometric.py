"""Colour: gains drawn for a clip, light that changes over time, and stronger jitter of decoded pixels."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def random_gain(generator: torch.Generator, spread: float) -> Tensor:
    """Colour factors (3,), each uniform in 1 ± spread."""
    return 1 + spread * (2 * torch.rand(3, generator=generator) - 1)


def changing_light(num_frames: int, generator: torch.Generator, amplitude: float) -> Tensor:
    """Brightness factors (T, 1) of a light that swells and fades with a period of 10 to 40 frames; 1 at t = 0."""
    phase, period = torch.rand(2, generator=generator).tolist()
    time = torch.arange(num_frames)[:, None] / (10 + 30 * period) + phase
    wave = torch.sin(2 * math.pi * time)
    return 1 + amplitude * (wave - wave[:1]) / 2


def jitter_colours(pictures: Tensor, seed: int, strength: float) -> Tensor:
    """Pictures under one random change of brightness, contrast, saturation, hue and gamma, the same for all.

    No noise and no blur: both hurt MODNet (its authors, issues 57 and 121).

    Args:
        pictures: (T, 3, H, W) uint8.
        seed: of all draws.
        strength: in [0, 1].

    Returns:
        (T, 3, H, W) uint8.
    """
    pipeline = _pipeline(strength)
    # Without it albumentations draws the same in every worker and every epoch.
    pipeline.set_random_seed(seed % 2**32)
    changed = pipeline(images=_equal_frames_once(pictures).permute(0, 2, 3, 1).numpy())["images"]
    return torch.from_numpy(changed).permute(0, 3, 1, 2).expand(len(pictures), -1, -1, -1)


@lru_cache(maxsize=8)
def _pipeline(strength: float) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    spread = 0.4 * strength
    around_one = (1 - spread, 1 + spread)
    return A.Compose(
        [
            A.ColorJitter(around_one, around_one, around_one, hue=(-0.1 * strength, 0.1 * strength), p=0.8),
            A.RandomGamma((100 * (1 - spread), 100 * (1 + spread)), p=0.5),
            A.ToGray(p=0.02 * strength),
        ]
    )


def change_colours(
    fgr: Tensor, pha: Tensor, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Tensor:
    """A person's colours under one change for the whole clip, in the order of the arguments; the same at 1, 1, 1, 0.

    Contrast turns about the mean grey of the person over all frames, not about that of each frame and its empty
    surroundings: it would flicker.

    Args:
        fgr: (T, 3, H, W) uint8, straight colours.
        pha: (T, 1, H, W) uint8.
        brightness: factor.
        contrast: factor.
        saturation: factor.
        hue: shift in turns, [−0.5, 0.5].

    Returns:
        (T, 3, H, W) uint8.
    """
    if (brightness, contrast, saturation, hue) == (1.0, 1.0, 1.0, 0.0):
        return fgr
    colours = _equal_frames_once(fgr).float() / 255 * brightness
    weights = pha[: len(colours)]
    if contrast != 1:
        seen = weights.sum(dtype=torch.float64).clamp_min(1e-6)
        mean = float((_grey(colours.clamp_(0, 1)) * weights).sum(dtype=torch.float64) / seen)
        colours = mean + contrast * (colours - mean)
    if saturation != 1:
        grey = _grey(colours.clamp_(0, 1))
        colours = grey + saturation * (colours - grey)
    colours = colours.clamp_(0, 1)
    if hue != 0:
        from torchvision.transforms.functional import adjust_hue

        colours = adjust_hue(colours, hue)
    return (colours * 255).round().to(torch.uint8).expand(len(fgr), -1, -1, -1)


def change_alpha(pha: Tensor, gamma: float) -> Tensor:
    """Alpha (T, 1, H, W) uint8 to the power of `gamma`; below 1 it widens the soft edge, above 1 it narrows it."""
    table = ((torch.arange(256) / 255) ** gamma * 255).round().to(torch.uint8)
    return table[_equal_frames_once(pha).long()].expand(len(pha), -1, -1, -1)


def _equal_frames_once(pictures: Tensor) -> Tensor:
    """The first of frames that share one memory, else all of them."""
    return pictures[:1] if pictures.stride(0) == 0 else pictures


def _grey(colours: Tensor) -> Tensor:
    """Luma (T, 1, H, W), ITU-R BT.601."""
    return (colours * colours.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
