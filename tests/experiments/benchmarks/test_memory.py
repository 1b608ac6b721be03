from __future__ import annotations

import torch

from experiments.benchmarks.memory import peak_bytes

CPU = torch.device("cpu")
MEGA = 4_000_000  # bytes of the tensor below


def test_the_peak_is_the_most_that_is_held_at_once() -> None:
    x = torch.rand(1000, 1000)

    def work() -> torch.Tensor:
        a = x * 2
        b = a + 1  # two are held
        del a
        return b * 3  # two again

    assert 2 * MEGA <= peak_bytes(work, CPU) < 2 * MEGA + 10_000


def test_what_ran_before_does_not_count() -> None:
    x = torch.rand(1000, 1000)
    torch.rand(4000, 1000).mul(2)
    assert MEGA <= peak_bytes(lambda: x * 2, CPU) < MEGA + 10_000
