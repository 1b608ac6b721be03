"""BackgroundMattingV2: matting with a picture of the empty scene (Lin, Ryabtsev et al., CVPR 2021).

A base network mattes a small copy of the frame; a refiner does the full size, but only where the base expects
to be wrong (`background_matting_refiner.py`). A cell is a block of 4 × 4 pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from lightning_modules.nets.backbones import MobileNetV2, ResNet, round_channels
from lightning_modules.nets.background_matting_refiner import CELL, HIDDEN, Coarse, Refiner
from lightning_modules.nets.blocks import (
    clamp_inward,
    crop,
    fold_time,
    join,
    join_frames,
    pad_to_multiple,
    reduced_side,
    resize,
    serves_all_sizes,
    split_frames,
    unfold_time,
)
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.options import check_choice

BACKBONES = ("mobilenetv2", "resnet50", "resnet101")
MODES = ("sampling", "thresholding", "full", "none")


class BackgroundMattingV2(MattingNet):
    """BackgroundMattingV2 as published. Frame by frame, no state; needs `background`, the plate.

    `aux`: `coarse_alpha` (B, T, 1, h, w), `coarse_foreground` (B, T, 3, h, w) and `error_map` (B, T, 1, h, w), all
    in [0, 1] at `backbone_scale` of the frame padded to a multiple of 4; `refined` (B, T, 1, H/4, W/4) bool, the
    refined cells, and `refined_share` (B, T) of all cells, not with `refine_mode="none"`.
    """

    multiple = CELL
    needs_plate = True

    def __init__(
        self,
        backbone: str = "resnet50",
        backbone_scale: float = 0.25,
        refine_mode: Literal["sampling", "thresholding", "full", "none"] = "sampling",
        refine_sample_pixels: int = 80_000,
        refine_share: float | None = None,
        refine_threshold: float = 0.1,
        refine_kernel_size: int = 3,
        refine_prevent_oversampling: bool = True,
        clamp_gradient: Literal["inside", "inward"] = "inside",
        width: float = 1.0,
        pretrained: bool = False,
    ) -> None:
        """Build the net; with width 1 it has 5,006,839, 40,247,703 or 59,239,831 parameters.

        Args:
            backbone: "mobilenetv2", "resnet50" or "resnet101".
            backbone_scale: side of the small copy / side of the frame, at most 1/2 unless nothing is refined.
            refine_mode: which cells are refined: "sampling" those of largest error, "thresholding" those above
                a threshold, "full" all, "none" none: the base network alone, which has no refiner.
            refine_sample_pixels: pixels of a frame that sampling refines.
            refine_share: the same as a share of the frame's pixels, in place of `refine_sample_pixels`.
            refine_threshold: error above which thresholding refines.
            refine_kernel_size: of the refiner's convolutions, 3 or 1.
            refine_prevent_oversampling: sampling leaves out cells with no error; False refines the full number
                for tests of speed.
            clamp_gradient: where the clamps of alpha, error and foreground let the gradient through: "inside" [0, 1],
                as in the official code, which starts from a DeepLabV3; "inward": also where it leads back inside,
                since a matte of random weights that once fell below 0 everywhere would stay there.
            width: multiplies the channels of the base network; the refiner's stay.
            pretrained: start from torchvision's weights (downloads them once): see `load_pretrained`.

        Raises:
            ValueError: an option has none of these values.
        """
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        check_choice("refine_mode", refine_mode, MODES)
        if clamp_gradient not in ("inside", "inward"):
            raise ValueError(f"clamp_gradient must be inside or inward, got {clamp_gradient!r}")
        if refine_kernel_size not in (1, 3):
            raise ValueError(f"refine_kernel_size must be 1 or 3, got {refine_kernel_size}")
        _check_scale(backbone_scale, refine_mode)
        if refine_share is not None and not 0 < refine_share <= 1:
            raise ValueError(f"refine_share must be null or in (0, 1], got {refine_share}")
        self.backbone_scale = backbone_scale
        self.refine_mode = refine_mode
        self.refine_sample_pixels = refine_sample_pixels
        self.refine_share = refine_share
        self.refine_threshold = refine_threshold
        self.refine_prevent_oversampling = refine_prevent_oversampling
        self.clamp_gradient = clamp_gradient
        self.backbone: MobileNetV2 | ResNet
        if backbone == "mobilenetv2":
            self.backbone = MobileNetV2(width, num_layers=18, in_channels=6, dilated=True)
        else:
            self.backbone = ResNet(int(backbone.removeprefix("resnet")), width, in_channels=6)
        *skips, deepest = self.backbone.channels
        context = round_channels(256 * width)
        self.aspp = ASPP(deepest, [3, 6, 9], context)
        self.decoder = Decoder((6, *skips, context), width)
        self.refiner = None if refine_mode == "none" else Refiner(refine_kernel_size)
        if pretrained:
            self.load_pretrained()

    def forward(
        self,
        frames: Tensor,
        state: Any = None,
        background: Tensor | None = None,
        backbone_scale: float | None = None,
    ) -> MattingOutput:
        """Matte every frame of (B, T, 3, H, W) in [0, 1] by itself.

        Args:
            frames: (B, T, 3, H, W) in [0, 1].
            state: not used.
            background: (B, 1 or T, 3, H, W) in [0, 1], the same view without the person.
            backbone_scale: in place of the net's own.

        Raises:
            ValueError: frames or background are missing or of another shape, or the scale is too large.
        """
        scale = self.backbone_scale if backbone_scale is None else backbone_scale
        _check_scale(scale, self.refine_mode)
        self.check_inputs(frames, state, background)
        if background is None:
            raise ValueError("background_matting_v2 needs a plate: give background=, (B, 1 or T, 3, H, W) in [0, 1]")
        plate = background.expand_as(frames)
        num_frames, size = frames.shape[1], (frames.shape[-2], frames.shape[-1])
        pictures = [pad_to_multiple(fold_time(clip), self.multiple) for clip in (frames, plate)]
        height, width = pictures[0].shape[-2:]
        # Explicit sizes: a scale factor alone gives another picture when the sides are not whole.
        small = (reduced_side(height, scale), reduced_side(width, scale))
        # Made of the frames as they come: another memory format rounds otherwise, and cells are ranked by less.
        copies = torch.cat([resize(picture, small) for picture in pictures], dim=1)
        # Channels last: the gathering of windows and, on a CPU, the enlarging are several times as fast.
        images = torch.cat([picture.permute(0, 2, 3, 1) for picture in pictures], dim=-1).permute(0, 3, 1, 2)
        groups = split_frames(images, self.training)
        small_groups = copies.split(len(groups[0])) if len(groups) > 1 else (copies,)
        parts = [self._matte(*group) for group in zip(groups, small_groups, strict=True)]
        tensors = {name: unfold_time(join_frames([part[name] for part in parts]), num_frames) for name in parts[0]}
        return MattingOutput(crop(tensors.pop("alpha"), size), crop(tensors.pop("foreground"), size), aux=tensors)

    def at_ratio(self, ratio: float, frames: Tensor, upsampler: str, **given: Any) -> MattingOutput:
        """See `MattingNet.at_ratio`; the base network's copy is that small, half the side at most if it is refined."""
        scale = ratio if self.refiner is None else min(ratio, 0.5)
        output: MattingOutput = self(frames, backbone_scale=scale, **given)
        return output

    def _matte(self, images: Tensor, copies: Tensor) -> dict[str, Tensor]:
        """Alpha, foreground and `aux` of images (N, 6, H, W), sides multiples of 4, and their small copies."""
        height, width = images.shape[-2:]
        coarse, refined = self.run_step(images, copies)
        named = {
            "coarse_alpha": coarse.alpha,
            "coarse_foreground": coarse.foreground,
            "error_map": coarse.error,
        }
        if self.refiner is None:
            refined = resize(coarse.matte, (height, width))
        else:
            cells = self.select_cells(coarse.error, (height // CELL, width // CELL))
            named |= {"refined": cells[:, None], "refined_share": cells.float().mean((1, 2))}
            if refined is None and images.is_cuda and self.refine_mode == "sampling" and not self.training:
                refined = self.refiner.at_most(images, coarse, cells, len(cells) * self._num_refined(cells[0].numel()))
            elif refined is None:
                refine = self.refiner.densely if serves_all_sizes() else self.refiner.at_cells
                refined = refine(images, coarse, cells)
        alpha, residual = refined[:, :1], refined[:, 1:]
        return named | {"alpha": self._clamp(alpha), "foreground": self._clamp(residual + images[:, :3])}

    def step(self, images: Tensor, copies: Tensor) -> tuple[Coarse, Tensor | None]:
        """The part with shapes that do not depend on what is seen.

        Args:
            images: (N, 6, H, W) frame and plate in [0, 1], sides multiples of 4.
            copies: (N, 6, h, w), the same at the size of the base network.

        Returns:
            What the base network gives, and with `refine_mode="full"` the refined matte (N, 4, H, W).
        """
        # Not channels last: no slower here, and then the numbers are the official code's to the last bit.
        coarse = self.base(copies.contiguous())
        everywhere = self.refine_mode == "full" and self.refiner is not None
        return coarse, self.refiner.everywhere(images, coarse) if everywhere else None  # type: ignore[union-attr]

    def base(self, images: Tensor) -> Coarse:
        """The base network on (N, 6, h, w), frame and plate in [0, 1]."""
        *skips, deepest = self.backbone(images)
        x = self.decoder([images, *skips, self.aspp(deepest)])
        # In float32 at least: half precision would make many errors equal, and cells are ranked by them.
        alpha, residual, error = x[:, :5].float().split((1, 3, 1), dim=1)
        clamped = [self._clamp(each) for each in (alpha, error, images[:, :3] + residual)]
        return Coarse(clamped[0], residual, clamped[1], F.relu(x[:, 5:]), clamped[2])

    def _clamp(self, x: Tensor) -> Tensor:
        return clamp_inward(x) if self.clamp_gradient == "inward" and self.training else x.clamp(0, 1)

    def select_cells(self, error: Tensor, size: tuple[int, int]) -> Tensor:
        """Which cells are refined: (N, H/4, W/4) bool from the error map (N, 1, h, w); gives no gradient.

        Args:
            error: the base network's error map.
            size: (H/4, W/4).
        """
        if self.refine_mode == "full":
            return error.new_ones((len(error), *size), dtype=torch.bool)
        error = resize(error.detach(), size)[:, 0]
        if self.refine_mode == "thresholding":
            return error > self.refine_threshold
        best = error.flatten(1).topk(self._num_refined(size[0] * size[1]), sorted=False).indices
        chosen = torch.zeros_like(error).flatten(1).scatter(1, best, 1.0).view_as(error) > 0
        return chosen & (error > 0) if self.refine_prevent_oversampling else chosen

    def _num_refined(self, num_cells: int) -> int:
        """How many of a frame's cells sampling refines."""
        share = self.refine_share
        if isinstance(num_cells, Tensor):  # of a traced graph
            wanted = num_cells.new_tensor(self.refine_sample_pixels // CELL**2)
            wanted = wanted if share is None else (share * num_cells.double()).round().long()
            return torch.minimum(wanted, num_cells)
        most = self.refine_sample_pixels // CELL**2 if share is None else round(share * num_cells)
        least: Any = torch.sym_min(most, num_cells)
        return least

    def initialise(self, module: nn.Module) -> None:
        """Start weights of the official code: the encoder's convolutions Kaiming normal, all else torch's default."""
        if isinstance(module, nn.Conv2d) and any(module is each for each in self.backbone.modules()):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            super().initialise(module)

    def load_pretrained(self) -> None:
        """Start from torchvision's weights: DeepLabV3's encoder and ASPP for a ResNet, ImageNet's MobileNetV2."""
        if isinstance(self.backbone, MobileNetV2):
            self.backbone.load_imagenet()
            return
        if self.backbone.width != 1:
            raise ValueError(f"pretrained=True needs width=1.0, got {self.backbone.width}: other weights do not exist")
        from torchvision.models import get_model

        name = f"deeplabv3_resnet{self.backbone.depth}"
        self.load_deeplabv3(get_model(name, weights="DEFAULT").state_dict())

    def load_deeplabv3(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Take encoder and ASPP from a DeepLabV3; decoder and refiner stay.

        Args:
            tensors: state dict of torchvision's DeepLabV3 or of that of VainF/DeepLabV3Plus-Pytorch, which the
                paper started from. Its first kernel, made for one picture, goes in halves to frame and plate.

        Returns:
            Names of the tensors that were taken.

        Raises:
            ValueError: an encoder or ASPP tensor of this net is missing or of another shape.
        Source: the official code's initialisation, which leaves the first kernel random.
        """
        wanted = {key: value for key, value in self.state_dict().items() if key.startswith(("backbone.", "aspp."))}
        taken = {our_deeplabv3_name(key): value for key, value in tensors.items()}
        stem = "backbone.conv1.weight" if isinstance(self.backbone, ResNet) else "backbone.features.0.0.weight"
        if stem in taken and taken[stem].shape[1] == 3:
            taken[stem] = taken[stem].repeat(1, 2, 1, 1) / 2
        fitting = {key: taken[key] for key in wanted if key in taken and taken[key].shape == wanted[key].shape}
        if missing := [key for key in wanted if key not in fitting and not key.endswith("num_batches_tracked")]:
            raise ValueError(
                f"these DeepLabV3 weights do not fit this net: {missing[0]} and {len(missing) - 1} more are missing "
                "or of another shape (another backbone or width?)"
            )
        self.load_state_dict(fitting, strict=False)
        return sorted(fitting)


def our_deeplabv3_name(key: str) -> str:
    """Name in this net of a DeepLabV3 tensor.

    >>> our_deeplabv3_name("classifier.classifier.0.convs.0.0.weight")
    'aspp.convs.0.0.weight'
    >>> our_deeplabv3_name("backbone.high_level_features.17.conv.3.bias")
    'backbone.features.17.conv.3.bias'
    """
    for theirs, ours in _DEEPLABV3_NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


_DEEPLABV3_NAMES = {
    "classifier.classifier.0.": "aspp.",  # VainF
    "classifier.0.": "aspp.",  # torchvision
    "backbone.low_level_features.": "backbone.features.",  # VainF's MobileNetV2 is cut in two, numbered on
    "backbone.high_level_features.": "backbone.features.",
}


class Decoder(nn.Module):
    """Features of the encoder, coarse to fine → alpha, residual, error and hidden, at the size of the images."""

    def __init__(self, channels: tuple[int, ...], width: float = 1.0) -> None:
        """Build it.

        Args:
            channels: of the images and of the features at strides 2, 4, 8 and 16.
            width: multiplies the channels between.
        """
        super().__init__()
        x1, x2, x4, x8, x16 = channels
        y8, y4, y2 = (round_channels(planes * width) for planes in (128, 64, 48))
        self.conv1 = nn.Conv2d(x16 + x8, y8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(y8)
        self.conv2 = nn.Conv2d(y8 + x4, y4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(y4)
        self.conv3 = nn.Conv2d(y4 + x2, y2, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(y2)
        self.conv4 = nn.Conv2d(y2 + x1, 1 + 3 + 1 + HIDDEN, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features at strides 1, 2, 4, 8, 16, sizes rounded up → (N, 37, h, w)."""
        x1, x2, x4, x8, x16 = features
        x = F.relu(self.bn1(self.conv1(_join(x16, x8))), inplace=True)
        x = F.relu(self.bn2(self.conv2(_join(x, x4))), inplace=True)
        x = F.relu(self.bn3(self.conv3(_join(x, x2))), inplace=True)
        return self.conv4(_join(x, x1))


def _join(x: Tensor, finer: Tensor) -> Tensor:
    """`x` enlarged to the size of `finer`, and `finer`, in one tensor."""
    return join(resize(x, (finer.shape[-2], finer.shape[-1])), finer.to(x.dtype))


def _check_scale(scale: float, refine_mode: str) -> None:
    largest = 1.0 if refine_mode == "none" else 0.5
    if not 0 < scale <= largest:
        raise ValueError(
            f"backbone_scale must be above 0 and at most {largest} with refine_mode={refine_mode!r}, got {scale}"
        )
