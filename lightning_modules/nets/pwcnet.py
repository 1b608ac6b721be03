"""PWC-Net: optical flow from pyramid, warping and cost volume (Sun et al., CVPR 2018, arXiv 1709.02371).

Written from the paper and from measurements; the published code and weights are non-commercial. Letters: N pairs;
levels l = 1 … 6 have stride 2^l; flows inside are in units of 20 pixels of the frame.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.blocks import serves_all_sizes
from lightning_modules.nets.checkpoint_files import listed, read_tensors, rename_modules
from lightning_modules.nets.warp import backward_warp, lands_inside

_CHANNELS = (16, 32, 64, 96, 128, 196)
_DENSE = (128, 128, 96, 64, 32)
# Of the context network: channels and dilations.
_CONTEXT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
_RADIUS = 4
_PIXELS_PER_UNIT = 20
# Side of the squares that `cost_volume` multiplies; 8 was the fastest of 4, 8 and 16.
_SQUARE = 8


class PWCNet(nn.Module):
    """PWC-Net with dense connections and context network; 9,374,274 parameters, no norms."""

    def __init__(self) -> None:
        """Draw random weights."""
        super().__init__()
        self.pyramid = nn.ModuleDict()
        before = 3
        for level, channels in enumerate(_CHANNELS, start=1):
            convs = (_conv(before, channels, stride=2), _conv(channels, channels), _conv(channels, channels))
            self.pyramid[str(level)] = nn.Sequential(*convs)
            before = channels
        self.estimators = nn.ModuleDict()
        for level in (6, 5, 4, 3, 2):
            self.estimators[str(level)] = FlowLevel(0 if level == 6 else _CHANNELS[level - 1], last=level == 2)
        layers: list[nn.Module] = []
        before = FlowLevel.width(_CHANNELS[1])
        for channels, dilation in _CONTEXT:
            layers.append(_conv(before, channels, dilation=dilation))
            before = channels
        self.context = nn.Sequential(*layers, nn.Conv2d(before, 2, 3, padding=1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1], sides multiples of 64 → flow (N, 2, H/4, W/4), pixels of the images.

        What is at p in the first image is at p + flow(p) in the second.
        """
        x = torch.cat((first, second))
        pyramid = []
        for stage in self.pyramid.values():
            x = stage(x)
            pyramid.append(x)
        coarser: tuple[Tensor, Tensor] | None = None
        for name, estimator in self.estimators.items():
            level = int(name)
            a, b = pyramid[level - 1][: first.shape[0]], pyramid[level - 1][first.shape[0] :]
            flow, features, coarser = estimator(a, b, coarser, _PIXELS_PER_UNIT / 2**level)
        return _PIXELS_PER_UNIT * (flow + self.context(features))


