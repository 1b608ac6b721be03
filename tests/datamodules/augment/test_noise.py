"""Noise from a table: as Gaussian noise should be, its own for each clip, the same on every device."""

import pytest
import torch

from datamodules.augment.noise import LONGEST_ROW, gaussian_noise


def noise(*seeds: int, shape: tuple[int, ...] = (6, 3, 64, 96)) -> torch.Tensor:
    return gaussian_noise(torch.tensor(seeds), shape)


def test_noise_is_standard_normal() -> None:
    values = noise(1, 2).flatten()
    assert values.mean().abs() < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)
    assert (values.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.003)


def test_clips_frames_channels_and_rows_are_unrelated() -> None:
    values = noise(1, 2, 2**62, 2**62 + 1)
    rows = torch.nn.functional.normalize(values.flatten(0, 3), dim=1)
    likeness = (rows @ rows.T).fill_diagonal_(0).abs()
    assert (likeness > 0.5).float().mean() < 1e-4


def test_noise_of_a_clip_does_not_depend_on_its_batch() -> None:
    assert torch.equal(noise(5, 7, 9)[1], noise(7)[0])


def test_frames_that_are_too_wide_are_refused() -> None:
    with pytest.raises(ValueError, match="16384 pixels wide"):
        noise(1, shape=(1, 1, 1, LONGEST_ROW + 1))


@pytest.mark.gpu
def test_a_gpu_has_the_same_bits() -> None:
    seeds = torch.tensor([0, 3, 2**62])
    assert torch.equal(gaussian_noise(seeds.cuda(), (2, 3, 8, 8)).cpu(), gaussian_noise(seeds, (2, 3, 8, 8)))
