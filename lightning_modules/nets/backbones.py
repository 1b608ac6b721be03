"""Encoders, all called alike: images in, a list of features at strides 2, 4, 8, 16 … out, of as many `channels`.

They take images as their papers do: MobileNetV3, RVM's, normalises frames by itself; to the others their nets do it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import Conv2dNormActivation

from lightning_modules.nets.blocks import conv_layout

# Expansion, channels, number of blocks, stride of the first one (Sandler et al., CVPR 2018, Table 2).
_MOBILENETV2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and not below 90 % of `channels` (the rule of MobileNet)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier; layers and names are torchvision's `features`.

    Attributes:
        channels: of the features that the call gives.
        layer_channels: what each of the 19 layers gives. Strides end at layers 1 (/2), 3 (/4), 6 (/8), 13 (/16) and
            18 (/32); of the dilated net at 17 (/16).
    """

    def __init__(self, width: float = 1.0, num_layers: int = 19, in_channels: int = 3, dilated: bool = False) -> None:
        """Layers 0 … `num_layers` − 1.

        Args:
            width: multiplies the channels.
            num_layers: 19 is the whole encoder, 14 ends at stride 16.
            in_channels: of the images.
            dilated: layers 14 … 17 stay at stride 16; 15 … 17 are dilated.
        """
        super().__init__()
        self.width = width
        channels = [round_channels(32 * width)]
        layers: list[nn.Module] = [Conv2dNormActivation(in_channels, channels[0], stride=2, activation_layer=nn.ReLU6)]
        for expansion, planes, repeats, stride in _MOBILENETV2_STAGES:
            for repeat in range(repeats):
                out = round_channels(planes * width)
                layers.append(InvertedResidual(channels[-1], out, stride if repeat == 0 else 1, expansion))
                channels.append(out)
        out = round_channels(1280 * max(1.0, width))
        layers.append(Conv2dNormActivation(channels[-1], out, kernel_size=1, activation_layer=nn.ReLU6))
        self.layer_channels = [*channels, out]
        self.features = nn.Sequential(*layers[:num_layers])
        for module in self.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace = False  # in place it would copy what it overwrites, which its gradient needs
        ends = (1, 3, 6, 17) if dilated else (1, 3, 6, 13, 18)
        self._taps = [layer for layer in ends if layer < num_layers]
        self.channels = [self.layer_channels[layer] for layer in self._taps]
        if dilated:
            for index in range(14, 18):
                # The depthwise convolution: torchvision's block has no option for it.
                depthwise: Any = self.features[index].get_submodule("conv.1.0")
                depthwise.stride, dilation = (1, 1), 1 if index == 14 else 2
                depthwise.dilation = depthwise.padding = (dilation, dilation)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (N, in_channels, H, W) → features at strides 2, 4, 8, 16, 32, as far as it goes; rounded up."""
        features = []
        for start, stop in pairwise((0, *(layer + 1 for layer in self._taps))):
            x = self.run(x, start, stop)
            features.append(x)
        return features

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Layers `start` … `stop` − 1 on (N, C, H, W)."""
        for index in range(start, stop):
            x = self.features[index](x)
        return x

    def load_imagenet(self) -> None:
        """Take torchvision's ImageNet weights (downloads them once).

        Raises:
            ValueError: the width is not 1, the only one these weights exist for.
        """
        check_imagenet_width(self.width)
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        weights = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2).features.state_dict()
        weights["0.0.weight"] = spread_stem(weights["0.0.weight"], self.features.get_submodule("0.0"))
        self.features.load_state_dict({key: weights[key] for key in self.features.state_dict()})


