from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from datamodules.augment.resolution import at_size, random_size, to_square
from datamodules.batch import Layers
from datamodules.composite import composite

SIDE = 24


def test_sizes_are_uniform_between_half_the_side_and_the_side() -> None:
    sizes = [random_size(8, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert {height for height, _ in sizes} == {width for _, width in sizes} == {4, 5, 6, 7}
    assert len(set(sizes)) == 16
    assert random_size(1, torch.Generator()) == (1, 1)


def test_whole_square_stays_as_it_is() -> None:
    torch.testing.assert_close(to_square(SIDE, (SIDE, SIDE)), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("size", [(20, 13), (13, 20), (17, 22), (23, 23)])
def test_equals_scaling_the_square_then_cropping_its_middle(
    make_layers: Callable[..., Layers], size: tuple[int, int]
) -> None:
    # A smooth square picture, so that both bilinear ways read the same numbers.
    ramp = torch.linspace(0, 200, SIDE)
    picture = torch.stack([ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE), (ramp + ramp[:, None]) / 2])
    source = picture.expand(1, 1, 3, SIDE, SIDE).to(torch.float32) / 255
    layers = make_layers(1, 1, (SIDE, SIDE), fgr=source, bgr=source)
    layers.pha = source[:, :, :1] * 0.5 + 0.3
    moved = at_size(layers, SIDE, size)
    assert moved.size == size
    batch = composite(moved, *size)
    longer = max(size)
    top, left = round((longer - size[0]) / 2), round((longer - size[1]) / 2)
    for got, layer in ((batch.background, layers.bgr), (batch.alpha, layers.pha)):
        scaled = F.interpolate(layer[:, 0], (longer, longer), mode="bilinear", align_corners=False)
        expected = scaled[..., top : top + size[0], left : left + size[1]]
        torch.testing.assert_close(got[:, 0], expected, atol=2e-6, rtol=0)
