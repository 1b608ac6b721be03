"""What benchmarks feed to nets: a portrait that moves over a known background, one frame a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.sources.procedural import ProceduralPeople

# Pixels of a frame 512 wide that the person moves from frame to frame.
_PIXELS_PER_FRAME = 3
# A person drawn larger shows no more, and drawing is slow.
_LARGEST_PERSON = 1024
# RVM's ratios for portraits (section 20 of its documentation); another size brings its longer side to 512.
_RATIOS = {(288, 512): 1.0, (720, 1280): 0.375, (1080, 1920): 0.25, (2160, 3840): 0.125}


class Size(NamedTuple):
    """A frame size, and the ratio by which nets reduce it: small side / side."""

    height: int
    width: int
    ratio: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f"@{self.ratio:g}" if self.ratio != 1 else "")


def parse_size(text: str) -> Size:
    """The size that a command line names.

    Raises:
        ValueError: the text is not one.
    >>> parse_size("1920x1080"), parse_size("640x480@0.5")
    (Size(height=1080, width=1920, ratio=0.25), Size(height=480, width=640, ratio=0.5))
    """
    pixels, _, ratio = text.partition("@")
    try:
        width, height = (int(side) for side in pixels.lower().split("x"))
        size = Size(
            height, width, float(ratio) if ratio else _RATIOS.get((height, width), min(1, 512 / max(height, width)))
        )
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"a size is WIDTHxHEIGHT or WIDTHxHEIGHT@RATIO, as 1920x1080@0.25, got {text!r}") from None
    if min(height, width) < 32 or not 0 < size.ratio <= 1:
        raise ValueError(f"sides must be 32 or more and the ratio above 0 and at most 1, got {text!r}")
    return size


def portrait(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A procedural person in the middle of a frame: colour (1, 3, H, W), black around, and alpha (1, 1, H, W)."""
    shown = min(height, width)
    clip = ProceduralPeople(num_clips=1, num_frames=1, size=min(shown, _LARGEST_PERSON), part="test").read(0, [0])
    layers = torch.cat((clip.fgr, clip.pha), dim=1).float() / 255
    layers = F.interpolate(layers, (shown, shown), mode="bilinear")
    left = (width - shown) // 2
    layers = F.pad(layers, (left, width - shown - left, height - shown, 0))
    return layers[:, :3] * layers[:, 3:], layers[:, 3:]


class MovingPortrait:
    """A clip of any length; a frame depends on its number alone.

    Attributes:
        plate: (1, 3, H, W) in [0, 1], the true background: coloured spots with fine grain.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        colour, alpha = portrait(height, width)
        spots = F.interpolate(torch.rand(1, 3, 9, 16, generator=generator), (height, width), mode="bilinear")
        grain = torch.randn(1, 3, height, width, generator=generator)
        self.plate = (0.8 * spots + 0.1 + 0.02 * grain).clamp(0, 1).to(device)
        self._colour, self._alpha = colour.to(device), alpha.to(device)
        self._pixels_per_frame = max(1, round(_PIXELS_PER_FRAME * width / 512))

    def frame(self, t: int) -> Tensor:
        """Frame `t`, (1, 3, H, W) in [0, 1]."""
        colour, alpha = (layer.roll(t * self._pixels_per_frame, dims=-1) for layer in (self._colour, self._alpha))
        return colour + (1 - alpha) * self.plate


def no_motion(frames: Tensor) -> Tensor:
    """A flow (B, T, 2, H, W) of zeros: where a net that needs the true one is measured, any will do."""
    return frames.new_zeros(1).expand(*frames.shape[:2], 2, *frames.shape[-2:])


Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


class Stream:
    """A net in use: each call gives it the next frame and its last state.

    Attributes:
        state: after the last call; set it to None to begin a new clip.
    """

    def __init__(self, step: Step, frames: Sequence[Tensor]) -> None:
        """Run over `frames` again and again.

        Args:
            step: (frame, state) → alpha and the next state.
            frames: what it is given, in turn.
        """
        self.step, self.frames = step, frames
        self.state: Any = None
        self.calls = 0

    def __call__(self) -> Tensor:
        """The next matte."""
        alpha, self.state = self.step(self.frames[self.calls % len(self.frames)], self.state)
        self.calls += 1
        return alpha