class MobileNetV3(nn.Module):
    """MobileNetV3-Large without its classifier, its last stage dilated; names are torchvision's `features`.

    Attributes:
        channels: of the features at strides 2, 4, 8 and 16.
    """

    scale: Tensor
    shift: Tensor
    # The layers that end at these strides.
    _TAPS = (1, 3, 6, 16)

    def __init__(self, width: float = 1.0) -> None:
        """All layers, with random weights; `width` multiplies the channels."""
        super().__init__()
        self.width = width
        self.features: nn.Sequential = mobilenet_v3_large(width_mult=width, dilated=True).features
        self.channels = [_out_channels(self.features[layer]) for layer in self._TAPS]
        # ImageNet's mean and deviation, as x · scale + shift.
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        self.register_buffer("scale", 1 / deviation, persistent=False)
        self.register_buffer("shift", -mean / deviation, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Frames (N, 3, H, W) in [0, 1], normalised here → features at strides 2, 4, 8, 16; sizes are rounded up."""
        x = conv_layout(torch.addcmul(self.shift.to(x.dtype), x, self.scale.to(x.dtype)))
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._TAPS:
                features.append(x)
        return features

    def load_imagenet(self) -> None:
        """Take torchvision's ImageNet weights (downloads them once).

        Raises:
            ValueError: the width is not 1, the only one these weights exist for.
        """
        check_imagenet_width(self.width)
        from torchvision.models import MobileNet_V3_Large_Weights

        weights = mobilenet_v3_large(weights=MobileNet_V3_Large_Weights.IMAGENET1K_V1).features
        self.features.load_state_dict(weights.state_dict())


class ResNet(nn.Module):
    """ResNet-18, -50 or -101 without its classifier, its last stage dilated; layers and names are torchvision's.

    Attributes:
        channels: of the features at strides 2, 4, 8 and 16.
    """

    _BLOCKS: ClassVar = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

    def __init__(self, depth: int = 50, width: float = 1.0, in_channels: int = 3) -> None:
        """Build it with random weights.

        Args:
            depth: 18, 50 or 101.
            width: multiplies the channels; torchvision has 1 only.
            in_channels: of the images.
        """
        super().__init__()
        self.depth, self.width, self.in_channels = depth, width, in_channels
        stem = round_channels(64 * width)
        self.conv1 = nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        blocks, planes = self._BLOCKS[depth], [round_channels(channels * width) for channels in (64, 128, 256, 512)]
        block = BasicBlock if depth == 18 else Bottleneck
        wide = [block.expansion * channels for channels in planes]
        self.layer1 = _resnet_stage(block, stem, planes[0], blocks[0], stride=1)
        self.layer2 = _resnet_stage(block, wide[0], planes[1], blocks[1])
        self.layer3 = _resnet_stage(block, wide[1], planes[2], blocks[2])
        self.layer4 = _resnet_stage(block, wide[2], planes[3], blocks[3], stride=1, dilation=2)
        self.channels = [stem, wide[0], wide[1], wide[3]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (N, in_channels, H, W) → features at strides 2, 4, 8, 16; sizes are rounded up."""
        x2 = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x4 = self.layer1(F.max_pool2d(x2, 3, stride=2, padding=1))
        x8 = self.layer2(x4)
        return [x2, x4, x8, self.layer4(self.layer3(x8))]

    def load_imagenet(self) -> None:
        """Take torchvision's ImageNet weights (downloads them once).

        Raises:
            ValueError: the width is not 1, the only one these weights exist for.
        """
        check_imagenet_width(self.width)
        from torchvision.models import get_model

        weights = get_model(f"resnet{self.depth}", weights="IMAGENET1K_V1").state_dict()
        weights["conv1.weight"] = spread_stem(weights["conv1.weight"], self.conv1)
        self.load_state_dict({key: weights[key] for key in self.state_dict()})


def _resnet_stage(
    block: type[BasicBlock | Bottleneck], channels: int, planes: int, blocks: int, stride: int = 2, dilation: int = 1
) -> nn.Sequential:
    """One stage; all its 3 × 3 convolutions but the first are dilated."""
    wide, shortcut = block.expansion * planes, None
    if stride > 1 or channels != wide:
        shortcut = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
    stage = nn.Sequential(block(channels, planes, stride, shortcut), *(block(wide, planes) for _ in range(1, blocks)))
    # By hand: torchvision's basic block has no option for it.
    spatial = [conv for conv in stage.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
    for conv in spatial[1:]:
        conv.dilation = conv.padding = (dilation, dilation)
    return stage


def spread_stem(weight: Tensor, stem: nn.Module) -> Tensor:
    """First kernel of an RGB net for a stem that sees several pictures, each with the same share; (C, 3, k, k)."""
    assert isinstance(stem, nn.Conv2d)
    pictures = stem.in_channels // 3
    return weight.repeat(1, pictures, 1, 1) / pictures


def _out_channels(layer: nn.Module) -> int:
    """Channels that a layer of torchvision's MobileNetV3 gives."""
    channels = layer.out_channels
    assert isinstance(channels, int)
    return channels


def check_imagenet_width(width: float) -> None:
    """Raise a ValueError unless an encoder of this width has published weights."""
    if width != 1.0:
        raise ValueError(f"pretrained=True needs width=1.0, got {width}: there are no other ImageNet weights")
