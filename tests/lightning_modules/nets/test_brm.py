import pytest
import torch

from lightning_modules.nets.brm import BackgroundDecoder, BackgroundRestoration, BRMState, reset_state


def draw(seed=0, batch=2, channels=4, height=8, width=12):
    generator = torch.Generator().manual_seed(seed)
    e4 = torch.randn(batch, channels, height, width, generator=generator)
    return e4, torch.rand(batch, 1, height // 4, width // 4, generator=generator)


def empty(e4):
    return BackgroundRestoration(e4.shape[1]).empty(e4, *e4.shape[-2:])


def enlarge(semantic, e4):
    return torch.nn.functional.interpolate(semantic, e4.shape[-2:], mode="bilinear", align_corners=False)


def paper_update(e4, semantic, feature, mask):
    """The paper's algorithm, line by line."""
    background = 1 - enlarge(semantic, e4)
    stored = background * e4
    new = ((mask == 0) & (background > 0.5)).float()
    average = ((mask == 1) & (background > 0.5)).float()
    temporary = feature + new * stored
    feature = (1 - average) * temporary + average * (temporary + stored) / 2
    return feature, mask + new


def test_update_equals_the_algorithm_of_the_paper():
    brm = BackgroundRestoration(4)
    state = empty(draw()[0])
    feature, mask = state.feature, state.mask
    for seed in range(6):
        e4, semantic = draw(seed)
        state = brm.update(e4, semantic, state)
        feature, mask = paper_update(e4, semantic, feature, mask)
        torch.testing.assert_close(state.feature, feature, atol=1e-6, rtol=0)
        assert torch.equal(state.mask, mask)


@pytest.mark.parametrize("update", ["average", "overwrite", "first_sight", "ema", "count_mean"])
@pytest.mark.parametrize("erosion", [0, 1])
def test_mask_is_0_or_1_and_grows_and_feature_is_zero_outside_it(update, erosion):
    brm = BackgroundRestoration(4, update, erosion=erosion)
    state = empty(draw()[0])
    for seed in range(5):
        before = state
        state = brm.update(*draw(seed), state)
        assert set(state.mask.unique().tolist()) <= {0.0, 1.0}
        assert (state.mask >= before.mask).all()
        assert not (state.feature * (1 - state.mask)).any()


def test_portrait_everywhere_leaves_the_state_and_background_everywhere_is_stored_whole():
    brm = BackgroundRestoration(4)
    e4, _ = draw()
    state = brm.update(*draw(1), empty(e4))
    after = brm.update(e4, torch.full((2, 1, 2, 3), 0.9), state)
    assert all(torch.equal(a, b) for a, b in zip(after, state, strict=True))
    first = brm.update(e4, torch.full((2, 1, 2, 3), 0.25), empty(e4))
    torch.testing.assert_close(first.feature, e4 * 0.75)
    assert first.mask.all()


def test_identical_frames_leave_the_average_fixed():
    brm = BackgroundRestoration(4)
    e4, semantic = draw()
    first = brm.update(e4, semantic, empty(e4))
    third = brm.update(e4, semantic, brm.update(e4, semantic, first))
    assert torch.equal(third.feature, first.feature)


@pytest.mark.parametrize(
    ("update", "expected"),
    [("average", 3.5), ("overwrite", 5.0), ("first_sight", 1.0), ("ema", 1.58), ("count_mean", 3.0)],
)
def test_weight_of_background_seen_again(update, expected):
    brm = BackgroundRestoration(1, update)
    state = brm.empty(torch.zeros(1), 4, 4)
    for value in (1.0, 3.0, 5.0):
        state = brm.update(torch.full((1, 1, 4, 4), value), torch.zeros(1, 1, 1, 1), state)
    torch.testing.assert_close(state.feature, torch.full((1, 1, 4, 4), expected))


def test_count_mean_forgets_after_ten_sightings():
    brm = BackgroundRestoration(1, "count_mean")
    state = BRMState(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), 99.0))
    state = brm.update(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 1, 1), state)
    torch.testing.assert_close(state.feature, torch.full((1, 1, 4, 4), 1 / 11))


def test_threshold_erosion_and_hard_storing():
    e4 = torch.ones(1, 1, 8, 8)
    semantic = torch.full((1, 1, 8, 8), 0.4)
    zero = BackgroundRestoration(1).empty(e4, 8, 8)
    assert not BackgroundRestoration(1, threshold=0.7).update(e4, semantic, zero).mask.any()
    assert torch.equal(BackgroundRestoration(1, hard=True).update(e4, semantic, zero).feature, e4)
    semantic[..., 4, 4] = 1
    assert BackgroundRestoration(1).update(e4, semantic, zero).mask.sum() == 63
    assert BackgroundRestoration(1, erosion=1).update(e4, semantic, zero).mask.sum() == 64 - 9


def test_first_frame_mode_stores_frame_1_only():
    brm = BackgroundRestoration(4, mode="first_frame")
    first = brm.update(*draw(0), empty(draw()[0]))
    assert torch.equal(first.mask, BackgroundRestoration(4).update(*draw(0), empty(draw()[0])).mask)
    later = brm.update(*draw(1), first)
    assert torch.equal(later.feature, first.feature)
    assert torch.equal(later.mask, first.mask)


def test_gradient_reaches_the_feature_and_the_semantics_of_this_frame():
    e4, semantic = (x.requires_grad_() for x in draw())
    BackgroundRestoration(4).update(e4, semantic, empty(e4)).feature.sum().backward()
    assert e4.grad.any()
    assert semantic.grad.any()


def test_reset_forgets_the_chosen_clips_only():
    state = BackgroundRestoration(4).update(*draw(), empty(draw()[0]))
    after = reset_state(state, torch.tensor([True, False]))
    for new, old in zip(after, state, strict=True):
        assert not new[0].any()
        assert torch.equal(new[1], old[1])


def test_decoder_gives_a_picture_with_3907_parameters():
    decoder = BackgroundDecoder(24)
    assert sum(p.numel() for p in decoder.parameters()) == 3_907
    picture = decoder(torch.randn(2, 24, 5, 9))
    assert picture.shape == (2, 3, 5, 9)
    assert picture.abs().max() <= 1


@pytest.mark.parametrize("mask", ["matte", "truth"])
def test_a_finer_map_of_the_person_is_averaged_over_each_cell(mask):
    brm = BackgroundRestoration(4, threshold=0.9, hard=True, mask=mask)
    e4, _ = draw()
    person = torch.zeros(2, 1, 32, 48)
    person[:, :, :3, :2] = 1  # 6 of the 16 pixels of the first cell
    person[:, :, 4, 4] = 1  # one of the 16 of another
    state = brm.update(e4, person, empty(e4))
    expected = torch.ones(2, 1, 8, 12)
    expected[:, :, 0, 0] = 0
    assert torch.equal(state.mask, expected)
    assert torch.equal(state.feature, e4 * expected)


def test_an_unknown_mask_is_refused():
    with pytest.raises(ValueError, match="brm_mask must be one of semantic, matte, truth, got 'alpha'"):
        BackgroundRestoration(4, mask="alpha")
