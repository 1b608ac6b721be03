"""What cells need is told and rendered before they start."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
from experiments.cells import rendering
from experiments.cells.cell import Cell
from experiments.cells.launch import CellPool
from experiments.cells.rendering import forecast, render_for, sources_of, sources_to_render
from experiments.sweep import composed
from experiments.training.settings import Settings


@dataclass
class Rendered:
    """What rendering asks of a cell."""

    settings: Any = None
    complete: bool = False

    def is_complete(self) -> bool:
        return self.complete


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Two sources that stand for those of every config."""
    sources: list[object] = [
        ProceduralPeople(num_clips=2, num_frames=2, size=32, extras=(), cache_dir=tmp_path / "cache"),
        ProceduralRooms(num_scenes=3, size=32, parallax=0.0, cache_dir=tmp_path / "cache"),
    ]
    monkeypatch.setattr(rendering, "sources_of", lambda settings: sources)
    return sources


def cells(*complete: bool) -> list[Cell]:
    return cast(list[Cell], [Rendered(complete=each) for each in complete])


def test_what_cells_need_is_rendered_once_and_told(
    tmp_path: Path, made: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    render_for(cells(False, False, True), CellPool(workers=1, gpus=0))
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"render    5 clips and scenes that {tmp_path}/cache lacks: 0 MB, about 1 s on ")
    assert told[1].startswith("rendered  5 clips and scenes in ")
    assert all(source.missing() == [] for source in made)  # type: ignore[attr-defined]
    render_for(cells(False), CellPool(workers=1, gpus=0))
    assert capsys.readouterr().out == ""


def test_nothing_is_rendered_for_cells_that_are_complete(tmp_path: Path, made: list[object]) -> None:
    assert sources_to_render(cells(True, True)) == []
    render_for(cells(True), CellPool(workers=1, gpus=0))
    assert not (tmp_path / "cache").exists()


def test_a_disk_without_room_is_told_before_rendering(
    tmp_path: Path, made: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2, 1, 1))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"rendering needs 0\.0 GB in .*cache, where 0\.0 GB are free: make room"):
        render_for(cells(False), CellPool(workers=1, gpus=0))
    assert not (tmp_path / "cache").exists()


def test_an_old_cache_is_said_to_be_of_no_use(tmp_path: Path, made: list[object]) -> None:
    old = tmp_path / "cache" / "people-0123456789abcdef"
    old.mkdir(parents=True)
    (old / "person-train-0000.npz").write_bytes(bytes(2_000_000))
    assert forecast(made)[0] == f"old cache {old}: 2 MB that nothing reads any more; delete it"


def test_a_config_names_all_that_its_stages_and_its_test_read(tmp_path: Path) -> None:
    config = composed(["scale=smoke", f"data.cache_dir={tmp_path}"])
    sources = sources_of(Settings.of(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))))
    people = [source for source in sources if isinstance(source, ProceduralPeople)]
    assert {source.part for source in people} == {"train", "val", "test"}
    assert {source.part: set(source._store.parts) for source in people} == {
        "train": {"rgba", "texture"},  # for camouflage
        "val": {"rgba", "texture"},
        "test": {"rgba", "flow", "texture"},  # the true motion is what scores are told by
    }


def test_data_that_no_cell_can_start_with_are_refused(tmp_path: Path) -> None:
    config = composed(["scale=smoke", f"data.cache_dir={tmp_path}", "data.source.train.num_clips=0"])
    with pytest.raises(ValueError, match="num_clips"):
        sources_of(Settings.of(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))))
