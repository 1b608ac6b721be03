"""RVM: robust video matting with a recurrent decoder (Lin et al., WACV 2022, arXiv 2108.11515).

Names: fine, the frames (N, 3, H, W); small, the frames reduced by the downsample ratio, on which all but the
refiner works; h × w, its size. Frames are folded time first, N = T·B. A suffix `_s2` says stride 2 of small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.backbones import MobileNetV3, ResNet
from lightning_modules.nets.blocks import clamp_inward, conv_layout, crop, join, resize, scale
from lightning_modules.nets.guided_filter import DeepGuidedFilter, guided_coefficients
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.recurrent import RECURRENCES, RecurrentStage
from lightning_modules.options import check_choice

BACKBONES = ("mobilenetv3", "resnet50")
REFINERS = ("deep_guided_filter", "fast_guided_filter", "bilinear")
# Channels at strides 16 (of LR-ASPP too), 8, 4, 2, 1 (Table 9).
_DECODER_CHANNELS = {"mobilenetv3": (128, 80, 40, 32, 16), "resnet50": (256, 128, 64, 32, 16)}
# Pixels of the fine frames that a GPU mattes at once in eval mode: memory does not grow with the clip.
_PIXELS_AT_ONCE = 8 * 512**2


class RVMState(NamedTuple):
    """Memories after the last frame at strides 2, 4, 8, 16 of small, each (B, M, h, w); None where there is none."""

    r1: Tensor | None
    r2: Tensor | None
    r3: Tensor | None
    r4: Tensor | None


class RVM(MattingNet):
    """RVM as published: MobileNetV3 or ResNet-50, LR-ASPP, decoder with a ConvGRU at four scales, guided filter.

    `state` is an `RVMState`. `aux`: `segmentation` (B, T, 1, h, w), logits, in a segmentation pass.
    """

    multiple = 1
    state_type = (tuple, list)  # an `RVMState`, or its four memories as the official code hands them out
    _compiled_enlarge: Callable[..., tuple[Tensor, Tensor]] | None = None

    def __init__(
        self,
        backbone: str = "mobilenetv3",
        refiner: str = "deep_guided_filter",
        recurrence: str = "convgru",
        recurrent_scales: Sequence[int] = (1, 2, 3, 4),
        width: float = 1.0,
        decoder_width: float = 1.0,
        pretrained: bool = False,
        clamp_gradient: Literal["inside", "inward"] = "inside",
    ) -> None:
        """Build the net; with the default options it has 3,748,633 parameters, with resnet50 26,890,461.

        Args:
            backbone: "mobilenetv3" or "resnet50".
            refiner: what brings small results to the size of the frames: "deep_guided_filter",
                "fast_guided_filter" or "bilinear". Nothing does where the downsample ratio is 1.
            recurrence: "convgru" (on half of the channels), "convgru_full" (on all), "convlstm" (half) or "none".
            recurrent_scales: where it stands: k for stride 2^k, of 1 … 4.
            width: multiplies the encoder's channels.
            decoder_width: multiplies the channels of LR-ASPP and decoder.
            pretrained: start the encoder from ImageNet weights (downloads them once).
            clamp_gradient: where the clamps of alpha and foreground let the gradient through: "inside" [0, 1], as
                published; "inward", also outside of it where a step along it leads back: else a matte that has fallen
                below 0 everywhere, as one of random weights may, stays there.

        Raises:
            ValueError: an option has a value other than these.
        """
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        check_choice("refiner", refiner, REFINERS)
        check_choice("recurrence", recurrence, RECURRENCES)
        for k in recurrent_scales:
            check_choice("recurrent_scales", k, (1, 2, 3, 4))
        check_choice("clamp_gradient", clamp_gradient, ("inside", "inward"))
        self.refiner_kind = refiner
        self.clamp_gradient = clamp_gradient

        self.backbone = MobileNetV3(width) if backbone == "mobilenetv3" else ResNet(50, width)
        channels = [max(8, 4 * round(c * decoder_width / 4)) for c in _DECODER_CHANNELS[backbone]]
        *skips, deepest = self.backbone.channels
        self.aspp = LRASPP(deepest, channels[0])
        self.decoder = RecurrentDecoder(
            skips, channels, [recurrence if k in recurrent_scales else "none" for k in (1, 2, 3, 4)]
        )
        self.matting_head = nn.Conv2d(channels[-1], 4, 1)
        self.segmentation_head = nn.Conv2d(channels[-1], 1, 1)
        self.refiner = DeepGuidedFilter(channels[-1]) if refiner == "deep_guided_filter" else None
        if pretrained:
            self.load_pretrained()

    def forward(
        self,
        frames: Tensor,
        state: RVMState | None = None,
        background: Tensor | None = None,
        downsample_ratio: float = 1.0,
        segmentation_pass: bool = False,
    ) -> MattingOutput:
        """Matte a clip; `background` is not used.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1].
            state: of the chunk before at the same ratio, or None at the start of a clip.
            background: not used.
            downsample_ratio: side of small / side of the frames, in (0, 1]. The authors' rule: sides of small
                between 256 and 512 pixels.
            segmentation_pass: run the segmentation head in place of the matting head. alpha is then the
                probability of a person, enlarged bilinearly, and there is no foreground.

        Raises:
            ValueError: wrong shapes or ratio, a state of other frames, or no segmentation head (exported files may
                lack it).
        """
        self.check_inputs(frames, state, background)
        if segmentation_pass and self.segmentation_head is None:
            raise ValueError("segmentation_pass: the file of these weights has no segmentation head; load one that has")
        if not 0 < downsample_ratio <= 1:
            raise ValueError(f"downsample_ratio must be above 0 and at most 1, got {downsample_ratio}")
        memory = self._memory(frames, downsample_ratio, state)
        outputs: list[tuple[Tensor | None, ...]] = []
        for some in frames.split(self._frames_at_once(frames), dim=1):
            fine = some.transpose(0, 1).flatten(0, 1)
            small = scale(fine, downsample_ratio) if downsample_ratio != 1 else fine
            slope, offset, *after = self.run_step(small, small is not fine, segmentation_pass, *memory)
            memory = RVMState(*after)
            output: tuple[Tensor | None, ...]
            if segmentation_pass:
                output = resize(torch.sigmoid(offset), (fine.shape[-2], fine.shape[-1])), None, offset
            else:
                output = *self._run_enlarge(slope, offset, fine), None
            outputs.append(tuple(None if x is None else _unfold(x, some.shape[1]) for x in output))
        alpha, foreground, segmentation = (_join(parts) for parts in zip(*outputs, strict=True))
        assert alpha is not None
        return MattingOutput(
            alpha,
            foreground,
            state=memory if any(m is not None for m in memory) else None,
            aux={} if segmentation is None else {"segmentation": segmentation},
        )

    def step(
        self, small: Tensor, refine: bool, segmentation_pass: bool, *memory: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Frames small (T·B, 3, h, w) in [0, 1] and the four memories; all but what happens at the fine size.

        Returns:
            slope (N, 4, h, w) or None and offset (N, 4, h, w) for `enlarge`, or None and segmentation logits
            (N, 1, h, w); then the four memories after the last frame. `refine` is False where fine is small.
        """
        *skips, deepest = self.backbone(conv_layout(small))
        hidden, memory = self.decoder(conv_layout(small), skips, self.aspp(deepest), memory)
        head = self.segmentation_head if segmentation_pass else self.matting_head
        slope, offset = None, head(hidden)
        offset = offset.to(torch.promote_types(offset.dtype, torch.float32), memory_format=torch.contiguous_format)
        if refine and not segmentation_pass and self.refiner_kind != "bilinear":
            # Alpha is guided by the grey frame, a colour by itself.
            guide = torch.cat((small, _grey(small)), dim=1)
            if self.refiner is None:
                slope, offset = guided_coefficients(guide, offset)
            else:
                slope, offset = self.refiner(guide, offset, hidden)
            # The frame that the residual is added to goes into the slope: a pass less over the fine frames.
            slope = torch.cat((slope[:, :3] + 1, slope[:, 3:]), dim=1)
        return slope, offset, *memory

    @staticmethod
    def enlarge(slope: Tensor | None, offset: Tensor, fine: Tensor, inward: bool = False) -> tuple[Tensor, Tensor]:
        """Slope (N, 4, h, w) or None, offset (N, 4, h, w) and fine (N, 3, H, W) in [0, 1] → the matte.

        `inward`: see `clamp_gradient`.

        Returns:
            alpha (N, 1, H, W) and foreground (N, 3, H, W) in [0, 1].
        """
        size, fine = (fine.shape[-2], fine.shape[-1]), fine.to(offset.dtype)
        residual, alpha = resize(offset, size).split((3, 1), dim=1)
        if slope is None:
            foreground = residual + fine
        else:
            slope = resize(slope, size)
            foreground = torch.addcmul(residual, slope[:, :3], fine)
            alpha = torch.addcmul(alpha, slope[:, 3:], _grey(fine))
        if inward:
            return clamp_inward(alpha), clamp_inward(foreground)
        return torch.clamp(alpha, 0, 1), torch.clamp(foreground, 0, 1)

    def at_ratio(self, ratio: float, frames: Tensor, upsampler: str, **given: Any) -> MattingOutput:
        """See `MattingNet.at_ratio`; the net reduces frames and refines mattes by itself."""
        output: MattingOutput = self(frames, downsample_ratio=ratio, **given)
        return output

    def compile_step(self, compiler: Callable[..., Callable[..., Any]] = torch.compile, **options: Any) -> None:
        """See `MattingNet.compile_step`; `enlarge` is compiled too where that pays."""
        super().compile_step(compiler, **options)
        self._compiled_enlarge = compiler(self.enlarge, **options)

    def _run_enlarge(self, slope: Tensor | None, offset: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        inward = self.training and self.clamp_gradient == "inward"
        # On a CPU the compiled bilinear resize is three times slower than the library's.
        if self._compiled_enlarge is None or fine.device.type == "cpu":
            return self.enlarge(slope, offset, fine, inward)
        return self._compiled_enlarge(slope, offset, fine, inward)

    def _memory(self, frames: Tensor, downsample_ratio: float, state: RVMState | None) -> RVMState:
        """What `step` gets: the state so far, or zeros."""
        if state is not None and len(state) != 4:
            raise ValueError(f"the state must hold the memories r1, r2, r3 and r4, got {len(state)} of them")
        height, width = (math.floor(side * downsample_ratio) for side in frames.shape[-2:])
        memory: list[Tensor | None] = []
        for k, channels in enumerate(self.decoder.memory_channels, start=1):
            height, width = -(-height // 2), -(-width // 2)
            shape = (frames.shape[0], channels, height, width)
            given = None if state is None else state[k - 1]
            if channels == 0:
                memory.append(None)
            elif state is None or given is None:
                memory.append(conv_layout(frames.new_zeros(shape)))
            elif given.shape != shape:
                raise ValueError(
                    f"the state is of another clip: its r{k} is {tuple(given.shape)}, these frames need {shape}; "
                    "start a new clip with state=None"
                )
            else:
                memory.append(conv_layout(given))
        return RVMState(*memory)

    def _frames_at_once(self, frames: Tensor) -> int:
        """How many frames of a clip `step` takes; all in training, whose batch norms see the whole clip."""
        if self.training:
            return frames.shape[1]
        if self._compiled_step is not None or frames.device.type == "cpu":
            # One graph then serves clips of every length; and a CPU is faster when its caches hold the frame.
            return 1
        return max(1, _PIXELS_AT_ONCE // (frames.shape[0] * frames.shape[-2] * frames.shape[-1]))


class LRASPP(nn.Module):
    """A pointwise layer, gated by the mean over the map.

    Source: RVM, section 3.1, after MobileNetV3's segmentation head.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.gate = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, out_channels, h, w)."""
        gate = torch.sigmoid(self.gate(x.mean(dim=(2, 3), keepdim=True)))
        return F.relu(self.norm(self.conv(x)), inplace=True) * gate


class RecurrentDecoder(nn.Module):
    """From the deepest feature up to the size of small; every scale but the last has a memory.

    Source: RVM, section 3.2.
    """

    def __init__(self, skips: Sequence[int], channels: Sequence[int], recurrences: Sequence[str]) -> None:
        """Build it.

        Args:
            skips: channels of the encoder's features at strides 2, 4, 8.
            channels: of the stages at strides 16, 8, 4, 2, 1.
            recurrences: at strides 2, 4, 8, 16, keys of `RECURRENCES`.
        """
        super().__init__()
        c16, c8, c4, c2, c1 = channels
        self.bottleneck = RecurrentStage(c16, recurrences[3])
        self.stage3 = UpsamplingStage(c16 + skips[2] + 3, c8, recurrences[2])
        self.stage2 = UpsamplingStage(c8 + skips[1] + 3, c4, recurrences[1])
        self.stage1 = UpsamplingStage(c4 + skips[0] + 3, c2, recurrences[0])
        self.output = nn.Sequential(*_conv_norm_relu(c2 + 3, c1), *_conv_norm_relu(c1, c1))

    @property
    def memory_channels(self) -> list[int]:
        """Of the memories at strides 2, 4, 8, 16; 0 where there is none."""
        stages = (self.stage1.recurrent, self.stage2.recurrent, self.stage3.recurrent, self.bottleneck)
        return [stage.memory_channels for stage in stages]

    def forward(
        self, small: Tensor, skips: Sequence[Tensor], deepest: Tensor, memory: Sequence[Tensor | None]
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """Frames (N, 3, h, w), features at strides 2, 4, 8 and 16, four memories → (N, c1, h, w), the memories."""
        small_s2 = _halve(small)
        small_s4 = _halve(small_s2)
        small_s8 = _halve(small_s4)
        x, r4 = self.bottleneck(deepest, memory[3])
        x, r3 = self.stage3(x, skips[2], small_s8, memory[2])
        x, r2 = self.stage2(x, skips[1], small_s4, memory[1])
        x, r1 = self.stage1(x, skips[0], small_s2, memory[0])
        return self.output(_enlarge(x, small)), (r1, r2, r3, r4)


class UpsamplingStage(nn.Module):
    """Doubles the size, joins the encoder's feature and the frame, convolves, remembers."""

    def __init__(self, in_channels: int, out_channels: int, recurrence: str) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv_norm_relu(in_channels, out_channels))
        self.recurrent = RecurrentStage(out_channels, recurrence)

    def forward(self, x: Tensor, skip: Tensor, frame: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Coarser x (N, C, ⌈h/2⌉, ⌈w/2⌉), skip and frame at h × w → (N, out_channels, h, w), memory."""
        return self.recurrent(self.conv(_enlarge(x, skip, frame)), memory)


def _conv_norm_relu(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def _enlarge(x: Tensor, *others: Tensor) -> Tensor:
    """The map x at twice its size, cut to that of the others, and they joined to it."""
    return join(crop(scale(x, 2), (others[0].shape[-2], others[0].shape[-1])), *others)


def _halve(x: Tensor) -> Tensor:
    """Means of 2 × 2 pixels; at the end of an odd side, of those that exist."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def _grey(frames: Tensor) -> Tensor:
    """Mean of the colours, (N, 3, H, W) → (N, 1, H, W); four times as fast as `mean` over so few channels."""
    red, green, blue = frames.split(1, dim=1)
    return (red + green + blue) / 3


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Groups of frames (B, T, …) as one clip; a single one is not copied."""
    given = [part for part in parts if part is not None]
    return torch.cat(given, dim=1) if len(given) > 1 else parts[0]


def _unfold(x: Tensor, num_frames: int) -> Tensor:
    """(T·B, …) → (B, T, …)."""
    return x.unflatten(0, (num_frames, -1)).transpose(0, 1)
