from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch

from experiments.benchmarks import nets, variants
from experiments.benchmarks.inputs import parse_size
from experiments.benchmarks.nets import Settings, benchmark_nets, channels_last, count_steps
from experiments.benchmarks.roofline import Ceilings
from experiments.benchmarks.subjects import parse_subject

CPU = torch.device("cpu")
CEILINGS = Ceilings(1e10, {"fp32": 1e11, "bf16": 2e11})


def measure(nets_and_options: list[str], size: str, **changes: Any) -> list[pd.DataFrame]:
    options: dict[str, Any] = {"precisions": ["fp32"], "modes": ["eager"], "seconds": 0, "clip_frames": 2} | changes
    settings, steps = Settings(CPU, **options), []
    subjects = [parse_subject(text) for text in nets_and_options]
    tables = list(benchmark_nets(subjects, [parse_size(size)], settings, CEILINGS, steps.append))
    assert len(steps) == count_steps(subjects, [size], settings)
    return tables


@pytest.mark.slow
def test_a_row_for_each_precision_and_mode_with_every_figure() -> None:
    cheap = {"clip_frames": 1, "chunk": 1}
    (table,) = measure(["modnet"], "64x32", precisions=["fp32", "bf16"], modes=["eager", "channels_last"], **cheap)
    assert table[["precision", "mode"]].agg(" ".join, axis=1).tolist() == [
        "fp32 eager", "fp32 channels_last", "bf16 eager", "bf16 channels_last"
    ]  # fmt: skip
    assert (nets.NET_COLUMNS | nets.SPEED_COLUMNS).keys() <= set(table)
    assert set(table["parameters"]) == {6_487_075}
    assert set(table["paper_millions"]) == {6.487}
    assert table["weights_mb"][0] == pytest.approx(26.1, abs=0.1)
    assert (table["p95_ms"] >= table["median_ms"]).all()
    assert (table["peak_mb"] > table["weights_mb"]).all()
    assert table["max_difference"][0] == 0
    assert table["max_difference"][2] > 0
    assert table["moved_gb"][2] < table["moved_gb"][0]


@pytest.mark.slow
def test_shares_follow_from_times_and_ceilings() -> None:
    (table,) = measure(["rvm"], "128x96@0.5")
    row = table.iloc[0]
    seconds = row["median_ms"] / 1e3
    assert row["compute_share"] == pytest.approx(2e9 * row["gmacs"] / seconds / 1e11)
    assert row["bandwidth_share"] == pytest.approx(1e9 * row["moved_gb"] / seconds / 1e10)
    assert row["roofline_share"] == pytest.approx(max(row["compute_share"], row["bandwidth_share"]))


@pytest.mark.slow
def test_nets_that_need_a_plate_and_nets_that_carry_a_state_run_at_a_ratio() -> None:
    tables = measure(
        ["background_matting_v2:backbone=mobilenetv2", "modnet_v:width=0.25,hidden=8"], "128x96@0.5", batch=2, chunk=3
    )
    assert [set(table["size"]) for table in tables] == [{"128x96@0.5"}] * 2
    assert 0 < tables[0]["refined_share"][0] <= 1
    assert tables[1]["refined_share"].isna().all()
    assert all((table["throughput_fps"] > 0).all() for table in tables)


@pytest.mark.slow
def test_a_mode_that_fails_has_its_reason_and_the_others_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(net: Any) -> None:
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setitem(variants.MODES, "compiled", (fail,))
    (table,) = measure(["modnet:width=0.5"], "64x64", modes=["compiled", "eager"])
    assert table["note"].tolist() == ["RuntimeError: no compiler; here", ""]
    assert table["median_ms"].isna().tolist() == [True, False]


def test_channels_last_frames_have_plain_strides_along_sides_of_one() -> None:
    frames = torch.rand(1, 1, 3, 4, 6)
    assert torch.equal(channels_last(frames), frames)
    assert channels_last(frames).stride() == (72, 72, 1, 18, 3)


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["oracle", "none", "dis"])
def test_a_net_that_is_given_flow_runs_without_any_data(flow: str) -> None:
    (table,) = measure([f"context_motion:backbone=mobilenetv2,width=0.25,hidden=8,flow={flow}"], "64x64@0.5")
    assert table["median_ms"][0] > 0
    assert table["note"].tolist() == [""]
