"""Ours beside the published scripts, which a test stands in for."""

from pathlib import Path

import pytest

from experiments.benchmarks.metrics import benchmark_metrics

SCRIPT = """
import kornia
import numpy as np
import xlsxwriter

class Mean:
    def __call__(self, *arrays):
        return float(np.abs(arrays[0] - arrays[-1]).mean())

MetricMAD = MetricMSE = MetricGRAD = MetricCONN = MetricDTSSD = Mean
"""


@pytest.mark.slow
def test_the_scripts_need_nothing_that_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    for name in ("evaluate_lr", "evaluate_hr"):
        (tmp_path / "evaluation" / f"{name}.py").write_text(SCRIPT)
    table = benchmark_metrics(tmp_path, [(32, 32)], threads=1, seconds=0.01, num_frames=2)
    assert {"mad", "grad", "dtssd"} <= set(table["metric"])


def test_another_folder_is_no_clone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a clone of RobustVideoMatting"):
        benchmark_metrics(tmp_path, [(32, 32)], threads=1)
