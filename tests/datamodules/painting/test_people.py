import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datamodules.painting import hair
from datamodules.painting.people import Person


def render(number: int = 0, size: int = 64, num_frames: int = 3, **options):
    return Person(np.random.default_rng([9, number]), size, num_frames, **options).render()


@pytest.fixture(scope="module")
def clip():
    return render(1, size=128, num_frames=4)


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The image (C, H, W) read at x + flow(x)."""
    size = image.shape[-1]
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    grid = torch.stack([(x + flow[0]), (y + flow[1])], -1) / (size - 1) * 2 - 1
    return F.grid_sample(image[None], grid[None], align_corners=True)[0]


def test_clip_has_the_promised_shapes_and_types(clip) -> None:
    assert clip.fgr.shape == (4, 3, 128, 128)
    assert clip.pha.shape == (4, 1, 128, 128)
    assert clip.flow.shape == clip.texture.shape == (4, 2, 128, 128)
    assert clip.fgr.dtype == clip.pha.dtype == torch.uint8
    assert torch.isfinite(clip.flow.float()).all()
    assert torch.isfinite(clip.texture.float()).all()


@pytest.mark.parametrize("number", range(6))
def test_alpha_is_exact_inside_and_outside(number) -> None:
    alpha = render(number, num_frames=1).pha
    share_solid, share_clear = (alpha == 255).float().mean(), (alpha == 0).float().mean()
    assert 0.08 < share_solid < 0.85
    assert 0.1 < share_clear < 0.9
    assert 0.004 < ((alpha > 0) & (alpha < 255)).float().mean() < 0.25


@pytest.mark.slow
def test_finer_hair_gives_more_soft_pixels() -> None:
    soft = []
    for fineness in (0.0, 0.5, 1.0):
        pha = torch.cat([render(n, num_frames=1, hair_fineness=fineness, motion_blur=0.0).pha for n in range(6)])
        soft.append(((pha > 0) & (pha < 255)).float().mean().item())
    assert soft[0] < soft[1] < soft[2]


def test_thin_hair_stays_fractional_at_every_size() -> None:
    for size in (64, 192):
        alpha = torch.cat([render(n, size, 1, hair_fineness=1.0, motion_blur=0.0).pha for n in range(3)]).float() / 255
        soft = (alpha > 0) & (alpha < 1)
        assert (soft & (alpha < 0.5)).float().sum() > 0.25 * soft.float().sum()


@pytest.mark.parametrize("blur", [0.0, 0.4])
@pytest.mark.parametrize("number", [1, 3])
def test_flow_leads_to_the_same_point_of_the_surface(number, blur) -> None:
    clip = render(number, size=128, num_frames=4, motion_blur=blur)
    for t in (1, 3):
        flow, texture = clip.flow[t].float(), clip.texture.float()
        solid = F.avg_pool2d(clip.pha[t].float() / 255, 9, 1, 4)[0] > 0.999
        y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
        there = torch.stack([x, y]) + flow
        solid &= (there > 2).all(0) & (there < 125).all(0)
        error = 128 * (warp(texture[t - 1], flow) - texture[t]).norm(dim=0)[solid]
        assert error.median() < 0.1
        assert error.quantile(0.9) < 0.5
        # Smoothed, because reading between pixels softens a fine weave.
        before, now = F.avg_pool2d(clip.fgr[t - 1 : t + 1].float(), 5, 1, 2)
        unexplained = (warp(before, flow) - now).abs().mean(0)[solid].mean()
        assert unexplained < 0.75 * (before - now).abs().mean(0)[solid].mean()


def test_flow_is_zero_in_the_first_frame_and_not_later(clip) -> None:
    assert clip.flow[0].abs().max() == 0
    inside = (clip.pha[2:] > 0).expand(-1, 2, -1, -1)
    assert clip.flow[2:][inside].abs().float().mean() > 0.05


def test_texture_is_the_place_at_rest(clip) -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    offset = 128 * clip.texture[0].float() - torch.stack([x, y])
    solid = F.avg_pool2d(clip.pha[0].float() / 255, 9, 1, 4)[0] > 0.999
    assert offset.norm(dim=0)[solid].median() < 0.2


def test_colour_does_not_bleed_black_outside(clip) -> None:
    fringe = (F.max_pool2d(clip.pha.float(), 5, 1, 2) > 0) & (clip.pha == 0)
    inside = clip.fgr.float().mean(1, keepdim=True)[clip.pha > 0].mean()
    assert clip.fgr.float().mean(1, keepdim=True)[fringe].mean() > 0.4 * inside


@pytest.mark.slow
def test_speed_zero_stands_still_and_more_speed_moves_more() -> None:
    # Several people, since how far one moves is chance.
    motion = [
        sum(render(n, num_frames=5, motion_speed=speed, motion_blur=0.0).flow.abs().mean().item() for n in range(6))
        for speed in (0.0, 0.7, 2.0)
    ]
    assert motion[0] < 0.3 * motion[1]
    assert motion[1] < motion[2]


def test_soft_hair_stands_as_still_as_the_head_that_it_grows_on() -> None:
    astray = []
    for n in range(3):
        person = render(n, size=256, num_frames=2, motion_speed=0.0, motion_blur=0.0, hair_fineness=1.0)
        soft = (person.pha[1, 0] > 25) & (person.pha[1, 0] < 250)
        astray.append(person.flow[1].float().norm(dim=0)[soft].quantile(0.99).item())
    assert max(astray) < 1.5  # 5 to 7 where a fringe moves like the rim that it lies outside of


def test_open_shutter_softens_what_moves() -> None:
    def soft(blur: float) -> float:
        pha = torch.cat([render(n, motion_speed=2.0, motion_blur=blur, hair_fineness=0.0).pha for n in range(2)])
        return ((pha > 0) & (pha < 255)).float().mean().item()

    assert soft(0.0) < soft(0.5) < soft(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.5, 1.0, 3.0])
def test_no_side_of_the_canvas_but_the_lower_cuts_a_person_off(speed) -> None:
    people = [render(n, size=48, num_frames=8, motion_speed=speed) for n in range(25)]
    alpha = torch.stack([clip.pha[:, 0] for clip in people])
    assert not alpha[..., 0, :].any()
    assert not alpha[..., 0].any()
    assert not alpha[..., -1].any()
    assert alpha[..., -1, :].amax(-1).all()


@pytest.mark.parametrize("style", list(hair.STYLES))
def test_every_hair_style_renders(style, monkeypatch) -> None:
    monkeypatch.setattr(hair, "WEIGHTS", [float(name == style) for name in hair.STYLES])
    person = Person(np.random.default_rng(4), 77, 1, motion_blur=0.0)
    assert person.hair.name == style
    clip = person.render()
    assert clip.pha.shape == (1, 1, 77, 77)
    # At the clip's start every part lies where it rests.
    y, x = torch.meshgrid(torch.arange(77), torch.arange(77), indexing="ij")
    offset = (77 * clip.texture[0].float() - torch.stack([x, y])).norm(dim=0)[clip.pha[0, 0] == 255]
    assert offset.quantile(0.95) < 0.5


def test_long_clip_is_painted_in_chunks_without_a_seam(monkeypatch) -> None:
    whole = render(2, size=32, num_frames=4)
    monkeypatch.setattr("datamodules.painting.people.PIXELS_AT_ONCE", 1)
    single = render(2, size=32, num_frames=4)
    assert (whole.pha.int() - single.pha.int()).abs().max() <= 1
    assert (whole.flow.float() - single.flow.float()).abs().max() < 0.02
