from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from experiments.benchmarks.roofline import ByteCounter, Ceilings, Demand, count_demand, measure_ceilings


def test_multiply_adds_and_bytes_of_a_convolution() -> None:
    frame, weight = torch.rand(1, 3, 8, 12), torch.rand(5, 3, 3, 3)
    demand = count_demand(lambda: F.conv2d(frame, weight, padding=1))
    assert demand.macs == 8 * 12 * 5 * 3 * 3 * 3
    assert demand.bytes == 4 * (3 * 8 * 12 + 5 * 3 * 3 * 3 + 5 * 8 * 12)


def test_the_count_is_the_same_in_inference_mode() -> None:
    frame = torch.rand(1, 3, 8, 12)

    def enlarge() -> torch.Tensor:
        return F.interpolate(frame, scale_factor=2, mode="bilinear")

    outside = count_demand(enlarge)
    with torch.inference_mode():
        assert count_demand(enlarge) == outside
    assert outside.bytes == 4 * (3 * 8 * 12 + 3 * 16 * 24)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("x + 1", 8000),
        ("x.add_(1)", 8000),
        ("x.view(10, 100)", 0),
        ("x[:10]", 0),
        ("torch.empty(500)", 0),
        ("x.half()", 6000),
        ("x.expand(5, 1000) * 1", 4000 + 20000),
    ],
)
def test_bytes_of_one_operation(operation: str, expected: int) -> None:
    x = torch.ones(1000)
    with torch.no_grad(), ByteCounter() as counter:
        eval(operation, {"torch": torch, "x": x})
    assert counter.bytes == expected


def test_the_roofline_is_the_slower_of_computing_and_moving() -> None:
    ceilings = Ceilings(bytes_per_second=1e9, flops_per_second={"fp32": 1e10})
    assert ceilings.bound_ms(Demand(macs=10**8, bytes=10**6), "fp32") == pytest.approx(20)
    assert ceilings.bound_ms(Demand(macs=10**6, bytes=10**8), "fp32") == pytest.approx(100)


def test_ceilings_are_measured_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    mm = torch.mm  # a few rows of it, which take long enough in bfloat16
    monkeypatch.setattr(torch, "mm", lambda left, right, out: mm(left[:64], right, out=out[:64]))
    ceilings = measure_ceilings(torch.device("cpu"), ["fp32", "bf16"], seconds=0)
    assert ceilings.bytes_per_second > 1e8
    assert ceilings.flops_per_second.keys() == {"fp32", "bf16"}
    assert min(ceilings.flops_per_second.values()) > 1e8
