"""Losses: values worked by hand, zero at equality, gradients."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lightning_modules import losses


def disc(size: int = 64, radius: float = 20.0, edge: float = 4.0) -> Tensor:
    axis = torch.arange(size) - size / 2 + 0.5
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    return ((radius - distance) / edge + 0.5).clamp(0, 1)[None, None]


def test_trimap_marks_a_band_around_the_edge_and_nothing_else() -> None:
    alpha = disc()
    tri = losses.trimap(alpha, dilation=5, erosion=5)
    assert set(tri.unique().tolist()) == {0.0, 0.5, 1.0}
    assert (tri[(alpha > 0) & (alpha < 0.9)] == 0.5).all()
    assert tri[0, 0, 32, 32] == 1
    assert tri[0, 0, 0, 0] == 0


def test_trimap_of_nobody_is_all_background() -> None:
    assert (losses.trimap(torch.zeros(1, 1, 32, 32), 7, 7) == 0).all()


def test_trimap_windows_keep_the_papers_proportion() -> None:
    draws = [losses.trimap_windows(512, torch.Generator().manual_seed(seed)) for seed in range(50)]
    assert all(20 <= window <= 40 for pair in draws for window in pair)
    assert len(set(draws)) > 20


def test_semantic_blur_has_the_mirrored_tails() -> None:
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[..., 2, 2] = 1
    kernel = losses.blur(impulse)[0, 0, 1:4, 1:4]
    expected = torch.tensor([[0.0626106, 0.1249999, 0.0626106], [0.1249999, 0.2495581, 0.1249999]])
    assert torch.allclose(kernel[:2], expected, atol=1e-5)


def test_semantic_target_is_the_same_under_mixed_precision() -> None:
    alpha = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = losses.semantic_target(alpha)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        target = losses.semantic_target(alpha)
    assert target.dtype == torch.float32
    assert torch.equal(target, expected)


def test_semantic_target_is_the_central_mean_of_each_cell() -> None:
    alpha = torch.rand(1, 1, 16, 16)
    expected = alpha[..., 7:9, 7:9].mean()
    assert float(losses.semantic_target(alpha)) == pytest.approx(float(expected) * sum(losses.SEMANTIC_BLUR) ** 2)


def test_semantic_loss_reduces_alpha_to_the_grid_of_a_smaller_semantic_branch() -> None:
    alpha = disc(128, 40)
    half = torch.nn.functional.interpolate(alpha, (64, 64), mode="area")
    assert float(losses.semantic_loss(losses.semantic_target(half), alpha)) == pytest.approx(0, abs=1e-9)


def test_detail_loss_has_no_gradient_outside_the_band_and_counts_all_pixels() -> None:
    alpha = disc()
    band = losses.trimap(alpha, 5, 5) == 0.5
    pred = torch.zeros_like(alpha, requires_grad=True)
    loss = losses.detail_loss(pred, alpha, band)
    loss.backward()
    assert pred.grad is not None
    assert (pred.grad[~band] == 0).all()
    assert float(loss) == pytest.approx(float(alpha[band].sum() / alpha.numel()))


def test_matte_loss_weighs_the_band_five_times() -> None:
    alpha = disc()
    tri = losses.trimap(alpha, 5, 5)
    pred = (alpha + 0.3).requires_grad_()
    losses.matte_loss(pred, alpha, tri, torch.ones(1, 3, 64, 64)).backward()
    assert pred.grad is not None
    inside, outside = pred.grad[tri == 0.5], pred.grad[tri != 0.5]
    assert torch.allclose(inside, inside[0].expand_as(inside))
    assert float(inside[0] / outside[0]) == pytest.approx(5, rel=1e-5)


def test_background_loss_counts_restored_cells_only_and_boundaries_four_times() -> None:
    pred, background = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 16, 16)
    band = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    where = torch.zeros(1, 1, 4, 4)
    assert float(losses.background_loss(pred, background, band, where)) == 0
    where[..., 0, :2] = 1
    assert float(losses.background_loss(pred, background, band, where)) == pytest.approx(1)
    band[..., 1, 1] = True  # one pixel makes its cell a boundary cell
    assert float(losses.background_loss(pred, background, band, where)) == pytest.approx((4 + 1) / 2)
    assert float(losses.background_loss(pred, background, band, None)) == pytest.approx((4 + 15) / 16)


def test_charbonnier_passes_gradcheck_and_stays_finite_at_equality() -> None:
    pred = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    equal = torch.zeros(3, requires_grad=True)
    losses.charbonnier(equal, torch.zeros(3)).sum().backward()
    assert equal.grad is not None
    assert equal.grad.isfinite().all()
    target = torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda pred: losses.charbonnier(pred, target, 4.0, eps=1e-3), (pred,))
    expected = 4 * ((pred - target) ** 2 + 1e-6).sqrt()
    assert torch.allclose(losses.charbonnier(pred, target, 4.0, eps=1e-3), expected, atol=1e-12)


def test_flaw_loss_is_least_at_the_soft_target() -> None:
    target = torch.full((1, 1, 4, 4), 0.2)
    at_target = losses.flaw_loss(torch.logit(target), target)
    for other in (0.1, 0.3):
        assert losses.flaw_loss(torch.logit(torch.full_like(target, other)), target) > at_target


def test_soc_gradient_reaches_both_heads_and_no_pseudo_target() -> None:
    semantic = torch.rand(2, 1, 4, 4, requires_grad=True)
    alpha = torch.rand(2, 1, 64, 64, requires_grad=True)
    losses.soc_semantic_loss(semantic, alpha).backward()
    assert semantic.grad is not None
    assert alpha.grad is not None
    expected = 2 * (semantic - losses.semantic_target(alpha)) / semantic.numel()
    assert torch.allclose(semantic.grad, expected, atol=1e-6)
    assert alpha.grad.abs().sum() > 0


def test_soc_with_an_empty_band_is_finite_and_zero() -> None:
    alpha, semantic = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 4, 4)
    band = losses.soc_band(alpha, semantic)
    assert band.sum() == 0
    assert float(losses.soc_detail_loss(torch.rand(1, 1, 64, 64), alpha, band)) == 0


def waves(channels: int, phase: float) -> Tensor:
    """A clip (2, 3, channels, 70, 101) in [0, 1] made by a formula."""
    sizes = (2, 3, channels, 70, 101)
    b, t, c, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in sizes), indexing="ij")
    slow = 0.4 * torch.sin(0.13 * x + 0.05 * y + 0.9 * c + 0.3 * t + 0.7 * b + phase)
    fast = 0.3 * torch.sin(0.205 * x - 0.37 * y + 0.2 * t - phase)
    return (0.5 + slow + fast).clamp(0, 1).float()


def test_rvms_losses_are_those_of_the_official_code() -> None:
    alpha = waves(1, 0)
    terms = losses.rvm_terms(waves(1, 0.25), waves(3, 0.2), alpha, waves(3, 0))
    expected = {
        "alpha_l1": 0.06246466,
        "alpha_laplacian": 0.17216036,
        "alpha_coherence": 0.00356030 / 5,
        "foreground_l1": 0.04625893,
        "foreground_coherence": 0.00277852 / 5,
    }
    assert {name: pytest.approx(value, abs=1e-7) for name, value in expected.items()} == {
        name: term.item() for name, term in terms.items()
    }
    logits = 4 * waves(1, 0.25) - 2
    assert losses.segmentation_loss(logits, (alpha > 0.5).float()).item() == pytest.approx(0.35175771, abs=1e-7)


def test_levels_of_the_laplacian_are_those_of_the_official_code() -> None:
    pred, target = waves(1, 0.25).flatten(0, 1), waves(1, 0).flatten(0, 1)
    up_to = [n * losses.laplacian_loss(pred, target, levels=n).item() if n else 0.0 for n in range(6)]
    levels = [(after - before) / 2**k for k, (before, after) in enumerate(pairwise(up_to))]
    assert levels == pytest.approx([0.01187316, 0.02265994, 0.02841512, 0.03220455, 0.02701949], abs=2e-7)


@pytest.mark.parametrize(("height", "width"), [(63, 33), (20, 50), (3, 64)])
def test_laplacian_of_small_maps_leaves_levels_out(height: int, width: int) -> None:
    pred = torch.rand(1, 1, height, width, requires_grad=True)
    loss = losses.laplacian_loss(pred, torch.zeros_like(pred))
    loss.backward()
    assert pred.grad is not None
    assert bool(loss > 0) == (height >= 4)


def test_coherence_sees_change_alone() -> None:
    target = torch.rand(1, 4, 1, 8, 8)
    assert losses.coherence_loss(target + 0.2, target).item() == pytest.approx(0, abs=1e-12)
    flicker = target.clone()
    flicker[:, 2] += 0.1
    assert losses.coherence_loss(flicker, target).item() == pytest.approx(0.01 * 2 / 3, rel=1e-4)
    assert losses.coherence_loss(target[:, :1] + 0.2, target[:, :1]) == 0


def test_rvms_losses_have_the_right_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.rand(1, 2, 1, 8, 10, dtype=torch.float64, generator=generator) for _ in range(2))
    pred.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.laplacian_loss(x.flatten(0, 1), target.flatten(0, 1), 2), pred)
    assert torch.autograd.gradcheck(lambda x: losses.coherence_loss(x, target), pred)
