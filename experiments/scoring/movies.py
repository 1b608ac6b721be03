"""Short videos of test clips: input, true alpha and alpha beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.video import write_video

SHOWN = ("frame", "alpha_true", "alpha_pred")
MAX_FRAMES = 120
LONGEST_SIDE = 512  # of a frame, pixels
FPS = 12  # test clips have no rate of their own; half speed lets flicker be seen


class Movie:
    """The first frames of one clip, collected while the clip passes in pieces."""

    def __init__(self) -> None:
        self.pieces: list[Tensor] = []

    def add(self, start: int, layers: Mapping[str, Tensor]) -> None:
        """Keep a piece that begins with frame `start`; layers (T, C, H, W) in [0, 1] by name."""
        left = MAX_FRAMES - start
        if left > 0:
            shown = [layers[name][:left].float().cpu().expand(-1, 3, -1, -1) for name in SHOWN]
            ratio = LONGEST_SIDE / max(shown[0].shape[-2:])
            if ratio < 1:
                shown = [F.interpolate(layer, scale_factor=ratio, mode="area") for layer in shown]
            self.pieces.append((torch.cat(shown, dim=3).clamp(0, 1) * 255).round().byte())

    def write(self, path: Path) -> None:
        """Write an H.264 file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, torch.cat(self.pieces), FPS, crf=23)
