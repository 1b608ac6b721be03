"""Motion compensation of MODNet-V's memory: how the background moved, and the memory moved with it.

Our own step beyond the paper, whose memory stays where it is when the camera pans. The motion is one affine a frame:
it also says where the background went that the person hides, which no flow of what is seen can.

Shapes: N clips, g the memory's grid of gh × gw cells. An affine (N, 2, 3) maps a point (x, y, 1) of frame t
to the same background point in frame t − 1, both in units in which the borders of the picture are −1 and 1. It is
computed in float64, which no matrix unit rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.brm import BRMState, reset_state
from lightning_modules.nets.flow import build_flow
from lightning_modules.nets.warp import resize_flow

MOTIONS = ("none", "global", "dense", "oracle")
_LUMA = (0.299, 0.587, 0.114)
_LEVELS, _SMALLEST_SIDE, _ITERATIONS = 3, 8, 10
# Where Huber's loss turns linear: shades of grey in [0, 1], and cells of a flow.
_HUBER_GREY, _HUBER_CELLS = 0.02, 0.1
# Cells around what is taken for the person that no motion is estimated from.
_MARGIN = 2
# An estimate is used if the pictures then differ by this share of what they differ by without it.
_GAIN = 0.9
# Mean difference of grey in [0, 1], after compensation, above which it is another scene.
_CUT = 0.15


class MovingState(NamedTuple):
    """The memory after frame t − 1 and what moves it on to frame t; the first three are those of `BRMState`.

    Attributes:
        feature: (N, C, gh, gw).
        mask: (N, 1, gh, gw).
        count: (N, 1, gh, gw).
        visible: (N, 1, gh, gw), 1 where frame t − 1 shows background, else 0.
        frame: frame t − 1 in [0, 1]: (N, 3, H, W) where dense flow is estimated, else (N, 1, gh, gw), grey.
        affine: (N, 2, 3), the motion that was used last; identity at the start of a clip.
    """

    feature: Tensor
    mask: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks a state for
    visible: Tensor
    frame: Tensor
    affine: Tensor


class MotionCompensation(nn.Module):
    """Moves the memory to the next frame (call) and notes what that will need (`note`). It learns nothing."""

    def __init__(self, kind: str, flow: str = "dis", flow_options: Mapping[str, Any] | None = None) -> None:
        """A way to know the motion.

        Args:
            kind: "global" aligns small grey pictures; "dense" fits an affine to estimated optical flow; "oracle"
                fits it to the true flow.
            flow: estimator of "dense", by its name in `nets.flow`.
            flow_options: of the estimator.

        Raises:
            ValueError: an option has none of these values.
        """
        super().__init__()
        if kind not in MOTIONS[1:]:
            raise ValueError(f"motion must be one of {', '.join(MOTIONS)}, got {kind!r}")
        self.kind = kind
        self.flow = build_flow(flow, **(flow_options or {})) if kind == "dense" else None
        if kind == "dense" and self.flow is None:
            raise ValueError(f"motion='dense' needs a flow estimator, got flow={flow!r}; motion='oracle' has the truth")
        self.train()

    def forward(self, state: MovingState, frame: Tensor, flow: Tensor | None = None) -> MovingState:
        """The state brought to the next frame, empty in clips that were cut; `visible` and `frame` are as before.

        Args:
            state: after the frame before.
            frame: (N, 3, H, W) in [0, 1].
            flow: (N, 2, H, W), true flow in pixels to the frame before, for the oracle.
        """
        memory = BRMState(*state[:3])
        with torch.autocast(frame.device.type, enabled=False):
            affine, cut = self._motion(state, frame, flow)
            still = (affine == _identity(affine)).all(dim=(1, 2))[:, None, None, None]
            # A still camera leaves the memory exactly as it is.
            moved = (torch.where(still, a, b) for a, b in zip(memory, warp_state(memory, affine), strict=True))
            memory = reset_state(BRMState(*moved), cut)
        return MovingState(*memory, state.visible, state.frame, affine.float())

    @torch.no_grad()
    def note(self, memory: BRMState, visible: Tensor, frame: Tensor, affine: Tensor | None) -> MovingState:
        """The memory after a frame with what the next one needs.

        Args:
            memory: after this frame.
            visible: (N, 1, gh, gw) bool, cells that show background.
            frame: (N, 3, H, W) in [0, 1].
            affine: the motion to this frame, None for the first one of a clip.
        """
        kept = frame if self.kind == "dense" else grey_cells(frame, visible)
        if affine is None:
            affine = _identity(kept).float()
        return MovingState(*memory, visible.float(), kept.float(), affine)

    @torch.no_grad()
    def _motion(self, state: MovingState, frame: Tensor, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        """The affine to be used, and (N,) bool, the clips that now show another scene."""
        grey, previous = grey_cells(frame, state.mask), grey_cells(state.frame, state.mask)
        sure = 1 - F.max_pool2d(1 - state.visible, 2 * _MARGIN + 1, stride=1, padding=_MARGIN)
        if self.kind == "global":
            affine = align(grey, previous, sure, state.affine)
        else:
            if self.flow is not None:
                flow = self.flow(frame, state.frame)
            assert flow is not None
            affine = fit_affine(resize_flow(flow.float(), (sure.shape[-2], sure.shape[-1])), sure)
        identity = _identity(affine)
        before, after = (mismatch(grey, previous, sure, motion) for motion in (identity, affine))
        accepted = torch.ones_like(after, dtype=torch.bool) if self.kind == "oracle" else after < _GAIN * before
        affine = torch.where(accepted[:, None, None], affine, identity)
        shown = torch.where(accepted, after, before)
        return affine, (shown > _CUT) & shown.isfinite()

    def load_pretrained(self) -> None:
        """Published weights for the flow estimator, if there is one."""
        if self.flow is not None:
            self.flow.load_pretrained()

    def train(self, mode: bool = True) -> MotionCompensation:
        """Set the mode; a flow estimator is never trained and estimates as in eval mode."""
        super().train(mode)
        if self.flow is not None:
            self.flow.eval().requires_grad_(False)
        return self


def warp_state(state: BRMState, affine: Tensor) -> BRMState:
    """The memory moved with the background.

    Cells that come from outside the picture are forgotten. Features are averaged over seen cells only, so that the
    zeros of unseen ones do not bleed in.

    Args:
        state: after frame t − 1.
        affine: (N, 2, 3), see the top of this file.
    """
    layers = torch.cat((state.mask * state.feature, state.mask, state.count), dim=1)
    feature, mask, count = _sample(layers, affine).split((state.feature.shape[1], 1, 1), dim=1)
    seen = (mask > 0.5).float()
    return BRMState(seen * feature / mask.clamp(min=1e-3), seen, seen * count)


def align(grey: Tensor, previous: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """The affine that makes two grey pictures match, by inverse-compositional Gauss–Newton from coarse to fine.

    Args:
        grey: (N, 1, gh, gw) in [0, 1], frame t.
        previous: the same of frame t − 1.
        weight: (N, 1, gh, gw) in [0, 1], the cells of frame t − 1 that count.
        start: (N, 2, 3), a guess.

    Returns:
        (N, 2, 3); near the guess where there is nothing to go by.
    Source: Baker and Matthews, IJCV 2004, with Huber's weights. Ten iterations on each of three levels, none of which
    has a side below 8 cells.
    """
    # The template is frame t − 1, whose background is known: this goes from there to frame t.
    onward = _inverse(start.double())
    smallest = min(grey.shape[-2:])
    for level in reversed(range(_LEVELS)):
        if level == 0 or smallest >> level >= _SMALLEST_SIDE:
            picture, template, counts = (F.avg_pool2d(x.double(), 2**level) for x in (grey, previous, weight))
            onward = _align_level(picture, template, counts, onward)
    return _inverse(onward)


def _align_level(picture: Tensor, template: Tensor, weight: Tensor, onward: Tensor) -> Tensor:
    """`align` on one level, for the affine from template to picture."""
    height, width = template.shape[-2:]
    x, y = (part.flatten() for part in torch.broadcast_tensors(*_axes(height, width, template.device)))
    padded = F.pad(template, (1, 1, 1, 1), mode="replicate")
    slope_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]).flatten(1) * width / 4
    slope_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]).flatten(1) * height / 4
    point = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    slopes = torch.cat((slope_x[..., None] * point, slope_y[..., None] * point), dim=-1)  # (N, cells, 6)
    template, weight = template.flatten(1), weight.flatten(1)
    for _ in range(_ITERATIONS):
        grid = _grid(onward, height, width)
        inside = (grid.abs() <= 1).all(dim=-1).flatten(1)
        residual = F.grid_sample(picture, grid, "bilinear", "border", align_corners=False).flatten(1) - template
        weighted = slopes * (weight * inside * _huber(residual.abs(), _HUBER_GREY))[..., None]
        step = _solve(weighted.mT @ slopes, weighted.mT @ residual[..., None], 1e-3)
        onward = _compose(onward, _inverse(_identity(onward) + step.view(-1, 2, 3)))
    return onward


def fit_affine(flow: Tensor, weight: Tensor) -> Tensor:
    """The affine nearest to a backward flow, by least squares with Huber's weights.

    Args:
        flow: (N, 2, gh, gw), from frame t to t − 1, in cells.
        weight: (N, 1, gh, gw) in [0, 1], the cells of frame t − 1 that count; those of the flow are the ones that
            lead there, so that neither the person counts nor what it has just uncovered.

    Returns:
        (N, 2, 3); identity where nothing counts.
    """
    height, width = flow.shape[-2:]
    x, y = (part.flatten() for part in torch.broadcast_tensors(*_axes(height, width, flow.device)))
    half = flow.new_tensor([width / 2, height / 2], dtype=torch.float64)
    moved = flow.double().flatten(2).mT / half  # (N, cells, 2)
    point = torch.stack((x, y, torch.ones_like(x)), dim=-1).expand(len(flow), -1, -1)
    grid = (point[..., :2] + moved).view(-1, height, width, 2)
    counts = F.grid_sample(weight.double(), grid, "bilinear", "zeros", align_corners=False).flatten(1)
    change = torch.zeros_like(_identity(flow))
    for _ in range(_ITERATIONS):
        away = ((point @ change.mT - moved) * half).norm(dim=-1)
        weighted = point * (counts * _huber(away, _HUBER_CELLS))[..., None]
        change = _solve(weighted.mT @ point, weighted.mT @ moved, 1e-9).mT
    return _identity(change) + change


def mismatch(grey: Tensor, previous: Tensor, weight: Tensor, affine: Tensor) -> Tensor:
    """Mean difference of two pictures after compensation over the cells that count, (N,).

    Arguments as for `align`; infinite where the motion takes more than half of these cells out of the picture.
    """
    moved, counts = _sample(torch.cat((previous, weight), dim=1), affine).split(1, dim=1)
    difference = ((grey - moved).abs() * counts).sum(dim=(1, 2, 3)) / counts.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    return difference.where(counts.sum(dim=(1, 2, 3)) >= weight.sum(dim=(1, 2, 3)) / 2, torch.inf)


def grey_cells(frame: Tensor, like: Tensor) -> Tensor:
    """A frame (N, 3 or 1, H, W) in [0, 1] → its grey (N, 1, gh, gw), averaged over the cells of `like`."""
    frame = frame.float()
    if frame.shape[1] == 3:
        frame = (frame * frame.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    return F.interpolate(frame, size=(like.shape[-2], like.shape[-1]), mode="area")


def _sample(layers: Tensor, affine: Tensor) -> Tensor:
    """Layers (N, C, gh, gw) of frame t − 1 as seen from frame t; zero from outside of the picture."""
    grid = _grid(affine, layers.shape[-2], layers.shape[-1]).to(layers.dtype)
    return F.grid_sample(layers, grid, "bilinear", "zeros", align_corners=False)


def _axes(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates x (1, width) and y (height, 1) of the centres of all cells."""
    x, y = ((2 * torch.arange(size, device=device, dtype=torch.float64) + 1) / size - 1 for size in (width, height))
    return x[None], y[:, None]


