"""Pictures of the test clips."""

from dataclasses import replace

import pytest
from PIL import Image

from experiments.reporting import panels
from tests.experiments.cells_on_disk import WITHOUT, small


@pytest.mark.usefixtures("undrawn")
def test_a_torn_strip_leaves_its_row_out(make_cell, experiment, tmp_path, write):
    cell = small(make_cell, WITHOUT, 0, media=True)
    (cell.folder / "media" / "pan__person_0__frame.png").write_bytes(b"torn")
    write(experiment, [cell])
    assert len(list((tmp_path / "results" / "figures").glob("panel_*"))) == 2


@pytest.mark.usefixtures("undrawn")
def test_a_label_of_several_lines_stands_in_one(make_cell, experiment, tmp_path, write):
    experiment = replace(experiment, labels={"model.brm=false": "with\nmany\nlines, " + 50 * "long "})
    write(experiment, [small(make_cell, WITHOUT, 0, media=True)])
    panel = Image.open(tmp_path / "results" / "figures" / "mattes.jpg")
    assert panel.size == (panels.WIDTH + 2 * panels.MARGIN, 3 * (192 + panels.GAP) + panels.TITLE_GAP + panels.MARGIN)


def test_what_is_wider_than_the_panel_ends_in_dots():
    font = panels.ImageFont.truetype(panels.FONT, 18)
    told = panels._one_line("with\n" + 50 * "long ", font)
    assert told.startswith("with long")
    assert told.endswith("…")
    assert font.getlength(told) <= panels.WIDTH
    assert panels._one_line("with  BRM\n", font) == "with BRM"
