"""Which cells are in the figures, what they are compared with, and what is told of the others."""

import re
from dataclasses import replace

import numpy as np
import pytest

from experiments.records.fingerprints import describe_data
from tests.experiments.cells_on_disk import WITH, WITHOUT, measure_more, of_data, rewrite, scores, small


@pytest.mark.usefixtures("only_tables")
def test_a_missing_baseline_is_named(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0)])
    assert "The baseline model.brm=false has no complete cell" in text


@pytest.mark.usefixtures("only_tables")
def test_unequal_seeds_are_paired_on_the_common_ones(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, WITH, seed) for seed in (0, 1, 2)] + [
        small(make_cell, WITHOUT, seed) for seed in (1, 2, 5)
    ]
    assert "compared on 1, 2 only" in write(experiment, cells)
    assert scores(tmp_path).loc[("model.brm=true", "mad", "all"), "paired_seeds"] == 2
    assert "no seed in common" in write(experiment, [cells[0], cells[3]])


@pytest.mark.usefixtures("undrawn")
def test_nan_is_shown_and_never_averaged_away(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    table = cells[0].read_frames()
    table.loc[3, "mad"] = np.nan
    rewrite(cells[0], table)
    text = write(experiment, cells)
    assert "MAD of with BRM is NaN in 1 frames (seed 0)" in text
    assert "not testable in MAD" in text


@pytest.mark.usefixtures("only_tables")
def test_cells_of_another_test_set_are_left_out_and_named(make_cell, experiment, write):
    cells = [small(make_cell, WITH, seed) for seed in range(2)]
    cells += [small(make_cell, WITHOUT, 0), small(make_cell, WITHOUT, 1, frames=5)]
    text = write(experiment, cells)
    assert "tested on other clips or frames" in text
    assert "compared on 0 only" in text


@pytest.mark.usefixtures("only_tables")
def test_of_two_cells_of_one_arm_and_seed_the_later_counts(make_cell, experiment, tmp_path, write):
    old, new = small(make_cell, WITHOUT, 0), small(make_cell, {"again": 1}, 0, finished="2027", effect=2.0)
    new.arm = WITHOUT
    assert "run again later" in write(experiment, [old, new])
    expected = new.read_frames().groupby(["stratum", "clip"])["mad"].mean().groupby("stratum").mean().mean()
    assert scores(tmp_path).loc[("model.brm=false", "mad", "all"), "mean"] == pytest.approx(1e3 * expected)


@pytest.mark.usefixtures("only_tables")
def test_a_grid_of_arms_is_sorted_by_value_with_the_baseline_first(make_cell, experiment, write):
    arms = [{"model.prm_k": k, "model.prm_xi": xi} for k in (32, 8, 16) for xi in (0.01, 0.003)]
    experiment = replace(experiment, baseline={"model.prm_xi": 0.01, "model.prm_k": 16}, labels={})
    text = write(experiment, [small(make_cell, arm, 0, frames=3) for arm in arms])
    labels = ("prm_k=16, prm_xi=0.01 (baseline)", "prm_k=8, prm_xi=0.003", "prm_k=8, prm_xi=0.01", "prm_k=32")
    order = [text.index(f"\n| {label}") for label in labels]
    assert order == sorted(order)
    assert "MAD of 5 arms against prm_k=16, prm_xi=0.01" in text


@pytest.mark.usefixtures("only_tables")
def test_an_arm_without_its_own_baseline_is_named_and_the_others_are_compared(make_cell, experiment, write):
    arms = [(0.5, True), (0.5, False), (1.0, True)]
    cells = [small(make_cell, {"model.brm": brm, "model.width": width}, 0) for width, brm in arms]
    text = write(experiment, cells)
    assert "The baseline model.brm=false,model.width=1.0 has no complete cell: with BRM, width=1.0 cannot" in text
    assert "with BRM, width=0.5 against without BRM, width=0.5" in text


@pytest.mark.usefixtures("only_tables")
def test_bad_descriptions_are_refused_in_one_line(make_cell, experiment, write):
    with pytest.raises(ValueError, match="primary metric madd is not known"):
        write(replace(experiment, primary=["madd"]), [])
    with pytest.raises(ValueError, match="smoke, tiny"):
        write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITHOUT, 0, scale="smoke")])


