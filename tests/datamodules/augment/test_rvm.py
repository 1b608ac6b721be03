from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from datamodules.augment.look import Look
from datamodules.augment.rvm import (
    RVMAugmentation,
    _cropped,
    draw_affines,
    draw_frames,
    draw_look,
    draw_pause,
)
from datamodules.dice import Draws

CLIPS = 3000
NEVER = {
    **dict.fromkeys(("foreground_motion_share", "still_motion_share", "background_motion_share", "noise_share"), 0.0),
    **dict.fromkeys(("colour_share", "grey_share", "sharpness_share", "blur_share", "flip_share"), 0.0),
    **dict.fromkeys(("pause_share", "reverse_share"), 0.0),
}


def share(happens: Callable[[Draws], object]) -> float:
    return sum(bool(happens(Draws((0, i)))) for i in range(CLIPS)) / CLIPS


def near(expected: float) -> object:
    """Within three standard errors."""
    return pytest.approx(expected, abs=3 * (expected * (1 - expected) / CLIPS) ** 0.5)


def looks(draws: Draws) -> Look:
    return draw_look(RVMAugmentation(), [0, 1, 2], draws)


def test_the_config_tells_every_option_with_the_constructors_value() -> None:
    config = OmegaConf.load(Path(__file__).parents[3] / "experiments" / "configs" / "augment" / "rvm.yaml")
    written = OmegaConf.to_container(config)
    assert RVMAugmentation.of(written) == RVMAugmentation()
    assert isinstance(written, dict)
    assert set(written) == set(vars(RVMAugmentation()))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"noise": 1}, "unknown noise; known are background_motion_share"),
        ({"noise_share": 1.5}, r"noise_share must lie in \[0, 1\], got 1.5"),
        ({"noise_share": "often"}, "noise_share must lie"),
        ({"speeds": []}, "speeds must be numbers above 0"),
        ({"speeds": [0, 1]}, "speeds must be numbers above 0"),
        (3, "must be a mapping"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RVMAugmentation.of(options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grain", 0.1),
        ("foreground_colours", 0.3),
        ("background_colours", 0.3),
        ("grey", 0.02),
        ("foreground_blur", 0.02 / 3),
    ],
)
def test_changes_of_the_look_come_at_their_published_shares(name: str, expected: float) -> None:
    assert share(lambda draws: getattr(looks(draws), name)) == near(expected)


@pytest.mark.slow
def test_sharpness_and_pauses_come_at_their_published_shares() -> None:
    assert share(lambda draws: looks(draws).sharpness is not None) == near(0.1)
    # Of the m lengths that can be from the m-th last frame on two hold nothing: 0 and 1.
    shown = sum(1 - 2 / m for m in range(2, 41)) / 39
    assert share(lambda draws: draw_pause(40, 1.0, draws) != list(range(40))) == near(shown)
    assert share(lambda draws: draw_pause(40, 0.03, draws) != list(range(40))) == near(0.03 * shown)


def longest(shown: list[int]) -> int:
    return max(shown.count(t) for t in shown)


@pytest.mark.slow
@pytest.mark.parametrize(("still", "expected"), [(False, 0.3), (True, 0.95)])
def test_motions_come_at_their_published_shares(still: bool, expected: float) -> None:
    def moves(draws: Draws, layer: int, **shares: float) -> bool:
        augmentation = RVMAugmentation.of({**NEVER, **shares})
        affine = draw_affines(augmentation, 6, (32, 32), (40, 40), (50, 60), still, draws)[layer]
        return not torch.equal(affine, affine[:1].expand_as(affine))

    own = {"foreground_motion_share": 0.3, "still_motion_share": 0.95}
    assert share(lambda draws: moves(draws, 0, **own)) == near(expected)
    together = {"background_motion_share": 0.3}
    assert share(lambda draws: moves(draws, 0, **together)) == near(0.15)
    assert share(lambda draws: moves(draws, 1, **together)) == near(1 - 0.85**2)


def test_a_pause_holds_one_frame_and_the_clip_goes_on_from_where_it_would_be() -> None:
    seen = [draw_pause(8, 1.0, Draws((0, i))) for i in range(300)]
    for shown in seen:
        assert shown[0] == 0
        assert shown == sorted(shown)
        held = [t for t, source in enumerate(shown) if source != t]
        assert len({shown[t] for t in held}) <= 1
        if held:
            assert held == list(range(shown[held[0]] + 1, held[-1] + 1))
    assert max(map(longest, seen)) == 7  # f = 0, n = 7
    assert draw_pause(1, 1.0, Draws((0,))) == [0]
    assert draw_pause(8, 0.0, Draws((0,))) == list(range(8))


