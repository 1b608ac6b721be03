"""The figures of a report."""

import pytest

from tests.experiments.cells_on_disk import WITH, WITHOUT, small


@pytest.mark.usefixtures("undrawn")
def test_cost_is_drawn_where_arms_differ_in_it(make_cell, experiment, tmp_path, write):
    cost = {"parameters": 1, "milliseconds_per_frame": 4.0, "frame": "96×96"}
    cells = [
        small(make_cell, arm, 0, cost=cost | {"gmacs_per_frame": gmacs}) for arm, gmacs in ((WITH, 2.0), (WITHOUT, 1.0))
    ]
    assert "figures/cost.png" in write(experiment, cells)
    same = [small(make_cell, arm, 1, cost=cost | {"gmacs_per_frame": 1.0}) for arm in (WITH, WITHOUT)]
    assert "figures/cost.png" not in write(experiment, same)
