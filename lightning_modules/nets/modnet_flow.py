"""MODNet used over time by optical flow: its mattes smoothed along the motion, or its first one carried along.

Two baselines of what motion alone can do for a net without memory. Letters: N = B clips, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lightning_modules.nets.flow import build_flow, check_flow
from lightning_modules.nets.interface import MattingOutput
from lightning_modules.nets.modnet import MODNet
from lightning_modules.nets.warp import backward_warp, lands_inside
from lightning_modules.options import check_choice

USES = ("smooth", "propagate")
# Largest difference of colour, mean over the channels of [0, 1], of what counts as the same point.
_SAME_COLOUR = 0.1


class FlowState(NamedTuple):
    """What is kept of the last frame.

    Attributes:
        alpha: (B, 1, H, W) in [0, 1], the matte that was given for it.
        frame: (B, 3, H, W) in [0, 1].
    """

    alpha: Tensor
    frame: Tensor


class MODNetFlow(MODNet):
    """MODNet with the last matte brought to each frame by backward flow. In train mode it is MODNet itself.

    `state` is a `FlowState`. `aux` in eval mode: `flow` (B, T, 2, H, W), the backward flow in pixels that was used,
    zero in the first frame of a clip; in train mode as in MODNet.
    """

    state_type = FlowState

    def __init__(
        self,
        use: Literal["smooth", "propagate"] = "smooth",
        flow: str = "dis",
        flow_options: Mapping[str, Any] | None = None,
        past_weight: float = 0.5,
        width: float = 1.0,
        hidden: int = 32,
        inference: bool = False,
        pretrained: bool = False,
    ) -> None:
        """Build the net; without flow it has the parameters of MODNet, by the same names.

        Args:
            use: "smooth" blends MODNet's matte of each frame with the last output where both show the same point;
                "propagate" mattes the first frame of a clip and only moves that matte from then on.
            flow: "dis", "raft_small" or any of `nets.flow`; "oracle" (the true flow, which `forward` is then given),
                or "none" (everything stands still).
            flow_options: of the estimator (`num_updates` of RAFT, …).
            past_weight: of the last output in the blend, in [0, 1]; 0 is MODNet.
            width, hidden, inference: MODNet's.
            pretrained: see `load_pretrained`.

        Raises:
            ValueError: an option has none of these values.
        """
        check_choice("use", use, USES)
        if not 0 <= past_weight <= 1:
            raise ValueError(f"past_weight must lie in [0, 1], got {past_weight}")
        super().__init__(width, hidden, inference)
        self.use = use
        self.past_weight = past_weight
        self.flow = build_flow(flow, **(flow_options or {}))
        self.needs_flow = flow == "oracle"
        self.train()
        if pretrained:
            self.load_pretrained()

    def forward(
        self,
        frames: Tensor,
        state: FlowState | None = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
    ) -> MattingOutput:
        """Matte a clip.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1].
            state: of the chunk before, or None at the start of a clip.
            background: not used.
            flow: (B, T, 2, H, W), pixels, from each frame to the one before, used in place of the estimate; what it
                says of a clip's first frame is not used. The oracle net needs it in eval mode.

        Raises:
            ValueError: wrong shapes, a state of other frames, or no true flow for the oracle.
        """
        self.check_inputs(frames, state, background)
        if self.training:
            return super().forward(frames)
        check_flow(flow, frames, "flow='oracle'" if self.needs_flow else None)
        _check_state(state, frames)
        alphas, flows = [], []
        for t, own in enumerate(self._own_mattes(frames, state)):
            frame = frames[:, t].float()
            if state is None:
                assert own is not None
                alpha, motion = own, torch.zeros_like(frame[:, :2])
            else:
                alpha, motion = self._follow(frame, state, own, None if flow is None else flow[:, t].float())
            state = FlowState(alpha, frame)
            alphas.append(alpha)
            flows.append(motion)
        return MattingOutput(torch.stack(alphas, dim=1), state=state, aux={"flow": torch.stack(flows, dim=1)})

    def _own_mattes(self, frames: Tensor, state: FlowState | None) -> list[Tensor | None]:
        """MODNet's matte (B, 1, H, W) of each frame, None of those that only get a moved one."""
        num_frames = frames.shape[1]
        num_matted = num_frames if self.use == "smooth" else int(state is None)
        mattes = super().forward(frames[:, :num_matted]).alpha.unbind(1) if num_matted else ()
        return [*mattes, *[None] * (num_frames - num_matted)]

    def _follow(
        self, frame: Tensor, state: FlowState, own: Tensor | None, given: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Alpha (B, 1, H, W) of a frame (B, 3, H, W) after others, and the flow (B, 2, H, W) that was used."""
        flow, agrees = given, None
        if flow is None and self.flow is not None:
            flow = self.flow(frame, state.frame)
            if own is not None:
                agrees = consistent(flow, self.flow(state.frame, frame))
        if flow is None:
            flow = torch.zeros_like(frame[:, :2])
        moved = backward_warp(state.alpha, flow, padding="border")
        if own is None:
            return moved, flow
        if agrees is None:
            agrees = looks_alike(frame, state.frame, flow)
        return torch.lerp(own, moved, self.past_weight * agrees), flow

    def train(self, mode: bool = True) -> MODNetFlow:
        """Set the mode; a flow estimator is never trained and estimates as in eval mode."""
        super().train(mode)
        if self.flow is not None:
            self.flow.eval().requires_grad_(False)
        return self

    def load_pretrained(self) -> None:
        """ImageNet's weights for the encoder, published ones for the flow estimator where they are free to use."""
        self.backbone.load_imagenet()
        if self.flow is not None:
            self.flow.load_pretrained()


def consistent(backward: Tensor, forward: Tensor) -> Tensor:
    """Where following the flow to the last frame and back ends near the start, as 0 or 1, (N, 1, H, W).

    With f the backward and b the forward flow: |f + b(p + f)|² < 0.01 (|f|² + |b(p + f)|²) + 0.5 in pixels². It
    fails where a point is hidden in the last frame and where a flow is wrong.

    Args:
        backward: (N, 2, H, W), from this frame to the last one.
        forward: (N, 2, H, W), from the last frame to this one.
    Source: Sundaram, Brox and Keutzer, ECCV 2010.
    """
    back = backward_warp(forward, backward)
    error = (backward + back).square().sum(1, keepdim=True)
    length = (backward.square() + back.square()).sum(1, keepdim=True)
    return ((error < 0.01 * length + 0.5) & lands_inside(backward)).float()


def looks_alike(frame: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
    """Where a frame has the colour that it had before at the end of the flow, as 0 or 1, (N, 1, H, W).

    Our choice where no forward flow is known (the true flow, no flow): what was hidden mostly has another colour.

    Args:
        frame, previous: (N, 3, H, W) in [0, 1].
        flow: (N, 2, H, W), from `frame` to `previous`.
    """
    difference = (frame - backward_warp(previous, flow)).abs().mean(1, keepdim=True)
    return ((difference < _SAME_COLOUR) & lands_inside(flow)).float()


def _check_state(state: FlowState | None, frames: Tensor) -> None:
    expected = (len(frames), 3, *frames.shape[-2:])
    if state is not None and state.frame.shape != expected:
        raise ValueError(
            f"the state is of another clip: its frame is {tuple(state.frame.shape)}, these frames need {expected}; "
            "start a new clip with state=None"
        )
