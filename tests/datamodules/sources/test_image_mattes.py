from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources.image_mattes import ImageMattes
from datamodules.sources.interface import ForegroundSource

Write = Callable[[Path, np.ndarray], None]
ALL = (1.0, 0.0, 0.0)


def rgba(height: int = 40, width: int = 40) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[5:35, 10:30, 3] = 255
    return pixels


def test_rgba_stills_become_equal_frames(people_folder: Path) -> None:
    source = ImageMattes(people_folder, "train", size=40)
    assert isinstance(source, ForegroundSource)
    clip = source.read(0, [0, 0, 0])
    assert clip.fgr.shape == (3, 3, 40, 40)
    assert clip.pha.shape == (3, 1, 40, 40)
    assert torch.equal(clip.fgr[0], clip.fgr[2])
    assert clip.flow is not None
    assert not clip.flow.any()
    assert source.num_frames(0) == 1


def test_all_layouts_give_the_same_person(tmp_path: Path, images: Write) -> None:
    pixels = rgba()
    images(tmp_path / "rgba" / "x.png", pixels)
    images(tmp_path / "pairs" / "x.png", pixels[..., :3])
    images(tmp_path / "pairs" / "x_pha.png", pixels[..., 3])
    images(tmp_path / "folders" / "fgr" / "x.png", pixels[..., :3])
    images(tmp_path / "folders" / "pha" / "x.png", pixels[..., 3])
    clips = [
        ImageMattes(tmp_path / layout, "train", size=40, shares=ALL, unmix=False).read(0, [0])
        for layout in ("rgba", "pairs", "folders")
    ]
    assert torch.equal(clips[0].pha[0, 0], torch.from_numpy(pixels[..., 3]))
    for clip in clips:
        assert torch.equal(clip.fgr, clips[0].fgr)
        assert torch.equal(clip.pha, clips[0].pha)


def test_canvas_has_the_asked_size_or_its_shape_for_any_picture(tmp_path: Path, images: Write) -> None:
    images(tmp_path / "wide.png", rgba(40, 90))
    images(tmp_path / "tall.png", rgba(90, 40))
    source = ImageMattes(tmp_path, "train", size=(24, 32), shares=ALL)
    assert [source.read(i, [0]).fgr.shape[-2:] for i in range(2)] == [(24, 32)] * 2
    for unmix in (False, True):
        source = ImageMattes(tmp_path, "train", size=(120, 160), shares=ALL, unmix=unmix)
        assert sorted(source.read(i, [0]).pha.shape[-2:] for i in range(2)) == [(30, 40), (40, 53)]  # never enlarged


def test_whole_photo_is_unmixed_unless_told_otherwise(tmp_path: Path, images: Write) -> None:
    alpha = (np.clip(np.linspace(-1, 2, 40), 0, 1) * 255).astype(np.uint8)[None].repeat(40, 0)
    photo = (alpha[..., None] / 255 * [200, 50, 50] + (1 - alpha[..., None] / 255) * [0, 250, 0]).astype(np.uint8)
    images(tmp_path / "x.png", photo)
    images(tmp_path / "x_pha.png", alpha)
    unmixed, mixed = (
        ImageMattes(tmp_path, "train", size=40, shares=ALL, unmix=unmix).read(0, [0]).fgr[0, 1, 20, 20].item()
        for unmix in (True, False)
    )
    assert abs(unmixed - 50) < 0.7 * abs(mixed - 50)


def test_wrong_folders_are_named(tmp_path: Path, images: Write) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        ImageMattes(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="no pictures with alpha"):
        ImageMattes(tmp_path, "train")
    images(tmp_path / "a.png", rgba()[..., :3])
    images(tmp_path / "a_pha.png", rgba(20, 20)[..., 3])
    with pytest.raises(ValueError, match=r"a_pha\.png: alpha is \(20, 20\) but its picture \(40, 40\)"):
        ImageMattes(tmp_path, "train", shares=ALL).read(0, [0])
    images(tmp_path / "b.png", rgba()[..., :3])
    with pytest.raises(ValueError, match=r"b\.png: no alpha"):
        ImageMattes(tmp_path, "train", shares=ALL)


@pytest.mark.parametrize("layout", ["rgba", "folders"])
def test_reduced_cut_out_keeps_its_colour_up_to_the_edge(tmp_path: Path, images: Write, layout: str) -> None:
    rows, columns = np.mgrid[:400, :400]
    inside = (np.hypot(rows - 200, columns - 200) < 143).astype(np.uint8) * 255
    if layout == "rgba":
        images(tmp_path / "disc.png", inside[..., None].repeat(4, 2))
    else:
        images(tmp_path / "fgr" / "disc.png", inside[..., None].repeat(3, 2))
        images(tmp_path / "pha" / "disc.png", inside)
    clip = ImageMattes(tmp_path, "train", size=40, shares=ALL).read(0, [0])
    assert ((clip.pha > 0) & (clip.pha < 255)).sum() > 40
    assert int(clip.fgr[(clip.pha > 0).expand_as(clip.fgr)].min()) >= 254


def test_two_pictures_of_one_name_are_refused(tmp_path: Path, images: Write) -> None:
    images(tmp_path / "x.png", rgba())
    images(tmp_path / "x.tif", rgba())
    with pytest.raises(ValueError, match=r"x\.png and .*x\.tif have one name, 'x'"):
        ImageMattes(tmp_path, "train", shares=ALL)


def test_a_cut_out_whose_alpha_is_0_and_1_is_refused(tmp_path: Path, images: Write) -> None:
    pixels = rgba()
    pixels[..., 3] //= 255
    images(tmp_path / "x.png", pixels)
    with pytest.raises(ValueError, match=r"x\.png: nothing exceeds 1 of 255"):
        ImageMattes(tmp_path, "train", size=40, shares=ALL).read(0, [0])
