from __future__ import annotations

import pytest
import torch

from experiments.benchmarks.cost import measure_cost
from lightning_modules.nets import build_net


def test_cost_counts_parameters_and_multiply_adds() -> None:
    net = build_net("modnet_v", prm=False)
    cost = measure_cost(net, torch.rand(1, 1, 3, 64, 96), repetitions=1)
    assert cost["parameters"] == 2_131_843
    assert cost["gmacs_per_frame"] == pytest.approx(6.93 * 64 * 96 / 512**2, rel=0.05)
    assert cost["milliseconds_per_frame"] > 0
    assert cost["frame"] == "64×96"


def test_a_net_that_needs_the_true_flow_has_a_cost_without_any() -> None:
    options = {"backbone": "mobilenetv2", "width": 0.25, "context_channels": 16, "hidden": 8, "decoder_channels": 8}
    costs = [
        measure_cost(build_net("context_motion", flow=flow, **options), torch.rand(1, 1, 3, 64, 96), repetitions=1)
        for flow in ("oracle", "none")
    ]
    assert costs[0]["gmacs_per_frame"] == costs[1]["gmacs_per_frame"] > 0
