"""Guided filters: a result at low resolution, carried to full resolution along the edges of the image.

In each 3 × 3 window y is taken for a linear function of the guide, y ≈ a · guide + b; a and b are enlarged and
applied to the fine guide. N images, C channels, each with its own guide; h × w coarse, H × W fine.
Sources: He and Sun, "Fast Guided Filter", 2015; Wu et al., CVPR 2018 (the learned one), both in the form of RVM.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fast_guided_filter(fine: Tensor, base: Tensor, y: Tensor, eps: float = 1e-5) -> Tensor:
    """`y` at the size of `fine`, without a learned weight; computed in float32 at least.

    Args:
        fine: (N, C, H, W), the guide, in [0, 1].
        base: (N, C, h, w), the guide at the size of `y`.
        y: (N, C, h, w), what is enlarged.
        eps: added to the guide's variance; the larger, the smoother. Our default is RVM's.

    Returns:
        (N, C, H, W), not clamped.

    Raises:
        ValueError: base and y differ in shape, or fine has other N or C.
    >>> guide = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    >>> fast_guided_filter(torch.zeros(1, 1, 32, 32), guide, 2 * guide).shape
    torch.Size([1, 1, 32, 32])
    """
    if base.shape != y.shape or fine.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"base and y must be (N, C, h, w) and fine (N, C, H, W), got base {tuple(base.shape)}, "
            f"y {tuple(y.shape)}, fine {tuple(fine.shape)}"
        )
    a, b = guided_coefficients(base, y, eps)
    a, b = (F.interpolate(x, fine.shape[-2:], mode="bilinear", align_corners=False) for x in (a, b))
    return torch.addcmul(b, a, fine.to(a.dtype))


def guided_coefficients(base: Tensor, y: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """The linear functions a and b of `fast_guided_filter`, each (N, C, h, w)."""
    base, y = _wide(base), _wide(y)
    mean_base, mean_y, mean_product, mean_square = _box(torch.cat((base, y, base * y, base * base), dim=1)).chunk(4, 1)
    a = (mean_product - mean_base * mean_y) / (mean_square - mean_base * mean_base + eps)
    return a, mean_y - a * mean_base


def _box(x: Tensor) -> Tensor:
    """Mean over 3 × 3 windows of (N, C, h, w), borders padded with zeros.

    Two convolutions and no pooling: what follows divides by differences as small as their rounding, so only
    the operations of RVM's own filter give its figures.
    """
    row = x.new_full((x.shape[1], 1, 1, 3), 1 / 3)
    with torch.autocast(x.device.type, enabled=False):
        x = F.conv2d(x.contiguous(), row, padding=(0, 1), groups=x.shape[1])
        return F.conv2d(x, row.transpose(2, 3), padding=(1, 0), groups=x.shape[1])


class BoxFilter(nn.Conv2d):
    """A 3 × 3 window on each of C channels, that starts as the mean (borders padded with zeros) and is learned."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=False)

    def reset_parameters(self) -> None:
        """Start as the mean of the window."""
        nn.init.constant_(self.weight, 1 / 9)


class DeepGuidedFilter(nn.Module):
    """Guided filter whose slopes a come from a small network that sees covariance, variance and features.

    Source: RVM, section 3.3.
    """

    def __init__(self, hidden: int, channels: int = 4) -> None:
        """With hidden=16 it has 808 parameters.

        Args:
            hidden: channels of the feature it is given, and of its own layers.
            channels: C, of y and its guide.
        """
        super().__init__()
        self.box = BoxFilter(channels)
        self.conv = nn.Sequential(
            nn.Conv2d(2 * channels + hidden, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, base: Tensor, y: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The linear functions a and b, to be enlarged and applied as in `fast_guided_filter`.

        Args:
            base: (N, C, h, w), the guide.
            y: (N, C, h, w), what is enlarged.
            feature: (N, hidden, h, w).

        Returns:
            a and b, each (N, C, h, w), in float32 at least.
        """
        # Differences of nearly equal numbers: half precision would leave nothing of them.
        with torch.autocast(base.device.type, enabled=False):
            base, y = _wide(base), _wide(y)
            weight = self.box.weight.to(base.dtype).repeat(4, 1, 1, 1)
            moments = F.conv2d(
                torch.cat((base, y, base * y, base * base), dim=1), weight, padding=1, groups=weight.shape[0]
            )
            mean_base, mean_y, mean_product, mean_square = moments.chunk(4, dim=1)
            covariance = mean_product - mean_base * mean_y
            variance = mean_square - mean_base * mean_base
        stacked = torch.cat((covariance.to(feature.dtype), variance.to(feature.dtype), feature), dim=1)
        a = self.conv(stacked).to(base.dtype, memory_format=torch.contiguous_format)
        return a, mean_y - a * mean_base


def _wide(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
