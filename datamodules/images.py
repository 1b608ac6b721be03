"""Pictures on their way to a canvas."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.files.pictures import read_image as read_image


def resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (N, C, H, W) uint8 scaled to (height, width), antialiased."""
    if pictures.shape[-2:] == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", antialias=True)


def shrink(pictures: Tensor, side: int, mode: str = "bilinear") -> Tensor:
    """Pictures (N, C, H, W) uint8 scaled down until their shorter side is at most `side`.

    Args:
        pictures: are given back as they are if they are small enough.
        side: pixels.
        mode: "bilinear" (antialiased) for colours, "nearest" for masks.
    """
    height, width = pictures.shape[-2:]
    if min(height, width) <= side:
        return pictures
    size = (int(height * side / min(height, width)), int(width * side / min(height, width)))
    return resize(pictures, size) if mode == "bilinear" else F.interpolate(pictures, size, mode="nearest-exact")


def resize_cutout(fgr: Tensor, pha: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Straight colours (N, 3, H, W) and alpha (N, 1, H, W), uint8, scaled to (height, width).

    Colours are averaged by their alpha, so that nothing from outside the person (black, in many files) bleeds in.
    """
    if fgr.shape[-2:] == size:
        return fgr, pha
    weight = pha.float() / 255
    stacked = F.interpolate(torch.cat([fgr.float() * weight, weight], dim=1), size, mode="bilinear", antialias=True)
    colours, alpha = stacked[:, :3] / stacked[:, 3:].clamp_min(1e-6), resize(pha, size)
    # Where nothing of the person is left there is nothing to average by.
    colours = colours.clamp(0, 255).round().to(torch.uint8)
    return torch.where(alpha > 0, colours, resize(fgr, size)), alpha


def cover_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the same aspect that covers a canvas; all are (height, width).

    >>> cover_size((1080, 1920), (128, 128))
    (128, 228)
    """
    scale = max(canvas[0] / size[0], canvas[1] / size[1])
    # Without the small number 128.00000001 would become 129.
    return tuple(max(c, math.ceil(s * scale - 1e-6)) for s, c in zip(size, canvas, strict=True))  # type: ignore[return-value]


def window_of(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """The largest window of a canvas's shape in a picture, at most the canvas itself; all are (height, width).

    >>> window_of((432, 768), (683, 683)), window_of((1080, 1920), (683, 683))
    ((432, 432), (683, 683))
    """
    scale = min(1, size[0] / canvas[0], size[1] / canvas[1])
    return max(1, int(canvas[0] * scale + 1e-6)), max(1, int(canvas[1] * scale + 1e-6))


def crop_centre(pictures: Tensor, canvas: tuple[int, int]) -> Tensor:
    """The middle of pictures (N, C, H, W) that cover the canvas."""
    top, left = (pictures.shape[-2] - canvas[0]) // 2, (pictures.shape[-1] - canvas[1]) // 2
    return pictures[..., top : top + canvas[0], left : left + canvas[1]]


def crop_person(fgr: Tensor, pha: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The window of a clip that shows the person: from above the head down, centred on the body; one for all frames.

    Args:
        fgr: (T, 3, H, W) uint8, covers the canvas.
        pha: (T, 1, H, W) uint8.
        canvas: (height, width).
    """
    height, width = fgr.shape[-2:]
    rows, columns = _sums(pha)
    head = int((rows > 255).double().argmax()) - canvas[0] // 20
    body = float((columns * torch.arange(width)).sum() / columns.sum().clamp_min(1)) - canvas[1] / 2
    top = min(max(head, 0), height - canvas[0])
    left = min(max(round(body), 0), width - canvas[1])
    window = (..., slice(top, top + canvas[0]), slice(left, left + canvas[1]))
    return fgr[window], pha[window]


def _sums(pha: Tensor) -> tuple[Tensor, Tensor]:
    """Sums (H,) of each row of mattes (T, 1, H, W) uint8, and (W,) of each column, over all frames; float64."""
    import cv2  # thrice as fast at it as torch

    planes = pha[:, 0].contiguous().numpy()
    across, down = (
        np.stack([cv2.reduce(each, dim, cv2.REDUCE_SUM, dtype=cv2.CV_32S) for each in planes]).sum(0) for dim in (1, 0)
    )
    return torch.from_numpy(across).double().flatten(), torch.from_numpy(down).double().flatten()


def estimate_foreground(images: Tensor, alpha: Tensor) -> Tensor:
    """The person's own colours in whole photos, without what shines through hair: blur fusion.

    Args:
        images: (T, 3, H, W) uint8.
        alpha: (T, 1, H, W) uint8.

    Returns:
        (T, 3, H, W) uint8.
    Source: Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021, two passes.
    """
    image, a = images.float() / 255, alpha.float() / 255
    foreground, background = image, image
    for radius in (max(images.shape[-2:]) // 6, 3):
        blurred_a = box_mean(a, radius)
        smooth_F = box_mean(foreground * a, radius) / (blurred_a + 1e-5)
        background = box_mean(background * (1 - a), radius) / (1 - blurred_a + 1e-5)
        foreground = (smooth_F + a * (image - a * smooth_F - (1 - a) * background)).clamp(0, 1)
    return (foreground * 255).round().to(torch.uint8)


def box_mean(pictures: Tensor, radius: int) -> Tensor:
    """Box mean of pictures (…, H, W) float over 2 · radius + 1 pixels each way, with repeated borders."""
    import cv2

    kernel = (2 * radius + 1, 2 * radius + 1)
    blurred = [
        cv2.blur(plane.numpy(), kernel, borderType=cv2.BORDER_REPLICATE)
        for plane in pictures.reshape(-1, *pictures.shape[-2:])
    ]
    return torch.stack([torch.from_numpy(plane) for plane in blurred]).view_as(pictures)
