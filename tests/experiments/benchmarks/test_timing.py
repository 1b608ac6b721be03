from __future__ import annotations

import pytest
import torch

from experiments.benchmarks import timing
from experiments.benchmarks.timing import Times, interleave, ratio_interval, time_call, warm_up

CPU = torch.device("cpu")


def test_works_take_turns() -> None:
    calls: list[str] = []
    times = interleave([lambda: calls.append("a"), lambda: calls.append("b")], CPU, seconds=0, min_rounds=3)
    assert calls == ["a", "b"] * 3
    assert [len(its.wall) for its in times] == [3, 3]
    assert [len(its.cpu) for its in times] == [3, 3]


def test_rounds_end_at_their_number_before_the_budget() -> None:
    (times,) = interleave([lambda: None], CPU, seconds=60, max_rounds=7)
    assert len(times.wall) == 7


def test_a_warm_up_ends_when_its_budget_is_spent_and_says_so() -> None:
    calls: list[int] = []
    warm = warm_up(lambda: calls.append(1), CPU, seconds=0)
    assert (warm.calls, warm.settled, len(calls)) == (1, False, 1)


@pytest.mark.parametrize(("speeds", "calls"), [([1.0] * 50, 50), ([2.0] * 30 + [1.0] * 60, 70)])
def test_a_warm_up_ends_when_two_blocks_agree(monkeypatch: pytest.MonkeyPatch, speeds: list[float], calls: int) -> None:
    given = iter(speeds)
    monkeypatch.setattr(timing, "time_call", lambda work, device: (next(given), 0.0))
    warm = warm_up(lambda: None, CPU, seconds=60)
    assert (warm.calls, warm.settled) == (calls, True)


def test_a_call_is_timed_by_the_clock_and_by_the_processor() -> None:
    wall, cpu = time_call(lambda: torch.rand(300, 300) @ torch.rand(300, 300), CPU)
    assert wall > 0
    assert cpu > 0


def test_quantiles_are_of_the_wall_clock() -> None:
    times = Times(wall=[float(value) for value in range(101)], cpu=[1.0, 5.0, 2.0])
    assert (times.median, times.quantile(0.95), times.quantile(1)) == (50, 95, 100)
    assert times.median_cpu == 2


def test_the_ratio_is_taken_round_by_round() -> None:
    fast = [1.0, 10.0, 100.0, 3.0, 5.0]  # the machine slows down for both alike
    ratio, low, high = ratio_interval([3 * value for value in fast], fast)
    assert (ratio, low, high) == (3, 3, 3)
    ratio, low, high = ratio_interval([2.0, 3.0, 4.0, 5.0, 6.0], [1.0] * 5)
    assert low < ratio == 4 < high
