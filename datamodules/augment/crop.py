"""A window of a larger composite, the same for all frames and layers."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.augment.resolution import seen_through
from datamodules.batch import Layers
from datamodules.resample import resample

LEAST_VISIBLE = 0.01
REDRAWS = 5


def random_window(layers: Layers, frame: tuple[int, int], size: tuple[int, int], generator: torch.Generator) -> Layers:
    """Layers of a clip that show a random window of what they showed; pixels stay, affines change.

    The window is drawn anew, up to 5 times, until at least 1 % of its middle frame shows the person.

    Args:
        layers: of one clip, drawn for an output of size `frame`.
        frame: (height, width) that the window lies in.
        size: (height, width) of the window.
        generator: all draws.
    Source: Context Motion Network, section 3, crops 384 × 384; the condition is ours.
    """
    for _ in range(1 + REDRAWS):
        across, down = torch.rand(2, generator=generator).tolist()
        window = torch.eye(3, dtype=torch.float64)
        window[0, 2] = min(int(across * (frame[1] - size[1] + 1)), frame[1] - size[1])
        window[1, 2] = min(int(down * (frame[0] - size[0] + 1)), frame[0] - size[0])
        seen = seen_through(layers, window)
        if _visible_share(seen, size) >= LEAST_VISIBLE:
            break
    return seen


def _visible_share(layers: Layers, size: tuple[int, int]) -> float:
    """Share of the middle frame's pixels with alpha above 0."""
    middle = len(layers.pha) // 2
    pha: Tensor = layers.pha[None, middle : middle + 1].float()
    return float((resample(pha, layers.fgr_affine[None, middle : middle + 1], *size, "zeros") > 0).float().mean())