@pytest.mark.usefixtures("only_tables")
def test_a_metric_that_one_arm_lacks_is_shown_for_the_others(make_cell, experiment, write):
    cells = [measure_more(small(make_cell, WITH, 0), fgr_mse=0.5), small(make_cell, WITHOUT, 0)]
    text = write(experiment, cells)
    assert "Foreground MSE was not measured in every cell of without BRM" in text
    assert re.search(r"\| without BRM \(baseline\) \| 1 \|.*\| — \|\n", text)


@pytest.mark.usefixtures("only_tables")
def test_a_foreground_is_scored_only_where_a_net_gives_one(make_cell, experiment, tmp_path, write):
    cells = [measure_more(small(make_cell, arm, seed), fgr_mse=0.5) for arm in (WITH, WITHOUT) for seed in range(2)]
    for cell in cells:
        rewrite(cell, cell.read_frames().assign(foreground_predicted=cell.arm == WITH))
    text = write(experiment, cells)
    assert "No foreground is predicted by without BRM: none is scored." in text
    assert "Foreground MSE was not measured" not in text
    assert re.search(r"\| without BRM \(baseline\) \| 2 \|.*\| — \|\n", text)
    assert set(scores(tmp_path).xs("fgr_mse", level="metric").index.get_level_values("arm")) == {"model.brm=true"}
    for cell in cells:
        rewrite(cell, cell.read_frames().assign(foreground_predicted=False))
    text = write(experiment, cells)
    assert "Foreground MSE" not in text
    assert "No foreground is predicted" not in text


@pytest.mark.usefixtures("only_tables")
def test_frames_with_nothing_to_measure_are_counted_and_left_out(make_cell, experiment, tmp_path, write):
    cells = [measure_more(small(make_cell, arm, seed), fgr_mse=0.5) for arm in (WITH, WITHOUT) for seed in range(2)]
    for cell in cells:
        table = cell.read_frames()
        table.loc[table["frame"] == 2, "fgr_mse"] = np.nan
        rewrite(cell, table)
    assert "Foreground MSE has nothing to measure in 6 of 24 frames" in write(experiment, cells)
    assert np.isfinite(scores(tmp_path).loc[("model.brm=true", "fgr_mse", "all"), "difference"])


@pytest.mark.usefixtures("only_tables")
def test_a_primary_metric_of_the_experiment_that_no_record_has_is_replaced_and_named(make_cell, experiment, write):
    text = write(replace(experiment, primary=["grad"]), [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)])
    assert "Grad was not measured." in text
    assert "Declared before the runs: MAD" in text


@pytest.mark.usefixtures("only_tables")
def test_cells_of_other_data_are_named_and_left_out_and_those_that_do_not_say_are_named(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed, **of_data("11")) for arm in (WITH, WITHOUT) for seed in (0, 1)]
    cells.append(small(make_cell, WITH, 2, effect=9.0, **of_data("22")))
    cells.append(small(make_cell, WITHOUT, 3))
    text = write(experiment, cells)
    assert "of other data (22) than the other cells (11)" in text
    assert f"{cells[-1].cell}: its record does not say what data it is of." in text
    assert "with BRM: 0, 1; without BRM: 0, 1, 3" in text or "without BRM: 0, 1, 3; with BRM: 0, 1" in text
    alone = write(experiment, [small(make_cell, arm, 5) for arm in (WITH, WITHOUT)])
    assert "does not say" not in alone


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("times", [1.4, 1.6])
def test_nets_of_unlike_size_are_named(make_cell, experiment, write, times):
    cells = [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)]
    cells[0].cost["parameters"] *= times
    cells[0].save()
    told = f"Arms differ in size, from 1.23 (without BRM) to {1.234567 * times:.2f} (with BRM) million parameters"
    assert (told in write(experiment, cells)) is (times > 1.5)


@pytest.mark.usefixtures("only_tables")
def test_an_arm_whose_recipe_has_a_segmentation_pass_is_compared_with_those_without(make_cell, experiment, write):
    people = {f"people of {part}": {"name": part} for part in ("train", "val", "test")}
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in (0, 1)]
    for cell in cells:
        images = {"segmentation.image": {"name": "images"}} if cell.arm == WITH else {}
        cell.data = describe_data(people | images, None)
        cell.save()
    text = write(experiment, cells)
    assert "of other data" not in text
    assert "with BRM against without BRM, 2 seeds" in text
