"""The answer in sentences."""

import re
from dataclasses import replace

import numpy as np
import pytest

from experiments.records.cell_record import write_config
from tests.experiments.cells_on_disk import WITH, WITHOUT, rewrite, small


@pytest.mark.usefixtures("undrawn")
def test_one_arm_alone_is_shown_without_a_comparison(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITHOUT, 0)])
    assert "nothing to compare it with" in text
    assert "## Differences" not in text


@pytest.mark.usefixtures("only_tables")
def test_one_seed_claims_no_interval_over_seeds(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITHOUT, 0)])
    assert "1 seed: nothing is said of training" in text


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(
    "config",
    [
        {"model": {"name": "rvm", "weights": "rvm.pth", "weights_sha256": "ab"}},
        {"model": {"name": "rvm"}, "checkpoint": "rvm.pth", "checkpoint_sha256": "ab"},
    ],
    ids=["a cell without training", "an evaluation"],
)
def test_arms_of_one_net_have_a_verdict_from_one_seed_and_other_weights_have_none(make_cell, experiment, write, config):
    cells = [small(make_cell, WITH, 0, effect=0.5, clips=8), small(make_cell, WITHOUT, 0, clips=8)]
    for cell in cells:
        write_config(cell.folder / "config.yaml", config)
        cell.save()
    text = write(experiment, cells)
    assert "with BRM against without BRM, the same weights: better in MAD and dtSSD" in text
    assert "the intervals are over people alone, and hold for this net" in text
    assert "nothing is said of training" not in text
    write_config(
        cells[0].folder / "config.yaml", config | {"model": {"weights_sha256": "cd"}, "checkpoint_sha256": "cd"}
    )
    cells[0].save()
    assert "with BRM against without BRM, 1 seed: nothing is said of training" in write(experiment, cells)


@pytest.mark.usefixtures("only_tables")
def test_where_no_difference_is_shown_it_is_told_what_is_excluded_and_what_would_be_shown(make_cell, experiment, write):
    draw = np.random.default_rng(0)
    cells = []
    for arm in (WITH, WITHOUT):
        for seed in range(4):
            cell = small(make_cell, arm, seed, clips=8)
            table = cell.read_frames()
            table["mad"] *= np.exp(0.2 * draw.normal() + 0.2 * draw.normal(size=len(table)))
            cells.append(cell)
            rewrite(cell, table)
    told = write(replace(experiment, primary=["mad"]), cells).split("##")[0]
    assert re.search(r"no difference shown in MAD \(changes beyond −\d+ … \+\d+ % are excluded; a true ", told)
    assert re.search(r"a true change of −\d+ / \+\d+ % would be shown by four of five such experiments", told)


@pytest.mark.slow
def test_no_share_is_told_of_a_gain_that_the_bound_does_not_have(make_cell, experiment, write):
    experiment = replace(experiment, bound={"model.brm": "oracle"})
    cells = [make_cell({"model.brm": brm}, seed) for brm in (False, True, "oracle") for seed in range(3)]
    text = write(experiment, cells)
    assert (
        "brm=oracle shows no clear gain in MAD and dtSSD: there is nothing that with BRM could have a share of." in text
    )
    assert "Of what" not in text


@pytest.mark.slow
def test_arms_that_could_have_no_share_are_named_in_one_sentence(make_cell, experiment, write):
    experiment = replace(experiment, baseline={"flow": "none"}, bound={"flow": "oracle"}, labels={})
    flows = ("none", "dis", "pwcnet", "oracle")
    text = write(experiment, [make_cell({"flow": flow}, seed) for flow in flows for seed in range(3)])
    assert text.count("shows no clear gain") == 1
    told = "flow=oracle shows no clear gain in MAD and dtSSD: there is nothing that flow=dis or flow=pwcnet could have"
    assert told in text


CLAIMS = "Published claims, on these data and at this scale: "


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(
    ("effect", "seeds", "told"),
    [(0.5, 3, "supported: The background that"), (2.0, 3, "contradicted: The"), (0.5, 2, "too few seeds: The")],
)
def test_published_claims_get_a_finding_that_a_terminal_shows_too(
    make_cell, experiment, tmp_path, write, effect, seeds, told
):
    cells = [small(make_cell, arm, seed, effect=effect if arm is WITH else 1.0, clips=8)
             for arm in (WITH, WITHOUT) for seed in range(seeds)]  # fmt: skip
    assert CLAIMS + told in write(experiment, cells)
    assert CLAIMS in (tmp_path / "results" / "answer.txt").read_text()
    assert "(MODNet-V, Figure 4: dtSSD" in (tmp_path / "results" / "report.md").read_text()
    assert CLAIMS not in write(replace(experiment, name="of my own"), cells)


@pytest.mark.usefixtures("only_tables")
def test_an_experiment_that_only_asks_has_a_report_without_claims(make_cell, experiment, tmp_path, write):
    asks = replace(experiment, name="of my own", claim="", source="")
    text = write(asks, [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)])
    assert asks.question in text
    assert not any("claim" in each.lower() for each in (text, (tmp_path / "results" / "report.md").read_text()))


@pytest.mark.usefixtures("only_tables")
def test_a_restored_background_is_told_beside_what_one_colour_would_reach(make_cell, experiment, write):
    cell = small(make_cell, WITH, 0)
    last = cell.read_frames()["frame"].max()
    text = write(experiment, [cell, small(make_cell, WITHOUT, 0)])
    told = "PSNR of the restored background rises by {:.1f} dB, from 20.0 to {:.1f} (with BRM; one colour reaches 18.5)"
    assert told.format(0.2 * last, 20 + 0.2 * last) in text
    rewrite(cell, cell.read_frames().drop(columns="flat_background_psnr"))  # older records
    assert "(with BRM)" in write(experiment, [cell])
