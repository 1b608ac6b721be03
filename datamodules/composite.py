"""Layers → MattingBatch: every layer is resampled once, coloured, and blended as I = αF + (1−α)B, on any device."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augment.codec import compress
from datamodules.augment.noise import gaussian_noise
from datamodules.augment.photometric import LUMA
from datamodules.batch import Layers, MattingBatch
from datamodules.blend import blended, brightened, uncovered
from datamodules.resample import apply_affine, repeat_border, resample, resample_cutout, sent, to_previous_frame

# Share of the person's own light and shade that stays in a camouflaged colour.
SHADING_KEPT = 0.3


def composite(layers: Layers, height: int, width: int, flow: bool | None = False) -> MattingBatch:
    """Blend a batch of layers; the numbers of a clip do not depend on the others of its batch.

    Nothing of it waits for the device, compression excepted: all draws lie on the CPU.

    Args:
        layers: a batch, as `collate_layers` gives it, its pixels on any device.
        height: of the output, pixels.
        width: of the output, pixels.
        flow: also give the true motion, for which foregrounds must know theirs and backgrounds be stills without a
            cut; None: where they are so.

    Raises:
        ValueError: flow=True and the motion is unknown.
    """
    layers = _in_float32(layers)
    if flow is None:
        flow = layers.fgr_flow is not None and layers.bgr.shape[1] == 1
    if flow and layers.fgr_flow is None:
        raise ValueError("the foreground source knows no flow: set flow=False or take a procedural source")
    if flow and layers.bgr.shape[1] > 1:
        raise ValueError("the motion in background videos and over cuts is not known: set flow=False or take stills")
    background, near_alpha = _background(layers, height, width)
    alpha, foreground, texture, source_flow = _foreground(layers, height, width, flow)
    if bool((layers.camouflage > 0).any()):
        foreground = _camouflage(layers, foreground, alpha, background, texture)
    for n, look in enumerate(layers.look or ()):
        foreground[n], alpha[n], background[n] = look.applied(foreground[n], alpha[n], background[n])
    noisy = _add_noise(blended(background, foreground, alpha), layers)
    return MattingBatch(
        frames=compress(noisy, layers.jpeg_quality, layers.h264_crf),
        alpha=alpha,
        foreground=foreground,
        background=background,
        flow=_flow(layers, alpha, near_alpha, source_flow) if flow else None,
        background_affine=None if _is_video(layers) else sent(to_previous_frame(layers.bgr_affine), background),
        clip=list(layers.clip),
        scene=list(layers.scene),
        stratum=list(layers.stratum),
    )


def collate_layers(samples: list[Layers]) -> Layers:
    """Stack clips of one length, for one size of output; what only some of them have is filled with zeros.

    Near planes, which few clips have, are not filled: no empty picture travels to a device. Clips with fewer background
    pictures than others repeat their last one, which none of their frames shows. Pixels of small sources are laid into
    the upper left of the largest: nothing is enlarged that will be resampled. A clip alone keeps its own memory.
    """
    samples, sizes = _laid_alike(samples)
    num_pictures = max(sample.bgr.shape[0] for sample in samples)
    planes = {clip: sample.near for clip, sample in enumerate(samples) if sample.near is not None}
    batch: dict[str, Any] = {"near": None, "near_clips": None}
    if planes:
        batch |= {"near": torch.stack(list(planes.values())), "near_clips": torch.tensor(list(planes))}
    batch |= sizes
    for item in fields(Layers):
        if item.name in batch:
            continue
        values = [getattr(sample, item.name) for sample in samples]
        if item.name == "size":
            batch["size"] = values[0]
            continue
        if item.name == "bgr":
            values = [_with_last_repeated(value, num_pictures) for value in values]
        example = next((value for value in values if isinstance(value, Tensor)), None)
        if example is None:
            batch[item.name] = None if values[0] is None else values
        else:
            values = [torch.zeros_like(example) if v is None else v for v in values]
            batch[item.name] = torch.stack(values) if len(values) > 1 else values[0][None]
    return Layers(**batch)


def _with_last_repeated(pictures: Tensor, number: int) -> Tensor:
    """Pictures (K, …) and their last one again, until there are so many."""
    if len(pictures) == number:
        return pictures
    return torch.cat([pictures, pictures[-1:].expand(number - len(pictures), -1, -1, -1)])


def _laid_alike(samples: list[Layers]) -> tuple[list[Layers], dict[str, Tensor | None]]:
    """Samples with people, and with backgrounds, of one size, and the sizes (B, 2) that they had, or None."""
    sizes: dict[str, Tensor | None] = {}
    people, places = ("pha", "fgr", "fgr_flow", "texture"), ("bgr",)
    for name, like, border in (("fgr_size", people, False), ("bgr_size", places, True)):
        shapes = [getattr(sample, like[0]).shape[-2:] for sample in samples]
        sizes[name] = None if len(set(shapes)) == 1 else torch.tensor(shapes)
        if sizes[name] is not None:
            size = (max(height for height, _ in shapes), max(width for _, width in shapes))
            samples = [replace(s, **{each: _laid(getattr(s, each), size, border) for each in like}) for s in samples]
    return samples, sizes


def _laid(pixels: Tensor | None, size: tuple[int, int], border: bool) -> Any:
    """(…, h, w) in the upper left of (…, height, width); beyond it 0, or what is next to it."""
    if pixels is None or pixels.shape[-2:] == size:
        return pixels
    h, w = pixels.shape[-2:]
    larger = pixels.new_zeros(*pixels.shape[:-2], *size)
    larger[..., :h, :w] = pixels
    if border:
        repeat_border(larger, h, w)
    return larger


def _in_float32(layers: Layers) -> Layers:
    """Layers whose numbers a trainer has turned to its own precision (64-true, bf16-true, 16-true): composites have 32.

    Maps that are stored in float16 stay as they are: they travel so.
    """
    values: dict[str, Any] = {item.name: getattr(layers, item.name) for item in fields(Layers)}
    for name, value in values.items():
        stored = (torch.float32, *((torch.float16,) if name in ("fgr_flow", "texture") else ()))
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype not in stored:
            values[name] = value.float()
    return Layers(**values)


def _is_video(layers: Layers) -> bool:
    # One picture is a still, two are a still with a cut.
    return layers.bgr.shape[1] > 2


def _background(layers: Layers, height: int, width: int) -> tuple[Tensor, Tensor | None]:
    """The true background (B, T, 3, H, W), and the alpha (B, T, 1, H, W) of the near plane in it."""
    background = resample(
        layers.bgr, layers.bgr_affine, height, width, "border", layers.bgr_defocus, layers.bgr_index, layers.bgr_size
    )
    near_alpha = None
    if layers.near is not None and layers.near_affine is not None:
        near = layers.near[:, None]
        clips = torch.arange(len(near)) if layers.near_clips is None else layers.near_clips
        path, defocus = layers.near_affine[clips], layers.bgr_defocus[clips]
        seen = resample_cutout([near[:, :, :3]], near[:, :, 3:], path, height, width, "border", defocus)
        if len(seen) < len(background):
            seen = seen.new_zeros(len(background), *seen.shape[1:]).index_copy_(0, sent(clips, seen), seen)
        near_alpha = seen[:, :, 3:]
        background = (background * (1 - near_alpha)).add_(seen[:, :, :3])
    return brightened(background, layers.bgr_gain), near_alpha


def _foreground(layers: Layers, height: int, width: int, flow: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Alpha, colour, texture coordinates and source flow at the output's pixels (the last two may have no channel).

    All are interpolated multiplied with alpha and divided by it afterwards, so that nothing from outside
    the person bleeds in; where alpha is 0 they are 0.
    """
    straight = [layers.fgr]
    if layers.texture is not None:
        straight.append(layers.texture)
    if flow and layers.fgr_flow is not None:
        straight.append(layers.fgr_flow)
    views = resample_cutout(
        straight, layers.pha, layers.fgr_affine, height, width, "zeros", layers.fgr_defocus, layers.fgr_size
    )
    foreground, alpha, others = uncovered(views, layers.fgr_gain)
    num_texture = 0 if layers.texture is None else 2
    texture, source_flow = others.split([num_texture, others.shape[2] - num_texture], dim=2)
    return alpha, foreground, texture, source_flow


