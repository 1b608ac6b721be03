"""Layers seen through affines: the one resampling of every pixel, a batch at once, on any device.

Affines are few numbers, and on the CPU: what to do is decided by looking at them, for which no device is waited for.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# An affine that takes more source pixels than this per output pixel would alias under bilinear sampling.
MAX_SHRINK_WITHOUT_FILTER = 1.5


def resample(
    pictures: Tensor,
    affine: Tensor,
    height: int,
    width: int,
    padding: str,
    defocus: Tensor | None = None,
    index: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """Pictures seen through affines, bilinear; area-averaged first in clips that are out of focus or shrink a lot.

    Args:
        pictures: (B, T, C, h, w), or (B, 1, C, h, w) for stills; uint8 is divided by 255.
        affine: (B, T, 2, 3) output → picture pixel, on the CPU.
        height: of the output, pixels.
        width: of the output, pixels.
        padding: outside of the picture: "zeros" or "border" (the nearest border pixel).
        defocus: (B,) side of the square that a point is spread over, picture pixels, on the CPU; None: none is.
        index: (B, T) int64 on the CPU, which picture each frame shows, of any number of them; None: its own.
        size: (B, 2) int64 on the CPU, height and width of the upper left part of (h, w) that a clip's pictures are;
            beyond it they are as the padding is. None: all of it.

    Returns:
        (B, T, C, height, width) float32.
    """
    if pictures.is_cpu:
        return _resample_on_cpu([pictures], None, affine, height, width, padding, _extent(affine, defocus), index, size)
    if index is not None and pictures.shape[1] > 1:
        pictures = pictures[torch.arange(len(pictures), device=pictures.device)[:, None], sent(index, pictures)]
    return resample_by_torch(unit(pictures), affine, height, width, padding, defocus, size)


def resample_cutout(
    pictures: list[Tensor],
    alpha: Tensor,
    affine: Tensor,
    height: int,
    width: int,
    padding: str,
    defocus: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """Pictures multiplied with their alpha, and it below them, seen through affines.

    Args:
        pictures: (B, T, …, h, w) each, uint8 or float.
        alpha: (B, T, 1, h, w).
        affine: as of `resample`, likewise the others.

    Returns:
        (B, T, C + 1, height, width) float32, C channels of all pictures together, and alpha.
    """
    if alpha.is_cpu:
        layers, extent = [*pictures, alpha], _extent(affine, defocus)
        return _resample_on_cpu(layers, alpha, affine, height, width, padding, extent, size=size)
    alpha = unit(alpha)
    counts = [picture.shape[2] for picture in pictures]
    stacked = alpha.new_empty(*alpha.shape[:2], sum(counts) + 1, *alpha.shape[3:])
    *into, last = stacked.split([*counts, 1], dim=2)
    for picture, part in zip(pictures, into, strict=True):
        torch.mul(unit(picture), alpha, out=part)
    last.copy_(alpha)
    return resample_by_torch(stacked, affine, height, width, padding, defocus, size)


def unit(pixels: Tensor) -> Tensor:
    """Float pixels in [0, 1], in memory of their own."""
    values = pixels.to(torch.float32, copy=True)
    return values.div_(255) if pixels.dtype == torch.uint8 else values


def _resample_on_cpu(
    pictures: list[Tensor],
    alpha: Tensor | None,
    affine: Tensor,
    height: int,
    width: int,
    padding: str,
    extent: Tensor,
    index: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """Pictures (B, K, …, h, w), those before the last one times alpha, through affines; see `resample`."""
    from datamodules import kernels

    B, T = affine.shape[:2]
    K = pictures[0].shape[1]
    sizes = [list(pictures[0].shape[3:])] * B if size is None else size.tolist()
    num_channels = sum(picture.shape[2] for picture in pictures)
    views, border = torch.empty(B, T, num_channels, height, width, dtype=torch.float32), padding == "border"
    arrays = [_readable(picture) for picture in pictures]
    steps, out = affine.float().contiguous().numpy(), views.numpy()
    bytes_alone = num_channels <= 4 and all(array.dtype == np.uint8 for array in arrays)
    weight = 0 if alpha is None else num_channels - 1
    shown = torch.arange(T).clamp(max=K - 1).expand(B, T) if index is None else index
    for n, ((h, w), (across, down)) in enumerate(zip(sizes, extent.tolist(), strict=True)):
        words, fine = (np.empty((h + 2, w + 2), of) for of in (np.uint32, np.uint64))
        planes = torch.empty(num_channels, h + 2, w + 2, dtype=torch.float32).numpy()
        # Successive frames that show one picture are views of it.
        for number, frames in groupby(range(T), lambda t: int(shown[n, t])):  # noqa: B023
            first, *others = frames
            those = slice(first, first + 1 + len(others))
            pixels = [np.ascontiguousarray(array[n, number, :, :h, :w]) for array in arrays]
            if bytes_alone and max(across, down) == 1:
                _pack(pixels, border, words)
                kernels.sampled_words(words, 8, steps[n, those], weight, out[n, those])
            else:
                _lay(pixels, alpha is not None, border, planes)
                kernels.averaged(planes, across, down, border)
                # Of a mean 16 bits, and one fetch for all channels; but colours that faint alphas divide need all bits.
                if bytes_alone and alpha is None:
                    kernels.packed_fine(planes, fine)
                    kernels.sampled_words(fine, 16, steps[n, those], 0, out[n, those])
                else:
                    kernels.sampled(planes, steps[n, those], out[n, those])
    return views


def _pack(pictures: list[NDArray[Any]], border: bool, words: NDArray[Any]) -> None:
    """Pictures (…, h, w) uint8, of four channels at most, side by side into words (h + 2, w + 2)."""
    from datamodules import kernels

    number = 0
    for picture in pictures:
        kernels.packed(picture, number, words)
        number += len(picture)
    kernels.frame(words, border)


def _lay(pictures: list[NDArray[Any]], weighted: bool, border: bool, planes: NDArray[Any]) -> None:
    """Pictures (…, h, w) into planes (C, h + 2, w + 2), those before the last one times that one if it is a weight."""
    from datamodules import kernels

    opaque, start = np.empty((0, 0), np.float32), 0
    alpha = pictures[-1][0] * np.float32(_scale(pictures[-1])) if weighted else opaque
    for number, picture in enumerate(pictures):
        part = planes[start : start + len(picture)]
        kernels.framed(picture, _scale(picture), opaque if number == len(pictures) - 1 else alpha, border, part)
        start += len(picture)


def _readable(pixels: Tensor) -> NDArray[Any]:
    """Of the types that the kernels take: uint8 or float32."""
    return (pixels if pixels.dtype == torch.uint8 else pixels.float()).numpy()


def _scale(pixels: NDArray[Any]) -> float:
    return 1 / 255 if pixels.dtype == np.uint8 else 1.0


def resample_by_torch(
    pictures: Tensor,
    affine: Tensor,
    height: int,
    width: int,
    padding: str,
    defocus: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """What `resample` gives, on any device and with gradients.

    Args:
        pictures: (B, T, C, h, w) float, or (B, 1, C, h, w) for stills; overwritten where they must be averaged.
        affine: as of `resample`, likewise the others.
    """
    num_pictures = pictures.shape[1]
    _average(pictures, _extent(affine, defocus), size, padding)
    # The affine, not its many points, is brought from pixels to the [−1, 1] of grid_sample.
    whole = affine.new_tensor([pictures.shape[-1], pictures.shape[-2]])
    affine = affine * (2 / whole)[:, None]
    affine[..., 2] += 1 / whole - 1
    # All views of a still are one tall view of it, so that it need not be copied.
    points = apply_affine(sent(affine, pictures), height, width).view(len(pictures) * num_pictures, -1, width, 2)
    views = F.grid_sample(pictures.flatten(0, 1), points, "bilinear", padding, align_corners=False)
    views = views.view(len(pictures), num_pictures, -1, affine.shape[1] // num_pictures, height, width)
    return views.transpose(2, 3).flatten(1, 2)


def apply_affine(affine: Tensor, height: int, width: int) -> Tensor:
    """The points (…, height, width, 2) that affines (…, 2, 3) send the output's pixels (x, y) to."""
    # Written out, not as a matrix product: TF32 would round coordinates to a tenth of a pixel.
    x = torch.arange(width, device=affine.device, dtype=affine.dtype)
    y = torch.arange(height, device=affine.device, dtype=affine.dtype)
    along_x = affine[..., :, 0, None] * x + affine[..., :, 2, None]
    along_y = affine[..., :, 1, None] * y
    points = affine.new_empty(*affine.shape[:-2], height, width, 2)
    for k in (0, 1):
        torch.add(along_x[..., k, None, :], along_y[..., k, :, None], out=points[..., k])
    return points


