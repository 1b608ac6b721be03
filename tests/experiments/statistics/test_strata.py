from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from experiments.statistics.strata import stratum_means, summarise

CLIP = {"clip": "a", "scene": "b", "stratum": "c"}


def test_the_figure_of_a_set_is_the_mean_of_strata_of_clips_of_frames() -> None:
    mads = {("static", "a"): [0.1, 0.3], ("static", "b"): [0.6], ("fast", "a"): [0.8, 0.8, 0.8]}
    rows = [(*key, "x", t, mad) for key, values in mads.items() for t, mad in enumerate(values)]
    frames = pd.DataFrame(rows, columns=["stratum", "clip", "scene", "frame", "mad"])
    assert stratum_means(frames)["mad"].to_dict() == pytest.approx({"static": 0.4, "fast": 0.8})
    assert summarise(frames) == pytest.approx({"mad": 600})


def test_dtssd_is_given_with_and_without_the_zero_of_frame_0() -> None:
    frames = pd.DataFrame({**CLIP, "frame": [0, 1, 2], "dtssd": [0.0, 0.3, 0.6]})
    assert summarise(frames) == pytest.approx({"dtssd": 30, "dtssd_later": 45})


def test_undefined_frames_are_left_out_of_means() -> None:
    frames = pd.DataFrame({**CLIP, "frame": [0, 1], "fgr_mse": [np.nan, 0.5]})
    assert stratum_means(frames)["fgr_mse"].tolist() == [0.5]


@pytest.mark.parametrize("module", ["experiments.statistics.strata", "experiments.reporting.averages"])
def test_names_of_metrics_need_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
