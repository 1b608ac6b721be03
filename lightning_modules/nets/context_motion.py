"""Context Motion Network: what was seen before, brought along by optical flow ("Automatic Portrait Video Matting
via Context Motion Network", ICLR 2022 submission).

No code was published; what the paper leaves open is our choice and says so. Letters: C context and M hidden
channels on the grid h × w at stride 16, N = B·T folded frames. A suffix `_s16` says stride 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.nets.backbones import MobileNetV2, ResNet
from lightning_modules.nets.blocks import conv_layout, crop, fold_time, join, pad_to_multiple, resize, unfold_time
from lightning_modules.nets.context_motion_cues import ConvReLU, MotionEncoder
from lightning_modules.nets.flow import build_flow, check_flow
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.recurrent import SeparableConvGRU
from lightning_modules.options import check_choice

BACKBONES = ("mobilenetv2", "resnet18", "resnet50")
OPERATORS = ("baseline", "gru", "motion")
_STRIDE = 16
# Pixels of the frames that are matted at once in eval mode: memory does not grow with the clip.
_PIXELS_AT_ONCE = 4 * 512**2


class ContextMotionState(NamedTuple):
    """What is kept of the last frame.

    Attributes:
        hidden: (B, M, h, w), the recurrent state.
        context: (B, C, h, w), its features; None unless `operator="motion"`, as all below.
        frame: (B, 3, H, W) in [0, 1], padded; None where no flow is estimated.
    """

    hidden: Tensor
    context: Tensor | None
    frame: Tensor | None


class ContextMotion(MattingNet):
    """CMN: encoder at stride 16, context-motion operator, a decoder for alpha and one for the foreground.

    `state` is a `ContextMotionState`, None with `operator="baseline"`. `aux`: `flow` (B, T, 2, H, W), the backward
    flow in pixels that was used, zero in the first frame of a clip; with `operator="motion"`.
    """

    multiple = _STRIDE
    state_type = ContextMotionState

    def __init__(
        self,
        backbone: Literal["mobilenetv2", "resnet18", "resnet50"] = "resnet50",
        flow: str = "pwcnet",
        operator: Literal["baseline", "gru", "motion"] = "motion",
        flow_options: Mapping[str, Any] | None = None,
        context_channels: int = 256,
        hidden: int = 128,
        decoder_channels: int = 32,
        width: float = 1.0,
        pretrained: bool = False,
    ) -> None:
        """Build the net; without flow it has 4,179,234, 13,646,178 or 26,536,802 parameters.

        Args:
            backbone: "mobilenetv2", "resnet18" or "resnet50".
            flow: "pwcnet" (the paper's), "maskflownet", "raft_small", "raft_large", "dis", "ptlflow:NAME", "oracle"
                (the true flow, which `forward` is then given), or "none" (everything stands still).
            operator: "motion" is the full one; "gru" sees no flow and no earlier features, "baseline" no earlier
                frame at all. Neither has a flow estimator.
            flow_options: of the estimator (`num_updates` of RAFT, …).
            context_channels: C, what the encoder's features are projected to (our choice).
            hidden: M, of the recurrent state (our choice).
            decoder_channels: of skips and decoders.
            width: multiplies the encoder's channels.
            pretrained: see `load_pretrained`.

        Raises:
            ValueError: an option has none of these values.
        """
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        check_choice("operator", operator, OPERATORS)
        for option, number in (("context_channels", context_channels), ("hidden", hidden)):
            if number < 1:
                raise ValueError(f"{option} must be at least 1, got {number}")
        self.operator = operator
        self.hidden = hidden
        self.flow_name = flow if operator == "motion" else "none"
        self.flow = build_flow(self.flow_name, **(flow_options or {}))
        self.needs_flow = self.flow_name == "oracle"

        self.backbone = Encoder(backbone, width)
        *skips, deepest = self.backbone.channels
        self.skips = nn.ModuleList(ConvReLU(channels, decoder_channels) for channels in (3, *skips))
        self.project = ConvReLU(deepest, context_channels, 1)
        self.motion = MotionEncoder(context_channels) if operator == "motion" else None
        seen = context_channels if self.motion is None else self.motion.channels
        self.update = ConvReLU(seen, hidden) if operator == "baseline" else SeparableConvGRU(seen, hidden)
        self.alpha_decoder = Decoder(hidden, decoder_channels, 1)
        self.foreground_decoder = Decoder(hidden, decoder_channels, 3)
        self.train()
        if pretrained:
            self.load_pretrained()

    def forward(
        self,
        frames: Tensor,
        state: ContextMotionState | None = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
    ) -> MattingOutput:
        """Matte a clip.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1].
            state: of the chunk before, or None at the start of a clip.
            background: not used.
            flow: (B, T, 2, H, W), pixels, from each frame to the one before, used in place of the estimate; what it
                says of a clip's first frame is not used. The oracle net needs it.

        Returns:
            alpha in [0, 1]; foreground in [0, 1] in eval mode, not clamped in train mode.

        Raises:
            ValueError: wrong shapes, a state of other frames, or no true flow for the oracle.
        """
        self.check_inputs(frames, state, background)
        check_flow(flow, frames, "flow='oracle'" if self.needs_flow else None)
        size = (frames.shape[-2], frames.shape[-1])
        padded = _pad(frames)
        given = None if flow is None else _pad(flow)
        hidden, context, frame = self._memory(padded, state)
        outputs, flows, start = [], [], 0
        for some in padded.split(self._frames_at_once(padded), dim=1):
            stop = start + some.shape[1]
            used = self._flow(some, None if given is None else given[:, start:stop], frame, first=context is None)
            *output, hidden, context = self.run_step(some, used, hidden, context)
            frame = None if self.flow is None else some[:, -1]
            outputs.append(output)
            flows += [] if used is None else [used]
            start = stop
        alpha, foreground = (crop(torch.cat(parts, dim=1), size) for parts in zip(*outputs, strict=True))
        state = None if self.operator == "baseline" else ContextMotionState(hidden, context, frame)
        return MattingOutput(alpha, foreground, state, {"flow": crop(torch.cat(flows, dim=1), size)} if flows else {})

    def step(
        self,
        frames: Tensor,
        flow: Tensor | None,
        hidden: Tensor,
        context: Tensor | None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Some frames of a clip, after those that hidden and context are of.

        Args:
            frames: (B, T, 3, H, W) in [0, 1], sides multiples of 16.
            flow: (B, T, 2, H, W), or None unless `operator="motion"`.
            hidden: (B, M, h, w).
            context: (B, C, h, w), or None at the start of a clip.
            starts: (B, 1, 1, 1) bool, clips that start here all the same, their context being of no use.

        Returns:
            alpha (B, T, 1, H, W), foreground (B, T, 3, H, W), hidden and context after the last frame.
        """
        num_frames = frames.shape[1]
        image, features = self.backbone(fold_time(frames))
        *taps, deepest = features
        skips = [conv(tap) for conv, tap in zip(self.skips, (image, *taps), strict=True)]
        x = self.project(deepest)
        if self.motion is not None and flow is not None:
            clip = unfold_time(x, num_frames)
            # A clip's first frame is compared with itself (our choice).
            last = clip[:, 0] if context is None else context.to(x.dtype)
            last = last if starts is None else torch.where(starts, clip[:, 0], last)
            previous = torch.cat((last[:, None], clip[:, :-1]), dim=1)
            context = clip[:, -1].float()
            x = self.motion(x, fold_time(previous), fold_time(flow))
        if isinstance(self.update, SeparableConvGRU):
            clip, hidden = self.update(unfold_time(x, num_frames), hidden)
            x = fold_time(clip)
        else:
            x = self.update(x)
        alpha = torch.sigmoid(self.alpha_decoder(x, skips).float())
        foreground = self.foreground_decoder(x, skips).float()
        foreground = foreground if self.training else foreground.clamp(0, 1)
        return unfold_time(alpha, num_frames), unfold_time(foreground, num_frames), hidden, context

    def _flow(self, frames: Tensor, given: Tensor | None, frame: Tensor | None, first: bool) -> Tensor | None:
        """Flow to be used, (B, T, 2, H, W): the given one, else the estimate; zero for the first frame of a clip."""
        if self.motion is None:
            return None
        flow = frames.new_zeros(*frames.shape[:2], 2, *frames.shape[-2:], dtype=torch.float32)
        later = frames[:, int(first) :]
        if later.shape[1] == 0 or (given is None and self.flow is None):
            return flow
        if given is not None:
            flows = given[:, int(first) :].float()
        else:
            assert self.flow is not None
            before = frames[:, :-1] if frame is None else torch.cat((frame[:, None], frames[:, :-1]), dim=1)
            flows = unfold_time(self.flow(fold_time(later), fold_time(before)), later.shape[1])
        return torch.cat((flow[:, : int(first)], flows), dim=1)

    def _memory(self, frames: Tensor, state: ContextMotionState | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What `step` gets at first: the state so far, or zeros and nothing."""
        grid = (frames.shape[-2] // _STRIDE, frames.shape[-1] // _STRIDE)
        shape = (len(frames), self.hidden, *grid)
        if state is None:
            return conv_layout(frames.new_zeros(shape, dtype=torch.float32)), None, None
        if state.hidden.shape != shape:
            raise ValueError(
                f"the state is of another clip: its hidden is {tuple(state.hidden.shape)}, these frames need {shape}; "
                "start a new clip with state=None"
            )
        return state

    def _frames_at_once(self, frames: Tensor) -> int:
        """How many frames of a clip `step` takes; all in training, where memory holds the whole clip anyway."""
        if self.training:
            return frames.shape[1]
        if self._compiled_step is not None:
            return 1  # one graph then serves clips of every length
        return max(1, _PIXELS_AT_ONCE // (len(frames) * frames.shape[-2] * frames.shape[-1]))

    def train(self, mode: bool = True) -> ContextMotion:
        """Set the mode; batch norms are never trained, neither statistics nor weights, and estimates are those of eval.

        Source: section 3 of the paper.
        """
        super().train(mode)
        if self.flow is not None:
            self.flow.eval()
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval().requires_grad_(False)
        return self

    def initialise(self, module: nn.Module) -> None:
        """Kaiming's weights before each of our ReLUs (our choice), as no norm keeps the signal up; else as torch."""
        if isinstance(module, ConvReLU):
            assert module.bias is not None
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        else:
            super().initialise(module)

    def reset_parameters(self, seed: int) -> None:
        """Draw all start weights anew; the encoder's frozen norms take their statistics from pictures of noise.

        At their start values they would be identities, under which a deep encoder's features vanish or grow
        without bound. The paper never meets this: its encoder comes from ImageNet.
        """
        super().reset_parameters(seed)
        self.backbone.calibrate(torch.Generator().manual_seed(seed))

    def load_pretrained(self) -> None:
        """ImageNet's weights for the encoder, published ones for the flow estimator where they are free to use."""
        self.backbone.load_imagenet()
        if self.flow is not None:
            self.flow.load_pretrained()


class Encoder(nn.Module):
    """Backbone whose last stage is dilated instead of strided (our reading of "modified"), with its normalisation.

    Attributes:
        channels: of the features at strides 2, 4, 8 and 16.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: str, width: float) -> None:
        """`backbone`: one of `BACKBONES`; `width` multiplies its channels."""
        super().__init__()
        self.net: MobileNetV2 | ResNet
        if backbone == "mobilenetv2":
            self.net = MobileNetV2(width, num_layers=18, dilated=True)
        else:
            self.net = ResNet(int(backbone.removeprefix("resnet")), width)
        self.channels = self.net.channels
        # ImageNet's mean and deviation, as x · scale + shift.
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        self.register_buffer("scale", 1 / deviation, persistent=False)
        self.register_buffer("shift", -mean / deviation, persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Frames (N, 3, H, W) in [0, 1] → the same normalised, and features at strides 2, 4, 8, 16."""
        image = conv_layout(torch.addcmul(self.shift.to(frames.dtype), frames, self.scale.to(frames.dtype)))
        return image, self.net(image)

    @torch.no_grad()
    def calibrate(self, generator: torch.Generator) -> None:
        """Set the statistics of all norms to those that coloured noise of all sizes has."""
        noise = sum(
            resize(torch.rand(8, 3, cells, cells, generator=generator), (96, 96)) for cells in (2, 4, 8, 16, 32, 96)
        )
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = None  # running statistics are then means, of one batch here
            norm.reset_running_stats()
        # Stretched to the contrast of photographs, a standard deviation of about a quarter.
        self((noise / 3 - 0.5).clamp(0, 1).to(self.scale.device))  # type: ignore[union-attr]
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()

    def load_imagenet(self) -> None:
        """Take torchvision's ImageNet weights (downloads them once)."""
        self.net.load_imagenet()


class Decoder(nn.Module):
    """From the hidden state up to the frame's size, joined with the encoder's skips on the way."""

    def __init__(self, hidden: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(ConvReLU(before + channels, channels), ConvReLU(channels, channels))
            for before in (hidden, channels, channels, channels)
        )
        self.head = nn.Sequential(ConvReLU(channels, channels), nn.Conv2d(channels, out_channels, 3, padding=1))

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Hidden (N, M, h, w), skips at strides 1, 2, 4, 8 → (N, out_channels, H, W), without activation."""
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(join(resize(x, (skip.shape[-2], skip.shape[-1])), skip))
        return self.head(x)


def _pad(clip: Tensor) -> Tensor:
    """(B, T, C, H, W) with its border repeated until 16 divides H and W."""
    return unfold_time(pad_to_multiple(fold_time(clip), _STRIDE), clip.shape[1])
