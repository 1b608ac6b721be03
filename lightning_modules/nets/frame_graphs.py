"""Nets as functions of one frame, tensors in and tensors out: what a file for another runtime can hold.

Inputs and outputs are called as in RVM's and BackgroundMattingV2's published files: `src` the frame and `bgr` the
plate, each (B, 3, H, W) in [0, 1], `r1i` … the states, `downsample_ratio` (1,); `fgr` (B, 3, H, W) and `pha`
(B, 1, H, W) in [0, 1], `r1o` … the states after the frame. A state of zeros is that of a new clip; sides of 1 stand
for those of the frame.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.nets.blocks import crop, pad_to_multiple
from lightning_modules.nets.brm import BRMState
from lightning_modules.nets.context_motion import ContextMotion, ContextMotionState
from lightning_modules.nets.flow import DIS, PTLFlow
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import MODNet
from lightning_modules.nets.modnet_flow import FlowState, MODNetFlow
from lightning_modules.nets.modnet_v import MODNetV
from lightning_modules.nets.modnet_v_motion import MovingState
from lightning_modules.nets.rvm import RVM


class FrameGraph(nn.Module):
    """A net without memory, one frame a call; others derive from it.

    Attributes:
        net: a copy in eval mode on the CPU, without what only training or other sizes need.
        states: what the net calls its states, in order; `r1i` is the first of them.
        has_plate: whether `bgr` is an input.
        has_ratio: whether `downsample_ratio` is one, the last.
        has_foreground: whether `fgr` is an output.
        notes: what a reader of the file must know, a line each.
        beyond_onnx: what of it ONNX has no operators for; "" for nothing.
    """

    has_ratio = False
    has_plate: bool
    has_foreground: bool
    beyond_onnx = ""

    def __init__(self, net: MattingNet) -> None:
        """Take a net.

        Raises:
            ValueError: it cannot be such a function; the message says why.
        """
        super().__init__()
        if reason := why_not(net):
            raise ValueError(reason)
        self.net: Any = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
        self.has_plate = net.needs_plate
        self.states: Sequence[str] = ()
        self.notes: list[str] = []
        self.net.skip_training_heads()
        if isinstance(net, BackgroundMattingV2) and net.refine_mode in ("sampling", "thresholding"):
            self.notes.append(
                "the whole frame is refined and the chosen cells are kept: the matte of this mode, not its speed"
            )
        self.eval()
        with torch.no_grad():
            self.has_foreground = self.of_net(torch.zeros(1, 3, 64, 64)).foreground is not None

    @property
    def state_inputs(self) -> list[str]:
        """Names of the states that `forward` takes."""
        return [f"r{k}i" for k in range(1, len(self.states) + 1)]

    @property
    def state_outputs(self) -> list[str]:
        """Names of the states that it gives."""
        return [f"r{k}o" for k in range(1, len(self.states) + 1)]

    @property
    def inputs(self) -> list[str]:
        """Names of all that it takes, in order."""
        return ["src", *["bgr"] * self.has_plate, *self.state_inputs, *["downsample_ratio"] * self.has_ratio]

    @property
    def outputs(self) -> list[str]:
        """Names of all that it gives, in order."""
        return [*["fgr"] * self.has_foreground, "pha", *self.state_outputs]

    def of_net(self, src: Tensor, bgr: Tensor | None = None, state: Any = None, ratio: float = 0.5) -> MattingOutput:
        """What the net itself gives for one frame, in the shapes of a clip: the reference."""
        plate = bgr if bgr is not None else src if self.has_plate else None
        at_ratio = {"downsample_ratio": ratio} if self.has_ratio else {}
        output: MattingOutput = self.net(
            src[:, None], state=state, background=None if plate is None else plate[:, None], **at_ratio
        )
        return output

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Tensors as `inputs` names them → as `outputs` names them."""
        output = self.of_net(given[0], given[1] if self.has_plate else None)
        return self.given_out(output.alpha[:, 0], None if output.foreground is None else output.foreground[:, 0])

    def given_out(
        self, alpha: Tensor, foreground: Tensor | None, states: Sequence[Tensor | None] = ()
    ) -> tuple[Tensor, ...]:
        """The outputs in order, without those that are None."""
        return tuple(each for each in (foreground, alpha, *states) if each is not None)


