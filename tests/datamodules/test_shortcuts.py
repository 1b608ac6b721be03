"""An audit sees each shortcut that is put into made clips, and none in clips without one."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.shortcuts import Seen, audit, look

SIZE = 48
Make = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def noise(generator: torch.Generator, blur: int = 3) -> Tensor:
    """(3, 3, SIZE, SIZE): one grey picture of noise, blurred, of one contrast whatever the blur, for three frames."""
    picture = torch.randn(1, 1, SIZE + 20, SIZE + 20, generator=generator)
    picture = F.avg_pool2d(picture, blur, 1)[..., :SIZE, :SIZE]
    return (0.5 + 0.1 * picture / picture.std()).expand(3, 3, -1, -1)


def somebody(generator: torch.Generator, x: int | None = None) -> Tensor:
    """(3, 1, SIZE, SIZE): a square of alpha, anywhere unless told."""
    alpha = torch.zeros(3, 1, SIZE, SIZE)
    left, top = torch.randint(0, SIZE - 20, (2,), generator=generator).tolist()
    left = left if x is None else x
    alpha[..., top : top + 20, left : left + 20] = 1
    return alpha


def fair(generator: torch.Generator, person: int = 3, place: int = 3, **where: int) -> tuple[Tensor, Tensor]:
    """Frames and alpha of somebody blurred as `person` says before a place blurred as `place` says."""
    alpha = somebody(generator, **where)
    return torch.lerp(noise(generator, place), noise(generator, person), alpha), alpha


def grainy(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    frames, alpha = fair(generator, 15, 15)
    return frames + 0.05 * alpha * torch.randn(3, 1, SIZE, SIZE, generator=generator), alpha


def dark(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    frames, alpha = fair(generator)
    return frames - 0.3 * alpha, alpha


def restless(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    frames, alpha = fair(generator)
    moving = torch.stack([frame.roll(2 * t, -1) for t, frame in enumerate(frames)])
    return torch.lerp(frames, moving, alpha), alpha


def audited(make: Make, num_clips: int = 40) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    clips = [look(*make(generator), f"person {k}") for k in range(num_clips)]
    return {cue: estimate.value for cue, estimate in audit(clips).items()}


def test_without_a_shortcut_no_cue_tells() -> None:
    told = audited(fair)
    assert told.pop("soft") == 0
    assert told.pop("motion") == pytest.approx(0.5)
    # Somebody anywhere within the frame is a little more often in its middle; outlines are sharp.
    assert told.pop("position") < 0.75
    assert all(abs(area - 0.5) < 0.05 for area in told.values()), told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cue", "make", "expected"),
    [
        ("sharpness", lambda generator: fair(generator, person=2, place=9), (0.85, 1.0)),
        ("sharpness", lambda generator: fair(generator, person=9, place=2), (0.0, 0.25)),
        ("position", lambda generator: fair(generator, x=5), (0.75, 1.0)),
        ("colour", dark, (0.9, 1.0)),
        ("noise", grainy, (0.85, 1.0)),
        ("motion", restless, (0.85, 1.0)),
    ],
)
def test_a_cue_that_tells_people_is_seen(cue: str, make: Make, expected: tuple[float, float]) -> None:
    assert expected[0] <= audited(make)[cue] <= expected[1]


def test_focus_drawn_apart_for_person_and_place_tells_nothing() -> None:
    def make(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        person, place = (2 + 7 * torch.randint(0, 2, (2,), generator=generator)).tolist()
        return fair(generator, person, place)

    assert abs(audited(make, 80)["sharpness"] - 0.5) < 0.08


def test_the_interval_is_over_people_and_stills_have_no_motion() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [[layer[:1] for layer in fair(generator)] for _ in range(24)]

    def width(num_people: int) -> float:
        clips = [look(frames, alpha, f"{k % num_people}") for k, (frames, alpha) in enumerate(pictures)]
        told = audit(clips)
        assert "motion" not in told
        assert told["sharpness"].low <= told["sharpness"].value <= told["sharpness"].high
        return told["position"].high - told["position"].low

    assert width(24) > 0
    with pytest.raises(ValueError, match="two at least, got 1"):
        width(1)


def test_a_cells_prior_is_learned_from_other_people_only() -> None:
    # Each person has a cell of their own, which nobody else ever fills: nothing is learned from the others.
    def clip(k: int) -> Seen:
        cells = torch.arange(8)
        return Seen(str(k), cells == k, 0.0, {"position": cells})

    assert audit([clip(k) for k in range(8)])["position"].value < 0.6