def _grid(affine: Tensor, height: int, width: int) -> Tensor:
    """Where an affine sends the centres of all cells, (N, height, width, 2)."""
    x, y = _axes(height, width, affine.device)
    rows = affine[:, :, :, None, None].unbind(2)  # each (N, 2, 1, 1)
    return (rows[0] * x + rows[1] * y + rows[2]).movedim(1, -1)


def _identity(like: Tensor) -> Tensor:
    """As many affines as `like` has, all of no motion."""
    return torch.eye(2, 3, device=like.device, dtype=torch.float64).expand(len(like), -1, -1)


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine that applies `inner` first."""
    linear = outer[..., :2] @ inner
    return torch.cat((linear[..., :2], linear[..., 2:] + outer[..., 2:]), dim=-1)


def _inverse(affine: Tensor) -> Tensor:
    """Not finite where there is none; what is not finite is never accepted as a motion."""
    linear = torch.linalg.inv_ex(affine[..., :2]).inverse
    return torch.cat((linear, -linear @ affine[..., 2:]), dim=-1)


def _huber(distance: Tensor, turn: float) -> Tensor:
    """Weights of Huber's loss."""
    return turn / distance.clamp(min=turn)


def _solve(matrix: Tensor, right: Tensor, damping: float) -> Tensor:
    """Solution of a positive system; `damping`, against its mean diagonal, keeps what nothing determines near zero."""
    added = 1e-12 + damping * matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    return torch.linalg.solve_ex(matrix + added[:, None, None] * eye, right).result
