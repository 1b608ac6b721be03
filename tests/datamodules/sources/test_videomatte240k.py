from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.sources.backgrounds import FolderBackgrounds
from datamodules.sources.interface import ForegroundSource
from datamodules.sources.videomatte240k import VideoMatte240K, VideoMattes
from datamodules.video import read_frames, write_video

Write = Callable[[Path, np.ndarray], None]
ALL = (1.0, 0.0, 0.0)


def colours(frames: int = 6, height: int = 36, width: int = 64) -> Tensor:
    return torch.stack([torch.full((3, height, width), 20 + 30 * t, dtype=torch.uint8) for t in range(frames)])


def alphas(frames: int = 6, height: int = 36, width: int = 64) -> Tensor:
    pha = torch.zeros(frames, 3, height, width, dtype=torch.uint8)
    pha[..., 8:, 20:44] = 255
    return pha


def write_pair(rgb: Path, pha: Path, frames: int = 6) -> None:
    for path, pixels in ((rgb, colours(frames)), (pha, alphas(frames))):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, pixels, 25, crf=4)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    for name in ("train/{}/0000", "train/{}/0001", "train/{}/0002", "test/{}/0000"):
        write_pair(tmp_path / f"{name.format('fgr')}.mp4", tmp_path / f"{name.format('pha')}.mp4")
    return tmp_path


def test_pair_is_read_frame_by_frame(tmp_path: Path) -> None:
    write_pair(tmp_path / "anna_rgb.mp4", tmp_path / "anna_pha.mp4")
    source = VideoMattes(tmp_path, "train", size=36, shares=ALL)
    assert isinstance(source, ForegroundSource)
    assert (len(source), source.name(0), source.num_frames(0)) == (1, "anna", 6)
    clip = source.read(0, [4, 1])
    assert clip.fgr.shape == (2, 3, 36, 36)
    assert clip.pha.shape == (2, 1, 36, 36)
    assert (clip.fgr[:, 0, 18, 18].float() - torch.tensor([140.0, 50.0])).abs().max() < 4
    # Centred on the person and cut to the canvas, which keeps all of it.
    assert abs((clip.pha[0] > 127).sum().item() - 24 * 28) < 40


def test_official_folders_and_rvms_validation_clips(official: Path) -> None:
    names = {
        part: [source.name(i) for i in range(len(source))]
        for part in ("train", "val", "test")
        for source in [VideoMatte240K(official, part, size=32)]
    }
    assert names == {"train": ["train/0001", "train/0002"], "val": ["train/0000"], "test": ["test/0000"]}
    assert VideoMatte240K(official, "test", size=32).read(0, [0, 1]).fgr.shape == (2, 3, 32, 32)


def test_valid_folder_is_the_validation_set_if_there_is_one(official: Path) -> None:
    write_pair(official / "valid/fgr/0100.mp4", official / "valid/pha/0100.mp4")
    source = VideoMatte240K(official, "val", size=32)
    assert [source.name(i) for i in range(len(source))] == ["valid/0100"]


def test_frame_folders_are_read_like_videos(tmp_path: Path, images: Write) -> None:
    for kind, pixels in (("fgr", colours()), ("pha", alphas())):
        for t in range(6):
            images(tmp_path / "train" / kind / "0007" / f"{t:05d}.jpg", pixels[t].permute(1, 2, 0).numpy())
    source = VideoMatte240K(tmp_path, "train", size=36)
    assert source.num_frames(0) == 6
    assert (source.read(0, [3]).fgr.float() - 110).abs().max() < 4


def test_wrong_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        VideoMattes(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="no such folder"):
        VideoMatte240K(tmp_path, "train")
    with pytest.raises(ValueError, match="no pairs"):
        VideoMattes(tmp_path, "train")
    write_pair(tmp_path / "a_rgb.mp4", tmp_path / "a_pha.mp4")
    with pytest.raises(ValueError, match="no names for test among 1"):
        VideoMattes(tmp_path, "test")
    write_video(tmp_path / "a_pha.mp4", alphas(4), 25)
    with pytest.raises(ValueError, match=r"a_pha\.mp4: 4 frames, a_rgb\.mp4 has 6"):
        VideoMattes(tmp_path, "train", shares=ALL).num_frames(0)
    write_video(tmp_path / "a_pha.mp4", alphas(6, 20, 20), 25)
    with pytest.raises(ValueError, match=r"20×20 pixels, a_rgb\.mp4 has 64×36"):
        VideoMattes(tmp_path, "train", shares=ALL).num_frames(0)
    (tmp_path / "a_pha.mp4").unlink()
    with pytest.raises(ValueError, match=r"a_rgb\.mp4: no alpha NAME_pha\.mp4 for it"):
        VideoMattes(tmp_path, "train", shares=ALL)


def test_files_smaller_than_the_canvas_are_not_enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path / "a_rgb.mp4", tmp_path / "a_pha.mp4")
    decoded = []

    def recorded(path: Path, frames: list[int], height: int, width: int) -> Tensor:
        decoded.append((height, width))
        return read_frames(path, frames, height, width)

    for module in ("sources.videomatte240k", "files.mattes", "sources.backgrounds"):
        monkeypatch.setattr(f"datamodules.{module}.read_frames", recorded)
    clip = VideoMattes(tmp_path, "train", size=72, shares=ALL).read(0, [1, 2])
    assert clip.fgr.shape == (2, 3, 36, 36)  # of the canvas's shape
    assert clip.pha.shape == (2, 1, 36, 36)
    assert clip.pha[0, 0, -10:, 15:20].min() > 250  # the person is in the middle of the window
    scene = FolderBackgrounds(tmp_path, "train", size=72, shares=ALL).read(0, 3, torch.Generator())
    assert scene.pictures.shape == (3, 3, 36, 36)
    assert set(decoded) == {(36, 64)}  # as the files are
