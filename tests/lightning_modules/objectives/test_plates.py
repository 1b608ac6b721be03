"""Plates and shadows of the published augmentation."""

import pytest
import torch

from lightning_modules.objectives.plates import (
    PlateAugmentation,
    _moved,
    cast_shadow,
    jitter_plate,
    perturbed_plate,
    shadowed_frames,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator(9))


def test_a_shadow_darkens_what_is_behind_and_leaves_the_person() -> None:
    alpha = torch.zeros(1, 2, 1, 32, 48)
    alpha[..., 8:24, 16:32] = 1
    foreground, background = clip(2, 1, 2, 3, 32, 48)
    frames = alpha * foreground + (1 - alpha) * background
    shadowed = shadowed_frames(frames, alpha, background, PlateAugmentation(shadow_share=1.0), generator(1))
    assert torch.equal(shadowed[..., 8:24, 16:32], frames[..., 8:24, 16:32])
    assert (shadowed <= frames + 1e-6).all()
    assert (frames - shadowed).max() > 0.01
    unchanged = shadowed_frames(frames, alpha, background, PlateAugmentation(shadow_share=0.0), generator(1))
    assert torch.equal(unchanged, frames)


def test_a_shadow_takes_at_most_its_opacity() -> None:
    for seed in range(5):
        shadow = cast_shadow(torch.ones(2, 1, 40, 30), PlateAugmentation(), generator(seed))
        assert shadow.shape == (2, 1, 40, 30)
        assert 0 <= shadow.min() <= shadow.max() <= 0.3


@pytest.mark.parametrize("what", ["noise_share", "jitter_share", "misalignment_share"])
def test_each_change_of_the_plate_can_be_had_alone(what: str) -> None:
    off = {"noise_share": 0.0, "jitter_share": 0.0, "misalignment_share": 0.0, "misalignment_shift": 0.1}
    plate = clip(4, 2, 3, 64, 64)
    assert torch.equal(perturbed_plate(plate, PlateAugmentation(**off), generator()), plate)
    changed = perturbed_plate(plate, PlateAugmentation(**off | {what: 1.0}), generator())
    assert changed.shape == plate.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert all(not torch.equal(a, b) for a, b in zip(changed, plate, strict=True))


def test_draws_come_from_the_generator_alone() -> None:
    plate = clip(3, 1, 3, 32, 32)
    before = torch.random.get_rng_state()
    first = perturbed_plate(plate, PlateAugmentation(), generator(5))
    assert torch.equal(first, perturbed_plate(plate, PlateAugmentation(), generator(5)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_jitter_of_strength_zero_changes_nothing() -> None:
    plate = clip(2, 3, 16, 16)
    torch.testing.assert_close(jitter_plate(plate, 0.0, 0.0, generator()), plate, atol=1e-5, rtol=0)


def test_pictures_move_by_whole_pixels_and_turn_about_the_middle() -> None:
    pictures = clip(2, 3, 8, 12)
    moved = _moved(pictures, degrees=0.0, shift=(0.25, -0.25))
    assert torch.equal(moved[..., :6, 3:], pictures[..., 2:, :9])
    assert not moved[..., 6:, :].any()
    assert not moved[..., :3].any()
    square = clip(1, 1, 9, 9)
    assert torch.equal(_moved(square, degrees=180.0, shift=(0.0, 0.0)), square.flip(-1, -2))
    assert torch.equal(_moved(square, degrees=90.0, shift=(0.0, 0.0)), square.rot90(-1, (-2, -1)))
    # Enlarged twice, the middle half fills the picture.
    even = clip(1, 1, 8, 8)
    doubled = even[..., 2:6, 2:6].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(_moved(even, degrees=0.0, shift=(0.0, 0.0), scale=2.0), doubled)