@pytest.mark.parametrize("speed", [0.5, 1, 5])
def test_frames_come_at_their_speed_and_a_short_source_begins_again(speed: float) -> None:
    forth = draw_frames(100, 9, RVMAugmentation(speeds=(speed,), reverse_share=0.0), Draws((1,)), "foreground")
    assert [(frame - forth[0]) % 100 for frame in forth] == [int(t * speed) for t in range(9)]
    back = draw_frames(100, 9, RVMAugmentation(speeds=(speed,), reverse_share=1.0), Draws((1,)), "foreground")
    assert back == forth[::-1]
    assert draw_frames(1, 5, RVMAugmentation(), Draws((2,)), "foreground") == [0] * 5


@pytest.mark.slow
def test_each_speed_and_each_direction_is_as_likely_as_the_other() -> None:
    augmentation = RVMAugmentation()

    def steps(draws: Draws) -> int:
        frames = draw_frames(10_000, 11, augmentation, draws, "foreground")
        return (frames[-1] - frames[0] + 5000) % 10_000 - 5000

    drawn = [steps(Draws((0, i))) for i in range(CLIPS)]
    for speed in augmentation.speeds:
        assert sum(abs(way) == 10 * speed for way in drawn) / CLIPS == near(1 / 6)
    assert sum(way < 0 for way in drawn) / CLIPS == near(0.5)


@pytest.mark.parametrize(
    ("canvas", "box"),
    [((512, 910), (512, 563)), ((910, 512), (569, 512)), ((432, 768), (432, 475)), ((512, 512), (512, 512))],
)
def test_the_piece_that_is_seen_is_the_published_one(canvas: tuple[int, int], box: tuple[int, int]) -> None:
    matrix = _cropped((256, 256), canvas, flip=False)
    assert [round(256 * float(matrix[axis, axis])) for axis in (1, 0)] == list(box)
    middle = matrix @ torch.tensor([127.5, 127.5, 1], dtype=torch.float64)
    torch.testing.assert_close(
        middle[:2], torch.tensor([(canvas[1] - 1) / 2, (canvas[0] - 1) / 2], dtype=torch.float64)
    )
    mirrored = _cropped((256, 256), canvas, flip=True) @ torch.tensor([0.0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(mirrored[0], (matrix @ torch.tensor([255.0, 0, 1], dtype=torch.float64))[0])


def test_people_are_shown_smaller_and_backgrounds_larger_than_they_are() -> None:
    augmentation = RVMAugmentation.of(NEVER)
    square = (32, 32)
    drawn = [draw_affines(augmentation, 2, square, square, square, False, Draws((i,))) for i in range(200)]
    scales = torch.stack([affine[0, :, :2].det().sqrt() for affines in drawn for affine in affines]).view(200, 2)
    assert 1 <= scales[:, 0].min() < 1.1
    assert 1.8 < scales[:, 0].max() <= 2
    assert 1 / 1.5 <= scales[:, 1].min() < 0.75
    assert 0.9 < scales[:, 1].max() <= 1


def test_a_common_motion_moves_person_and_background_alike() -> None:
    augmentation = RVMAugmentation.of({**NEVER, "background_motion_share": 1.0})
    for index in range(20):
        foreground, background = draw_affines(augmentation, 5, (32, 32), (40, 40), (40, 40), False, Draws((index,)))
        if torch.equal(foreground, foreground[:1].expand_as(foreground)):
            assert not torch.equal(background, background[:1].expand_as(background))
            break
    else:
        pytest.fail("the person moved in every clip, though half of the share is the background's alone")


def test_noise_is_weaker_the_coarser_it_is() -> None:
    grains = [
        grain for i in range(100) if (grain := draw_look(RVMAugmentation(noise_share=1.0), [0], Draws((i,))).grain)
    ]
    assert len(grains) == 100
    assert all(1 <= g.pixels <= 4 and max(g.foreground, g.background) <= 0.2 / g.pixels for g in grains)
    assert 30 < sum(g.monochrome for g in grains) < 70