def _camouflage(layers: Layers, foreground: Tensor, alpha: Tensor, background: Tensor, texture: Tensor) -> Tensor:
    """Foreground with the share `layers.camouflage` of its colour taken from its own background.

    With texture coordinates the person wears a piece of frame 0's background as a cloth that moves with the body;
    without them the mean and spread of its colours become those of the background behind it.
    """
    if texture.shape[2] > 0:
        height, width = background.shape[-2:]
        points = texture.movedim(2, -1) * height + sent(layers.camouflage_shift, texture)[:, None, None, None]
        points = (2 * points + 1) / points.new_tensor([width, height]) - 1
        cloth = F.grid_sample(background[:, 0], points.flatten(1, 2), "bilinear", "reflection", align_corners=False)
        cloth = cloth.unflatten(2, (-1, height)).transpose(1, 2)
        luma = (foreground * foreground.new_tensor(LUMA)[:, None, None]).sum(2, keepdim=True)
        shading = luma / _weighted_mean(luma, alpha).clamp_min(0.02)
        hidden = cloth * (1 + SHADING_KEPT * (shading.clamp(0, 2) - 1))
    else:
        mean_F, mean_B = _weighted_mean(foreground, alpha), _weighted_mean(background, alpha)
        spread_F = _weighted_mean((foreground - mean_F) ** 2, alpha).sqrt()
        spread_B = _weighted_mean((background - mean_B) ** 2, alpha).sqrt()
        hidden = (foreground - mean_F) * (spread_B / spread_F.clamp_min(0.02)).clamp(max=2) + mean_B
    share = sent(layers.camouflage, foreground)[:, None, None, None, None]
    return torch.lerp(foreground, hidden.clamp(0, 1), share)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean (B, 1, C, 1, 1) of values (B, T, C, H, W) under weights (B, T, 1, H, W)."""
    # In float64, so that the order of summation, which hangs on the batch and the number of threads, is lost in the
    # rounding to float32.
    sums = (values * weights).sum((1, 3, 4), keepdim=True, dtype=torch.float64)
    total = weights.sum((1, 3, 4), keepdim=True, dtype=torch.float64)
    return (sums / total.clamp_min(1e-6)).to(values.dtype)


def _add_noise(frames: Tensor, layers: Layers) -> Tensor:
    """Frames with Gaussian noise, each clip's from its own seed."""
    if not bool((layers.noise_std > 0).any()):
        return frames
    noise = gaussian_noise(sent(layers.seed, frames), tuple(frames.shape[1:]))
    return frames.addcmul_(noise, sent(layers.noise_std, frames)[:, None, None, None, None]).clamp_(0, 1)


