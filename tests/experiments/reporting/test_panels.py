"""Pictures of the test clips."""

import pytest

from tests.experiments.cells_on_disk import WITHOUT, small


@pytest.mark.usefixtures("undrawn")
def test_a_torn_strip_leaves_its_row_out(make_cell, experiment, tmp_path, write):
    cell = small(make_cell, WITHOUT, 0, media=True)
    (cell.folder / "media" / "pan__person_0__frame.png").write_bytes(b"torn")
    write(experiment, [cell])
    assert len(list((tmp_path / "results" / "figures").glob("panel_*"))) == 2
