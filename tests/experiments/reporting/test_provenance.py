"""Where figures come from: cells that are not in them."""

import pytest

from tests.experiments.cells_on_disk import WITH, small


@pytest.mark.usefixtures("only_tables")
def test_a_cell_that_nobody_works_on_is_interrupted(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITH, 1, status="running")])
    assert "| interrupted | not finished |" in text


@pytest.mark.usefixtures("only_tables")
def test_a_trunk_that_arms_share_is_told(make_cell, experiment, write, tmp_path):
    told = "the first 4 of 6 steps are those of model.brm=false, the same for all arms"
    text = write(experiment, [small(make_cell, WITH, 0, steps={"matting": {"clips": 2, "trunk": told}})])
    assert f"| Trunk | {told}, trained once a seed |" in text
    assert f" · {told}" in (tmp_path / "results" / "report.html").read_text()
