"""Where figures come from: cells that are not in them."""

import pytest

from tests.experiments.cells_on_disk import WITH, WITHOUT, small


@pytest.mark.usefixtures("only_tables")
def test_a_cell_that_nobody_works_on_is_interrupted(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITH, 1, status="running")])
    assert "| interrupted | not finished |" in text


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(
    ("identities", "told"),
    [("aa", "trained once a seed for all arms"), ("ab", "which not all arms of a seed share")],
)
def test_a_trunk_is_told_and_whether_arms_share_it(make_cell, experiment, write, tmp_path, identities, told):
    first = "the first 4 of 6 steps are those of model.brm=false"
    cells = [
        small(make_cell, arm, 0, steps={"matting": {"clips": 2, "trunk": {"told": first, "identity": identity}}})
        for arm, identity in zip((WITH, WITHOUT), identities, strict=True)
    ]
    assert f"| Trunk | {first}, {told} |" in write(experiment, cells)
    assert f" · {first}, {told}" in (tmp_path / "results" / "report.html").read_text()
