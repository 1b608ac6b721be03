"""Sets in the official layouts, written here by other means than ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.testset import FolderTestSet
from datamodules.testset.folder import FolderClip
from datamodules.testset.interface import TestClip as Clip  # by its own name pytest would take it for a test

SIZE = (18, 24)
MODES = {"com": 3, "pha": 1, "fgr": 3, "bgr": 3}


def pixels(layer: str, clip: int, frame: int) -> np.ndarray:
    shape = (*SIZE, 3) if MODES[layer] == 3 else SIZE
    return np.random.default_rng([clip, frame, *layer.encode()]).integers(0, 256, shape, np.uint8)


def write(folder: Path, layer: str, clip: int, frames: int = 3, name: str = "{:04d}.png") -> None:
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(pixels(layer, clip, t)).save(folder / name.format(t))


def official(root: Path, layers: str = "com pha fgr bgr", frames: int = 3) -> Path:
    for kind in ("videomatte_motion", "videomatte_static"):
        for clip in range(3):
            for layer in layers.split():
                write(root / kind / f"{clip:04d}" / layer, layer, clip, frames)
    return root


def assert_is(clip: FolderClip, number: int, start: int = 0, stop: int = 3) -> None:
    batch = clip.read(start, stop)
    for layer, field in {"com": "frames", "pha": "alpha", "fgr": "foreground", "bgr": "background"}.items():
        expected = np.stack([pixels(layer, number, t).reshape(*SIZE, -1) for t in range(start, stop)])
        found = getattr(batch, field)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found[0].permute(0, 2, 3, 1).numpy(), expected.astype(np.float32) / 255)


def test_the_layout_of_rvms_scripts(tmp_path: Path) -> None:
    test_set = FolderTestSet(official(tmp_path))
    assert [clip.key for clip in test_set][:4] == [
        "videomatte_motion/0000", "videomatte_motion/0001", "videomatte_motion/0002", "videomatte_static/0000",
    ]  # fmt: skip
    for clip in test_set:
        assert isinstance(clip, Clip)
        assert (clip.num_frames, clip.size, clip.has_foreground, clip.has_background) == (3, SIZE, True, True)
        assert_is(clip, int(clip.name))
        assert_is(clip, int(clip.name), 1, 2)
    assert [clip.stratum for clip in test_set[2:4]] == ["videomatte_motion", "videomatte_static"]


def test_the_layout_of_their_help_text(tmp_path: Path) -> None:
    for layer in MODES:
        for clip in range(2):
            write(tmp_path / "static" / layer / f"{clip:04d}", layer, clip)
    test_set = FolderTestSet(tmp_path)
    assert [clip.key for clip in test_set] == ["static/0000", "static/0001"]
    assert_is(test_set[1], 1)


@pytest.mark.parametrize("layer_first", [False, True])
def test_one_level_has_no_strata(tmp_path: Path, layer_first: bool) -> None:
    for clip in range(2):
        for layer in MODES:
            folder = tmp_path / layer / f"c{clip}" if layer_first else tmp_path / f"c{clip}" / layer
            write(folder, layer, clip)
    test_set = FolderTestSet(tmp_path)
    assert [(clip.key, clip.stratum, clip.name) for clip in test_set] == [("c0", "", "c0"), ("c1", "", "c1")]
    assert_is(test_set[0], 0)


def test_a_folder_that_is_one_clip(tmp_path: Path) -> None:
    for layer in MODES:
        write(tmp_path / "walk" / layer, layer, 4)
    (clip,) = FolderTestSet(tmp_path / "walk")
    assert clip.key == "walk"
    assert_is(clip, 4)


def test_frames_and_clips_are_sorted_as_numbers_and_hidden_files_left_out(tmp_path: Path) -> None:
    for clip in (2, 10):
        for layer in MODES:
            write(tmp_path / "static" / str(clip) / layer, layer, clip, frames=11, name="{}.png")
            (tmp_path / "static" / str(clip) / layer / "._0.png").write_bytes(b"left by another system")
    (tmp_path / "static" / ".11").mkdir()
    test_set = FolderTestSet(tmp_path)
    assert [clip.name for clip in test_set] == ["2", "10"]
    assert_is(test_set[0], 2, 0, 11)


def test_jpeg_frames_are_read(tmp_path: Path) -> None:
    for layer in ("com", "pha"):
        write(tmp_path / "static" / "0000" / layer, layer, 0, name="{:04d}.jpg")
    batch = FolderTestSet(tmp_path)[0].read(0, 3)
    files = [tmp_path / "static" / "0000" / "pha" / f"{t:04d}.jpg" for t in range(3)]
    expected = np.stack([np.array(Image.open(file)) for file in files])
    np.testing.assert_allclose(batch.alpha[0, :, 0].numpy() * 255, expected, atol=1.01)


def test_what_a_set_does_not_tell_is_nan(tmp_path: Path) -> None:
    clip = FolderTestSet(official(tmp_path, layers="com pha"))[0]
    assert not clip.has_foreground
    assert not clip.has_background
    batch = clip.read(0, 2)
    assert batch.foreground.shape == batch.background.shape == batch.frames.shape
    assert batch.foreground.isnan().all()
    assert batch.background.isnan().all()


def test_one_background_picture_is_that_of_all_frames(tmp_path: Path) -> None:
    official(tmp_path, layers="com pha")
    write(tmp_path / "videomatte_static" / "0000" / "bgr", "bgr", 0, frames=1)
    background = FolderTestSet(tmp_path)[3].read(0, 3).background
    assert (background == background[:, :1]).all()
    assert background.shape[1] == 3


def test_people_who_take_turns_are_told_apart(tmp_path: Path) -> None:
    test_set = FolderTestSet(official(tmp_path), num_foregrounds=2)
    assert [clip.name for clip in test_set] == ["0000", "0001", "0000"] * 2
    assert [clip.scene for clip in test_set] == ["0000", "0001", "0002"] * 2


def test_only_the_frames_asked_for_are_decoded(tmp_path: Path) -> None:
    clip = FolderTestSet(official(tmp_path))[0]
    (tmp_path / clip.key / "com" / "0002.png").write_bytes(b"broken")
    assert_is(clip, 0, 0, 2)
    with pytest.raises(ValueError, match=r"0002\.png: not a picture"):
        clip.read(0, 3)


def lose_a_frame(root: Path) -> None:
    (root / "videomatte_static/0001/pha/0001.png").unlink()


def rename_a_frame(root: Path) -> None:
    (root / "videomatte_static/0001/pha/0001.png").rename(root / "videomatte_static/0001/pha/0009.png")


def lose_the_alpha(root: Path) -> None:
    for file in (root / "videomatte_static/0001/pha").iterdir():
        file.unlink()
    (root / "videomatte_static/0001/pha").rmdir()


def empty_all(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lose_a_frame, "videomatte_static/0001/pha: 2 frames, .*com has 3"),
        (rename_a_frame, r"pha/0009\.png: the frames here have other names than those of .*com"),
        (lose_the_alpha, "videomatte_static/0001/com: no folder pha"),
        (empty_all, "com: 0 frames"),
    ],
)
def test_a_damaged_set_is_told_with_its_file(tmp_path: Path, harm: object, message: str) -> None:
    harm(official(tmp_path))  # type: ignore[operator]
    with pytest.raises(ValueError, match=message) as error:
        FolderTestSet(tmp_path)
    assert "\n" not in str(error.value)


def test_alpha_of_another_size_is_told_with_its_file(tmp_path: Path) -> None:
    Image.new("L", (5, 7)).save(official(tmp_path) / "videomatte_motion/0000/pha/0001.png")
    with pytest.raises(ValueError, match=r"pha/0001\.png: 5×7 pixels, .*com/0000\.png has 24×18"):
        FolderTestSet(tmp_path)[0].read(0, 3)


def test_a_folder_that_is_no_test_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        FolderTestSet(tmp_path / "nowhere")
    (tmp_path / "static").mkdir()
    with pytest.raises(ValueError, match="no test set; expected STRATUM/CLIP/com"):
        FolderTestSet(tmp_path)


def test_a_manifest_tells_names_scenes_and_order(tmp_path: Path) -> None:
    official(tmp_path)
    (tmp_path / "videomatte_motion").rename(tmp_path / "motion")
    (tmp_path / "videomatte_static").rename(tmp_path / "static")
    clips = [
        {"stratum": stratum, "folder": f"{i:04d}", "foreground": f"p{i % 2}", "background": f"room{i}"}
        for stratum in ("static", "motion")
        for i in range(3)
    ]
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"clips": clips}))
    test_set = FolderTestSet(tmp_path)
    assert [clip.key for clip in test_set] == [f"{clip['stratum']}/{clip['folder']}" for clip in clips]
    assert [clip.name for clip in test_set] == [clip["foreground"] for clip in clips]
    assert test_set[4].read(0, 1).scene == ["room1"]

    file.write_text(json.dumps({"clips": [*clips, {**clips[0], "folder": "0003"}]}))
    with pytest.raises(ValueError, match="static/0003 is missing"):
        FolderTestSet(tmp_path)
    for wrong in ({}, [], {"clips": 5}, {"clips": [{**clips[0], "stratum": ["static"]}]}, {"clips": ["0000"]}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="not the manifest of a test set"):
            FolderTestSet(tmp_path)
