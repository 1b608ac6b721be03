"""Patch refinement (PRM) of MODNet-V: alpha corrected at full resolution where the coarse one is likely wrong.

Source: Sun et al., 2021, arXiv 2109.11818, section on PRM. The paper gives the flaw map, its threshold and
the number of patches; refiner, halo and feather are ours.
Shapes: N frames of H × W pixels, k × k patches of ph × pw pixels, M refined patches, q = halo.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.blocks import conv_layout, crop, pad_to_multiple, resize, scale
from lightning_modules.options import check_choice

MODES = ("threshold", "topk", "all", "none")


class Refined(NamedTuple):
    """What PRM gives.

    Attributes:
        alpha: (N, 1, H, W), in [0, 1] unless the module is in training mode.
        flaw_map: (N, 1, k, k) in [0, 1], expected mean error of each patch.
        selection: (N, k, k) bool, the patches that were refined.
    """

    alpha: Tensor
    flaw_map: Tensor
    selection: Tensor


class PatchRefinement(nn.Module):
    """Finds flawed patches of the enlarged alpha and refines them; 27,898 parameters at 32 channels."""

    def __init__(
        self,
        channels: int = 32,
        k: int | None = 16,
        xi: float = 0.01,
        mode: str = "threshold",
        top_share: float = 0.15,
        halo: int = 10,
        feather: int = 8,
        chunk: int = 64,
    ) -> None:
        """A refinement that reads a fused feature of `channels` channels.

        Args:
            k: patches per side; None is the paper's rule, 16 for frames up to 4096 pixels long, else 32.
            xi: a patch is refined when its flaw is above this (paper: 0.01).
            mode: "threshold" (paper), "topk" a fixed share of the patches, "all" or "none".
            top_share: that share.
            halo: pixels around a patch that the refiner sees too, even. 10 covers its reach of 9, so that
                neighbouring patches agree to the last digit.
            feather: pixels over which the correction fades out towards a patch that is not refined.
            chunk: patches refined at once.

        Raises:
            ValueError: an unknown mode, an odd halo, or a share outside [0, 1].
        """
        super().__init__()
        check_choice("prm_mode", mode, MODES)
        if halo % 2 or halo < 0:
            raise ValueError(f"prm_halo must be even and not negative (the refiner halves its patches), got {halo}")
        if not 0 <= top_share <= 1:
            raise ValueError(f"top_share must lie in [0, 1], got {top_share}")
        self.k, self.xi, self.mode, self.top_share = k, xi, mode, top_share
        self.halo, self.feather, self.chunk = halo, feather, chunk
        self.flaw_conv = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.flaw_head = _FlawHead(16, 1, 3, stride=2, padding=1)
        self.refiner = PatchRefiner(channels)

    def forward(self, frame: Tensor, coarse_alpha: Tensor, alpha: Tensor, feature: Tensor) -> Refined:
        """Refine the patches that `mode` selects.

        Args:
            frame: (N, 3, H, W) in [0, 1].
            coarse_alpha: (N, 1, h, w) in [0, 1], at working size.
            alpha: (N, 1, H, W), the same enlarged.
            feature: (N, channels, h', w'), fused feature of the net, covering the whole frame.
        """
        size = (frame.shape[-2], frame.shape[-1])
        flaw_map = torch.sigmoid(self.flaw_logits(coarse_alpha, size).float())
        selection = self.select(flaw_map)
        return Refined(self.refine(frame, alpha, feature, selection), flaw_map, selection)

    def num_patches(self, height: int, width: int) -> int:
        """Patches per side of a frame of this size."""
        return self.k or (16 if max(height, width) <= 4096 else 32)

    def flaw_logits(self, coarse_alpha: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (N, 1, k, k) of each patch's expected mean error.

        Args:
            coarse_alpha: (N, 1, h, w) in [0, 1], covering the whole frame.
            size: (H, W) of the frame that is cut into patches.
        """
        k = self.num_patches(*size)
        # Padded as the patches pad the frame, so that cell and patch cover the same.
        height, width = coarse_alpha.shape[-2:]
        patch_height, patch_width = _patch_size(*size, k)
        bottom = round(height * (k * patch_height / size[0] - 1))
        right = round(width * (k * patch_width / size[1] - 1))
        x = F.pad(coarse_alpha.to(self.flaw_conv.weight.dtype), (0, right, 0, bottom), mode="replicate")
        # Pooled to 4k and not to k: half 0, half 1 and all 1/2 have the same mean and not the same flaw.
        x = F.adaptive_avg_pool2d(x, 4 * k)
        return self.flaw_head(F.relu(self.flaw_conv(x)))

    def flaw_target(self, alpha: Tensor, true_alpha: Tensor) -> Tensor:
        """Mean |alpha − true alpha| of each patch: both (N, 1, H, W) → (N, 1, k, k), without gradient."""
        k = self.num_patches(*alpha.shape[-2:])
        return F.adaptive_avg_pool2d(pad_to_multiple((alpha - true_alpha).abs().detach(), 2 * k), k)

    def select(self, flaw_map: Tensor) -> Tensor:
        """Flaw map (N, 1, k, k) → the patches to refine, (N, k, k) bool."""
        flaw = flaw_map[:, 0]
        if self.mode == "all":
            return torch.ones_like(flaw, dtype=torch.bool)
        if self.mode == "none":
            return torch.zeros_like(flaw, dtype=torch.bool)
        if self.mode == "threshold":
            return flaw > self.xi
        flat = flaw.flatten(1)
        best = flat.topk(round(self.top_share * flat.shape[1]), dim=1).indices
        return torch.zeros_like(flat, dtype=torch.bool).scatter(1, best, True).view_as(flaw)

    def selected_pixels(self, selection: Tensor, height: int, width: int) -> Tensor:
        """Selection (N, k, k) → (N, 1, H, W) bool: the pixels of the selected patches."""
        k = selection.shape[-1]
        patch_height, patch_width = _patch_size(height, width, k)
        mask = selection.repeat_interleave(patch_height, dim=1).repeat_interleave(patch_width, dim=2)
        return crop(mask[:, None], (height, width))

    def refine(self, frame: Tensor, alpha: Tensor, feature: Tensor, selection: Tensor) -> Tensor:
        """Alpha with the given patches refined; gradient reaches the refiner.

        Args:
            frame: (N, 3, H, W) in [0, 1].
            alpha: (N, 1, H, W), enlarged coarse alpha.
            feature: (N, channels, h', w').
            selection: (N, k, k) bool.

        Returns:
            (N, 1, H, W), clamped to [0, 1] unless the module is in training mode.
        """
        size = (alpha.shape[-2], alpha.shape[-1])
        k = selection.shape[-1]
        if not selection.any():
            return alpha
        colour, alphas, features = (self._cut(x, k) for x in (frame, alpha, resize(self.refiner.reduce(feature), size)))
        output = pad_to_multiple(alpha, 2 * k).clone()
        patches = output.unflatten(3, (k, -1)).unflatten(2, (k, -1)).permute(0, 2, 4, 1, 3, 5)
        neighbours = F.pad(selection, (1, 1, 1, 1), value=True).unfold(1, 3, 1).unfold(2, 3, 1)
        inner = slice(self.halo, -self.halo or None)
        for chunk in selection.nonzero().split(self.chunk):
            place = chunk.unbind(1)
            alpha_chunk = alphas[place]
            delta = self.refiner(colour[place], alpha_chunk, features[place])[..., inner, inner].float()
            if self.feather:
                delta = delta * _fade(neighbours[place], (delta.shape[-2], delta.shape[-1]), self.feather)
            patches[place] = alpha_chunk[..., inner, inner] + delta
        output = crop(output, size)
        return output if self.training else output.clamp(0, 1)

    def _cut(self, x: Tensor, k: int) -> Tensor:
        """(N, C, H, W) → a view (N, k, k, C, ph + 2q, pw + 2q) of all patches with their halo."""
        height, width = x.shape[-2:]
        patch_height, patch_width = _patch_size(height, width, k)
        q = self.halo
        bottom, right = k * patch_height - height, k * patch_width - width
        x = F.pad(x, (q, right + q, q, bottom + q), mode="replicate")
        patches = x.unfold(2, patch_height + 2 * q, patch_height).unfold(3, patch_width + 2 * q, patch_width)
        return patches.permute(0, 2, 3, 1, 4, 5)


