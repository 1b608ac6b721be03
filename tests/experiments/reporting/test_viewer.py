"""The viewer of a report's test clips."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.report import write_report
from experiments.reporting import viewer as viewers
from experiments.reporting.matrix import build_matrix
from experiments.reporting.viewer import viewer

WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}
SIDE, FRAMES = 16, 4


def sheets(folder: Path, stratum: str, clip: str, names: tuple[str, ...]) -> None:
    """Sheets of one clip: noise of FRAMES frames in a row."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE * FRAMES, 3), dtype=np.uint8)
    for name in names:
        Image.fromarray(pixels).save(folder / f"{stratum}__{clip}__{name}.webp")


@pytest.fixture
def cells(make_cell):
    """Two arms of one seed, two conditions, four clips of which pictures are kept of three."""
    found = [make_cell(arm, 0, strata=("static", "pan"), clips=4, frames=FRAMES) for arm in (WITH, WITHOUT)]
    for cell in found:
        for stratum in ("static", "pan"):
            for clip in ("person_0", "person_1", "person_2"):
                names = ("frame", "alpha_true", "alpha_pred", *(["background_restored"] * (cell.arm == WITH)))
                sheets(cell.folder / "media", stratum, clip, names)
    more = {"effect": 2.0, "strata": ("static", "pan"), "clips": 4, "frames": FRAMES}
    found += [make_cell(arm, 1, **more) for arm in (WITH, WITHOUT)]  # another seed, of which nothing is shown
    return found


def errors(cell) -> dict[tuple[str, str], float]:
    table = pd.read_parquet(cell.folder / "metrics.parquet")
    return table.groupby(["stratum", "clip"])["mad"].mean().to_dict()


def test_the_hardest_the_median_and_the_easiest_clip_of_each_condition_are_shown(cells, experiment):
    found = viewer(build_matrix(experiment, cells))
    assert found is not None
    assert found["left_out"] == 0
    total = {key: sum(errors(cell)[key] for cell in cells) for key in errors(cells[0])}
    for stratum in ("static", "pan"):
        shown = {clip["choice"]: clip["name"] for clip in found["clips"] if clip["condition"] == stratum}
        kept = sorted(("person_0", "person_1", "person_2"), key=lambda clip: total[stratum, clip])
        assert shown == {"easiest": kept[0], "median": kept[1], "hardest": kept[2]}


def test_each_arm_has_its_own_layers_and_its_error_and_the_input_stands_once(cells, experiment):
    matrix = build_matrix(experiment, cells)
    found = viewer(matrix)
    assert found["arms"] == ["without BRM", "with BRM"]
    clip = found["clips"][0]
    assert clip["frames"] == FRAMES
    assert clip["layers"].keys() == {"frame", "alpha_true"}
    assert [arm["layers"].keys() for arm in clip["arms"]] == [{"alpha_pred"}, {"alpha_pred", "background_restored"}]
    expected = 1000 * errors(cells[1])[clip["condition"], clip["name"]]
    assert clip["arms"][0]["error"] == f"MAD {expected:.2f}"


def test_clips_without_room_are_left_out_and_median_ones_come_first(cells, experiment, monkeypatch):
    matrix = build_matrix(experiment, cells)
    one = sum(path.stat().st_size for cell in cells for path in cell.folder.glob("media/pan__person_0__*.webp"))
    monkeypatch.setattr(viewers, "MAX_BYTES", 2 * one)
    found = viewer(matrix)
    assert {clip["choice"] for clip in found["clips"]} == {"median"}
    assert found["left_out"] == 4


@pytest.mark.slow
def test_without_pictures_there_is_no_viewer(make_cell, experiment, tmp_path):
    cells = [make_cell(arm, 0, strata=("pan",), clips=2, frames=FRAMES) for arm in (WITH, WITHOUT)]
    assert viewer(build_matrix(experiment, cells)) is None
    page = write_report(experiment, cells, tmp_path / "results", resamples=100)
    assert "viewer-data" not in page.read_text()


DRIVE = """
<script>
const press = (key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const place = () => ["place", "clip", "condition"].map((name) => {
  const one = document.getElementById("viewer-" + name);
  return one.selectedOptions ? one.selectedOptions[0].text : one.textContent;
}).join(" | ");
const wait = async () => {
  for (let i = 0; i < 1e7; i++) Math.sqrt(i);  // the browser's clock runs ahead of the threads that read the pictures
  await new Promise((done) => setTimeout(done, 150));
};
addEventListener("load", async () => {
  const said = [];
  document.getElementById("viewer").scrollIntoView();
  while (!document.getElementById("viewer-place").textContent) await wait();  // pictures are read first
  for (const key of ["", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowDown"]) {
    if (key) press(key);
    await wait();
    said.push(place());
  }
  document.title = said.join(" ; ") + " ; " + document.querySelectorAll("#viewer-panes canvas").length + " canvases";
});
</script>
"""


@pytest.mark.slow
def test_a_browser_shows_it_and_keys_drive_it(cells, experiment, tmp_path, browse):
    experiment = replace(experiment, question="</script><script>document.title = 'hacked'</script>")
    page = write_report(experiment, cells, tmp_path / "results", resamples=100)
    page.write_text(page.read_text().replace("</body>", DRIVE + "</body>"))
    told = browse(page, "--virtual-time-budget=200000", "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", told)[1].split(" ; ")
    assert [text.partition(" of")[0] for text in title[:4]] == ["frame 0", "frame 1", "frame 0", f"frame {FRAMES - 1}"]
    assert title[4].partition(" | ")[2] != title[3].partition(" | ")[2]
    assert title[5] == "4 canvases"
