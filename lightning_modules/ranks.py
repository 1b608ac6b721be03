"""What the processes of one training must agree on or must not share."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_one_of_several() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean over the processes that train together, without gradient; alone, the value itself. All must call it."""
    if not is_one_of_several():
        return value.detach()
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def generator_of_rank(generator: torch.Generator) -> torch.Generator:
    """A generator for draws that are one a clip: on each process another, on the first (or only) one the given.

    The given one draws the same everywhere, which is right for what a whole batch shares.
    """
    if not is_one_of_several() or dist.get_rank() == 0:
        return generator
    return torch.Generator().manual_seed((generator.initial_seed() + 7_368_787 * dist.get_rank()) & 0x7FFFFFFF)
