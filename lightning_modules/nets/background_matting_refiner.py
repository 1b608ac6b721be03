"""The refiner of BackgroundMattingV2: a small net at full size, on the whole frame or around chosen cells alone.

Letters: N frames, P cells; a cell is a block of 4 × 4 pixels of the frame. `half` is H/2 × W/2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.blocks import join, resize

CELL = 4
HIDDEN = 32

# Above this share of cells it is faster to refine the whole frame than windows, which overlap, of its cells.
DENSE_SHARE = 0.15


class Coarse(NamedTuple):
    """What the base network gives, at the size of the small copy.

    Attributes:
        alpha: (N, 1, h, w) in [0, 1].
        residual: (N, 3, h, w), foreground − frame.
        error: (N, 1, h, w) in [0, 1], its estimate of its own |alpha − truth|.
        hidden: (N, 32, h, w) ≥ 0, for the refiner.
        foreground: (N, 3, h, w) in [0, 1], frame + residual.
    """

    alpha: Tensor
    residual: Tensor
    error: Tensor
    hidden: Tensor
    foreground: Tensor

    @property
    def matte(self) -> Tensor:
        """Alpha and residual, (N, 4, h, w): what the refiner replaces."""
        return torch.cat((self.alpha, self.residual), dim=1)


class Refiner(nn.Module):
    """Full-size alpha and residual from frame, plate and the base network's maps, in four convolutions.

    The first two are at half size, so that they see far, the last two at full size.
    Convolutions are not padded; the picture is, once, with zeros. So a cell's window, cut out with enough around
    it, gives the same as the whole picture.
    """

    def __init__(self, kernel_size: int = 3) -> None:
        super().__init__()
        # Half pixels that the four convolutions see beyond a cell, and full pixels that the last two see.
        self.half_margin, self.full_margin = (3, 2) if kernel_size == 3 else (0, 0)
        self.conv1 = nn.Conv2d(HIDDEN + 4 + 6, 24, kernel_size, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 16, kernel_size, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16 + 6, 12, kernel_size, bias=False)
        self.bn3 = nn.BatchNorm2d(12)
        self.conv4 = nn.Conv2d(12, 4, kernel_size)

    def everywhere(self, images: Tensor, coarse: Coarse) -> Tensor:
        """Images (N, 6, H, W) in [0, 1] → refined alpha and residual (N, 4, H, W)."""
        half = torch.cat(self._half_size(images, coarse), dim=1)
        return self._convolve(_zero_border(half, self.half_margin), _zero_border(images, self.full_margin)).float()

    def at_cells(self, images: Tensor, coarse: Coarse, cells: Tensor) -> Tensor:
        """The enlarged coarse matte with refined cells put in.

        Args:
            images: (N, 6, H, W) frame and plate in [0, 1].
            coarse: of the base network.
            cells: (N, H/4, W/4) bool.

        Returns:
            Alpha and residual (N, 4, H, W).
        """
        where = cells.nonzero()
        # Not in training: batch norms take their statistics from the windows.
        if not self.training and len(where) > DENSE_SHARE * cells.numel():
            return self.densely(images, coarse, cells)
        matte = resize(coarse.matte, (images.shape[-2], images.shape[-1]))
        if len(where) > 0:
            _grid(matte)[where.unbind(1)] = self._at(where, images, coarse).to(matte.dtype)
        return matte

    def at_most(self, images: Tensor, coarse: Coarse, cells: Tensor, most: int) -> Tensor:
        """`at_cells` of `most` cells, or fewer: no shape depends on what is seen, so that nothing waits for a GPU."""
        if most > DENSE_SHARE * cells.numel():
            return self.densely(images, coarse, cells)
        # Where there are fewer, the first cell stands in, again and again; it stays as it is unless it is chosen.
        where = torch.nonzero_static(cells, size=most, fill_value=0)
        place = where.unbind(1)
        matte = resize(coarse.matte, (images.shape[-2], images.shape[-1]))
        grid = _grid(matte)
        refined = self._at(where, images, coarse).to(matte.dtype)
        grid[place] = torch.where(cells[place][:, None, None, None], refined, grid[place])
        return matte

    def _at(self, where: Tensor, images: Tensor, coarse: Coarse) -> Tensor:
        """The refined matte of cells (P, 3), (P, 4, 4, 4)."""
        half = [windows(part, where, CELL // 2, self.half_margin) for part in self._half_size(images, coarse)]
        return self._convolve(torch.cat(half, dim=1), windows(images, where, CELL, self.full_margin))

    def densely(self, images: Tensor, coarse: Coarse, cells: Tensor) -> Tensor:
        """`at_cells`, the whole frame being refined for it: no shape depends on what is seen."""
        pixels = cells[:, None].repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
        matte = resize(coarse.matte, (images.shape[-2], images.shape[-1]))
        return torch.where(pixels, self.everywhere(images, coarse), matte)

    def _half_size(self, images: Tensor, coarse: Coarse) -> list[Tensor]:
        """Base maps (N, 36, H/2, W/2) and images (N, 6, H/2, W/2)."""
        half = (images.shape[-2] // 2, images.shape[-1] // 2)
        maps = torch.cat((coarse.hidden, coarse.matte.to(coarse.hidden.dtype)), dim=1)
        maps = maps.contiguous(memory_format=torch.channels_last)
        return [resize(maps, half), resize(images, half).to(maps.dtype)]

    def _convolve(self, half: Tensor, full: Tensor) -> Tensor:
        """Pictures or windows with their margin, (·, 42, ·, ·) at half and (·, 6, ·, ·) at full size → (·, 4, ·, ·)."""
        x = F.relu(self.bn1(self.conv1(half)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = join(F.interpolate(x, scale_factor=2, mode="nearest"), full.to(x.dtype))
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        return self.conv4(x)


def windows(image: Tensor, cells: Tensor, step: int, margin: int) -> Tensor:
    """Square windows around cells, zero outside of the image.

    Args:
        image: (N, C, H, W); fastest with channels last.
        cells: (P, 3) int64: number of the image, row and column of the cell.
        step: side of a cell in pixels of this image.
        margin: pixels around the cell.

    Returns:
        (P, C, step + 2 margin, step + 2 margin), channels last.
    """
    height, width = image.shape[-2:]
    offsets = torch.arange(-margin, step + margin, device=image.device)
    rows, columns = (step * cells[:, axis, None] + offsets for axis in (1, 2))
    first = cells[:, 0, None] * height + rows.clamp(0, height - 1)
    index = first[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    pixels = image.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.flatten())
    if margin > 0:
        inside = [(place >= 0) & (place < side) for place, side in ((rows, height), (columns, width))]
        outside = ~(inside[0][:, :, None] & inside[1][:, None])
        pixels = pixels.masked_fill(outside.flatten()[:, None], 0)
    return pixels.view(*index.shape, -1).permute(0, 3, 1, 2)


def _grid(matte: Tensor) -> Tensor:
    """A view (N, H/4, W/4, 4, 4, 4) of the cells of a matte (N, 4, H, W)."""
    return matte.unflatten(3, (-1, CELL)).unflatten(2, (-1, CELL)).permute(0, 2, 4, 1, 3, 5)


def _zero_border(x: Tensor, margin: int) -> Tensor:
    return F.pad(x, (margin,) * 4) if margin else x
