from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources.backgrounds import FolderBackgrounds
from datamodules.sources.interface import BackgroundSource
from datamodules.video import write_video

Write = Callable[[Path, np.ndarray], None]
ALL = (1.0, 0.0, 0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mixed(tmp_path: Path, images: Write) -> Path:
    folder = tmp_path / "mixed"
    images(folder / "still.jpg", np.full((50, 80, 3), 99, np.uint8))
    for t in range(5):
        images(folder / "frames" / f"{t:04d}.jpg", np.full((40, 40, 3), 40 * t, np.uint8))
    write_video(folder / "film.mp4", torch.stack([torch.full((3, 36, 64), 20 * t) for t in range(8)]).byte(), 25, crf=4)
    return folder


def test_stills_videos_and_frame_folders_come_on_one_canvas(mixed: Path) -> None:
    source = FolderBackgrounds(mixed, "train", size=(24, 30), shares=ALL)
    assert isinstance(source, BackgroundSource)
    names = [source.name(i) for i in range(len(source))]
    assert names == ["mixed/film", "mixed/frames", "mixed/still"]
    scenes = [source.read(i, 4, generator()) for i in range(3)]
    assert [tuple(scene.pictures.shape) for scene in scenes] == [(4, 3, 24, 30), (4, 3, 24, 30), (1, 3, 24, 30)]
    assert [scene.is_video for scene in scenes] == [True, True, False]
    assert scenes[0].pictures.float().mean((1, 2, 3)).diff().sub(20).abs().max() < 3


def test_generator_decides_the_start(mixed: Path) -> None:
    source = FolderBackgrounds(mixed, "train", size=24, shares=ALL, kinds="videos")
    starts = {int(source.read(0, 2, generator(seed)).pictures[0].float().mean() / 20 + 0.5) for seed in range(40)}
    assert starts == set(range(7))
    assert torch.equal(source.read(0, 2, generator(3)).pictures, source.read(0, 2, generator(3)).pictures)


def test_kinds_and_several_folders(mixed: Path, rooms_folder: Path) -> None:
    assert len(FolderBackgrounds(mixed, "train", shares=ALL, kinds="stills")) == 1
    assert len(FolderBackgrounds([mixed, rooms_folder], "train", shares=ALL)) == 13


def test_parts_share_no_scene(rooms_folder: Path) -> None:
    sources = [FolderBackgrounds(rooms_folder, part) for part in ("train", "val", "test")]
    names = [source.name(i) for source in sources for i in range(len(source))]
    assert len(names) == len(set(names)) == 10


def test_wrong_folders_are_named(tmp_path: Path, mixed: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        FolderBackgrounds(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="kinds of backgrounds must be"):
        FolderBackgrounds(mixed, "train", kinds="pictures")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no backgrounds of kind all"):
        FolderBackgrounds(tmp_path / "empty", "train")


def test_two_scenes_of_one_name_are_refused(tmp_path: Path, images: Write) -> None:
    for path in (tmp_path / "a" / "rooms" / "x.png", tmp_path / "b" / "rooms" / "x.jpg"):
        images(path, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"x\.png and .*x\.jpg have one name, 'rooms/x'"):
        FolderBackgrounds([tmp_path / "a" / "rooms", tmp_path / "b" / "rooms"], "train", shares=ALL)


@pytest.mark.parametrize("ending", ["MTS", "mpg", "wmv", "3gp"])
def test_films_of_cameras_and_screens_are_not_passed_over(mixed: Path, ending: str) -> None:
    (mixed / "film.mp4").rename(mixed / f"film.{ending}")
    source = FolderBackgrounds(mixed, "train", size=(24, 30), shares=ALL, kinds="videos")
    assert [source.name(i) for i in range(len(source))] == ["mixed/film", "mixed/frames"]
    assert source.num_frames(0) == 8
