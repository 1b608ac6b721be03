"""Pages as text."""

import re

import pytest

from tests.experiments.cells_on_disk import WITH, WITHOUT, small


@pytest.mark.usefixtures("only_tables")
def test_every_row_of_markdown_has_the_columns_of_its_head(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    for block in re.findall(r"(?:^\|.*\n)+", write(experiment, cells), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
