"""Fair clocks: warm-up until times hold still, and works timed in turns so that drift hits all alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

Work = Callable[[], object]

# Specification of the warm-up: so many calls at least, then blocks until two in a row differ by less.
WARM_UP_CALLS, BLOCK, TOLERANCE = 50, 20, 0.02
MAX_CALLS = 1000


@dataclass
class Times:
    """Milliseconds of each call of one work: by the clock (by events of the device on CUDA), and of the CPU."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the calls does not exceed.

        >>> Times(wall=[3.0, 1.0, 2.0]).quantile(0.5)
        2.0
        """
        return float(np.quantile(self.wall, share))

    @property
    def median(self) -> float:
        """Median milliseconds by the clock."""
        return self.quantile(0.5)

    @property
    def median_cpu(self) -> float:
        """Median milliseconds of all CPU threads together."""
        return float(np.median(self.cpu))


@dataclass
class WarmUp:
    """What a warm-up did: how many calls, and whether the last two blocks agreed."""

    calls: int
    settled: bool


def time_call(work: Work, device: torch.device) -> tuple[float, float]:
    """Milliseconds of one call until the device is done: by the clock, and of the CPU."""
    synchronise(device)
    cpu = time.process_time()
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        wall = begin.elapsed_time(end)
    else:
        start = time.perf_counter()
        work()
        wall = 1e3 * (time.perf_counter() - start)
    return wall, 1e3 * (time.process_time() - cpu)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def warm_up(work: Work, device: torch.device, seconds: float) -> WarmUp:
    """Call `work` at least 50 times and until two blocks of 20 differ by less than 2 %, but no longer than `seconds`.

    One call is always made; on a slow or busy machine the budget ends first, and the result says so.
    """
    times: list[float] = []
    deadline = time.monotonic() + seconds
    while True:
        times.append(time_call(work, device)[0])
        if len(times) >= WARM_UP_CALLS and len(times) % BLOCK == WARM_UP_CALLS % BLOCK and _settled(times):
            return WarmUp(len(times), True)
        if time.monotonic() > deadline:
            return WarmUp(len(times), False)


def _settled(times: list[float]) -> bool:
    before, now = np.mean(times[-2 * BLOCK : -BLOCK]), np.mean(times[-BLOCK:])
    return bool(abs(now / before - 1) < TOLERANCE)


def interleave(
    works: Sequence[Work], device: torch.device, seconds: float, min_rounds: int = 3, max_rounds: int = MAX_CALLS
) -> list[Times]:
    """Time the works in turns, A B A B …, until the budget is spent.

    Args:
        works: each is one call that is timed.
        device: what they run on.
        seconds: for all of them together.
        min_rounds: are made even if that takes longer.
        max_rounds: are enough.

    Returns:
        Times of each work, equally many; call i of all works is of the same round.
    """
    times = [Times() for _ in works]
    deadline = time.monotonic() + seconds
    for done in range(max_rounds):
        if done >= min_rounds and time.monotonic() > deadline:
            break
        for work, its in zip(works, times, strict=True):
            wall, cpu = time_call(work, device)
            its.wall.append(wall)
            its.cpu.append(cpu)
    return times


def ratio_interval(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """How many times longer `slow` takes: the median of the rounds' ratios, and its 95 % bootstrap interval.

    Args:
        slow: milliseconds of one work per round of `interleave`.
        fast: of the other, in the same rounds.

    >>> ratio_interval([4.0, 4.0, 4.0], [2.0, 2.0, 2.0])
    (2.0, 2.0, 2.0)
    """
    ratios = np.asarray(slow) / np.asarray(fast)
    drawn = np.random.default_rng(0).integers(len(ratios), size=(2000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def load_average() -> float:
    """Processes that wanted a core in the last minute; NaN where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
