"""What moved: the part of Context Motion Network that compares features with the warped earlier ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.warp import backward_warp, resize_flow

# Channels of each encoding of correlation and flow; with the flow itself the motion has as many as both together.
_ENCODING = 32


class ConvReLU(nn.Conv2d):
    """Convolution with bias, padded to keep the size, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        return F.relu(super().forward(x), inplace=True)


class MotionEncoder(nn.Module):
    """Features and what moved: correlation with the warped earlier features, and the flow.

    Source: section 3 of the paper. All convolutions are followed by ReLU (our choice).

    Attributes:
        channels: of its output.
    """

    def __init__(self, context_channels: int) -> None:
        """`context_channels`: C, of the features."""
        super().__init__()
        self.channels = context_channels + 2 * _ENCODING
        self.correlation = nn.Sequential(ConvReLU(2 * context_channels, _ENCODING), ConvReLU(_ENCODING, _ENCODING))
        self.flow = nn.Sequential(ConvReLU(2, _ENCODING, 7), ConvReLU(_ENCODING, _ENCODING, 7))
        self.motion = ConvReLU(2 * _ENCODING, 2 * _ENCODING - 2)

    def forward(self, features: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
        """Features of frames t and t − 1 (N, C, h, w), flow (N, 2, 16 h, 16 w) in pixels → (N, C + 64, h, w)."""
        # In pixels of the grid, as RAFT has it; the paper does not say so, but else the warp would be wrong.
        flow_s16 = resize_flow(flow, (features.shape[-2], features.shape[-1]))
        correlation = self.correlation(torch.cat((features, backward_warp(previous, flow_s16)), dim=1))
        flow_s16 = flow_s16.to(features.dtype)
        motion = self.motion(torch.cat((correlation, self.flow(flow_s16)), dim=1))
        return torch.cat((features, motion, flow_s16), dim=1)
