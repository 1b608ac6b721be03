import torch

from datamodules.augment.photometric import (
    change_alpha,
    change_colours,
    changing_light,
    jitter_colours,
    random_gain,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(frames: int = 4) -> torch.Tensor:
    picture = torch.randint(0, 256, (1, 3, 24, 20), generator=generator(), dtype=torch.uint8)
    return picture.repeat(frames, 1, 1, 1)


def test_one_draw_holds_for_all_frames() -> None:
    changed = jitter_colours(clip(), 5, 1.0)
    assert changed.dtype == torch.uint8
    assert changed.shape == (4, 3, 24, 20)
    assert all(torch.equal(changed[0], frame) for frame in changed)
    assert not torch.equal(changed, clip())


def test_seed_decides_the_draw_whatever_was_drawn_before() -> None:
    first = jitter_colours(clip(), 5, 1.0)
    others = [jitter_colours(clip(), seed, 1.0) for seed in range(6, 16)]
    assert torch.equal(jitter_colours(clip(), 5, 1.0), first)
    assert len({other.float().mean().item() for other in others}) > 6


def test_still_shown_in_all_frames_is_changed_like_its_copies() -> None:
    still = clip(1).expand(4, -1, -1, -1)
    assert torch.equal(jitter_colours(still, 9, 0.7), jitter_colours(clip(), 9, 0.7))


def test_gain_stays_in_its_spread() -> None:
    gains = torch.stack([random_gain(generator(seed), 0.2) for seed in range(200)])
    assert gains.min() >= 0.8
    assert gains.max() <= 1.2
    assert gains.std() > 0.05


def test_light_changes_smoothly_from_one() -> None:
    light = changing_light(30, generator(), 0.3)
    assert light.shape == (30, 1)
    assert light[0] == 1
    assert light.std() > 0.01
    assert (light - 1).abs().max() <= 0.3
    assert light.diff(dim=0).abs().max() < 0.3 * 3.2 / 10
    assert torch.equal(changing_light(30, generator(), 0.0), torch.ones(30, 1))


def person(frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours (T, 3, 20, 24) that differ from frame to frame, and a soft alpha."""
    fgr = torch.randint(40, 200, (frames, 3, 20, 24), generator=generator(1), dtype=torch.uint8)
    pha = torch.randint(0, 256, (frames, 1, 20, 24), generator=generator(2), dtype=torch.uint8)
    return fgr, pha


SAME = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def test_identity_gives_back_the_very_pixels() -> None:
    fgr, pha = person()
    assert change_colours(fgr, pha, **SAME) is fgr
    assert torch.equal(change_alpha(pha, 1.0), pha)


def test_brightness_and_saturation_scale_as_worked_by_hand() -> None:
    fgr, pha = torch.tensor([100, 60, 20], dtype=torch.uint8)[None, :, None, None], torch.full((1, 1, 1, 1), 255)
    brighter = change_colours(fgr, pha, **{**SAME, "brightness": 1.15})
    assert brighter.flatten().tolist() == [115, 69, 23]
    grey = change_colours(fgr, pha, **{**SAME, "saturation": 0.0})
    assert grey.flatten().tolist() == [67, 67, 67]  # 0.299 · 100 + 0.587 · 60 + 0.114 · 20 = 67.4
    more = change_colours(fgr, pha, **{**SAME, "saturation": 1.3})
    assert more.flatten().tolist() == [110, 58, 6]


def test_contrast_turns_about_the_mean_of_the_person_in_all_frames() -> None:
    fgr = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    fgr[0, :, :2], fgr[1, :, :2] = 80, 120
    pha = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    pha[:, :, :2] = 255  # the black outside does not count
    changed = change_colours(fgr, pha, **{**SAME, "contrast": 0.5})
    assert changed[0, :, :2].unique().tolist() == [90]
    assert changed[1, :, :2].unique().tolist() == [110]


def test_hue_is_a_shift_in_turns() -> None:
    red, pha = torch.tensor([200, 0, 0], dtype=torch.uint8)[None, :, None, None], torch.full((1, 1, 1, 1), 255)
    assert change_colours(red, pha, **{**SAME, "hue": 1 / 3}).flatten().tolist() == [0, 200, 0]
    assert change_colours(red, pha, **{**SAME, "hue": -1 / 3}).flatten().tolist() == [0, 0, 200]


def test_gamma_keeps_empty_and_full_and_lowers_or_raises_the_rest() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    wide, narrow = change_alpha(ramp, 0.2).flatten().int(), change_alpha(ramp, 2.0).flatten().int()
    values = ramp.flatten().int()
    for changed in (wide, narrow):
        assert (changed[0], changed[255]) == (0, 255)
        assert (changed.diff() >= 0).all()
    assert (wide >= values).all()
    assert (narrow <= values).all()
    assert narrow[128] == 64
    assert wide[1] == 84  # 255 · (1 / 255) ** 0.2


def test_a_still_is_changed_once_and_like_its_copies() -> None:
    fgr, pha = (value[:1].expand(4, -1, -1, -1) for value in person())
    changes = {"brightness": 0.9, "contrast": 1.1, "saturation": 1.2, "hue": 0.05}
    changed = change_colours(fgr, pha, **changes)
    assert changed.stride(0) == change_alpha(pha, 0.5).stride(0) == 0
    assert torch.equal(changed, change_colours(fgr.clone(), pha.clone(), **changes))
    assert torch.equal(change_alpha(pha, 0.5), change_alpha(pha.clone(), 0.5))
