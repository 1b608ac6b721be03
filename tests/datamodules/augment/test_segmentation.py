from dataclasses import replace

import pytest
import torch

from datamodules.augment.segmentation import OF_PICTURES, OF_VIDEOS, change_colours, view
from datamodules.dice import Draws

STILL = replace(OF_PICTURES, degrees=0, shear_degrees=0, shift=0, crop_area=(1, 1), crop_aspect=(1, 1), flip_share=0)


def corners(affine: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Picture points (x, y) at the outer corners of the output."""
    height, width = size
    points = [[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [-0.5, height - 0.5, 1], [width - 0.5, height - 0.5, 1]]
    return torch.tensor(points) @ affine.T


def test_without_changes_the_whole_square_is_seen() -> None:
    affine = view((20, 20), 10, (10, 10), STILL, Draws((0,)))
    assert corners(affine, (10, 10)).tolist() == [[-0.5, -0.5], [19.5, -0.5], [-0.5, 19.5], [19.5, 19.5]]
    mirrored = view((20, 20), 10, (10, 10), replace(STILL, flip_share=1), Draws((0,)))
    assert corners(mirrored, (10, 10)).tolist() == [[19.5, -0.5], [-0.5, -0.5], [19.5, 19.5], [-0.5, 19.5]]


def test_output_of_another_size_shows_the_middle_of_the_square() -> None:
    affine = view((20, 20), 10, (8, 4), STILL, Draws((0,)))
    assert corners(affine, (8, 4))[[0, 3]].tolist() == [[4.5, -0.5], [14.5, 19.5]]


@pytest.mark.parametrize("picture", [(90, 160), (160, 90)])
def test_wide_videos_show_their_middle_as_published(picture: tuple[int, int]) -> None:
    affine = view(picture, 64, (64, 64), replace(OF_VIDEOS, flip_share=0), Draws((3,)))
    first, last = corners(affine, (64, 64))[[0, 3]]
    width, height = (last - first).tolist()
    expected = (99, 90) if picture == (90, 160) else (90, 100)
    assert (round(width), round(height)) == expected
    centre = (first + last) / 2 + 0.5
    assert (centre - torch.tensor([picture[1] / 2, picture[0] / 2])).abs().max() <= 0.5


@pytest.mark.parametrize("ranges", [OF_PICTURES, OF_VIDEOS])
def test_views_keep_within_their_ranges(ranges: object) -> None:
    for seed in range(50):
        affine = view((100, 100), 50, (50, 50), ranges, Draws((seed,)))  # type: ignore[arg-type]
        area = float(torch.linalg.det(affine[:, :2]).abs()) * 50 * 50 / 100**2
        assert (0.49 if ranges is OF_PICTURES else 0.79) < area < 1.01
    assert torch.equal(affine, view((100, 100), 50, (50, 50), ranges, Draws((49,))))  # type: ignore[arg-type]


def test_colours_of_a_clip_change_alike_and_stay_in_range() -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1, -1)
    for seed in range(10):
        changed = change_colours(images, OF_VIDEOS, Draws((seed,)))
        assert torch.equal(changed[0], changed[2])
        assert not torch.allclose(changed, images, atol=0.01)
        assert 0 <= changed.min() <= changed.max() <= 1
    gray = change_colours(images, replace(OF_VIDEOS, gray_share=1), Draws((0,)))
    assert torch.equal(gray[:, 0], gray[:, 2])