def to_previous_frame(affine: Tensor) -> Tensor:
    """Where a layer's point, seen at an output pixel of frame t, was seen in frame t−1.

    Args:
        affine: (B, T, 2, 3) output → source pixel.

    Returns:
        (B, T, 2, 3) output pixel of frame t → output pixel of frame t−1; identity at t = 0.
    """
    square = F.pad(affine.double(), (0, 0, 0, 1))
    square[..., 2, 2] = 1
    previous = torch.cat([square[:, :1], square[:, :-1]], dim=1)
    step = torch.linalg.solve(previous, square)[..., :2, :]
    step[:, 0] = torch.eye(2, 3, dtype=step.dtype, device=step.device)
    return step.to(affine.dtype)


def sent(draws: Tensor, pixels: Tensor) -> Tensor:
    """Draws, which lie on the CPU, beside the pixels that they are of; nobody waits for it."""
    return draws.to(pixels.device, non_blocking=True)


def _extent(affine: Tensor, defocus: Tensor | None) -> Tensor:
    """Pixels (B, 2) across and down that pictures are averaged over: an output pixel, and a blurred point; 1: none."""
    extent = affine[..., :2].norm(dim=-1).amax(1).clamp_min(1)
    extent = torch.where(extent.amax(1, keepdim=True) > MAX_SHRINK_WITHOUT_FILTER, extent, 1)
    return extent if defocus is None else torch.hypot(extent, defocus[:, None])


