"""What is compared with what, and what too little data say."""

import re
from dataclasses import replace

import numpy as np
import pytest

from experiments.records.cell_record import CellRecord, write_config
from tests.experiments.cells_on_disk import WITH, WITHOUT, rewrite, scores, small


@pytest.mark.usefixtures("undrawn")
def test_one_seed_and_one_clip_get_no_verdict(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, arm, 0, strata=("static",), clips=1) for arm in (WITH, WITHOUT)]
    assert "1 seed and 1 clip: no interval can be had" in write(experiment, cells)
    row = scores(tmp_path).loc[("model.brm=true", "mad", "all")]
    assert row["verdict"] == "not testable"
    assert np.isnan(row["difference_low"])


@pytest.mark.usefixtures("undrawn")
def test_each_arm_of_a_further_axis_is_compared_within_it(make_cell, experiment, tmp_path, write):
    effects = {(0.5, True): 0.8, (0.5, False): 1.0, (1.0, True): 2.4, (1.0, False): 2.0}
    cells = [
        small(make_cell, {"model.width": width, "model.brm": brm}, seed, effect=effect)
        for (width, brm), effect in effects.items()
        for seed in range(2)
    ]
    text = write(experiment, cells)
    for width in ("0.5", "1.0"):
        assert f"with BRM, width={width} against without BRM, width={width}, 2 seeds: " in text
        assert f"\n| without BRM, width={width} (baseline) |" in text
    assert "nothing is compared" not in text
    table = scores(tmp_path)
    found = table.xs(("mad", "all"), level=("metric", "stratum"))["difference"].dropna()
    assert sorted(found.index) == ["model.brm=true,model.width=0.5", "model.brm=true,model.width=1.0"]
    change = table["relative"].xs(("mad", "all"), level=("metric", "stratum"))
    assert change["model.brm=true,model.width=0.5"] == pytest.approx(-0.2, abs=0.05)
    assert change["model.brm=true,model.width=1.0"] == pytest.approx(0.2, abs=0.05)
    against = table["against"].xs(("mad", "all"), level=("metric", "stratum"))
    assert against["model.brm=true,model.width=1.0"] == "model.brm=false,model.width=1.0"


def share_cells(make_cell, still: float = 0.5) -> list[CellRecord]:
    """Four seeds without a memory, with BRM, and with an oracle, whose errors are half; `still`: of still people."""
    effects = {False: 1.0, True: 0.9, "oracle": 0.5}
    cells = [make_cell({"model.brm": brm}, seed, effect) for brm, effect in effects.items() for seed in range(4)]
    people = {"pan": {"foreground_speed": [2.0, 2.0]}, "static": {"foreground_speed": [0.0, 0.0]}}
    data = {"difficulty": {"static_share": 0.3}, "test_strata": people}
    for cell in cells:
        write_config(cell.folder / "config.yaml", {"data": data})
        table = cell.read_frames()
        if cell.arm["model.brm"] == "oracle":
            table.loc[table["stratum"] == "static", ["mad", "dtssd"]] *= still / 0.5
        rewrite(cell, table)
    return cells


WITH_ORACLE = {"bound": {"model.brm": "oracle"}}
SHARE = r"(\+\d+) % \[(\+\d+), (\+\d+)\] in (?:MAD|dtSSD)"


@pytest.mark.slow
def test_the_share_of_the_bounds_gain_is_told_with_its_interval_of_still_and_moving_people_too(
    make_cell, experiment, write
):
    text = write(replace(experiment, **WITH_ORACLE), share_cells(make_cell))
    (told,) = re.findall(r"Of what brm=oracle gains, with BRM gains (.*)", text)
    assert re.match(rf"{SHARE} and {SHARE} \(still person: {SHARE} and {SHARE}; moving person: ", told)
    found = re.findall(SHARE, told)
    assert len(found) == 6
    for share, low, high in (map(int, each) for each in found):
        assert low < share < high
        assert abs(share - 20) < 4


@pytest.mark.slow
def test_no_share_is_told_of_clips_in_which_the_bound_gains_next_to_nothing(make_cell, experiment, write):
    text = write(replace(experiment, **WITH_ORACLE), share_cells(make_cell, still=1.0))
    (told,) = re.findall(r"Of what brm=oracle gains, with BRM gains (.*)", text)
    assert "moving person: " in told
    assert "still person: " not in told