def _flow(layers: Layers, alpha: Tensor, near_alpha: Tensor | None, source_flow: Tensor) -> Tensor:
    """True motion (B, T, 2, H, W) from frame t to t−1: the person's where alpha ≥ 0.5, else what is seen behind."""
    height, width = alpha.shape[-2:]
    identity = torch.eye(2, 3, device=alpha.device)
    pixels = apply_affine(identity, height, width)

    def motion(affine: Tensor) -> Tensor:
        return apply_affine(sent(to_previous_frame(affine), alpha), height, width) - pixels

    flow = motion(layers.bgr_affine)
    if near_alpha is not None and layers.near_affine is not None:
        flow = torch.where(near_alpha.movedim(2, -1) >= 0.5, motion(layers.near_affine), flow)
    # y' = A_{t−1}⁻¹ (A_t y + f) = (A_{t−1}⁻¹ A_t) y + L_{t−1}⁻¹ f, with L the linear part of A.
    linear = layers.fgr_affine[..., :2]
    inverse = torch.linalg.inv(torch.cat([linear[:, :1], linear[:, :-1]], dim=1).double()).float()
    inverse = sent(inverse, alpha)[:, :, None, None]
    f = source_flow.movedim(2, -1)
    moved = inverse[..., 0] * f[..., :1] + inverse[..., 1] * f[..., 1:]
    flow = torch.where(alpha.movedim(2, -1) >= 0.5, motion(layers.fgr_affine) + moved, flow)
    flow[:, 0] = 0
    return flow.movedim(-1, 2).contiguous()
