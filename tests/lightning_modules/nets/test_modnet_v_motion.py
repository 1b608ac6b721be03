"""The background's motion, estimated or true, and the memory that moves with it."""

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.nets.brm import BackgroundRestoration, BRMState
from lightning_modules.nets.modnet_v_motion import (
    MotionCompensation,
    MovingState,
    align,
    fit_affine,
    mismatch,
    warp_state,
)

STILL = torch.eye(2, 3, dtype=torch.float64)


def texture(height, width, seed=0, batch=2):
    """Grey with detail of all sizes from two cells on."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(torch.rand(batch, 1, n, n, generator=generator), (height, width), mode="bicubic")
        for n in (4, 8, 16, 32)
    ]
    return (sum(layers) / 4).clamp(0, 1)


def shift(dx, dy, width, height, batch=2):
    """The affine of a background point that was dx, dy cells further on in the frame before."""
    affine = STILL.clone()
    affine[:, 2] = torch.tensor([2 * dx / width, 2 * dy / height])
    return affine.expand(batch, 2, 3)


def cells_away(affine, truth, width, height):
    """Largest distance in cells between where two affines send the corners of the picture."""
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)], dtype=torch.float64)
    sent = (corners @ (affine - truth).mT) * torch.tensor([width / 2, height / 2])
    return sent.norm(dim=-1).max()


def flow_of(affine, height, width):
    """Backward flow in cells of a picture that moves by one affine."""
    grid = F.affine_grid(affine, [len(affine), 1, height, width], align_corners=False)
    still = F.affine_grid(STILL.expand_as(affine), [len(affine), 1, height, width], align_corners=False)
    return ((grid - still) * torch.tensor([width / 2, height / 2])).movedim(-1, 1)


def memory(height=8, width=12, batch=2, channels=4):
    """A memory with holes."""
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(batch, channels, height, width, generator=generator)
    semantic = torch.rand(batch, 1, height // 4, width // 4, generator=generator)
    brm = BackgroundRestoration(channels)
    return brm.update(feature, semantic, brm.empty(feature, height, width))


def state_of(parts, frame, visible=None, kind="global"):
    seen = torch.ones_like(parts.mask) if visible is None else visible
    return MotionCompensation(kind).note(parts, seen > 0.5, frame, None)


def moved_by_cells(x, dx, dy):
    """Cell (i, j) is what was at (i + dy, j + dx), else zero."""
    expected = torch.zeros_like(x)
    height, width = x.shape[-2:]
    rows, columns = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
    from_rows, from_columns = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))
    expected[..., rows, columns] = x[..., from_rows, from_columns]
    return expected


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (-2, 1)])
def test_shift_by_whole_cells_moves_the_memory_exactly(dx, dy):
    before = memory()
    for new, old in zip(warp_state(before, shift(dx, dy, 12, 8)), before, strict=True):
        expected = moved_by_cells(old, dx, dy)
        torch.testing.assert_close(new, expected, atol=1e-5, rtol=0)
        assert torch.equal(new != 0, expected != 0)


def test_zeros_of_unseen_cells_do_not_bleed_into_a_warped_memory():
    mask = torch.zeros(1, 1, 4, 8)
    mask[..., 4:] = 1
    moved = warp_state(BRMState(mask.expand(1, 2, 4, 8) * 7, mask, mask), shift(0.3, 0, 8, 4, batch=1))
    torch.testing.assert_close(moved.feature, moved.mask.expand_as(moved.feature) * 7)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 1)])
def test_true_flow_by_whole_cells_moves_the_memory_exactly_and_forgets_what_comes_from_outside(dx, dy):
    before = memory()
    frame = torch.rand(2, 3, 32, 48)
    flow = torch.tensor([4.0 * dx, 4.0 * dy])[:, None, None].expand(2, 2, 32, 48)
    after = MotionCompensation("oracle")(state_of(before, frame), frame, flow)
    for new, old in zip(after[:3], before, strict=True):
        torch.testing.assert_close(new, moved_by_cells(old, dx, dy), atol=1e-5, rtol=0)
    assert torch.equal(after.mask, moved_by_cells(before.mask, dx, dy))
    torch.testing.assert_close(after.affine, shift(dx, dy, 12, 8).float(), atol=1e-6, rtol=0)


def test_flow_of_the_person_does_not_move_the_background():
    truth = torch.tensor([[[1.02, 0.03, 0.1], [-0.02, 0.98, -0.05]]], dtype=torch.float64)
    flow = flow_of(truth, 24, 32)
    visible = torch.ones(1, 1, 24, 32)
    visible[..., 6:, 10:22] = 0
    flow[..., 6:, 10:22] = torch.tensor([-2.0, 1.0])[:, None, None]
    visible = 1 - F.max_pool2d(1 - visible, 5, stride=1, padding=2)
    assert cells_away(fit_affine(flow, visible), truth, 32, 24) < 1e-3
    assert torch.equal(fit_affine(flow, torch.zeros_like(visible)), STILL[None])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (24, 36), (16, 16)])
def test_alignment_recovers_a_known_affine_of_a_textured_picture(height, width):
    truth = torch.tensor(
        [[[1.02, 0.03, 0.04], [-0.02, 0.99, -0.05]], [[0.98, -0.02, -0.03], [0.03, 1.01, 0.06]]], dtype=torch.float64
    )
    # Drawn four times as fine and averaged over cells, as frames are.
    fine = texture(4 * height, 4 * width)
    grid = F.affine_grid(truth.float(), [2, 1, 4 * height, 4 * width], align_corners=False)
    moved = F.grid_sample(fine, grid, padding_mode="reflection", align_corners=False)
    previous, grey = F.avg_pool2d(fine, 4), F.avg_pool2d(moved, 4)
    weight = torch.ones_like(grey)
    found = align(grey, previous, weight, STILL.expand(2, 2, 3))
    assert cells_away(found, truth, width, height) < 0.25
    still, compensated = (mismatch(grey, previous, weight, a) for a in (STILL.expand(2, 2, 3), found))
    assert (compensated < 0.9 * still).all()


def test_a_person_who_moves_otherwise_does_not_mislead_the_alignment():
    fine, person = texture(256, 256, batch=1), texture(256, 256, seed=5, batch=1)
    truth = shift(1.5, -1.0, 64, 64, batch=1)
    grid = F.affine_grid(truth.float(), [1, 1, 256, 256], align_corners=False)
    now = F.grid_sample(fine, grid, padding_mode="reflection", align_corners=False)
    before = fine.clone()
    before[..., 64:, 80:180] = person[..., 64:, 80:180]
    now[..., 64:, 80:180] = person[..., 64:, 68:168]  # moves by three cells to the right
    visible = torch.ones(1, 1, 64, 64)
    visible[..., 16:, 20:45] = 0
    found = align(F.avg_pool2d(now, 4), F.avg_pool2d(before, 4), visible, STILL[None])
    assert cells_away(found, truth, 64, 64) < 0.3


@pytest.mark.parametrize("kind", ["global", "dense"])
def test_a_still_camera_leaves_the_memory_as_it_is(kind):
    frame = texture(64, 96).expand(2, 3, 64, 96)
    before = state_of(memory(), frame, kind=kind)
    noisy = (frame + 0.01 * torch.randn(frame.shape)).clamp(0, 1)
    after = MotionCompensation(kind)(before, noisy)
    for new, old in zip(after, before, strict=True):
        assert torch.equal(new, old)


def test_estimates_that_explain_nothing_are_not_used():
    """No background in sight, and a uniform one."""
    for frame, following, visible in (
        (texture(64, 96), texture(64, 96, seed=3), torch.zeros(2, 1, 8, 12)),
        (torch.full((2, 1, 64, 96), 0.5), torch.full((2, 1, 64, 96), 0.52), None),
    ):
        before = state_of(memory(), frame.expand(2, 3, 64, 96), visible)
        after = MotionCompensation("global")(before, following.expand(2, 3, 64, 96))
        assert all(torch.equal(new, old) for new, old in zip(after, before, strict=True))


def test_a_cut_empties_the_memory_of_its_clip_only():
    frame = texture(64, 96).expand(2, 3, 64, 96)
    following = frame.clone()
    following[1] = 1 - following[1].round()
    before = state_of(memory(), frame)
    after = MotionCompensation("global")(before, following)
    assert torch.equal(after.mask[0], before.mask[0])
    assert not any(part[1].any() for part in after[:3])


def test_dense_flow_follows_a_pan():
    fine = texture(64, 104, batch=1).expand(1, 3, 64, 104)
    frame, following = fine[..., :96], fine[..., 8:]
    before = state_of(memory(batch=1), frame, kind="dense")
    after = MotionCompensation("dense")(before, following)
    assert cells_away(after.affine, shift(1, 0, 12, 8, batch=1), 12, 8) < 0.25


def test_the_gradient_of_the_memory_passes_and_none_goes_into_the_motion():
    frame = texture(64, 96).expand(2, 3, 64, 96).clone().requires_grad_()
    before = state_of(memory(), frame)
    before = before._replace(feature=before.feature.requires_grad_())
    flow = torch.full((2, 2, 64, 96), 4.0)
    MotionCompensation("oracle")(before, frame, flow).feature.sum().backward()
    assert before.feature.grad.abs().sum() > 0
    assert frame.grad is None


def test_mixed_precision_changes_nothing():
    fine = texture(64, 104).expand(2, 3, 64, 104)
    before = state_of(memory(), fine[..., :96])
    exact = MotionCompensation("global")(before, fine[..., 8:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = MotionCompensation("global")(before, fine[..., 8:])
    assert all(torch.equal(a, b) for a, b in zip(mixed, exact, strict=True))
    assert isinstance(mixed, MovingState)


def test_wrong_options_are_refused_in_one_line():
    with pytest.raises(ValueError, match="motion must be one of none, global, dense, oracle, got 'local'"):
        MotionCompensation("local")
    with pytest.raises(ValueError, match="motion='dense' needs a flow estimator, got flow='none'"):
        MotionCompensation("dense", "none")
