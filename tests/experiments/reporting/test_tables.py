"""The tables of a report, and scores.csv."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.experiments.cells_on_disk import WITH, WITHOUT, measure_more, rewrite, scores, small


@pytest.mark.usefixtures("only_tables")
def test_means_go_from_frame_to_clip_to_stratum_to_all(make_cell, experiment, tmp_path, write):
    cell = small(make_cell, WITHOUT, 0)
    frames = [("a", "1", "x", 0, 1.0), ("a", "1", "x", 1, 3.0), ("b", "1", "x", 0, 4.0), ("c", "1", "y", 0, 9.0)]
    table = pd.DataFrame(frames, columns=["clip", "scene", "stratum", "frame", "mad"])
    rewrite(cell, table.assign(mse=0.5, dtssd=table["frame"] * 0.5))
    write(experiment, [cell])
    means = scores(tmp_path)["mean"]
    assert means[("model.brm=false", "mad", "all")] == pytest.approx(1e3 * ((2 + 4) / 2 + 9) / 2)
    assert means[("model.brm=false", "dtssd", "x")] == pytest.approx(1e2 * (0.25 + 0) / 2)


@pytest.mark.usefixtures("undrawn")
def test_clips_of_one_frame_have_no_temporal_error_past_the_first(make_cell, experiment, tmp_path, write):
    write(experiment, [small(make_cell, arm, seed, frames=1) for arm in (WITH, WITHOUT) for seed in range(2)])
    means = scores(tmp_path)["mean"]
    assert means[("model.brm=true", "dtssd", "all")] == 0
    assert np.isnan(means[("model.brm=true", "dtssd_later", "all")])


FURTHER = {"sad": 20.0, "grad": 900.0, "grad_nonorm": 1200.0, "conn": 400.0, "fgr_mse": 0.9, "fgr_mad": 3.0}


@pytest.mark.usefixtures("only_tables")
def test_all_metrics_of_a_record_are_shown_with_their_units_and_directions(make_cell, experiment, tmp_path, write):
    cells = [
        small(make_cell, arm, seed, effect=0.7 if arm is WITH else 1.0) for arm in (WITH, WITHOUT) for seed in range(3)
    ]
    for cell in cells:
        measure_more(cell, **FURTHER)
        table = cell.read_frames()
        rewrite(cell, table.assign(iou=1 - table["mad"]))
    text = write(experiment, cells)
    first = re.search(r"## Scores\n\n(.*)\n", text).group(1)
    order = ["MAD (", "MSE (", "Grad (", "Conn (", "dtSSD (", "dtSSD without frame 0 (", "Foreground MSE ("]
    places = [first.index(f" {label}") for label in order]
    assert places == sorted(places)
    assert "IoU" not in first
    assert "of IoU higher" in text
    found = scores(tmp_path)
    assert found.loc[("model.brm=true", "iou", "all"), "verdict"] == "better"
    assert found.loc[("model.brm=true", "conn", "all"), "mean"] == pytest.approx(
        400e-6 * found.loc[("model.brm=true", "mad", "all"), "mean"]
    )
    assert found.loc[("model.brm=true", "conn", "all"), "p_bh"] <= 1
    assert np.isnan(found.loc[("model.brm=true", "conn", "all"), "p_holm"])
    assert "(BH)" in text


@pytest.mark.usefixtures("only_tables")
def test_the_error_of_the_flow_stands_beside_that_of_the_mattes_by_stratum(make_cell, experiment, tmp_path, write):
    assert "Flow and mattes" not in write(experiment, [small(make_cell, WITHOUT, 0)])
    cells = []
    for seed in range(2):
        moving, exact, without = (
            make_cell({"model.flow": flow}, seed, strata=("static", "pan"), clips=3, frames=4)
            for flow in ("none", "oracle", "gru")
        )
        table = moving.read_frames()
        motion = np.where(table["stratum"] == "pan", 4.0 + seed, 0.5)
        motion[table["frame"] == 0] = np.nan
        rewrite(moving, table.assign(epe=motion))
        rewrite(exact, exact.read_frames().assign(epe=0.0 * motion))
        cells += [moving, exact, without]
    text = write(replace(experiment, baseline={"model.flow": "none"}, labels={}), cells)
    table = text.split("## Flow and mattes by stratum")[1].split("##")[0]
    assert "| Stratum | Arm | End-point error (pixels) | MAD (× 10⁻³) | dtSSD (× 10⁻²) |" in table
    assert "| static | flow=none | 0.50 ± 0.00 |" in table
    assert "| pan | flow=none | 4.50 ± 0.71 |" in table
    assert "| pan | flow=oracle | 0.00 ± 0.00 |" in table
    assert "| pan | flow=gru | — |" in table
    assert "End-point error was not measured" not in text, "a net without flow has none"
    assert scores(tmp_path).loc[("model.flow=none", "epe", "pan"), "mean"] == pytest.approx(4.5)


@pytest.mark.usefixtures("only_tables")
def test_every_quantity_of_the_specification_is_in_the_detailed_table(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(3)])
    table = text.split("## Every figure of the comparisons")[1].split("##")[0]
    columns = ("Mean", "Baseline", "Difference [95 %]", "Relative change [95 %]", "Same within ±2 %", "Effect size",
               "Interquartile mean [95 %]", "Cliff's δ", "P(improvement) [95 %]", "Adjusted p")  # fmt: skip
    assert all(f"| {column} |" in table for column in columns)
    assert "| dtSSD without frame 0 | with BRM |" in table
    for fact in ("Scoring", "Conventions", "Averaging", "Seeds", "Test set", "Intervals", "Family"):
        assert f"\n| {fact} |" in text
    assert "generator seed 0" in text


@pytest.mark.usefixtures("undrawn")
def test_an_arm_whose_cells_all_failed_is_shown_as_failed(make_cell, experiment, write):
    text = write(
        experiment, [small(make_cell, WITHOUT, 0), small(make_cell, WITH, 0, status="failed", error="no memory")]
    )
    assert "| with BRM | 0 | failed | failed |" in text
    assert "no memory" in text
