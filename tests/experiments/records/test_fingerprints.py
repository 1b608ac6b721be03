"""A cell is of its data: what changed in them is told, and nothing is taken for done or gone on with on other ones."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.core.hydra_config import HydraConfig

from experiments.cells import work as cells
from experiments.cells.cell import Cell, prepared_cell
from experiments.records.cell_record import CellRecord
from experiments.records.fingerprints import describe_weights
from experiments.sweep import composed
from tests.experiments.cells_on_disk import complete


def cell_of(folder: Path, *overrides: str) -> Cell:
    """A cell whose outputs lie in a folder."""
    words = ["scale=smoke", "logger=none", f"output_dir={folder}/outputs", *overrides]
    return Cell(composed(words), HydraConfig.get(), axes=())


def on_pictures(folder: Path, *overrides: str) -> Cell:
    own = ("data=image_mattes", f"data.root={folder}/people", f"data.scenes={folder}/places")
    return cell_of(folder, *own, *overrides)


def test_a_record_tells_what_its_cell_reads(pictures: Path) -> None:
    data = CellRecord.load(complete(on_pictures(pictures)).folder).data
    size = sum(file.stat().st_size for file in pictures.glob("*/*.png"))
    assert (data["files"], data["bytes"]) == (6, size)
    parts = [f"{what} of {part}" for part in ("train", "val", "test") for what in ("people", "places")]
    assert list(data["parts"]) == parts


def begun(cell: Cell, say: Callable[[str], Any]) -> bool:
    """Whether the cell is to be run, as its command finds."""
    with prepared_cell(cell, say) as lock:
        return lock is not None


def test_the_same_data_are_complete_and_other_data_start_anew_with_a_line_that_says_what_changed(
    pictures: Path,
) -> None:
    said = list[str]()
    complete(on_pictures(pictures))
    assert not begun(on_pictures(pictures), said.append)
    assert said.pop().endswith(": complete")

    file = pictures / "people/b.png"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    cell = on_pictures(pictures)
    assert not cell.is_complete()
    (cell.folder / "checkpoints").mkdir()
    (cell.folder / "checkpoints" / "matting.ckpt").write_bytes(b"weights of other data")
    assert begun(cell, said.append)
    (line,) = said
    assert "the record is of other data: people of " in line
    assert "(1 files, 0.0 MB, with other content); it was moved aside, to " in line
    assert "\n" not in line
    assert not (cell.folder / "checkpoints").exists()
    (aside,) = (path for path in cell.folder.parent.iterdir() if path != cell.folder)
    assert CellRecord.load(aside).status == "complete"
    assert (aside / "checkpoints" / "matting.ckpt").is_file()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: shutil.copy(root / "people/a.png", root / "people/d.png"),
        lambda root: (root / "places/a.png").rename(root / "places/e.png"),
    ],
)
def test_further_files_and_other_names_are_other_data(pictures: Path, change: Callable[[Path], Any]) -> None:
    complete(on_pictures(pictures))
    change(pictures)
    assert not on_pictures(pictures).is_complete()


def test_another_split_is_other_data_and_what_no_list_names_is_none(pictures: Path) -> None:
    def split(names: str) -> Cell:
        (pictures / "lists").mkdir(exist_ok=True)
        for part, name in zip(("train", "val", "test"), names, strict=True):
            (pictures / "lists" / f"{part}.txt").write_text(f"{name}\n")
        return on_pictures(pictures, f"data.splits={pictures}/lists")

    complete(split("abc"))
    shutil.copy(pictures / "people/a.png", pictures / "people/d.png")
    assert split("abc").is_complete()
    assert not split("bac").is_complete()


def test_an_unfinished_cell_goes_on_with_the_same_data_and_not_with_other_ones(pictures: Path) -> None:
    on_pictures(pictures).prepare()
    mark = on_pictures(pictures).folder / "checkpoint"
    mark.touch()
    assert begun(on_pictures(pictures), print)
    assert mark.exists()
    (pictures / "places/c.png").write_bytes((pictures / "places/a.png").read_bytes())
    assert begun(on_pictures(pictures), print)
    assert not mark.exists()


def test_a_record_from_before_data_were_recorded_is_kept_if_complete_and_said_so(pictures: Path) -> None:
    said = list[str]()
    complete(on_pictures(pictures), data={})
    assert not begun(on_pictures(pictures), said.append)
    assert said.pop().endswith(": complete; its record does not say what data it is of")
    complete(on_pictures(pictures), data={}, status="running")
    assert begun(on_pictures(pictures), said.append)
    assert "the record does not say what data it is of; it was moved aside" in said.pop()


def test_people_and_rooms_made_by_code_are_their_options(tmp_path: Path) -> None:
    data = cell_of(tmp_path).data
    assert (data["files"], data["bytes"]) == (0, 0)
    assert cell_of(tmp_path, f"data.cache_dir={tmp_path}/elsewhere").data == data
    assert cell_of(tmp_path, "data.world=1").data != data
    assert cell_of(tmp_path, "model=rvm").data["parts"].keys() > data["parts"].keys()  # its segmentation passes
    assert not list(tmp_path.iterdir())


def test_other_weights_to_start_from_are_another_config(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    model = {"pretrained": str(file), "flow_options": {"weights": str(file)}}
    one = describe_weights(model)
    file.write_bytes(b"two")
    assert describe_weights(model).keys() == one.keys() == {"pretrained", "flow_options.weights"}
    assert describe_weights(model) != one
    assert describe_weights({"pretrained": True}) == {}


@pytest.mark.slow
def test_a_change_under_way_is_no_complete_cell_and_the_next_run_trains_anew(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("scale.steps=1", "scale.test_clips=1", "scale.test_frames=2", "trainer.calibration_batches=1")
    said, score = list[str](), cells.evaluate

    def run() -> CellRecord:
        cell = on_pictures(pictures, *small)
        with prepared_cell(cell, said.append):
            record = CellRecord.load(cell.folder)
            cells.run_cell(cell.config, record)
        return record

    def add_a_place(*arguments: Any, **options: Any) -> pd.DataFrame:
        shutil.copy(pictures / "places/a.png", pictures / "places/d.png")
        return score(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "evaluate", add_a_place)
        record = run()
    assert record.status == "failed"
    assert "data changed while the cell ran: " in record.error
    assert run().status == "complete"
    assert "the record is of other data: " in said.pop()
    assert not begun(on_pictures(pictures, *small), said.append)
    assert said.pop().endswith(": complete")
