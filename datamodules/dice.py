"""Draws that depend on a seed and a purpose alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits from numbers and words; the same on every machine.

    >>> seed_of(0, "train", 7) == seed_of(0, "train", 7), seed_of(0, "train", 7) == seed_of(0, "test", 7)
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Draws:
    """The dice of one sample. Every purpose has its own, so that two conditions share all draws but what they change.

    Attributes:
        key: what the sample is: seed, part, index.
    """

    key: tuple[int | str, ...]

    def generator(self, purpose: str) -> torch.Generator:
        """The generator of one purpose, at its start."""
        return torch.Generator().manual_seed(seed_of(*self.key, purpose))

    def number(self, purpose: str, low_high: tuple[float, float] = (0.0, 1.0)) -> float:
        """A uniform number from the lower to the higher end."""
        low, high = low_high
        return low + (high - low) * float(torch.rand((), generator=self.generator(purpose)))

    def happens(self, purpose: str, share: float) -> bool:
        """True with a probability."""
        return self.number(purpose) < share

    def integer(self, purpose: str, low: int, high: int) -> int:
        """A uniform whole number, both ends included."""
        return low + min(int(self.number(purpose) * (high - low + 1)), high - low)
