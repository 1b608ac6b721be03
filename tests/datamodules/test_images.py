from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.images import cover_size, crop_centre, crop_person, estimate_foreground, read_image, resize

Write = Callable[[Path, np.ndarray], None]


def test_picture_is_read_in_rgb_with_and_without_alpha(tmp_path: Path, images: Write) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    images(tmp_path / "x.png", pixels)
    assert np.array_equal(read_image(tmp_path / "x.png", with_alpha=True).permute(1, 2, 0).numpy(), pixels)
    assert np.array_equal(read_image(tmp_path / "x.png").permute(1, 2, 0).numpy(), pixels[..., :3])


def test_unreadable_pictures_are_named(tmp_path: Path, images: Write) -> None:
    images(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"rgb\.png: no alpha channel"):
        read_image(tmp_path / "rgb.png", with_alpha=True)
    with pytest.raises(ValueError, match=r"broken\.png: not a picture"):
        read_image(tmp_path / "broken.png")
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (50, 50), (33, 997)])
@pytest.mark.parametrize("canvas", [(128, 128), (96, 160), (200, 90)])
def test_cover_size_covers_tightly(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    height, width = cover_size(size, canvas)
    assert height >= canvas[0]
    assert width >= canvas[1]
    assert height == canvas[0] or width == canvas[1]
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02)


def test_resize_averages_fine_stripes() -> None:
    stripes = ((torch.arange(64) % 2) * 200).to(torch.uint8).expand(1, 3, 64, 64)
    assert (resize(stripes, (16, 16)).float() - 100).abs().max() < 20


def test_crop_shows_the_person() -> None:
    pha = torch.zeros(2, 1, 40, 100, dtype=torch.uint8)
    pha[..., 10:, 70:80] = 255
    fgr = torch.arange(100, dtype=torch.uint8).expand(2, 3, 40, 100)
    colour, alpha = crop_person(fgr, pha, (40, 40))
    assert colour.shape[-2:] == alpha.shape[-2:] == (40, 40)
    assert alpha.sum() == pha.sum()
    assert abs(int(colour[0, 0, 0, 20]) - 75) <= 1
    tall, _ = crop_person(torch.arange(100, dtype=torch.uint8)[:, None].expand(2, 3, 100, 40), pha.mT, (40, 40))
    assert 60 <= tall[0, 0, 0, 0] < 70  # from just above the head
    nobody, _ = crop_person(fgr, torch.zeros_like(pha), (40, 40))
    assert nobody.shape[-2:] == (40, 40)


def test_centre_crop_is_in_the_middle() -> None:
    assert crop_centre(torch.arange(9).expand(1, 1, 3, 9), (3, 3))[0, 0, 0].tolist() == [3, 4, 5]


def test_estimated_foreground_is_nearer_to_the_truth_than_the_photo() -> None:
    alpha = (torch.linspace(-2, 3, 64).clamp(0, 1)).expand(1, 1, 64, 64)
    truth = torch.tensor([200.0, 60, 20])[:, None, None].expand(1, 3, 64, 64)
    photo = alpha * truth + (1 - alpha) * torch.tensor([10.0, 240, 90])[:, None, None]
    estimate = estimate_foreground(photo.round().to(torch.uint8), (alpha * 255).round().to(torch.uint8))
    soft = ((alpha > 0.1) & (alpha < 0.95)).expand_as(truth)
    error, before = ((value.float() - truth)[soft].abs().mean() for value in (estimate, photo))
    assert error < 0.4 * before
