"""MODNet-V: portrait video matting by background restoration (Sun et al., 2021, arXiv 2109.11818).

A reimplementation from the paper, whose code was never published; what it leaves open is our choice.
Names: frame, the working frame (H × W, shorter side `working_size` at most); small, the frame that the
semantic branch sees (semantic_scale · H × …); e2, e4 encoder features at strides 2, 4 **of small**;
f4 is e4 joined with the background memory; lr8, hr2, f2 as in `modnet.py`; g the grid of e4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.backbones import MobileNetV2
from lightning_modules.nets.blocks import crop, frozen_statistics, pad_to_multiple, resize, scale, to_image
from lightning_modules.nets.brm import MODES as BRM_MODES
from lightning_modules.nets.brm import BackgroundRestoration, BRMState
from lightning_modules.nets.flow import check_flow
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import FusionBranch, LightDetailBranch, SemanticHead, initialise_modnet
from lightning_modules.nets.modnet_v_motion import MOTIONS, MotionCompensation, MovingState
from lightning_modules.nets.prm import PatchRefinement
from lightning_modules.nets.warp import resize_flow
from lightning_modules.options import From, check_choice

# Encoder layers that are kept, and how much wider the pointwise layer behind them is (None: no such layer).
_LAST_BLOCKS: dict[str, tuple[int, float | None]] = {"deleted": (14, 5), "narrow": (18, 0.5), "full": (19, None)}
# Sides of the working frame must be multiples of this, so that small is one of 16 (of 32 if the 32x block stays).
_MULTIPLES = {0.5: 32, 0.75: 64, 1.0: 32}


Memory = BRMState | MovingState


class Coarse(NamedTuple):
    """One frame before patch refinement, and what the refinement starts from.

    Attributes:
        alpha: (B, 1, H0, W0) in [0, 1], enlarged to the size of the frames.
        small_alpha: (B, 1, H, W), the same at working size.
        feature: (B, hidden, h, w), fused feature f2, covering the whole frame.
        semantic: (B, 1, h/16, w/16) in [0, 1].
        detail: (B, 1, H0, W0) in [0, 1], None in eval mode.
        state: the memory after this frame, None without BRM.
    """

    alpha: Tensor
    small_alpha: Tensor
    feature: Tensor
    semantic: Tensor
    detail: Tensor | None
    state: Memory | None


class _Features(NamedTuple):
    """What the semantic branch makes of one frame; see the module's docstring for the names."""

    e2: Tensor
    e4: Tensor
    f4: Tensor
    lr8: Tensor
    semantic: Tensor


