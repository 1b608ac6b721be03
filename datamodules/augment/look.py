"""Noise, colour, sharpness and blur of a clip's layers, after they are resampled and before they are blended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from torch import Tensor

from datamodules.augment.noise import gaussian_noise

LEAST_ALPHA = 1e-3  # below it nothing is known of the person's colour


class Colours(NamedTuple):
    """Factors of brightness, contrast and saturation, and a shift of the hue in turns, of one frame."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


class Grain(NamedTuple):
    """Noise: the size of a grain in pixels, whether it is grey, its standard deviation and seed in each layer."""

    pixels: float
    monochrome: bool
    foreground: float
    background: float
    foreground_seed: int
    background_seed: int


@dataclass
class Look:
    """The draws of one clip, applied in the order of the fields; by default nothing is changed.

    Attributes:
        shown: for each frame the one whose noise it has.
        grain: of foreground and background.
        foreground_colours: of each frame, or empty.
        background_colours: the same.
        grey: foreground and background lose their colour.
        sharpness: of foreground, alpha and background: 0 smooths, 1 changes nothing, above 1 sharpens.
        foreground_blur: of foreground and alpha, a standard deviation for each frame in shorter sides, or empty.
        background_blur: of the background.
        common_blur: of all three.
    """

    shown: list[int]
    grain: Grain | None = None
    foreground_colours: list[Colours] = field(default_factory=list)
    background_colours: list[Colours] = field(default_factory=list)
    grey: bool = False
    sharpness: float | None = None
    foreground_blur: list[float] = field(default_factory=list)
    background_blur: list[float] = field(default_factory=list)
    common_blur: list[float] = field(default_factory=list)

    def applied(self, foreground: Tensor, alpha: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three layers as the clip shows them.

        The person's colours are smoothed and blurred among themselves, weighted by alpha: nothing from where nobody is
        bleeds in, as it would from the empty surroundings of a cut-out.

        Args:
            foreground: (T, 3, H, W) in [0, 1].
            alpha: (T, 1, H, W) in [0, 1].
            background: (T, 3, H, W) in [0, 1].

        Source: RVM's official training, whose operators are those of torchvision.
        """
        if self.grain is not None:
            grain = self.grain
            foreground = self._noisy(foreground, grain, grain.foreground, grain.foreground_seed)
            background = self._noisy(background, grain, grain.background, grain.background_seed)
        foreground = _coloured(foreground, self.foreground_colours)
        background = _coloured(background, self.background_colours)
        if self.grey:
            foreground, background = (TF.rgb_to_grayscale(each, 3) for each in (foreground, background))
        if (sharpness := self.sharpness) is not None:
            colours = _among_themselves(foreground, alpha, _smooth)
            foreground, alpha, background = (
                (smooth + sharpness * (sharp - smooth)).clamp(0, 1)
                for sharp, smooth in ((foreground, colours), (alpha, _smooth(alpha)), (background, _smooth(background)))
            )
        for blur in (self.foreground_blur, self.common_blur):
            if blur:
                blurred = _blurring(blur)
                foreground, alpha = _among_themselves(foreground, alpha, blurred), blurred(alpha)
        for blur in (self.background_blur, self.common_blur):
            if blur:
                background = _blurring(blur)(background)
        return foreground, alpha, background

    def _noisy(self, frames: Tensor, grain: Grain, std: float, seed: int) -> Tensor:
        num_frames, _, height, width = frames.shape
        shape = (num_frames, 1 if grain.monochrome else 3, round(height / grain.pixels), round(width / grain.pixels))
        noise = gaussian_noise(torch.tensor([seed], device=frames.device), shape)[0]
        noise = F.interpolate(noise, (height, width), mode="bilinear", align_corners=False)
        return (frames + std * noise[self.shown]).clamp(0, 1)


def _coloured(frames: Tensor, colours: list[Colours]) -> Tensor:
    """Frames (T, 3, H, W) with a change each; as they are without any."""
    if not colours:
        return frames
    changed = []
    for frame, (brightness, contrast, saturation, hue) in zip(frames, colours, strict=True):
        each = TF.adjust_contrast(TF.adjust_brightness(frame, brightness), contrast)
        changed.append(TF.adjust_hue(TF.adjust_saturation(each, saturation), hue))
    return torch.stack(changed)


def _smooth(frames: Tensor) -> Tensor:
    """Each pixel's mean with its eight neighbours, its own value five times; the outermost pixels stay."""
    kernel = frames.new_ones(3, 3)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(frames.shape[1], 1, 3, 3)
    smooth = frames.clone()
    smooth[..., 1:-1, 1:-1] = F.conv2d(frames, kernel, groups=frames.shape[1])
    return smooth


def _blurring(sides: list[float]) -> Callable[[Tensor], Tensor]:
    """A Gaussian blur of each frame (C, H, W) of (T, C, H, W), cut off at about its standard deviation."""

    def blurred(frames: Tensor) -> Tensor:
        side = min(frames.shape[-2:])
        return torch.stack([_gaussian(frame, std * side) for frame, std in zip(frames, sides, strict=True)])

    return blurred


def _gaussian(frame: Tensor, std: float) -> Tensor:
    return TF.gaussian_blur(frame, 2 * int(std) + 1, std) if std >= 1 else frame


def _among_themselves(colours: Tensor, alpha: Tensor, smoothed: Callable[[Tensor], Tensor]) -> Tensor:
    """Colours (T, 3, H, W) smoothed with alpha's weight; as they are where there is next to none."""
    weight = smoothed(alpha)
    mean = smoothed(colours * alpha) / weight.clamp_min(LEAST_ALPHA)
    return torch.where(weight >= LEAST_ALPHA, mean.clamp(0, 1), colours)
