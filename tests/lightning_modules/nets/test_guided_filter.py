import pytest
import torch
import torch.nn.functional as F

from lightning_modules.nets.guided_filter import DeepGuidedFilter, fast_guided_filter


def reference(fine, base, y, eps):
    """The definition, window by window, in double precision."""
    height, width = y.shape
    base, y = F.pad(base.double(), (1, 1, 1, 1)), F.pad(y.double(), (1, 1, 1, 1))
    a, b = torch.zeros(height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            p, q = base[i : i + 3, j : j + 3], y[i : i + 3, j : j + 3]
            a[i, j] = ((p * q).mean() - p.mean() * q.mean()) / ((p * p).mean() - p.mean() ** 2 + eps)
            b[i, j] = q.mean() - a[i, j] * p.mean()
    a, b = (F.interpolate(x[None, None], fine.shape, mode="bilinear", align_corners=False)[0, 0] for x in (a, b))
    return a * fine + b


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_fast_filter_is_its_definition(eps):
    generator = torch.Generator().manual_seed(0)
    fine, base, y = (torch.rand(2, 3, *size, generator=generator) for size in ((13, 22), (5, 7), (5, 7)))
    out = fast_guided_filter(fine, base, y, eps)
    torch.testing.assert_close(
        out[1, 2].double(), reference(fine[1, 2].double(), base[1, 2], y[1, 2], eps), atol=1e-5, rtol=0
    )


def test_fast_filter_brings_back_a_function_of_the_guide():
    fine = torch.rand(1, 1, 64, 96)
    base = F.interpolate(fine, scale_factor=0.25, mode="area")
    out = fast_guided_filter(fine, base, 0.5 * base + 0.1)[..., 8:-8, 8:-8]
    # The mean of a window is pulled towards 0 by eps alone.
    torch.testing.assert_close(out, 0.5 * fine[..., 8:-8, 8:-8] + 0.1, atol=0.02, rtol=0)


def test_fast_filter_computes_in_float32_under_autocast_and_for_half_precision():
    fine, base, y = torch.rand(1, 1, 32, 48), torch.rand(1, 1, 8, 12), torch.rand(1, 1, 8, 12)
    expected = fast_guided_filter(fine, base, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast_guided_filter(fine, base, y), expected)
    assert fast_guided_filter(*(x.bfloat16() for x in (fine, base, y))).dtype == torch.float32


def test_fast_filter_has_the_right_gradient():
    shapes = ((1, 1, 7, 9), (1, 1, 3, 4), (1, 1, 3, 4))
    inputs = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *x: fast_guided_filter(*x, eps=1e-2), inputs)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got base \(1, 1, 4, 4\), y \(1, 1, 4, 5\)"):
        fast_guided_filter(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match="fine"):
        fast_guided_filter(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_deep_filter_starts_from_the_mean_and_learns_its_window():
    module = DeepGuidedFilter(16)
    assert sum(p.numel() for p in module.parameters()) == 808
    assert (module.box.weight == 1 / 9).all()
    module.box.reset_parameters()
    assert (module.box.weight == 1 / 9).all()
    a, b = module(torch.rand(2, 4, 9, 7), torch.rand(2, 4, 9, 7), torch.rand(2, 16, 9, 7))
    assert a.shape == b.shape == (2, 4, 9, 7)
    (a.mean() + b.mean()).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())
