"""Published averages of eight clips come back from the official value of each of their frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.reporting.averages import METRICS, averages, curve_table, mark_broken, score_table

# RVM's low-resolution script, in its units, on eight clips of unequal lengths.
MAD = {
    "identical": [0.0, 0.0, 0.0],
    "extreme": [1000.0, 1000.0, 0.0, 0.0],
    "hard": [31.7382812, 29.7851562, 29.7851562, 29.7851562, 29.7851562],
    "soft": [71.4051351, 69.7783679],
    "hair": [16.5261403, 16.9761255, 16.8936774, 16.3681656],
    "flicker": [7.02893361, 22.4005282, 7.79326772, 33.0164433, 6.58128271, 23.0446551],
    "blobs": [66.6386858, 66.6882545, 66.7192191],
    "portrait": [9.23064258, 9.77285858, 18.1325749, 9.73073207],
}
DTSSD = {
    "identical": [0.0, 0.0, 0.0],
    "extreme": [0.0, 200.0, 100.0, 0.0],
    "hard": [0.0, 23.3156555, 22.8929802, 22.8929802, 22.8929802],
    "soft": [0.0, 2.29135556],
    "hair": [0.0, 7.65939171, 7.6515358, 7.22650494],
    "flicker": [0.0, 5.25701166, 5.95733246, 5.9877824, 5.19381895, 5.48821177],
    "blobs": [0.0, 2.74687259, 2.75075534],
    "portrait": [0.0, 4.81734962, 8.57543342, 8.48754267],
}
PUBLISHED = {  # as that script's spreadsheet, as the mean of clips, as the mean of all frames
    "mad": (63.52625439, 89.06268752, 87.27756761),
    "dtssd": (13.38830316, 14.01611734, 15.22856435),
}


def frames_of(clips=MAD, dtssd=DTSSD, stratum="static"):
    rows = [
        (clip, "scene", stratum, t, clips[clip][t], dtssd[clip][t]) for clip in clips for t in range(len(clips[clip]))
    ]
    table = pd.DataFrame(rows, columns=["clip", "scene", "stratum", "frame", "mad", "dtssd"])
    return table.assign(mad=table["mad"] / METRICS["mad"].scale, dtssd=table["dtssd"] / METRICS["dtssd"].scale, seed=0)


def aggregate(frames, metric, order="strata"):
    return averages(frames, metric)[order].item()


@pytest.mark.parametrize("key", ["mad", "dtssd"])
def test_published_orders_come_back_from_the_frames(key):
    found = [aggregate(frames_of(), METRICS[key], order) for order in ("by_frame", "clip_mean", "frame_pool")]
    assert found == pytest.approx(PUBLISHED[key], rel=1e-8)


def test_without_its_first_frame_dtssd_is_the_mean_of_real_differences():
    clip_means = [0, 100, 22.99864901, 2.29135556, 7.51247748, 5.57683145, 2.74881397, 7.2934419]
    found = score_table(frames_of(), METRICS["dtssd_later"])
    assert found.xs("portrait", level="clip", axis=1).to_numpy().item() == pytest.approx(7.2934419)
    assert aggregate(frames_of(), METRICS["dtssd_later"], "clip_mean") == pytest.approx(np.mean(clip_means))


def test_ours_gives_strata_the_same_weight_and_rvms_gives_it_to_clips():
    one = frames_of({"a": [1.0], "b": [3.0]}, {"a": [0.0], "b": [0.0]})
    both = pd.concat([one, frames_of({"c": [8.0]}, {"c": [0.0]}, "dynamic")])
    assert aggregate(both, METRICS["mad"]) == pytest.approx((2 + 8) / 2)
    assert aggregate(both, METRICS["mad"], "by_frame") == pytest.approx((1 + 3 + 8) / 3)


def test_frames_past_the_700th_are_not_in_rvms_mean():
    long = frames_of({"a": [1.0] * 700 + [9.0] * 50}, {"a": [0.0] * 750})
    assert aggregate(long, METRICS["mad"], "by_frame") == pytest.approx(1)
    assert aggregate(long, METRICS["mad"], "clip_mean") > 1


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(st.floats(0, 100), min_size=6, max_size=6))
def test_orders_agree_on_one_stratum_of_clips_of_one_length(values):
    table = frames_of({"a": values[:3], "b": values[3:]}, {"a": [0.0] * 3, "b": [0.0] * 3})
    found = [aggregate(table, METRICS["mad"], order) for order in ("strata", "by_frame", "clip_mean", "frame_pool")]
    assert found == pytest.approx([np.mean(values)] * 4)


def test_what_cannot_be_measured_is_left_out_and_what_broke_has_no_mean():
    table = frames_of({"a": [1.0, 3.0], "b": [5.0, 5.0]}, {"a": [0.0, 1.0], "b": [0.0, 1.0]})
    table["fgr_mse"] = [np.nan, 2e-3, 4e-3, 4e-3]  # no person in the first frame
    table.loc[3, "mad"] = table.loc[3, "dtssd"] = np.nan  # the matte broke
    table.loc[3, "fgr_mse"] = np.nan
    marked = mark_broken(table)
    fgr = score_table(marked, METRICS["fgr_mse"]).to_numpy()[0]
    assert fgr[0] == pytest.approx(2)
    assert np.isnan(fgr[1])
    assert np.isnan(aggregate(marked, METRICS["mad"]))
    curve = curve_table(marked, METRICS["mad"], [0])
    np.testing.assert_allclose(curve, [[[1, 3], [5, np.nan]]])


def test_every_column_has_a_metric_and_dtssd_has_two():
    assert METRICS["dtssd_later"].column == METRICS["dtssd"].column == "dtssd"
    assert [key for key, metric in METRICS.items() if metric.in_main_table] == [
        "mad", "mse", "grad", "conn", "dtssd", "dtssd_later", "fgr_mse", "epe",
    ]  # fmt: skip
    assert METRICS["iou"].higher_is_better
