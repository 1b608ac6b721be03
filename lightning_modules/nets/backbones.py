"""Encoders as lists of features at strides 2 … 32."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

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
        channels: what each of the 19 layers gives. Strides end at layers 1 (/2), 3 (/4), 6 (/8), 13 (/16), 18 (/32).
    """

    def __init__(self, width: float = 1.0, num_layers: int = 19) -> None:
        """Layers 0 … `num_layers` − 1.

        Args:
            width: multiplies the channels.
            num_layers: 19 is the whole encoder, 14 ends at stride 16.
        """
        super().__init__()
        self.width = width
        channels = [round_channels(32 * width)]
        layers: list[nn.Module] = [Conv2dNormActivation(3, channels[0], stride=2, activation_layer=nn.ReLU6)]
        for expansion, planes, repeats, stride in _MOBILENETV2_STAGES:
            for repeat in range(repeats):
                out = round_channels(planes * width)
                layers.append(InvertedResidual(channels[-1], out, stride if repeat == 0 else 1, expansion))
                channels.append(out)
        out = round_channels(1280 * max(1.0, width))
        layers.append(Conv2dNormActivation(channels[-1], out, kernel_size=1, activation_layer=nn.ReLU6))
        self.channels = [*channels, out]
        self.features = nn.Sequential(*layers[:num_layers])

    def forward(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Layers `start` … `stop` − 1 on (N, C, H, W)."""
        for index in range(start, stop):
            x = self.features[index](x)
        return x

    def load_imagenet(self) -> None:
        """Take torchvision's ImageNet weights (downloads them once).

        Raises:
            ValueError: the width is not 1, the only one these weights exist for.
        """
        if self.width != 1.0:
            raise ValueError(f"pretrained=True needs width=1.0, got {self.width}: there are no other ImageNet weights")
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        weights = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2).features.state_dict()
        self.features.load_state_dict({key: weights[key] for key in self.features.state_dict()})
