import pytest
import torch
import torch.nn.functional as F

from lightning_modules.nets.prm import PatchRefinement


def draw(height=90, width=150, batch=2, channels=6, seed=0):
    """Frame, coarse alpha, enlarged alpha, feature."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.rand(batch, 3, height, width, generator=generator)
    coarse = torch.rand(batch, 1, height // 3, width // 3, generator=generator)
    feature = torch.randn(batch, channels, height // 6, width // 6, generator=generator)
    return frame, coarse, F.interpolate(coarse, (height, width), mode="bilinear"), feature


def refinement(seed=0, **options):
    torch.manual_seed(seed)
    prm = PatchRefinement(6, k=4, **options)
    torch.nn.init.normal_(prm.refiner.head.weight, std=0.2)
    return prm.train()


def full_image_run(prm, frame, alpha, feature):
    """The refiner on the whole frame at once, without patches."""
    q, k = prm.halo, prm.k
    height, width = frame.shape[-2:]
    pad = (q, -width % (2 * k) + q, q, -height % (2 * k) + q)
    feature = F.interpolate(prm.refiner.reduce(feature), (height, width), mode="bilinear")
    delta = prm.refiner(*(F.pad(x, pad, mode="replicate") for x in (frame, alpha, feature)))
    return alpha + delta[..., q : q + height, q : q + width]


def seam(prm, inputs):
    frame, _, alpha, feature = inputs
    everything = torch.ones(2, 4, 4, dtype=torch.bool)
    with torch.no_grad():
        patched = prm.refine(frame, alpha, feature, everything)
        return (patched - full_image_run(prm, frame, alpha, feature)).abs().max()


def test_patches_with_halo_equal_a_run_over_the_whole_image():
    assert seam(refinement(), draw()) < 1e-6


def test_without_halo_there_are_seams():
    assert seam(refinement(halo=0), draw()) > 1e-3


def test_chunks_do_not_matter():
    frame, _, alpha, feature = draw()
    selection = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.4
    with torch.no_grad():
        few = refinement(chunk=3).refine(frame, alpha, feature, selection)
        all_at_once = refinement().refine(frame, alpha, feature, selection)
    torch.testing.assert_close(few, all_at_once, atol=1e-6, rtol=0)


@pytest.mark.parametrize("feather", [0, 8])
def test_only_selected_patches_change(feather):
    frame, _, alpha, feature = draw()
    prm = refinement(feather=feather)
    selection = torch.zeros(2, 4, 4, dtype=torch.bool)
    selection[0, 1, 2] = selection[1, 3, 3] = True
    with torch.no_grad():
        refined = prm.refine(frame, alpha, feature, selection)
    pixels = prm.selected_pixels(selection, 90, 150)
    assert pixels.shape == alpha.shape
    assert pixels[0, 0, 24:48, 76:114].all()
    assert pixels[0].sum() == 24 * 38
    assert torch.equal(refined[~pixels], alpha[~pixels])
    assert ((refined - alpha)[pixels] != 0).float().mean() > 0.9


def test_feather_fades_towards_unrefined_patches_and_corners_only():
    frame, _, alpha, feature = draw()
    sharp, soft = refinement(feather=0), refinement(feather=8)
    selection = torch.ones(2, 4, 4, dtype=torch.bool)
    selection[:, 0, 0] = False
    with torch.no_grad():
        weight = (soft.refine(frame, alpha, feature, selection) - alpha) / (
            sharp.refine(frame, alpha, feature, selection) - alpha
        )
    # Patches are 24 × 38 pixels; (0, 0) is not refined.
    ramp = (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(weight[0, 0, 5, 38:46], ramp, atol=1e-2, rtol=0)
    torch.testing.assert_close(weight[0, 0, 24:32, 5], ramp, atol=1e-2, rtol=0)
    torch.testing.assert_close(weight[0, 0, torch.arange(24, 32), torch.arange(38, 46)], ramp, atol=1e-2, rtol=0)
    assert weight[0, 0, 40:, 60:].sub(1).abs().max() < 1e-2
    assert weight[0, 0, 24, 47] == pytest.approx(1, abs=1e-2)


def test_fresh_refinement_changes_nothing():
    frame, coarse, alpha, feature = draw()
    fresh = PatchRefinement(6, k=4, mode="all")
    refined = fresh(frame, coarse, alpha, feature)
    assert torch.equal(refined.alpha, alpha)


def test_modes_select_as_they_say():
    flaw = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    assert PatchRefinement(mode="all").select(flaw).all()
    assert not PatchRefinement(mode="none").select(flaw).any()
    assert PatchRefinement(xi=0.5).select(flaw).sum() == 8
    best = PatchRefinement(mode="topk", top_share=0.25).select(flaw)
    assert best.flatten().nonzero().flatten().tolist() == [12, 13, 14, 15]


def test_alpha_is_clamped_outside_training_only():
    frame, coarse, alpha, feature = draw()
    prm = refinement(mode="all")
    torch.nn.init.constant_(prm.refiner.head.bias, 3.0)
    assert prm(frame, coarse, alpha, feature).alpha.max() > 1
    assert prm.eval()(frame, coarse, alpha, feature).alpha.max() == 1


def test_flaw_target_is_the_mean_error_of_each_patch():
    alpha, truth = torch.zeros(1, 1, 64, 96), torch.zeros(1, 1, 64, 96)
    truth[..., 16:32, 24:36] = 1
    target = PatchRefinement(k=4).flaw_target(alpha, truth)
    expected = torch.zeros(1, 1, 4, 4)
    expected[..., 1, 1] = 0.5
    torch.testing.assert_close(target, expected)


def test_flaw_head_starts_at_the_threshold_and_tells_an_edge_from_grey():
    prm = PatchRefinement(k=4)
    assert torch.sigmoid(prm.flaw_head.bias).item() == pytest.approx(0.01, rel=0.01)
    grey = torch.full((1, 1, 64, 64), 0.5)
    edge = torch.zeros(1, 1, 64, 64)
    edge[..., 8:16] = edge[..., 24:32] = edge[..., 40:48] = edge[..., 56:] = 1
    assert not torch.allclose(prm.flaw_logits(grey, (64, 64)), prm.flaw_logits(edge, (64, 64)))


@pytest.mark.parametrize(
    ("size", "working", "k"), [((720, 1280), (512, 928), 16), ((720, 720), (720, 720), 16), ((97, 161), (97, 161), 4)]
)
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (-1, -1), (-2, 1)])
def test_flaw_cells_lie_on_the_patches(size, working, k, place):
    prm = PatchRefinement(k=k)
    with torch.no_grad():
        for conv in (prm.flaw_conv, prm.flaw_head):  # together the mean over a cell
            conv.weight.zero_()[:, :, 1:, 1:] = 1 / (4 * conv.in_channels)
            conv.bias.zero_()
    selection = torch.zeros(1, k, k, dtype=torch.bool)
    selection[0][place] = True
    alpha = prm.selected_pixels(selection, *size).float()
    with torch.no_grad():
        flaw = prm.flaw_logits(F.interpolate(alpha, working, mode="area"), size)
    torch.testing.assert_close(flaw, prm.flaw_target(alpha, torch.zeros_like(alpha)), atol=0.07, rtol=0)


@pytest.mark.parametrize(("size", "k"), [((1080, 1920), 16), ((2160, 4096), 16), ((4320, 7680), 32)])
def test_rule_of_the_paper_for_the_number_of_patches(size, k):
    assert PatchRefinement(k=None).num_patches(*size) == k


def test_training_of_given_patches_reaches_every_parameter():
    frame, coarse, alpha, feature = draw()
    prm = refinement()
    selection = torch.zeros(2, 4, 4, dtype=torch.bool)
    selection[0, 1, 2] = selection[1, 0, 3] = True
    refined = prm.refine(frame, alpha, feature, selection)
    target = prm.flaw_target(alpha, torch.zeros_like(alpha))
    loss = refined[prm.selected_pixels(selection, 90, 150)].mean()
    loss = loss + F.binary_cross_entropy_with_logits(prm.flaw_logits(coarse, (90, 150)), target)
    loss.backward()
    assert [key for key, p in prm.named_parameters() if p.grad is None] == []