def _average(pictures: Tensor, extent: Tensor, size: Tensor | None, padding: str) -> None:
    """Average clips of (B, T, C, h, w), in place, over `extent` (B, 2); size and padding as of `resample`."""
    # One clip after the other, each over no more pixels than it needs: many need few.
    for clip in (extent.amax(1) > 1).nonzero()[:, 0].tolist():
        h, w = pictures.shape[-2:] if size is None else size[clip].tolist()
        averaged = pictures[clip : clip + 1, ..., :h, :w]
        for dim, pixels in ((-1, extent[clip, :1]), (-2, extent[clip, 1:])):
            averaged = _area_average(averaged, pixels, dim)
        pictures[clip, ..., :h, :w] = averaged[0]
        if padding == "border":
            repeat_border(pictures[clip], h, w)


def repeat_border(pixels: Tensor, height: int, width: int) -> None:
    """Write what is beyond the upper left (height, width) of (…, h, w): what is next to it."""
    pixels[..., :height, width:] = pixels[..., :height, width - 1 : width]
    pixels[..., height:, :] = pixels[..., height - 1 : height, :]


def _area_average(pictures: Tensor, extent: Tensor, dim: int) -> Tensor:
    """Mean along one axis over `extent` (B,) ≥ 1 pixels around each pixel, a fraction of the outermost two."""
    radius, length = int(extent.max() / 2 + 0.5), pictures.shape[dim]
    padding = (radius, radius, 0, 0) if dim == -1 else (0, 0, radius, radius)
    padded = F.pad(pictures.flatten(0, 1), padding, mode="replicate").unflatten(0, pictures.shape[:2])
    distance = torch.arange(radius + 1)
    weights = sent((extent[:, None] / 2 + 0.5 - distance).clamp(0, 1) / extent[:, None], pictures)
    weights = weights[:, :, None, None, None, None]
    mean = pictures * weights[:, 0]
    for d in range(1, radius + 1):
        for start in (radius - d, radius + d):
            mean.addcmul_(padded.narrow(dim, start, length), weights[:, d])
    return mean
