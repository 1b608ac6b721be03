import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from datamodules.augment.look import Colours, Grain, Look

T, H, W = 4, 33, 40


@pytest.fixture
def layers() -> tuple[Tensor, Tensor, Tensor]:
    """Foreground, alpha and background: a person of one half, without colour elsewhere."""
    generator = torch.Generator().manual_seed(0)
    alpha = torch.zeros(T, 1, H, W)
    alpha[..., 10:30] = 1
    alpha[..., 9], alpha[..., 30] = 0.5, 0.5
    foreground = torch.rand(T, 3, H, W, generator=generator) * (alpha > 0)
    return foreground, alpha, torch.rand(T, 3, H, W, generator=generator)


def look(**changes: object) -> Look:
    return Look(list(range(T)), **changes)  # type: ignore[arg-type]


def test_nothing_is_changed_by_default(layers: tuple[Tensor, Tensor, Tensor]) -> None:
    for before, after in zip(layers, look().applied(*layers), strict=True):
        assert after is before


def test_noise_has_its_grain_is_another_each_frame_and_stays_where_the_clip_pauses() -> None:
    grey = torch.full((T, 3, H, W), 0.5), torch.ones(T, 1, H, W), torch.full((T, 3, H, W), 0.5)
    fine = Look([0, 1, 1, 3], Grain(1.0, False, 0.05, 0.1, 3, 4))
    foreground, alpha, background = fine.applied(*grey)
    assert torch.equal(alpha, grey[1])
    assert foreground.std() == pytest.approx(0.05, rel=0.05)
    assert background.std() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(foreground[1], foreground[2])
    assert not torch.equal(foreground[0], foreground[1])
    coarse, *_ = look(grain=Grain(4.0, True, 0.05, 0.1, 3, 4)).applied(*grey)
    assert torch.equal(coarse[:, 0], coarse[:, 2])

    def steps(frames: Tensor) -> Tensor:
        return frames.diff(dim=-1).abs().mean() / frames.std()

    assert steps(coarse) < steps(foreground) / 2


def test_colours_are_torchvisions_frame_by_frame(layers: tuple[Tensor, Tensor, Tensor]) -> None:
    colours = [Colours(1.1, 0.9, 1.2, 0.02), Colours(1, 1, 1, 0), Colours(0.9, 1, 1, 0), Colours(1, 1.3, 1, -0.1)]
    foreground, alpha, background = look(background_colours=colours).applied(*layers)
    assert foreground is layers[0]
    assert alpha is layers[1]
    first = TF.adjust_contrast(TF.adjust_brightness(layers[2][0], 1.1), 0.9)
    torch.testing.assert_close(background[0], TF.adjust_hue(TF.adjust_saturation(first, 1.2), 0.02))
    torch.testing.assert_close(background[1], layers[2][1], atol=1e-5, rtol=0)
    torch.testing.assert_close(background[2], layers[2][2] * 0.9, atol=1e-5, rtol=0)


def test_grey_leaves_alpha(layers: tuple[Tensor, Tensor, Tensor]) -> None:
    foreground, alpha, background = look(grey=True).applied(*layers)
    assert alpha is layers[1]
    for frames in (foreground, background):
        assert torch.equal(frames[:, 0], frames[:, 1])


@pytest.mark.parametrize("factor", [0.0, 1.0, 5.0])
def test_sharpness_is_torchvisions_where_all_is_person(layers: tuple[Tensor, Tensor, Tensor], factor: float) -> None:
    foreground, alpha, background = look(sharpness=factor).applied(*layers)
    torch.testing.assert_close(background, TF.adjust_sharpness(layers[2], factor), atol=1e-5, rtol=0)
    torch.testing.assert_close(alpha, TF.adjust_sharpness(layers[1], factor), atol=1e-5, rtol=0)
    inner = (..., slice(12, 28))
    torch.testing.assert_close(foreground[inner], TF.adjust_sharpness(layers[0], factor)[inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", [{"foreground_blur": [0.08] * T}, {"sharpness": 0.0}, {"sharpness": 8.0}])
def test_no_colour_from_where_nobody_is_bleeds_into_the_person(changes: dict[str, object]) -> None:
    alpha = torch.zeros(T, 1, H, W)
    alpha[..., 10:30] = 1
    foreground = 0.8 * alpha.expand(-1, 3, -1, -1)
    changed, alpha, _ = look(**changes).applied(foreground, alpha, torch.zeros(T, 3, H, W))
    seen = changed[(alpha > 0.05).expand_as(changed)]
    torch.testing.assert_close(seen, torch.full_like(seen, 0.8), atol=1e-4, rtol=0)


def test_blur_softens_its_layers_alone_and_not_below_a_pixel(layers: tuple[Tensor, Tensor, Tensor]) -> None:
    foreground, alpha, background = look(foreground_blur=[0.0, 0.01, 0.05, 0.1]).applied(*layers)
    assert background is layers[2]
    assert torch.equal(alpha[:2], layers[1][:2])  # a third of a pixel
    torch.testing.assert_close(alpha[3], TF.gaussian_blur(layers[1][3], 7, 3.3))
    torch.testing.assert_close(foreground[0], layers[0][0], atol=1e-5, rtol=0)
    _, alpha, background = look(common_blur=[0.1] * T).applied(*layers)
    torch.testing.assert_close(background[0], TF.gaussian_blur(layers[2][0], 7, 3.3))
    assert not torch.equal(alpha, layers[1])
