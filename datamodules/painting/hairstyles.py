"""Ways to wear hair, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.painting.surface import smoothstep


@dataclass(frozen=True)
class Style:
    """A way to wear hair; lengths in heads, angles from the crown in radians.

    Attributes:
        top: thickness of the shell over the crown, as a share of the head's radius.
        side: thickness at the temples.
        front: angle from the crown at which it ends over the forehead; `temple` and `nape` likewise.
        rough: how uneven the shell's outline is.
        curl: 0 straight, 1 tight curls.
        length: length of loose strands.
        strands: how many of them at hair_fineness 1.
        hang: how far curtains hang below the head's middle, 0 for none.
    """

    top: float
    side: float
    front: float
    temple: float
    nape: float
    rough: float
    curl: float
    length: float
    strands: int
    hang: float = 0.0

    def limit(self, around: Tensor) -> Tensor:
        """Angle from the crown at which the hair ends, by the angle round the head (0 in front)."""
        a = around.abs()
        temple = smoothstep(0.45, 1.25, a) - 0.13 * torch.exp(-(((a - 0.85) / 0.25) ** 2))
        return self.front + (self.temple - self.front) * temple + (self.nape - self.temple) * smoothstep(1.5, 2.4, a)


STYLES = {
    "bald": Style(0.0, 0.0, -1, 1.25, 2.2, 0.0, 0.0, 0.03, 60),
    "buzz": Style(0.03, 0.025, 0.86, 1.5, 2.2, 0.01, 0.0, 0.035, 300),
    "short": Style(0.16, 0.08, 0.90, 1.62, 2.2, 0.05, 0.1, 0.16, 620),
    "swept": Style(0.24, 0.07, 0.82, 1.6, 2.2, 0.06, 0.15, 0.26, 620),
    "fringe": Style(0.20, 0.14, 1.22, 1.85, 2.4, 0.05, 0.1, 0.2, 620),
    "curly": Style(0.30, 0.24, 0.95, 1.85, 2.3, 0.08, 1.0, 0.26, 800),
    "afro": Style(0.50, 0.46, 0.86, 2.0, 2.4, 0.05, 1.0, 0.2, 1000),
    "bob": Style(0.19, 0.2, 1.0, 2.1, 2.6, 0.05, 0.1, 0.4, 520, 0.55),
    "long": Style(0.17, 0.15, 0.92, 2.0, 2.6, 0.05, 0.15, 0.8, 480, 1.35),
    "wavy": Style(0.24, 0.24, 0.95, 2.0, 2.6, 0.09, 0.5, 0.75, 560, 1.2),
    "bun": Style(0.08, 0.06, 0.84, 1.7, 2.3, 0.03, 0.1, 0.14, 460),
    "tail": Style(0.09, 0.06, 0.84, 1.7, 2.3, 0.03, 0.1, 0.16, 460),
}
# How often each is drawn, before the person is looked at.
WEIGHTS = (0.05, 0.06, 0.16, 0.12, 0.07, 0.11, 0.05, 0.09, 0.11, 0.08, 0.05, 0.05)