class MODNetV(MattingNet):
    """MODNet-V: a third of MODNet, a background memory (BRM) and patch refinement (PRM) at full size.

    `state` is a `BRMState`, a `MovingState` with `motion`, or None without BRM and with brm_mode="oracle", whose memory
    is given anew in every frame. `aux`, each with (B, T) in front:
        semantic (1, h, w) in [0, 1], at 1/16 of small;
        detail (1, H, W) in [0, 1], in training mode;
        background_feature (C, gh, gw) and background_mask (1, gh, gw): the memory after each frame, with BRM;
        coarse_alpha (1, H, W), flaw_map (1, k, k) and refined_share () of the patches, where PRM ran.
    """

    _compiled_memory_step: Callable[..., Any] | None = None

    def __init__(
        self,
        width: float = 1.0,
        top: int | None = None,
        hidden: int = 32,
        semantic_scale: float = 0.5,
        last_block: str = "deleted",
        prior_to_d: str = "f4",
        brm: bool | str = True,
        brm_update: str = "average",
        brm_threshold: float = 0.5,
        brm_erosion: int = 0,
        brm_hard: bool = False,
        brm_mode: str = "restored",
        brm_ema_beta: float = 0.1,
        brm_mask: str = "semantic",
        feed_mask: bool = False,
        motion: str = "none",
        flow: str = "dis",
        flow_options: Mapping[str, Any] | None = None,
        prm: bool = True,
        prm_k: Annotated[int, From(1)] | None = 16,
        prm_xi: float = 0.01,
        prm_mode: str = "threshold",
        prm_top_share: float = 0.15,
        prm_halo: int = 10,
        prm_feather: int = 8,
        working_size: int = 512,
        pretrained: bool = False,
    ) -> None:
        """Build the net; with the default options it has 2,159,741 parameters.

        Args:
            width: multiplies the encoder's channels.
            top: channels of the pointwise layer on the last encoder feature; None is 5 times that feature's
                (480 at width 1), half with last_block="narrow". There is no such layer with "full".
            hidden: channels of the detail and fusion branch.
            semantic_scale: size of what the semantic branch sees against the working frame: 0.5, 0.75 or 1.
            last_block: encoder blocks at stride 32: "deleted" (paper), "narrow" or "full".
            prior_to_d: what the detail branch sees: "f4", with the memory, or "e4", without it.
            brm: background restoration; "oracle", or another mode, is short for True with that `brm_mode`. `brm_…` and
                `feed_mask` are explained in `BackgroundRestoration`.
            motion: of the background, by which the memory is moved from frame to frame: "none" (paper), "global",
                "dense" or "oracle", as explained in `MotionCompensation`, and `flow` and `flow_options` too.
            prm: patch refinement of frames longer than `working_size`; `prm_…` are explained in `PatchRefinement`.
            working_size: shorter side that larger frames are reduced to.
            pretrained: see `load_pretrained`.

        Raises:
            ValueError: an option has a value other than these, or there is no memory to be moved.
        """
        super().__init__()
        check_choice("brm", brm, (True, False, *BRM_MODES))
        if isinstance(brm, str):
            brm_mode, brm = brm, True
        check_choice("semantic_scale", semantic_scale, _MULTIPLES)
        check_choice("last_block", last_block, _LAST_BLOCKS)
        check_choice("prior_to_d", prior_to_d, ("f4", "e4"))
        check_choice("motion", motion, MOTIONS)
        if motion != "none" and not (brm and brm_mode == "restored"):
            raise ValueError(f"motion={motion!r} moves a restored background: it needs brm=True, brm_mode='restored'")
        self.semantic_scale, self.prior_to_d, self.working_size = semantic_scale, prior_to_d, working_size
        self.num_layers, widening = _LAST_BLOCKS[last_block]
        self.deep_stride = 16 if last_block == "deleted" else 32
        self.multiple = _MULTIPLES[semantic_scale] * (2 if self.deep_stride == 32 and semantic_scale < 1 else 1)
        if working_size % self.multiple:
            raise ValueError(f"working_size must be a multiple of {self.multiple} here, got {working_size}")

        self.backbone = MobileNetV2(width, self.num_layers)
        e2, e4 = (self.backbone.layer_channels[layer] for layer in (1, 3))
        deep = self.backbone.layer_channels[self.num_layers - 1]
        self.top: nn.Module = nn.Identity()
        if widening is not None:
            top = top or round(widening * deep)
            self.top = nn.Sequential(nn.Conv2d(deep, top, 1, bias=False), nn.BatchNorm2d(top), nn.ReLU6(inplace=True))
            deep = top
        self.semantic = SemanticHead(deep)
        self.detail = LightDetailBranch(e2, e4, hidden)
        self.fusion = FusionBranch(hidden)
        self.brm = (
            BackgroundRestoration(
                e4, brm_update, brm_threshold, brm_erosion, brm_hard, feed_mask, brm_mode, brm_ema_beta, brm_mask
            )
            if brm
            else None
        )
        self.motion = None if motion == "none" else MotionCompensation(motion, flow, flow_options)
        self.state_type = BRMState if self.motion is None else MovingState
        self._carries_memory = brm and brm_mode != "oracle"
        self.needs_plate, self.needs_flow = brm and brm_mode == "oracle", motion == "oracle"
        self.needs_alpha = brm and brm_mask == "truth"
        self.prm = (
            PatchRefinement(hidden, prm_k, prm_xi, prm_mode, prm_top_share, prm_halo, prm_feather) if prm else None
        )
        self.apply(self.initialise)
        if pretrained:
            self.load_pretrained()

    def forward(
        self,
        frames: Tensor,
        state: Memory | None = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
        alpha: Tensor | None = None,
    ) -> MattingOutput:
        """Matte a clip; see `MattingNet.forward` and the class for what comes out.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1].
            state: of the chunk before, or None at the start of a clip.
            background: (B, 1 or T, 3, H, W) in [0, 1], the true background; only for brm_mode="oracle".
            flow: (B, T, 2, H, W), true flow in pixels from each frame to the one before; only for motion="oracle". What
                it says of a clip's first frame is not used.
            alpha: (B, T, 1, H, W) in [0, 1], the true alpha: what the memory is to take for the person in place of what
                the net makes out; brm_mask="truth" needs it.

        Raises:
            ValueError: wrong shapes, a state of other frames, or what an option needs to be told is not given.
        """
        self.check_inputs(frames, state, background)
        check_flow(flow, frames, "motion='oracle'" if self.needs_flow else None)
        self._check_alpha(alpha, frames)
        alphas: list[Tensor] = []
        aux: dict[str, list[Tensor]] = {}
        for t in range(frames.shape[1]):
            coarse = self.coarse(frames[:, t], state, *_told(t, background, flow, alpha))
            state = coarse.state
            extras = {"semantic": coarse.semantic}
            if coarse.detail is not None:
                extras["detail"] = coarse.detail
            if state is not None:
                extras |= {"background_feature": state.feature, "background_mask": state.mask}
            matte = coarse.alpha
            if self.prm is not None and self._refines(matte):
                refined = self.prm(frames[:, t], coarse.small_alpha, matte, coarse.feature)
                share = refined.selection.float().mean(dim=(1, 2))
                extras |= {"coarse_alpha": matte, "flaw_map": refined.flaw_map, "refined_share": share}
                matte = refined.alpha
            alphas.append(matte)
            for name, value in extras.items():
                aux.setdefault(name, []).append(value)
        return MattingOutput(
            torch.stack(alphas, dim=1),
            state=state if self._carries_memory else None,
            aux={name: torch.stack(values, dim=1) for name, values in aux.items()},
        )

    def coarse(
        self,
        frame: Tensor,
        state: Memory | None = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
        alpha: Tensor | None = None,
    ) -> Coarse:
        """One frame (B, 3, H0, W0) in [0, 1] up to patch refinement, whose training starts from here."""
        size = (frame.shape[-2], frame.shape[-1])
        working = self._working_frame(frame)
        before = None if self.brm is None else self._before(working, state, background, flow)
        matte, semantic, detail, feature, *updated = self.run_step(working, *self._recalled(before, alpha))
        small_matte = matte
        if min(size) > self.working_size:
            matte, detail = (None if x is None else resize(x, size) for x in (matte, detail))
        else:
            small_matte = matte = crop(matte, size)
            detail = None if detail is None else crop(detail, size)
            # So that feature and frame cover the same, to half a pixel of the frame where a side is odd.
            feature = crop(feature, (-(-size[0] // 2), -(-size[1] // 2)))
        after = None if before is None else self._after(working, before, updated)
        return Coarse(matte, small_matte, feature, semantic, detail, after)

    def step(self, frame: Tensor, *memory: Tensor) -> tuple[Tensor | None, ...]:
        """One working frame (N, 3, H, W) in [0, 1] and the three tensors of the state, none without BRM.

        The true alpha (N, 1, H, W) of the working frame may follow them: what the memory takes for the person.

        Returns:
            alpha (N, 1, H, W), semantic (N, 1, h/16, w/16), detail (N, 1, H, W) or None in eval mode,
            feature f2 (N, hidden, H/2, W/2), then the three tensors of the new state.
        """
        image = to_image(frame)
        features = self._semantics(image, memory)
        alpha, f2, hr2 = self._matte(image, features)
        detail = self.detail.predict(image, hr2) if self.training else None
        return alpha, features.semantic, detail, f2, *self._remembered(features, alpha, memory)

    def advance(
        self,
        frames: Tensor,
        state: Memory | None = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
        alpha: Tensor | None = None,
    ) -> Memory | None:
        """The memory after these frames: by the semantic branch alone, a fraction of the cost, unless the matte tells.

        Args:
            frames: (B, T, 3, H, W) in [0, 1]; T may be 0.
            state: before them, or None at the start of a clip.
            background, flow, alpha: as in `forward`.
        """
        check_flow(flow, frames, "motion='oracle'" if self.needs_flow else None)
        self._check_alpha(alpha, frames)
        for t in range(frames.shape[1] if self.brm is not None else 0):
            working = self._working_frame(frames[:, t])
            plate, motion, person = _told(t, background, flow, alpha)
            before = self._before(working, state, plate, motion)
            run = self._compiled_memory_step or type(self).memory_step
            state = self._after(working, before, run(self, working, *self._recalled(before, person)))
        return state

    def memory_step(self, frame: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """One working frame (N, 3, H, W) in [0, 1] and the memory's tensors → those after it."""
        image = to_image(frame)
        features = self._semantics(image, memory)
        told_by_matte = self.brm is not None and self.brm.mask == "matte" and len(memory) == 3
        alpha = self._matte(image, features)[0] if told_by_matte else None
        return self._remembered(features, alpha, memory)

    def compile_step(self, compiler: Callable[..., Callable[..., Any]] = torch.compile, **options: Any) -> None:
        """See `MattingNet.compile_step`; what `advance` runs for each frame is compiled too."""
        super().compile_step(compiler, **options)
        self._compiled_memory_step = compiler(type(self).memory_step, **options)

    def _semantics(self, image: Tensor, memory: tuple[Tensor, ...]) -> _Features:
        """What the semantic branch makes of an image (N, 3, H, W) in [−1, 1] and the memory."""
        small = scale(image, self.semantic_scale) if self.semantic_scale != 1 else image
        e2 = self.backbone.run(small, 0, 2)
        f4 = e4 = self.backbone.run(e2, 2, 4)
        if self.brm is not None:
            f4 = self.brm.fuse(e4, resize(small, (e4.shape[-2], e4.shape[-1])), BRMState(*memory[:3]))
        lr8 = self.semantic(self.top(self.backbone.run(f4, 4, self.num_layers)), self.deep_stride)
        return _Features(e2, e4, f4, lr8, self.semantic.predict(lr8))

    def _matte(self, image: Tensor, features: _Features) -> tuple[Tensor, Tensor, Tensor]:
        """Alpha, fused feature f2 and detail feature hr2."""
        prior = features.f4 if self.prior_to_d == "f4" else features.e4
        hr2 = self.detail(image, features.e2, prior, features.lr8)
        return *self.fusion(image, features.lr8, hr2), hr2

    def _recalled(self, before: Memory | None, alpha: Tensor | None) -> tuple[Tensor, ...]:
        """What `step` gets beside the working frame: the state's tensors, and the true alpha where it is needed."""
        if before is None:
            return ()
        return before[:3] if alpha is None else (*before[:3], self._working_frame(alpha))

    def _remembered(self, features: _Features, alpha: Tensor | None, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The memory's tensors after a frame."""
        if self.brm is None:
            return ()
        person = memory[3] if len(memory) > 3 else features.semantic if self.brm.mask == "semantic" else alpha
        assert person is not None
        return self.brm.update(features.e4, person, BRMState(*memory[:3]))

    def remember(self, background: Tensor) -> BRMState:
        """The memory when all of a background (N, 3, H, W) in [0, 1] has been seen; without gradient and statistics."""
        with torch.no_grad(), frozen_statistics(self.backbone):
            small = scale(to_image(self._working_frame(background)), self.semantic_scale)
            feature = self.backbone.run(small, 0, 4).float()
        seen = feature.new_ones(feature.shape[0], 1, *feature.shape[2:])
        return BRMState(feature, seen, seen)

    def _check_alpha(self, alpha: Tensor | None, frames: Tensor) -> None:
        """Raise ValueError unless the true alpha fits its frames (B, T, 3, H, W), and is there where it is needed."""
        expected = (*frames.shape[:2], 1, *frames.shape[-2:])
        if alpha is None and self.needs_alpha:
            raise ValueError("brm_mask='truth' needs the true alpha: net(frames, alpha=…)")
        if alpha is not None and alpha.shape != expected:
            raise ValueError(f"alpha must be {expected}, got {tuple(alpha.shape)}")

    def load_pretrained(self) -> None:
        """ImageNet's weights for the encoder, published ones for the flow estimator where they are free to use."""
        self.backbone.load_imagenet()
        if self.motion is not None:
            self.motion.load_pretrained()

    def initialise(self, module: nn.Module) -> None:
        """See `initialise_modnet`; what starts at zero here knows it by itself."""
        initialise_modnet(module)

    def _refines(self, frame: Tensor) -> bool:
        """Whether a frame of this size goes through patch refinement."""
        return self.prm is not None and self.prm.mode != "none" and max(frame.shape[-2:]) > self.working_size

    def _working_frame(self, frame: Tensor) -> Tensor:
        """The frame reduced to the working size, or padded; sides are multiples of `multiple`."""
        height, width = frame.shape[-2:]
        shorter = min(height, width)
        if shorter <= self.working_size:
            padded = pad_to_multiple(frame, self.multiple)
            # The strides of a view of a clip change with the clip's length, and a step is compiled for its strides.
            return padded if self._compiled_step is None else padded.flatten().view(padded.shape)
        ratio = self.working_size / (shorter * self.multiple)
        size = [max(1, round(side * ratio)) * self.multiple for side in (height, width)]
        return F.interpolate(frame, size=size, mode="area")

    def _working_flow(self, flow: Tensor) -> Tensor:
        """Flow (N, 2, H0, W0) of the frame → that of the working frame, in its pixels."""
        if min(flow.shape[-2:]) <= self.working_size:
            return self._working_frame(flow)
        height, width = self._working_frame(flow[:1, :1]).shape[-2:]
        return resize_flow(flow, (height, width))

    def _before(self, working: Tensor, state: Memory | None, background: Tensor | None, flow: Tensor | None) -> Memory:
        """What `step` gets: the state so far, moved if so asked; an empty one; or the true background's feature."""
        assert self.brm is not None
        if self.brm.mode == "oracle":
            if background is None:
                raise ValueError("brm_mode='oracle' needs the true background: net(frames, background=…)")
            return self.remember(background)
        # Sides are such multiples that this is exact.
        height, width = (side * round(4 * self.semantic_scale) // 16 for side in working.shape[-2:])
        if state is None:
            return self.brm.empty(working, height, width)
        expected = (working.shape[0], self.brm.channels, height, width)
        if state.feature.shape != expected:
            raise ValueError(
                f"the state is of another clip: its feature is {tuple(state.feature.shape)}, these frames need "
                f"{expected}; start a new clip with state=None"
            )
        if self.motion is None:
            return state
        assert isinstance(state, MovingState)
        moved: MovingState = self.motion(state, working, None if flow is None else self._working_flow(flow))
        return moved

    def _after(self, working: Tensor, before: Memory, updated: Iterable[Tensor]) -> Memory:
        """The state after a frame, from what `step` got and gave."""
        memory = BRMState(*updated)
        if self.brm is None or self.motion is None:
            return memory
        affine = before.affine if isinstance(before, MovingState) else None
        return self.motion.note(memory, memory.count > before.count, working, affine)


def _told(t: int, *clips: Tensor | None) -> list[Tensor | None]:
    """Frame `t` of what is told of a clip; a plate of one frame is that of all."""
    return [None if clip is None else clip[:, min(t, clip.shape[1] - 1)] for clip in clips]
