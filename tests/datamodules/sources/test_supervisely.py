from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.sources.supervisely import SuperviselyPerson

Images = Callable[[Path, np.ndarray], None]


@pytest.fixture
def folder(tmp_path: Path, images: Images) -> Path:
    for k in range(3):
        mask = np.zeros((20, 30), np.uint8)
        mask[5 : 10 + k, 4:12] = 255
        images(tmp_path / "img" / f"photo{k}.png", np.full((20, 30, 3), 40 * k, np.uint8))
        images(tmp_path / "seg" / f"photo{k}.png", mask)
    return tmp_path


def test_pictures_and_masks_go_by_their_names(folder: Path) -> None:
    source = SuperviselyPerson(folder)
    assert [source.name(i) for i in range(len(source))] == ["photo0.png", "photo1.png", "photo2.png"]
    for k in range(3):
        clip = source.read(k, [0, 0])
        assert clip.images.shape == (2, 3, 20, 30)
        assert clip.masks.shape == (2, 1, 20, 30)
        assert clip.images.unique().tolist() == [40 * k]
        assert (clip.masks[0] == 255).sum() == (5 + k) * 8
    assert source.num_frames(0) == 1
    assert SuperviselyPerson(folder, size=10).read(0, [0]).masks.shape == (1, 1, 10, 15)


def test_what_is_missing_or_unequal_is_said(folder: Path, images: Images) -> None:
    images(folder / "seg" / "photo1.png", np.zeros((30, 20), np.uint8))
    with pytest.raises(ValueError, match=r"\(30, 20\) pixels, photo1.png has \(20, 30\)"):
        SuperviselyPerson(folder).read(1, [0])
    (folder / "seg" / "photo1.png").unlink()
    with pytest.raises(ValueError, match=r"photo1\.png: no mask for it in .*seg"):
        SuperviselyPerson(folder)
    with pytest.raises(ValueError, match="no such folder; expected img/"):
        SuperviselyPerson(folder / "img")