class RVMGraph(FrameGraph):
    """RVM with its ratio as an input. As in the published file the refiner always runs, at ratio 1 too.

    In place of the ratio, `forward` takes the reduced frame (B, 3, h, w) as well.
    """

    has_ratio = True

    def __init__(self, net: RVM) -> None:
        super().__init__(net)
        self.channels = net.decoder.memory_channels
        self.states = [f"r{k}" for k, channels in enumerate(self.channels, start=1) if channels]
        self.notes.append("the refiner runs at ratio 1 too, where the net in PyTorch leaves it out")

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `FrameGraph.forward`."""
        src, *states, last = given
        small: Tensor = _Reduce.apply(src, last) if last.ndim == 1 else last
        height, width = small.shape[-2:]
        memory: list[Tensor | None] = []
        remaining = iter(states)
        for channels in self.channels:
            height, width = (height + 1) // 2, (width + 1) // 2
            empty = src.new_zeros(src.shape[0], channels, height, width)
            memory.append(next(remaining) + empty if channels else None)
        slope, offset, *memory = self.net.step(small, True, False, *memory)
        alpha, foreground = self.net.enlarge(slope, offset, src)
        return self.given_out(alpha, foreground, memory)


class MODNetVGraph(FrameGraph):
    """MODNet-V on the frame as it is given; nothing is reduced to a working size and no patch refined."""

    def __init__(self, net: MODNetV) -> None:
        super().__init__(net)
        self.net.working_size = sys.maxsize // net.multiple * net.multiple
        if net.motion is not None:
            self.beyond_onnx = "the motion of the background is found by solving equations"
        if net.brm is not None:
            self.states = BRMState._fields if net.motion is None else MovingState._fields
        self.notes.append(
            f"the frame is matted at the size that it is given; reduce those whose shorter side is above "
            f"{net.working_size} pixels before" + (", patch refinement is left out" if net.prm is not None else "")
        )

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `FrameGraph.forward`."""
        src, *states = given
        state: Any = None
        if states:
            working = pad_to_multiple(src, self.net.multiple)
            height, width = (side * round(4 * self.net.semantic_scale) // 16 for side in working.shape[-2:])
            empty = list(self.net.brm.empty(working, height, width))
            if self.net.motion is not None:
                frame = working if self.net.motion.kind == "dense" else empty[1]
                empty += [empty[1], torch.zeros_like(frame), src.new_zeros(src.shape[0], 2, 3)]
            filled = [one + other for one, other in zip(states, empty, strict=True)]
            state = BRMState(*filled) if self.net.motion is None else MovingState(*filled)
        output = self.of_net(src, state=state)
        return self.given_out(output.alpha[:, 0], None, output.state or ())


class ContextMotionGraph(FrameGraph):
    """Context Motion Network; the flow of a clip's first frame, which is not used, is estimated all the same."""

    def __init__(self, net: ContextMotion) -> None:
        super().__init__(net)
        kept = {"hidden": net.operator != "baseline", "context": net.motion is not None, "frame": net.flow is not None}
        self.states = [name for name in ContextMotionState._fields if kept[name]]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `FrameGraph.forward`."""
        net, src, states = self.net, given[0], dict(zip(self.states, given[1:], strict=True))
        frames = pad_to_multiple(src, net.multiple)
        grid = (frames.shape[-2] // net.multiple, frames.shape[-1] // net.multiple)
        hidden = frames.new_zeros(frames.shape[0], net.hidden, *grid) + states.get("hidden", 0)
        starts = (hidden == 0).flatten(1).all(dim=1)[:, None, None, None]
        flow = context = frame = None
        if "context" in states:
            context = states["context"] + frames.new_zeros(frames.shape[0], net.project.out_channels, *grid)
            flow = torch.zeros_like(frames[:, None, :2])
        if flow is not None and "frame" in states:
            frame = frames
            estimate = net.flow(frames, states["frame"] + torch.zeros_like(frames))
            flow = torch.where(starts[:, None], flow, estimate[:, None])
        alpha, foreground, hidden, context = net.step(frames[:, None], flow, hidden, context, starts)
        alpha, foreground = (crop(each[:, 0], (src.shape[-2], src.shape[-1])) for each in (alpha, foreground))
        after = {"hidden": hidden, "context": context, "frame": frame}
        return self.given_out(alpha, foreground, [after[name] for name in self.states])


class MODNetFlowGraph(FrameGraph):
    """MODNet along optical flow; MODNet itself runs for every frame, also where only the first matte is used."""

    def __init__(self, net: MODNetFlow) -> None:
        super().__init__(net)
        self.states = FlowState._fields

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `FrameGraph.forward`."""
        src, alpha, frame = given
        before = FlowState(alpha + torch.zeros_like(src[:, :1]), frame + torch.zeros_like(src))
        own = MODNet.forward(self.net, src[:, None]).alpha[:, 0]
        starts = (torch.cat(before, dim=1) == 0).flatten(1).all(dim=1)[:, None, None, None]
        followed, _ = self.net._follow(src, before, own if self.net.use == "smooth" else None, None)
        alpha = torch.where(starts, own, followed)
        return self.given_out(alpha, None, (alpha, src))


def frame_graph(net: MattingNet) -> FrameGraph:
    """The function of one frame that a net is.

    Raises:
        ValueError: it cannot be one; the message says why.
    """
    kinds: dict[type, Callable[[Any], FrameGraph]] = {
        RVM: RVMGraph,
        MODNetV: MODNetVGraph,
        ContextMotion: ContextMotionGraph,
        MODNetFlow: MODNetFlowGraph,
    }
    return kinds.get(type(net), FrameGraph)(net)


def why_not(net: MattingNet) -> str:
    """Why a net cannot be a function of frames, plate and states alone; "" if it can."""
    if net.needs_flow:
        return "it is given the true flow, which only composites have; export it with another flow="
    if net.needs_alpha:
        return "it is given the true alpha (brm_mask=truth), which only composites have"
    if isinstance(net, MODNetV) and net.brm is not None and net.brm.mode == "oracle":
        return "it is given the true background of every frame (brm_mode=oracle), which only composites have"
    flow = getattr(net.motion if isinstance(net, MODNetV) else net, "flow", None)
    if isinstance(flow, DIS):
        return "its optical flow is computed by OpenCV (flow=dis), outside of any graph; flow=none or raft_small can be"
    if isinstance(flow, PTLFlow):
        return "its optical flow is computed by the package ptlflow, whose graphs are not known"
    return ""


class _Reduce(torch.autograd.Function):
    """Frames (B, 3, H, W) reduced by a ratio (1,) that is an input of the graph."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, ratio: Tensor) -> Tensor:
        return F.interpolate(frames, scale_factor=float(ratio), mode="bilinear", align_corners=False)

    @staticmethod
    def symbolic(g: Any, frames: Any, ratio: Any) -> Any:
        """Resize, which as `interpolate` places pixels by the ratio and not by the sizes."""
        ones = g.op("Constant", value_t=torch.ones(2))
        scales = g.op("Concat", ones, ratio, ratio, axis_i=0)
        none = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        mode = {"mode_s": "linear", "coordinate_transformation_mode_s": "pytorch_half_pixel"}
        return g.op("Resize", frames, none, scales, **mode)
