import torch

from datamodules.augment.photometric import changing_light, jitter_colours, random_gain


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
