"""What the device can do at most, and what a net asks of it.

The roofline: a work of F operations and D bytes takes at least max(F / peak rate, D / bandwidth) seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.timing import Work, time_call
from experiments.benchmarks.variants import PRECISIONS, precision_context

COUNTED = (
    "MACs: convolutions and matrix products; not resizing, norms, activations, filters, warps. Bytes: what each "
    "operation reads and writes if none is fused with another and nothing stays in a cache: an upper bound."
)


@dataclass
class Demand:
    """What one call asks for: multiply-adds of convolutions and matrix products, and bytes moved without fusion."""

    macs: int
    bytes: int


@dataclass
class Ceilings:
    """What was measured on this device in this run: bytes per second copied, operations per second by precision."""

    bytes_per_second: float
    flops_per_second: dict[str, float]

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.flops_per_second.items())
        return f"copy {self.bytes_per_second / 1e9:,.1f} GB/s (read + written); matrix products {rates} GFLOP/s"

    def bound_ms(self, demand: Demand, precision: str) -> float:
        """Milliseconds that the roofline allows for one call."""
        return 1e3 * max(2 * demand.macs / self.flops_per_second[precision], demand.bytes / self.bytes_per_second)


class ByteCounter(TorchDispatchMode):
    """Adds up the bytes that tensor operations read and write; views and empty tensors cost none.

    >>> with ByteCounter() as counter:
    ...     _ = torch.ones(1000) + 1  # written, read, written
    >>> counter.bytes
    12000
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and run it."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view and not func.name().startswith(("aten::empty", "aten::new_empty", "aten::detach")):
            tensors = [x for x in pytree.tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.bytes += sum(_size(tensor) for tensor in tensors)
        return result


def _size(tensor: Tensor) -> int:
    """Bytes in memory; an expanded tensor has fewer than its shape says."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def count_demand(work: Work) -> Demand:
    """What one call of `work` asks for; see `COUNTED`."""
    # In inference mode operations made of others would be seen beside their parts.
    with torch.inference_mode(False), torch.no_grad():
        with FlopCounterMode(display=False) as flops:
            work()
        with ByteCounter() as counter:
            work()
    return Demand(flops.get_total_flops() // 2, counter.bytes)


def measure_ceilings(device: torch.device, precisions: list[str], seconds: float = 1.0) -> Ceilings:
    """The best of repeated copies and of repeated square matrix products on this device.

    Args:
        device: what is measured, with the threads that torch has now.
        precisions: keys of `PRECISIONS`.
        seconds: for the copy, and for each precision.
    """
    rates = {precision: _matmul_rate(precision, device, seconds) for precision in precisions}
    return Ceilings(_copy_rate(device, seconds), rates)


def _copy_rate(device: torch.device, seconds: float) -> float:
    """Bytes per second, read and written ones together."""
    size = 2**30 if device.type == "cuda" else 2**27  # more than caches hold
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best(lambda: target.copy_(source), device, seconds)


def _matmul_rate(precision: str, device: torch.device, seconds: float) -> float:
    """Operations per second; a multiply-add is two."""
    side = 8192 if device.type == "cuda" else 1536
    with precision_context(precision, device):
        left, right = (torch.ones(side, side, device=device, dtype=PRECISIONS[precision]) for _ in range(2))
        out = torch.empty_like(left)
        return 2 * side**3 / _best(lambda: torch.mm(left, right, out=out), device, seconds)


def _best(work: Work, device: torch.device, seconds: float) -> float:
    """Seconds of the fastest call; the first two do not count."""
    deadline = time.monotonic() + seconds
    times: list[float] = []
    while len(times) < 5 or time.monotonic() < deadline:
        times.append(time_call(work, device)[0])
    return min(times[2:]) / 1e3
