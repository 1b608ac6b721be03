"""MODNet: one-frame portrait matting in three branches (Ke et al., AAAI 2022, arXiv 2011.11961).

Names: e2, e4, e32 encoder features at strides 2, 4, 32; lr8 the semantic feature at stride 8;
hr2 the detail feature at stride 2. A suffix `_s4` says stride 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.backbones import MobileNetV2
from lightning_modules.nets.blocks import (
    ConvBlock,
    crop,
    fold_time,
    join,
    join_frames,
    pad_to_multiple,
    resize,
    scale,
    split_frames,
    to_image,
    unfold_time,
)
from lightning_modules.nets.interface import MattingNet, MattingOutput

# Channels of the semantic branch at 1/16 and 1/8. They are those of the encoder at width 1 and stay with others.
SEMANTIC_CHANNELS = (96, 32)


class MODNet(MattingNet):
    """MODNet as published: MobileNetV2, then semantic, detail and fusion branch. Frame by frame, no state.

    `aux`: `semantic` (B, T, 1, h, w) at 1/16 of the frames padded to a multiple of 32, and `detail`
    (B, T, 1, H, W), both in [0, 1]; neither with `inference=True`.
    """

    def __init__(self, width: float = 1.0, hidden: int = 32, inference: bool = False, pretrained: bool = False) -> None:
        """Build the net; with the default options it has 6,487,075 parameters.

        Args:
            width: multiplies the encoder's channels.
            hidden: channels of the detail and fusion branch (`hr_channels` in the official code).
            inference: skip the two heads that only training needs; alpha is the same. May be set later.
            pretrained: start the encoder from ImageNet weights (downloads them once).
        """
        super().__init__()
        self.inference = inference
        self.backbone = MobileNetV2(width)
        e2, e4, e32 = (self.backbone.layer_channels[layer] for layer in (1, 3, 18))
        self.semantic = SemanticHead(e32)
        self.detail = DetailBranch(e2, e4, hidden)
        self.fusion = FusionBranch(hidden)
        self.apply(self.initialise)
        if pretrained:
            self.backbone.load_imagenet()

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """Matte every frame of (B, T, 3, H, W) in [0, 1] by itself; `state` and `background` are not used."""
        self.check_inputs(frames, state, background)
        num_frames, size = frames.shape[1], (frames.shape[-2], frames.shape[-1])
        alpha, semantic, detail = self._run(pad_to_multiple(fold_time(frames), self.multiple))
        aux = {}
        if not self.inference:
            aux = {"semantic": unfold_time(semantic, num_frames), "detail": unfold_time(crop(detail, size), num_frames)}
        return MattingOutput(unfold_time(crop(alpha, size), num_frames), aux=aux)

    def _run(self, frames: Tensor) -> tuple[Any, ...]:
        """`run_step` over (N, 3, H, W); in groups in eval mode, where frames are independent."""
        parts = [self.run_step(some) for some in split_frames(frames, self.training)]
        return tuple(None if each[0] is None else join_frames(each) for each in zip(*parts, strict=True))

    def step(self, frames: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Frames (N, 3, H, W) in [0, 1], sides multiples of 32.

        Returns:
            alpha (N, 1, H, W), semantic (N, 1, H/16, W/16), detail (N, 1, H, W) in [0, 1]; the last two
            are None with `inference`.
        """
        image = to_image(frames)
        e2 = self.backbone.run(image, 0, 2)
        e4 = self.backbone.run(e2, 2, 4)
        e32 = self.backbone.run(e4, 4, 19)
        lr8 = self.semantic(e32)
        hr2 = self.detail(image, e2, e4, lr8)
        alpha, _ = self.fusion(image, lr8, hr2)
        if self.inference:
            return alpha, None, None
        return alpha, self.semantic.predict(lr8), self.detail.predict(image, hr2)

    def skip_training_heads(self) -> None:
        """See `MattingNet.skip_training_heads`."""
        self.inference = True

    def initialise(self, module: nn.Module) -> None:
        """See `initialise_modnet`."""
        initialise_modnet(module)


def initialise_modnet(module: nn.Module) -> None:
    """Start weights of the official code: convolutions Kaiming uniform with bias 0, all else torch's default."""
    if type(module) is nn.Conv2d:  # a subclass has a start of its own
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
        module.reset_parameters()


class SqueezeExcite(nn.Module):
    """Channel gate from the mean over the map (Hu et al., 2018), linear layers without bias."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


class SemanticHead(nn.Module):
    """From the deepest feature to lr8 and the coarse matte."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        lr16, lr8 = SEMANTIC_CHANNELS
        self.gate = SqueezeExcite(channels)
        self.conv_lr16 = ConvBlock(channels, lr16, 5)
        self.conv_lr8 = ConvBlock(lr16, lr8, 5)
        self.head = nn.Conv2d(lr8, 1, 3, stride=2, padding=1)

    def forward(self, x: Tensor, stride: int = 32) -> Tensor:
        """Feature at `stride` 16 or 32 → lr8; enlarged before each convolution, so the big kernel runs at 1/16."""
        x = self.gate(x)
        return self.conv_lr8(scale(self.conv_lr16(scale(x, 2) if stride == 32 else x), 2))

    def predict(self, lr8: Tensor) -> Tensor:
        """lr8 → semantic (N, 1, H/16, W/16) in [0, 1]."""
        return torch.sigmoid(self.head(lr8).float())


