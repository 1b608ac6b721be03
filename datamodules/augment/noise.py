"""Sensor noise that is the same on every device: rows of one fixed table, taken from where a hash says.

Drawing 12 million numbers a step on the CPU would take longer than the step; a device draws others than the CPU.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

TABLE_SIZE = 2**21
LONGEST_ROW = 2**14


def gaussian_noise(seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of some clips, a function of each clip's seed and of the place alone.

    A row is a slice of the table; two rows of a clip overlap, somewhere, in a hundredth of the pairs at most, which
    no net could find.

    Args:
        seeds: (B,) int64, on the device where the noise is wanted.
        shape: of a clip, (…, H, W).

    Returns:
        (B, *shape), float32; the same bits on every device.

    Raises:
        ValueError: a row is longer than 16,384.
    """
    *_, width = shape
    if width > LONGEST_ROW:
        raise ValueError(f"noise: frames may be {LONGEST_ROW} pixels wide, got {width}")
    num_rows = torch.Size(shape[:-1]).numel()
    rows = torch.arange(num_rows, device=seeds.device)
    offsets = _mixed(_mixed(seeds)[:, None] ^ rows) % (TABLE_SIZE - LONGEST_ROW)
    table = _table(seeds.device)
    return table.unfold(0, width, 1)[offsets.flatten()].view(len(seeds), *shape)


def _mixed(numbers: Tensor) -> Tensor:
    """Int64 numbers hashed to 31 bits, each bit of which hangs on all of theirs.

    No product overflows. Source: Mueller's integer hash (h ^= h >> 16, times 0x45d9f3b, twice), part by part.
    """
    h = torch.zeros_like(numbers)
    for part in (numbers, numbers >> 31, numbers >> 62):
        h = (h ^ part) & 0x7FFFFFFF
        for _ in range(2):
            h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0x7FFFFFFF
        h = h ^ (h >> 16)
    return h


@lru_cache(maxsize=8)
def _table(device: torch.device) -> Tensor:
    return torch.randn(TABLE_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
