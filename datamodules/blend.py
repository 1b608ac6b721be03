"""Colours at the output's pixels: brightness, straight colours, and I = αF + (1−α)B; on the CPU in one pass each."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.resample import sent

OPAQUE_ENOUGH = 1e-6  # colours are divided by no smaller alpha


def brightened(pixels: Tensor, gain: Tensor) -> Tensor:
    """Pixels (B, T, 3, H, W), which may be changed in place, times a gain (B, T, 3) on the CPU, in [0, 1]."""
    if not pixels.is_cpu:
        return (pixels * sent(gain, pixels)[..., None, None]).clamp_(0, 1).contiguous()
    from datamodules import kernels

    pixels = pixels.contiguous()
    kernels.brightened(pixels.flatten(0, 2).numpy(), gain.flatten().numpy())
    return pixels


def uncovered(views: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Straight colours of a cut-out: what was multiplied with alpha is divided by it.

    Args:
        views: (B, T, C, H, W), colours, what else there is, and alpha, as of `resample_cutout`; is changed.
        gain: (B, T, 3) of the colours, on the CPU.

    Returns:
        colours (B, T, 3, H, W) and alpha (B, T, 1, H, W) in [0, 1], and the other channels (B, T, C − 4, H, W); where
        alpha is 0 all are 0.
    """
    if not views.is_cpu:
        alpha = views[:, :, -1:].clamp(0, 1)
        values = views[:, :, :-1].div_(alpha.clamp_min(OPAQUE_ENOUGH))
        return (values[:, :, :3] * sent(gain, values)[..., None, None]).clamp_(0, 1), alpha, values[:, :, 3:]
    from datamodules import kernels

    views, gain = views.contiguous(), gain.contiguous()
    B, T, _, H, W = views.shape
    colours, alpha = views.new_empty(B, T, 3, H, W), views.new_empty(B, T, 1, H, W)
    kernels.uncovered(*(each.flatten(0, 1).numpy() for each in (views, gain, colours, alpha)))
    return colours, alpha, views[:, :, 3:-1]


def blended(background: Tensor, foreground: Tensor, alpha: Tensor) -> Tensor:
    """αF + (1−α)B of (B, T, 3, H, W) twice and (B, T, 1, H, W); just F where alpha is 1, just B where it is 0."""
    if not background.is_cpu:
        return torch.lerp(background, foreground, alpha)
    from datamodules import kernels

    layers = [each.contiguous() for each in (background, foreground, alpha)]
    frames = torch.empty_like(layers[0])
    kernels.blended(*(each.flatten(0, 1).numpy() for each in (*layers, frames)))
    return frames