class PatchRefiner(nn.Module):
    """Correction of alpha from colour, alpha and the net's feature, on any crop with even origin.

    No norm layer: statistics of one patch differ from its neighbour's and would print the grid into alpha.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_feature = nn.Conv2d(channels, 8, 1)
        self.conv_in = nn.Conv2d(12, 32, 3, stride=2, padding=1)
        self.conv_mid = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.conv_out = nn.Conv2d(36, 16, 3, padding=1)
        self.head = _ZeroConv(16, 1, 3, padding=1)

    def reduce(self, feature: Tensor) -> Tensor:
        """(N, channels, h, w) → (N, 8, h, w): once per frame, before it is enlarged and cut."""
        return F.relu(self.conv_feature(feature.to(self.conv_feature.weight.dtype)), inplace=True)

    def forward(self, colour: Tensor, alpha: Tensor, feature: Tensor) -> Tensor:
        """Colour (M, 3, h, w), alpha (M, 1, h, w) in [0, 1], reduced feature (M, 8, h, w) → (M, 1, h, w) in [−1, 1]."""
        image = conv_layout(torch.cat((colour * 2 - 1, alpha), dim=1).to(self.conv_in.weight.dtype))
        x = F.relu(self.conv_in(conv_layout(torch.cat((image, feature), dim=1))), inplace=True)
        x = scale(self.conv_mid(x), 2)
        x = F.relu(self.conv_out(torch.cat((x, image), dim=1)), inplace=True)
        return torch.tanh(self.head(x))


class _FlawHead(nn.Conv2d):
    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            # logit(0.01): a fresh flaw head stands at the paper's threshold.
            nn.init.constant_(self.bias, -4.6)


class _ZeroConv(nn.Conv2d):
    """Starts at zero, so that fresh refinement changes nothing."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def _patch_size(height: int, width: int, k: int) -> tuple[int, int]:
    """Patch size (ph, pw), both even: the refiner halves its patches, so their origins must be even."""
    return 2 * -(-height // (2 * k)), 2 * -(-width // (2 * k))


def _fade(neighbours: Tensor, size: tuple[int, int], feather: int) -> Tensor:
    """Weight of the correction: 1, falling to 0 over `feather` pixels towards neighbours that are not refined.

    Args:
        neighbours: (M, 3, 3) bool, whether the patches around each patch are refined too.
        size: (ph, pw).

    Returns:
        (M, 1, ph, pw) in [0, 1].
    """
    ramp_y, ramp_x = (
        ((torch.arange(length, device=neighbours.device) + 0.5) / feather).clamp(max=1) for length in size
    )
    corner = torch.maximum(ramp_y[:, None], ramp_x)
    ramps = {(0, 1): ramp_y[:, None], (1, 0): ramp_x[None, :], (0, 0): corner, (0, 2): corner.flip(1)}
    weight = torch.ones((), device=neighbours.device)
    for (row, column), ramp in ramps.items():
        for flag, towards in (
            (neighbours[:, row, column], ramp),
            (neighbours[:, 2 - row, 2 - column], ramp.flip(0, 1)),
        ):
            weight = torch.minimum(weight, torch.where(flag[:, None, None, None], 1.0, towards))
    return weight
