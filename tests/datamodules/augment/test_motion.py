import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.augment.motion import (
    LOG_ZOOM,
    ROTATION,
    SHEAR,
    SHIFT_X,
    SHIFT_Y,
    absences,
    cover,
    nearer,
    path_matrices,
    place,
    random_path,
    stand,
)
from datamodules.dice import Draws
from datamodules.resample import resample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def corners(height: int, width: int) -> torch.Tensor:
    return torch.tensor([[x, y, 1.0] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)], dtype=torch.float64).T


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    num_frames=st.integers(1, 40),
    speed=st.floats(0, 8),
    pan=st.floats(0, 0.1),
    size=st.tuples(st.integers(32, 200), st.integers(32, 200)),
    canvas=st.tuples(st.integers(32, 300), st.integers(32, 300)),
)
def test_no_border_shows_whatever_the_motion_and_canvas(
    seed: int, num_frames: int, speed: float, pan: float, size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    path = random_path(num_frames, generator(seed), speed=speed, pan=pan, shake_std=0.01)
    matrices = path_matrices(path, size)
    seen = (cover(matrices, size, canvas) @ matrices @ corners(*size))[:, :2]
    assert seen.min() >= -0.5 - 1e-6
    assert seen[:, 0].max() <= canvas[1] - 0.5 + 1e-6
    assert seen[:, 1].max() <= canvas[0] - 0.5 + 1e-6


def test_still_path_shows_all_of_a_canvas_that_it_fits() -> None:
    path = torch.zeros(1, 5, dtype=torch.float64)
    matrices = path_matrices(path, (48, 64))
    seen = cover(matrices, (48, 64), (96, 128)) @ matrices @ corners(48, 64)
    expected = corners(96, 128)[:2]
    torch.testing.assert_close(seen[0, :2], expected)


@pytest.mark.parametrize("speed", [1.0, 6.0])
def test_turns_shears_and_zooms_stay_in_the_papers_ranges(speed: float) -> None:
    for seed in range(50):
        path = random_path(25, generator(seed), speed=speed)
        assert path[:, ROTATION].abs().max() <= 5
        assert path[:, SHEAR].abs().max() <= 3
        assert path[:, LOG_ZOOM].exp().min() >= 1
        assert path[:, LOG_ZOOM].exp().max() <= 1.25 + 1e-9
        if speed == 1:
            assert path[:, SHIFT_X : SHIFT_Y + 1].abs().max() <= 0.08


def test_speed_scales_the_way_and_zero_stands_still() -> None:
    slow, fast, still = (random_path(10, generator(), speed=speed)[:, SHIFT_X] for speed in (1.0, 3.0, 0.0))
    torch.testing.assert_close(fast - fast[0], 3 * (slow - slow[0]))
    assert torch.equal(still, still[:1].expand(10))
    assert slow[0] == fast[0] == still[0]


def test_longer_clip_begins_like_a_shorter_one() -> None:
    torch.testing.assert_close(random_path(6, generator()), random_path(10, generator())[:6])


def test_pan_moves_by_the_same_step_every_frame() -> None:
    path = random_path(20, generator(), speed=0, pan=0.05)
    steps = path.diff(dim=0)[:, SHIFT_X : SHIFT_Y + 1]
    torch.testing.assert_close(steps.norm(dim=1), torch.full((19,), 0.05, dtype=torch.float64))
    torch.testing.assert_close(steps, steps[:1].expand(19, 2))


def test_shake_has_the_asked_size() -> None:
    path = random_path(4000, generator(), speed=0, shake_std=0.002)
    assert path[:, SHIFT_X].std() == pytest.approx(0.002, rel=0.1)


def test_near_plane_shifts_farther_from_the_same_start() -> None:
    path = random_path(10, generator())
    near = nearer(path, 2.0)
    torch.testing.assert_close(near[:, SHIFT_X] - near[0, SHIFT_X], 2 * (path[:, SHIFT_X] - path[0, SHIFT_X]))
    torch.testing.assert_close(near[:, ROTATION], path[:, ROTATION])


def test_larger_canvas_is_cropped_and_smaller_stands_on_the_lower_edge() -> None:
    large = place((60, 80), (128, 128), 1.5, (0.3, 0.7), flip=False) @ corners(60, 80)
    assert large[:2].min() >= -0.5
    assert large[:2].max() <= 127.5
    small = place((60, 80), (128, 128), 0.7, (0.3, 0.7), flip=False) @ corners(60, 80)
    assert small[1].max() < 127.5  # what is seen in the lowest row is inside of the canvas
    assert small[1].max() > 124


@pytest.mark.parametrize("side", [12, 20, 40, 60, 80, 200])
def test_a_canvas_of_any_size_is_opaque_down_to_the_lowest_row(side: int) -> None:
    """Also where pixels of a small file cover several of the output, and fade at its end over half of one of theirs."""
    opaque, still = torch.full((1, 1, 1, side, side), 255, dtype=torch.uint8), torch.zeros(2, 5, dtype=torch.float64)
    for scale, down in ((0.5, 0.0), (1.0, 1.0), (1.3, 1.0), (2.0, 0.9)):
        placed = place((60, 60), (side, side), scale, (0.5, down), flip=False)
        stood = stand(placed, path_matrices(still, (60, 60)), (60, 60), (side, side))
        for affine in (placed, stood[0]):
            seen = resample(opaque, affine[None, None, :2].float(), 60, 60, "zeros")
            assert seen[0, 0, 0, -1, 30] > 0.999


def test_flip_mirrors_the_canvas() -> None:
    plain, flipped = (place((60, 80), (128, 100), 1.0, (0.5, 0.5), flip=flip) for flip in (False, True))
    pixel = torch.tensor([10.0, 20, 1], dtype=torch.float64)
    assert (plain @ pixel)[0] + (flipped @ pixel)[0] == pytest.approx(99)
    assert (plain @ pixel)[1] == (flipped @ pixel)[1]


@pytest.mark.parametrize("view", [1.0, 0.65])
@pytest.mark.parametrize("speed", [0.0, 3.0])
def test_no_more_of_the_canvas_shows_than_asked_for_and_a_still_camera_shows_just_that(
    view: float, speed: float
) -> None:
    for seed in range(20):
        matrices = path_matrices(random_path(24, generator(seed), speed=speed, zoom=(1.0, 1.0), degrees=0.0), (96, 96))
        to_canvas = cover(matrices, (96, 96), (192, 192), view)
        assert to_canvas[0, 0] <= 2 * view + 1e-9
        if view < 1:
            torch.testing.assert_close(to_canvas[0, 0], to_canvas.new_tensor(2 * view))


def test_who_is_away_comes_goes_or_comes_back_and_is_out_and_in_for_a_while() -> None:
    kinds = set()
    for index in range(60):
        out = absences(24, Draws((0, index)))
        assert 0 <= out.min() <= out.max() <= 1
        assert out.max() > 0.95
        assert out.min() < 0.05
        kinds.add((bool(out[0] > 0.5), bool(out[-1] > 0.5)))
    assert kinds == {(True, False), (False, True), (False, False)}
    assert absences(1, Draws((0, 0))).tolist() == [0.0]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    speed=st.floats(0, 4),
    scale=st.floats(0.4, 2.0),
    canvas=st.tuples(st.integers(32, 300), st.integers(32, 300)),
    flip=st.booleans(),
)
def test_the_lower_end_of_a_moving_person_never_comes_into_view(
    seed: int, speed: float, scale: float, canvas: tuple[int, int], flip: bool
) -> None:
    size = (48, 64)
    path = random_path(8, generator(seed), speed=speed, zoom=(0.9, 1.1))
    placed = place(size, canvas, scale, (0.3, 0.6), flip)
    seen = stand(placed, path_matrices(path, size), size, canvas) @ corners(*size)
    assert seen[:, 1].max() <= canvas[0] - 0.5 + 1e-6


def test_who_stands_where_the_picture_ends_is_not_moved_by_standing() -> None:
    still = path_matrices(torch.zeros(2, 5, dtype=torch.float64), (48, 64))
    for scale in (0.6, 1.4):
        placed = place((48, 64), (80, 80), scale, (0.5, 0.5), False)
        torch.testing.assert_close(stand(placed, still, (48, 64), (80, 80)), placed.expand(2, 3, 3))