class FlowLevel(nn.Module):
    """Estimates the flow of one level anew, from what a warp by the coarser level's flow leaves to be explained."""

    def __init__(self, channels: int, last: bool) -> None:
        """Build it.

        Args:
            channels: of the features of this level that it sees; 0 at the coarsest, which sees the costs alone.
            last: nothing finer follows.
        """
        super().__init__()
        width = self.width(channels)
        before = width - sum(_DENSE)
        self.convs = nn.ModuleList()
        for planes in _DENSE:
            self.convs.append(_conv(before, planes))
            before += planes
        self.predict = nn.Conv2d(width, 2, 3, padding=1)
        self.up_flow = None if last else nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)
        self.up_features = None if last else nn.ConvTranspose2d(width, 2, 4, stride=2, padding=1)

    @staticmethod
    def width(channels: int) -> int:
        """Channels of the features that a level with `channels` gives."""
        return (2 * _RADIUS + 1) ** 2 + sum(_DENSE) + (channels + 4 if channels else 0)

    def forward(
        self, a: Tensor, b: Tensor, coarser: tuple[Tensor, Tensor] | None, pixels_per_unit: float
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Flow and features of this level.

        Args:
            a: (N, C, h, w), features of the first image.
            b: the same of the second.
            coarser: flow and features of the coarser level, (N, 2, h, w) each; None at the coarsest.
            pixels_per_unit: what a flow of 1 is on this level.

        Returns:
            Flow (N, 2, h, w), features (N, width, h, w), and `coarser` for the finer level, (N, 2, 2 h, 2 w) each.
        """
        if coarser is None:
            x = F.leaky_relu(cost_volume(a, b), 0.1)
        else:
            shift = coarser[0] * pixels_per_unit
            b = backward_warp(b, shift) * lands_inside(shift)
            x = torch.cat((F.leaky_relu(cost_volume(a, b), 0.1), a, *coarser), dim=1)
        for conv in self.convs:
            x = torch.cat((conv(x), x), dim=1)
        flow = self.predict(x)
        if self.up_flow is None or self.up_features is None:
            return flow, x, None
        return flow, x, (self.up_flow(flow), self.up_features(x))


def cost_volume(a: Tensor, b: Tensor, radius: int = _RADIUS) -> Tensor:
    """How well each pixel of `a` agrees with those of `b` around it: mean over channels of the product.

    Args:
        a: (N, C, H, W).
        b: the same shape; zero outside.
        radius: of the neighbourhood, pixels.

    Returns:
        (N, D², H, W) with D = 2 radius + 1; channel (dy + radius) D + dx + radius compares with b at (y + dy, x + dx).
    """
    N, C, H, W = a.shape
    if serves_all_sizes():
        # Other runtimes know no strides.
        padded, places = F.pad(b, (radius,) * 4), range(2 * radius + 1)
        shifted = (padded[..., y : y + H, x : x + W] for y in places for x in places)
        return torch.stack([(a * each).mean(1) for each in shifted], dim=1)
    s, D, side = _SQUARE, 2 * radius + 1, _SQUARE + 2 * radius
    rows, columns = -(-H // s), -(-W // s)
    # A matrix product of each square of a with the larger one of b around it. Two thirds of the products are not
    # needed, and yet it is two (with gradient, five) times as fast as D² products of shifted maps.
    below, right = rows * s - H, columns * s - W
    squares = F.pad(a, (0, right, 0, below)).unfold(2, s, s).unfold(3, s, s)
    around = F.pad(b, (radius, radius + right, radius, radius + below)).unfold(2, side, s).unfold(3, side, s)
    left = squares.permute(0, 2, 3, 4, 5, 1).reshape(-1, s * s, C)
    products = torch.bmm(left, around.permute(0, 2, 3, 1, 4, 5).reshape(-1, C, side * side)) / C
    # Entry (y, x, dy, dx) of a square's matrix is in row y s + x, column (y + dy) side + x + dx.
    each = s * s * side * side
    view = products.as_strided(
        (N, rows, columns, s, s, D, D),
        (rows * columns * each, columns * each, each, s * side * side + side, side * side + 1, side, 1),
    )
    volume = view.permute(0, 5, 6, 1, 3, 2, 4).reshape(N, D * D, rows * s, columns * s)
    return volume[..., :H, :W]


def load_pwcnet(net: PWCNet, path: str | Path) -> None:
    """Give a PWC-Net its published weights, which are for non-commercial use.

    Args:
        net: changed in place.
        path: `pwc_net.pth.tar` of the authors, or a checkpoint of ptlflow's `pwcnet`.

    Raises:
        ValueError: there is no such file, or its tensors do not fit.
    """
    tensors = {
        key.removeprefix("module."): value for key, value in read_tensors(Path(path), inside="state_dict").items()
    }
    # Published files have a last enlargement that nothing uses.
    used = {key: value for key, value in tensors.items() if not key.startswith("deconv2.")}
    weights = rename_modules(used, _pwcnet_names(), path)
    expected = net.state_dict()
    if wrong := [key for key in expected if key not in weights or weights[key].shape != expected[key].shape]:
        raise ValueError(f"{path} is no PWC-Net checkpoint: {listed(wrong)} missing or of another shape")
    net.load_state_dict(weights)


def _conv(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation)
    return nn.Sequential(conv, nn.LeakyReLU(0.1))


def _pwcnet_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for level in range(1, 7):
        order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
        names |= {f"conv{level}{part}.0": f"pyramid.{level}.{i}.0" for i, part in enumerate(order)}
    for level in range(2, 7):
        names |= {f"conv{level}_{i}.0": f"estimators.{level}.convs.{i}.0" for i in range(5)}
        names[f"predict_flow{level}"] = f"estimators.{level}.predict"
        names[f"deconv{level}"] = f"estimators.{level}.up_flow"
        names[f"upfeat{level}"] = f"estimators.{level}.up_features"
    return names | {f"dc_conv{i}.0": f"context.{i - 1}.0" for i in range(1, 7)} | {"dc_conv7": "context.6"}
