"""The papers' trimaps against scipy's morphology."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lightning_modules.metrics.trimap import closed_trimap, dilated_trimap, dilation_size


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), steps=st.integers(0, 4))
def test_closed_trimap_is_a_closing_with_the_cross(seed: int, height: int, width: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = np.where(rng.random((height, width)) < 0.1, rng.random((height, width)), rng.random() < 0.5)
    alpha = alpha.astype(np.float32)
    cross = ndimage.generate_binary_structure(2, 1)
    band = (alpha > 0.06) & (alpha < 0.96)
    if steps:
        band = ndimage.binary_dilation(band, cross, steps)
        band = ndimage.binary_erosion(band, cross, steps, border_value=1)
    expected = np.where(band, 0.5, alpha >= 0.96)
    ours = closed_trimap(torch.from_numpy(alpha)[None, None], steps=steps)
    assert np.array_equal(ours[0, 0].numpy(), expected.astype(np.float32))


def test_a_binary_matte_has_nothing_to_close() -> None:
    alpha = torch.zeros(1, 2, 1, 30, 40)
    alpha[..., 10:20, 10:30] = 1
    assert torch.equal(closed_trimap(alpha), alpha)


def test_dilated_trimap_reaches_size_pixels_to_both_sides_of_an_edge() -> None:
    alpha = torch.zeros(1, 1, 1, 1, 20)
    alpha[..., 10:] = 1
    ours = dilated_trimap(alpha, 3)[0, 0, 0, 0]
    assert ours.tolist() == [0.0] * 7 + [0.5] * 6 + [1.0] * 7
    assert torch.equal(dilated_trimap((alpha * 255).byte(), 3)[0, 0, 0, 0], ours)


def test_dilation_is_drawn_from_5_to_15() -> None:
    generator = torch.Generator().manual_seed(0)
    assert {dilation_size(generator) for _ in range(500)} == set(range(5, 16))


def test_sizes_that_make_no_sense_are_told() -> None:
    with pytest.raises(ValueError, match="low < high"):
        closed_trimap(torch.zeros(1, 1, 4, 4), low=0.9, high=0.1)
    with pytest.raises(ValueError, match="size"):
        dilated_trimap(torch.zeros(1, 1, 4, 4), size=-1)
