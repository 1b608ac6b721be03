import pytest
import torch

from datamodules.video_matting import VideoMattingDataModule
from lightning_modules.nets.warp import backward_warp, lands_inside, resize_flow


def constant_flow(dx, dy, height, width, batch=1):
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(batch, 2, height, width)


def test_no_flow_gives_the_map_itself():
    x = torch.randn(2, 5, 9, 14)
    torch.testing.assert_close(backward_warp(x, constant_flow(0, 0, 9, 14, 2)), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 1), (0, -4), (-13, -8)])
def test_whole_cells_are_moved_and_zeros_come_in(dx, dy):
    x = torch.randn(1, 4, 9, 14)
    warped = backward_warp(x, constant_flow(dx, dy, 9, 14))
    inside = lands_inside(constant_flow(dx, dy, 9, 14))[0, 0]
    expected = torch.zeros_like(x)
    for i in range(9):
        for j in range(14):
            reached = 0 <= i + dy < 9 and 0 <= j + dx < 14
            assert bool(inside[i, j]) == reached
            if reached:
                expected[..., i, j] = x[..., i + dy, j + dx]
    torch.testing.assert_close(warped, expected, atol=2e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two():
    x = torch.randn(1, 1, 4, 6)
    warped = backward_warp(x, constant_flow(0.5, 0, 4, 6))
    torch.testing.assert_close(warped[..., :-1], (x[..., 1:] + x[..., :-1]) / 2, atol=1e-5, rtol=0)


def test_a_flow_at_another_size_points_to_the_same_places():
    flow = torch.randn(2, 3, 2, 1, 1).expand(-1, -1, -1, 16, 48)
    small = resize_flow(flow, (8, 12))
    assert small.shape == (2, 3, 2, 8, 12)
    torch.testing.assert_close(small[:, :, 0, 0, 0], flow[:, :, 0, 0, 0] / 4)
    torch.testing.assert_close(small[:, :, 1, 0, 0], flow[:, :, 1, 0, 0] / 2)
    torch.testing.assert_close(resize_flow(small, (16, 48)), flow)


def test_points_are_float32_in_mixed_precision():
    x = torch.randn(1, 2, 16, 600).bfloat16()
    flow = constant_flow(0.25, 0, 16, 600)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        warped = backward_warp(x, flow)
    assert warped.dtype == torch.bfloat16
    torch.testing.assert_close(warped.float(), backward_warp(x.float(), flow), atol=0.05, rtol=0.01)


def test_gradients_are_those_of_the_maths():
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 5, 6, dtype=torch.float64) * 0.6 + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(backward_warp, (x, flow))


def test_the_true_flow_brings_the_last_background_to_the_next_frame(tmp_path):
    cache = {"name": "procedural", "cache_dir": str(tmp_path)}
    people = {part: {**cache, "num_clips": 2, "num_frames": 3} for part in ("train", "val", "test")}
    rooms = {part: {**cache, "num_scenes": 2, "parallax": 0.0} for part in ("train", "val", "test")}
    moving = {"static_share": 0.0, "background_speed": (1.0, 1.0), "gain": 0.0, "background_defocus": (0.02, 0.02)}
    data = VideoMattingDataModule(
        people, rooms, clip_length=3, size=128, batch_size=2, num_steps=1, difficulty=moving, flow=True
    )
    data.prepare_data(parts=("train",))
    batch = next(iter(data.train_dataloader()))
    assert batch.flow is not None
    for t in (1, 2):
        flow = batch.flow[:, t]
        warped = backward_warp(batch.background[:, t - 1], flow)
        # Where a person is, the flow is the person's.
        seen = lands_inside(flow) & (batch.alpha[:, t] < 0.5)
        assert seen.float().mean() > 0.3
        error = (warped - batch.background[:, t]).square().mean(1, keepdim=True)[seen].mean()
        assert flow.abs().amax() > 0.3
        assert -10 * torch.log10(error) > 40


def test_beyond_the_border_is_nothing_or_the_border() -> None:
    x, flow = (
        torch.tensor([3.0, 4.0, 5.0]).view(1, 1, 1, 3),
        torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3),
    )
    assert backward_warp(x, flow).flatten().tolist() == [5, 0, 0]
    assert backward_warp(x, flow, padding="border").flatten().tolist() == [5, 5, 5]
