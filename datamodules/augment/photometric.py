"""Colour: gains drawn for a clip, light that changes over time, and stronger jitter of decoded pixels."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


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
    num_equal = 1 if pictures.stride(0) == 0 else len(pictures)
    changed = pipeline(images=pictures[:num_equal].permute(0, 2, 3, 1).numpy())["images"]
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