def one_frame_delay(alpha: Tensor, threshold: float = 0.1) -> Tensor:
    """One-frame delay (OFD): a flicker of one frame becomes the mean of the frames around it.

    A pixel flickers where its neighbours in time agree within `threshold` and it differs from both by
    more. Neighbours are the unsmoothed mattes; the first and last frame stay.

    Args:
        alpha: (B, T, 1, H, W) in [0, 1].
        threshold: ξ of the paper.

    Returns:
        The same shape.
    Source: MODNet, arXiv 2011.11961, one-frame delay trick.
    """
    before, now, after = alpha[:, :-2], alpha[:, 1:-1], alpha[:, 2:]
    agree = (before - after).abs() <= threshold
    flicker = agree & ((now - before).abs() > threshold) & ((now - after).abs() > threshold)
    smooth = torch.where(flicker, (before + after) / 2, now)
    return torch.cat((alpha[:, :1], smooth, alpha[:, 1:][:, -1:]), dim=1)


class DetailHead(nn.Module):
    """hr2 and the image → detail at full size; needed in training only."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv = ConvBlock(hidden + 3, hidden, 3)
        self.head = nn.Conv2d(hidden, 1, 1)

    def forward(self, image: Tensor, hr2: Tensor) -> Tensor:
        """Image (N, 3, H, W), hr2 (N, hidden, H/2, W/2) → (N, 1, H, W) in [0, 1]."""
        return torch.sigmoid(self.head(self.conv(join(scale(hr2, 2), image))).float())


class DetailBranch(nn.Module):
    """Detail at 1/2 and 1/4 of the image, guided by the semantic feature."""

    def __init__(self, e2: int, e4: int, hidden: int) -> None:
        super().__init__()
        self.to_e2 = ConvBlock(e2, hidden, 1)
        self.conv_e2 = ConvBlock(hidden + 3, hidden, 3, stride=2)
        self.to_e4 = ConvBlock(e4, hidden, 1)
        self.conv_e4 = ConvBlock(2 * hidden, 2 * hidden, 3)
        self.conv_hr4 = nn.Sequential(
            ConvBlock(2 * hidden + SEMANTIC_CHANNELS[1] + 3, 2 * hidden, 3),
            ConvBlock(2 * hidden, 2 * hidden, 3),
            ConvBlock(2 * hidden, hidden, 3),
        )
        self.conv_hr2 = nn.Sequential(
            ConvBlock(2 * hidden, 2 * hidden, 3),
            ConvBlock(2 * hidden, hidden, 3),
            ConvBlock(hidden, hidden, 3),
            ConvBlock(hidden, hidden, 3),
        )
        self.predict = DetailHead(hidden)

    def forward(self, image: Tensor, e2: Tensor, e4: Tensor, lr8: Tensor) -> Tensor:
        """Image (N, 3, H, W) in [−1, 1] and features → hr2 (N, hidden, H/2, W/2)."""
        e2 = self.to_e2(e2)
        x = self.conv_e2(join(scale(image, 1 / 2), e2))
        x = self.conv_e4(join(x, self.to_e4(e4)))
        x = self.conv_hr4(join(x, scale(lr8, 2), scale(image, 1 / 4)))
        return self.conv_hr2(join(scale(x, 2), e2))


class LightDetailBranch(nn.Module):
    """MODNet's detail branch without four of its convolutions; works on the working frame at 1/2 and 1/4."""

    def __init__(self, e2: int, e4: int, hidden: int) -> None:
        super().__init__()
        self.to_e2 = ConvBlock(e2, hidden, 1)
        self.conv_e2 = ConvBlock(hidden + 3, hidden, 3, stride=2)
        self.to_e4 = ConvBlock(e4, hidden, 1)
        self.conv_hr4 = nn.Sequential(
            ConvBlock(2 * hidden + SEMANTIC_CHANNELS[1] + 3, 2 * hidden, 3), ConvBlock(2 * hidden, hidden, 3)
        )
        self.conv_hr2 = nn.Sequential(ConvBlock(2 * hidden, hidden, 3), ConvBlock(hidden, hidden, 3))
        self.predict = DetailHead(hidden)

    def forward(self, image: Tensor, e2: Tensor, f4: Tensor, lr8: Tensor) -> Tensor:
        """Image (N, 3, H, W) in [−1, 1] and features of any size → hr2 (N, hidden, H/2, W/2)."""
        half = (image.shape[-2] // 2, image.shape[-1] // 2)
        quarter = (half[0] // 2, half[1] // 2)
        e2 = resize(self.to_e2(e2), half)
        x = self.conv_e2(join(scale(image, 1 / 2), e2))
        semantics = (resize(self.to_e4(f4), quarter), resize(lr8, quarter))
        x = self.conv_hr4(join(x, *semantics, scale(image, 1 / 4)))
        return self.conv_hr2(join(scale(x, 2), e2))


class FusionBranch(nn.Module):
    """Semantic and detail feature → alpha; MODNet and MODNet-V share it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv_lr4 = ConvBlock(SEMANTIC_CHANNELS[1], hidden, 5)
        self.conv_f2 = ConvBlock(2 * hidden, hidden, 3)
        self.conv_f = ConvBlock(hidden + 3, hidden // 2, 3)
        self.head = nn.Conv2d(hidden // 2, 1, 1)

    def forward(self, image: Tensor, lr8: Tensor, hr2: Tensor) -> tuple[Tensor, Tensor]:
        """Image (N, 3, H, W) in [−1, 1]; lr8 at any size; hr2 (N, hidden, H/2, W/2).

        Returns:
            alpha (N, 1, H, W) in [0, 1], and the fused feature f2 (N, hidden, H/2, W/2).
        """
        height, width = hr2.shape[-2:]
        lr4 = self.conv_lr4(resize(lr8, (height // 2, width // 2)))
        f2 = self.conv_f2(join(scale(lr4, 2), hr2))
        x = self.conv_f(join(scale(f2, 2), image))
        return torch.sigmoid(self.head(x).float()), f2
