"""Plates for training: the picture of the empty scene as users take it, never quite the background of the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import adjust_hue


@dataclass(frozen=True)
class PlateAugmentation:
    """How a plate differs from the background behind the person; every draw is one a clip.

    Source: BackgroundMattingV2's official training code; its draws of shadow and misalignment are shared by a batch.
    """

    shadow_share: float = 0.3
    """Share of clips in whose frames, not in the plate, the person casts a shadow."""
    shadow_opacity: float = 0.3
    """Largest brightness that a shadow takes away."""
    shadow_blur: tuple[float, float] = (20 / 512, 39 / 512)
    """Side of the box that blurs the shadow, in shorter sides of the frame (20 to 39 pixels of 512)."""
    noise_share: float = 0.4
    """Share of clips with Gaussian noise on the plate. Noise on the frames is the data's (`difficulty.noise_std`)."""
    noise_std: float = 0.03
    """Largest standard deviation of that noise; the paper calls it a variance, the code does not."""
    jitter_share: float = 0.8
    """Share of clips whose plate has other colours (0.3 in the paper, 0.8 in the code)."""
    jitter: float = 0.18
    """Largest change of the plate's brightness (added), contrast and saturation (factors)."""
    jitter_hue: float = 0.1
    """Largest change of its hue, turns."""
    misalignment_share: float = 0.3
    """Share of clips whose plate is turned and shifted."""
    misalignment_degrees: float = 1.0
    """Largest angle."""
    misalignment_shift: float = 0.01
    """Largest shift, in sides."""


def shadowed_frames(
    frames: Tensor, alpha: Tensor, background: Tensor, augmentation: PlateAugmentation, generator: torch.Generator
) -> Tensor:
    """Frames in which some of the persons cast a shadow on what is behind them.

    Args:
        frames: (B, T, 3, H, W) in [0, 1], alpha · foreground + (1 − alpha) · background, and noise.
        alpha: (B, T, 1, H, W) in [0, 1]; moved, blurred and made lighter it is the shadow.
        background: (B, T, 3, H, W) in [0, 1].
        augmentation: its shadow options.
        generator: CPU generator of all draws.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    # The composite is linear in the background: what the shadow takes there, the frame loses times 1 − alpha.
    return torch.stack(
        [
            frame - (1 - a) * (b - (b - cast_shadow(a, augmentation, generator)).clamp(0, 1))
            if _happens(augmentation.shadow_share, generator)
            else frame
            for frame, a, b in zip(frames, alpha, background, strict=True)
        ]
    ).clamp(0, 1)


def cast_shadow(alpha: Tensor, augmentation: PlateAugmentation, generator: torch.Generator) -> Tensor:
    """Brightness (T, 1, H, W) that one clip's person takes from the background; alpha (T, 1, H, W) in [0, 1]."""
    height, width = alpha.shape[-2:]
    opacity = augmentation.shadow_opacity * _uniform(0, 1, generator)
    moved = _moved(
        alpha,
        degrees=_uniform(-5, 5, generator),
        shift=(_uniform(-0.2, 0.2, generator), _uniform(-0.2, 0.2, generator)),
        scale=_uniform(0.5, 1.5, generator),
        shear_degrees=_uniform(-5, 5, generator),
    )
    side = max(1, round(_uniform(*augmentation.shadow_blur, generator) * min(height, width)))
    before, after = (side - 1) // 2, side // 2
    padded = F.pad(moved, (before, after, before, after), mode="reflect")
    return opacity * F.avg_pool2d(F.avg_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)


def perturbed_plate(background: Tensor, augmentation: PlateAugmentation, generator: torch.Generator) -> Tensor:
    """The background as a plate: with noise, in other colours, turned and shifted.

    Args:
        background: (B, T, 3, H, W) in [0, 1], the true one.
        augmentation: its noise, jitter and misalignment options.
        generator: CPU generator of all draws.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    return torch.stack([_perturbed(clip, augmentation, generator) for clip in background])


def _perturbed(plate: Tensor, augmentation: PlateAugmentation, generator: torch.Generator) -> Tensor:
    if _happens(augmentation.noise_share, generator):
        std = augmentation.noise_std * _uniform(0, 1, generator)
        plate = (plate + std * torch.randn(plate.shape, generator=generator).to(plate.device)).clamp(0, 1)
    if _happens(augmentation.jitter_share, generator):
        plate = jitter_plate(plate, augmentation.jitter, augmentation.jitter_hue, generator)
    if _happens(augmentation.misalignment_share, generator):
        shift = augmentation.misalignment_shift
        plate = _moved(
            plate,
            degrees=_uniform(-augmentation.misalignment_degrees, augmentation.misalignment_degrees, generator),
            shift=(_uniform(-shift, shift, generator), _uniform(-shift, shift, generator)),
        )
    return plate


def jitter_plate(plate: Tensor, strength: float, hue: float, generator: torch.Generator) -> Tensor:
    """Pictures (T, 3, H, W) in [0, 1] of another brightness, contrast, saturation and hue, in random order.

    Brightness is added, contrast is a factor about black and saturation that of HSV, as in kornia 0.4, which the
    official code calls.
    """
    brightness, contrast, saturation = (_uniform(-strength, strength, generator) for _ in range(3))
    turn = _uniform(-hue, hue, generator)
    for change in torch.randperm(4, generator=generator).tolist():
        if change == 0:
            plate = plate + brightness
        elif change == 1:
            plate = plate * (1 + contrast)
        elif change == 2:
            value = plate.amax(dim=-3, keepdim=True)
            plate = value - (1 + saturation) * (value - plate)
        else:
            plate = adjust_hue(plate, turn)
        plate = plate.clamp(0, 1)
    return plate


def _moved(
    pictures: Tensor,
    degrees: float,
    shift: tuple[float, float],
    scale: float = 1.0,
    shear_degrees: float = 0.0,
) -> Tensor:
    """Pictures (T, C, H, W) turned, sheared and scaled about the middle, then shifted; nearest pixel, black outside.

    Args:
        pictures: what is moved.
        degrees: of the rotation.
        shift: (x, y) in widths and heights, rounded to whole pixels.
        scale: above 1 enlarges.
        shear_degrees: along x.
    """
    height, width = pictures.shape[-2:]
    angle, shear = math.radians(degrees), math.tan(math.radians(shear_degrees))
    linear = scale * torch.tensor(
        [
            [math.cos(angle), shear * math.cos(angle) - math.sin(angle)],
            [math.sin(angle), shear * math.sin(angle) + math.cos(angle)],
        ]
    )
    # Output → source; in units of half sides, which grid_sample counts in.
    inverse = torch.linalg.inv(linear)
    moved = torch.tensor([round(shift[0] * width), round(shift[1] * height)], dtype=torch.float32)
    half = torch.tensor([width / 2, height / 2])
    affine = torch.cat((inverse * half / half[:, None], (-inverse @ moved / half)[:, None]), dim=1)
    grid = F.affine_grid(affine[None].to(pictures.device), [1, 1, height, width], align_corners=False)
    # One tall picture, so that the grid need not be repeated for every frame.
    flat = pictures.flatten(0, 1)[None]
    return F.grid_sample(flat, grid.to(flat.dtype), mode="nearest", align_corners=False).view_as(pictures)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _happens(share: float, generator: torch.Generator) -> bool:
    return _uniform(0, 1, generator) < share
