"""Where figures come from: cells that are not in them."""

import pytest

from tests.experiments.cells_on_disk import WITH, small


@pytest.mark.usefixtures("only_tables")
def test_a_cell_that_nobody_works_on_is_interrupted(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITH, 1, status="running")])
    assert "| interrupted | not finished |" in text
