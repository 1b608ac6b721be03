"""Background restoration (BRM) of MODNet-V: a memory of the background that the person uncovers.

Source: Sun et al., 2021, arXiv 2109.11818, section on BRM, Eq. 6 and Algorithm 1. The paper leaves
much open; what we chose is said where it is chosen.
Shapes: N clips, C channels of the encoder's feature at stride 4 (e4), g = its grid (gh, gw).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.blocks import ConvBlock, join, resize
from lightning_modules.options import check_choice

UPDATES = ("average", "overwrite", "first_sight", "ema", "count_mean")
MASKS = ("semantic", "matte", "truth")
MODES = ("restored", "first_frame", "oracle")
# In a count mean the weight of a new sighting never falls below 1 / (1 + this).
_MAX_COUNT = 10.0


class BRMState(NamedTuple):
    """The memory, float32 also under mixed precision; all zeros before the first frame of a clip.

    Attributes:
        feature: (N, C, gh, gw), background feature; 0 where `mask` is 0.
        mask: (N, 1, gh, gw), 1 where background has been seen, else 0.
        count: (N, 1, gh, gw), frames that were stored in this cell.
    """

    feature: Tensor
    mask: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks a state for


class BackgroundRestoration(nn.Module):
    """Gives the memory to the encoder (`fuse`) and stores newly seen background in it (`update`)."""

    def __init__(
        self,
        channels: int,
        update: str = "average",
        threshold: float = 0.5,
        erosion: int = 0,
        hard: bool = False,
        feed_mask: bool = False,
        mode: str = "restored",
        ema_beta: float = 0.1,
        mask: str = "semantic",
    ) -> None:
        """A memory for features of `channels` channels.

        Args:
            update: weight of background seen again: "average" 1/2 (paper), "overwrite" 1, "first_sight" 0,
                "ema" `ema_beta`, "count_mean" 1 / (1 + sightings), never below 1/11.
            threshold: a cell is background where 1 − mask is above this (paper: 0.5).
            erosion: cells by which the visible background is eroded before it is stored.
            hard: store e4 as it is; the paper stores e4 · (1 − mask).
            feed_mask: `fuse` sees the mask too, so that "unknown" differs from a feature of zeros.
            mode: "restored" (paper); "first_frame" stores frame 1 only; "oracle" never updates, since the
                net fills the memory from the true background.
            ema_beta: weight of a new sighting with `update="ema"`.
            mask: what tells person from background: the "semantic" map (paper), at a sixteenth of what the encoder
                sees; the "matte", which is finer; the "truth", for a memory that no error of the net gets into.

        Raises:
            ValueError: `update`, `mode` or `mask` is not one of these.
        """
        super().__init__()
        check_choice("brm_update", update, UPDATES)
        check_choice("brm_mode", mode, MODES)
        check_choice("brm_mask", mask, MASKS)
        self.mask = mask
        self.channels, self.mode, self.update_rule = channels, mode, update
        self.threshold, self.erosion, self.hard, self.feed_mask = threshold, erosion, hard, feed_mask
        self.ema_beta = ema_beta
        self.fuse_in = ConvBlock(2 * channels + 3 + feed_mask, 2 * channels, 3)
        self.fuse_out = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.fuse_norm = _ZeroNorm(channels)

    def empty(self, like: Tensor, height: int, width: int) -> BRMState:
        """The state before the first frame: `height` × `width` cells, batch and device of `like`."""
        # Three tensors and not views of one: a compiled step would be compiled again for other strides.
        sizes = ((like.shape[0], channels, height, width) for channels in (self.channels, 1, 1))
        return BRMState(*(like.new_zeros(size, dtype=torch.float32) for size in sizes))

    def fuse(self, e4: Tensor, frame_small: Tensor, state: BRMState) -> Tensor:
        """The feature of this frame joined with the memory.

        Args:
            e4: (N, C, gh, gw).
            frame_small: (N, 3, gh, gw) in [−1, 1], the frame on the same grid.
            state: after the frame before.

        Returns:
            f4 (N, C, gh, gw) = e4 + a residual.
        """
        parts = [e4, state.feature.to(e4.dtype), frame_small]
        if self.feed_mask:
            parts.append(state.mask.to(e4.dtype))
        return e4 + self.fuse_norm(self.fuse_out(self.fuse_in(join(*parts))))

    def update(self, e4: Tensor, person: Tensor, state: BRMState) -> BRMState:
        """The state after this frame: feature += V · β · (background of this frame − feature).

        V are the cells visible as background, β is 1 in cells seen for the first time. With β = 1/2
        elsewhere this is the paper's algorithm, line by line.

        Args:
            e4: (N, C, gh, gw), the feature before `fuse`: the memory must not feed on itself.
            person: (N, 1, h, w) in [0, 1], where the person is, as `mask` says: 1/16 of what the encoder sees, or a
                multiple of e4's size.
            state: after the frame before.
        """
        if self.mode == "oracle":
            return state
        size = (e4.shape[-2], e4.shape[-1])
        person = person.float()
        # The mean over a cell, so that a cell with a bit of person in it is known for one.
        finer = person.shape[-1] > size[1]
        background = 1 - (F.adaptive_avg_pool2d(person, size) if finer else resize(person, size))
        visible = (background > self.threshold).float()
        if self.erosion:
            visible = 1 - F.max_pool2d(1 - visible, 2 * self.erosion + 1, stride=1, padding=self.erosion)
        count = state.count + visible
        if self.mode == "first_frame":
            # Every cell counts as stored after frame 1, so that only that frame passes.
            visible = visible * (state.count == 0)
            count = torch.ones_like(count)
        stored = e4.float() if self.hard else e4.float() * background
        weight = visible * torch.where(state.mask > 0, self._weight_seen(state.count), 1.0)
        return BRMState(torch.lerp(state.feature, stored, weight), torch.maximum(state.mask, visible), count)

    def _weight_seen(self, count: Tensor) -> Tensor:
        """β of cells that were seen before, (N, 1, gh, gw) or a scalar."""
        if self.update_rule == "count_mean":
            return 1 / (1 + count.clamp(max=_MAX_COUNT))
        weights = {"average": 0.5, "overwrite": 1.0, "first_sight": 0.0, "ema": self.ema_beta}
        return torch.full_like(count, weights[self.update_rule])


class _ZeroNorm(nn.BatchNorm2d):
    """Starts with weight 0: a fresh net does not see the memory, so pretrained encoder weights stay valid."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.weight)


def reset_state(state: BRMState, where: Tensor) -> BRMState:
    """Forget all in the clips where `where`, (N,) bool, is true: a cut, a new clip in this place of the batch."""
    keep = ~where[:, None, None, None]
    return BRMState(*(torch.where(keep, part, 0.0) for part in state))


class BackgroundDecoder(nn.Module):
    """Background feature → picture, for the background loss and for viewing; owned by the training objective.

    Small on purpose (3,907 parameters at 24 channels): a stronger one would inpaint by itself and hide
    what the memory lacks.
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, channels, gh, gw) → (N, 3, gh, gw), RGB in [−1, 1]."""
        return torch.tanh(self.head(F.relu(self.conv(feature))))
