"""Cells as those of `tests/experiments`."""

from tests.experiments.conftest import make_cell as make_cell
