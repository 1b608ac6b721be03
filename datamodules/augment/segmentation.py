"""Where segmented pictures and clips are seen from, and their colours: one draw for all frames of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from datamodules.augment.resolution import to_square
from datamodules.dice import Draws
from datamodules.difficulty import Range


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Ranges of all draws; angles either way, shifts as shares of the picture's width and height.

    Source: RVM's official training, as its two kinds of data have them.
    """

    degrees: float
    shear_degrees: float
    shift: float
    crop_area: Range
    """Share of the picture that is seen."""
    crop_aspect: Range
    """Width over height of what is seen, drawn on a logarithmic scale."""
    colour: float
    """Factors of brightness, contrast and saturation are drawn from 1 ± this."""
    hue: float
    """Shift of the hue either way, in turns."""
    gray_share: float
    flip_share: float = 0.5


OF_VIDEOS = SegmentationAugmentation(
    degrees=0, shear_degrees=0, shift=0, crop_area=(0.8, 1), crop_aspect=(0.9, 1.1),
    colour=0.3, hue=0.15, gray_share=0.05,
)  # fmt: skip
OF_PICTURES = SegmentationAugmentation(
    degrees=20, shear_degrees=10, shift=0.1, crop_area=(0.5, 1), crop_aspect=(0.7, 1.3),
    colour=0.1, hue=0.1, gray_share=0,
)  # fmt: skip


def view(
    picture: tuple[int, int], side: int, size: tuple[int, int], ranges: SegmentationAugmentation, draws: Draws
) -> Tensor:
    """What the output shows of a picture: turned, sheared and shifted, then cropped to a square, then mirrored.

    Args:
        picture: its (height, width), pixels.
        side: of the square that `size` is a scaled and cropped piece of, pixels.
        size: (height, width) of the output.
        ranges: of the draws.
        draws: the sample's dice.

    Returns:
        (2, 3) float32, output → picture pixel.
    """
    top, left, height, width = _crop_box(picture, ranges, draws)
    box = torch.eye(3, dtype=torch.float64)
    box[0, 0], box[0, 2] = width / side, left + 0.5 * width / side - 0.5
    box[1, 1], box[1, 2] = height / side, top + 0.5 * height / side - 0.5
    if draws.happens("flip", ranges.flip_share):
        box[0, 2] += box[0, 0] * (side - 1)
        box[0, 0] *= -1
    affine = _inverse_affine(picture, ranges, draws) @ box @ to_square(side, size)
    return affine[:2].float()


def change_colours(images: Tensor, ranges: SegmentationAugmentation, draws: Draws) -> Tensor:
    """Frames (T, 3, H, W) float in [0, 1] under one change of brightness, contrast, saturation and hue."""
    around_one = (1 - ranges.colour, 1 + ranges.colour)
    changes = (
        lambda x: TF.adjust_brightness(x, draws.number("brightness", around_one)),
        lambda x: TF.adjust_contrast(x, draws.number("contrast", around_one)),
        lambda x: TF.adjust_saturation(x, draws.number("saturation", around_one)),
        lambda x: TF.adjust_hue(x, draws.number("hue", (-ranges.hue, ranges.hue))),
    )
    for k in torch.randperm(len(changes), generator=draws.generator("order of colour changes")).tolist():
        images = changes[k](images)
    return TF.rgb_to_grayscale(images, 3) if draws.happens("gray", ranges.gray_share) else images


def _crop_box(
    picture: tuple[int, int], ranges: SegmentationAugmentation, draws: Draws
) -> tuple[float, float, float, float]:
    """(top, left, height, width): torchvision's random resized crop with its fallback, a centred box of near aspect."""
    height, width = picture
    for attempt in range(10):
        area = height * width * draws.number(f"crop area {attempt}", ranges.crop_area)
        aspect = math.exp(draws.number(f"crop aspect {attempt}", _logarithms(ranges.crop_aspect)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return draws.integer("crop top", 0, height - h), draws.integer("crop left", 0, width - w), h, w
    low, high = ranges.crop_aspect
    w, h = min(width, round(height * high)), min(height, round(width / low))
    return (height - h) // 2, (width - w) // 2, h, w


def _logarithms(low_high: Range) -> Range:
    return math.log(low_high[0]), math.log(low_high[1])


def _inverse_affine(picture: tuple[int, int], ranges: SegmentationAugmentation, draws: Draws) -> Tensor:
    """(3, 3) float64 from a pixel of the turned, sheared and shifted picture to the same point of the picture."""
    height, width = picture
    angle = math.radians(draws.number("degrees", (-ranges.degrees, ranges.degrees)))
    shear = math.tan(math.radians(draws.number("shear", (-ranges.shear_degrees, ranges.shear_degrees))))
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = (rotation @ torch.tensor([[1.0, shear], [0.0, 1.0]])).double()
    shift = [draws.number(f"shift {axis}", (-ranges.shift, ranges.shift)) for axis in "xy"]
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    inverse = torch.eye(3, dtype=torch.float64)
    inverse[:2, :2] = torch.linalg.inv(linear)
    moved = centre + torch.tensor([shift[0] * width, shift[1] * height], dtype=torch.float64)
    inverse[:2, 2] = centre - inverse[:2, :2] @ moved
    return inverse
