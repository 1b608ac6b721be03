from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.batch import Layers
from datamodules.composite import collate_layers, composite
from datamodules.resample import apply_affine, resample, resample_by_torch, to_previous_frame, unit

MakeLayers = Callable[..., Layers]


def affine(*rows: float) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).view(2, 3)


def smooth(*shape: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(*shape[:-2], 6, 6, generator=torch.Generator().manual_seed(seed))
    flat = F.interpolate(coarse.flatten(0, -4), shape[-2:], mode="bicubic", align_corners=True).clamp(0, 1)
    return flat.view(shape)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """picture (3, H, W) of frame t−1 seen from frame t by its backward flow (2, H, W)."""
    height, width = picture.shape[-2:]
    points = apply_affine(torch.eye(2, 3), height, width) + flow.movedim(0, -1)
    grid = (2 * points + 1) / torch.tensor([width, height]) - 1
    return F.grid_sample(picture[None], grid[None], "bicubic", "border", align_corners=False)[0]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.floats(-0.6, 0.6), min_size=6, max_size=6),
    size=st.tuples(st.integers(5, 50), st.integers(5, 50)),
    seed=st.integers(0, 100),
    camouflage=st.sampled_from([0.0, 0.7, 1.0]),
)
def test_frames_equal_blend_of_returned_layers(
    make_layers: MakeLayers, numbers: list[float], size: tuple[int, int], seed: int, camouflage: float
) -> None:
    skew = torch.eye(2, 3) + torch.tensor(numbers).view(2, 3) * torch.tensor([1.0, 1.0, 20.0])
    layers = make_layers(seed=seed, fgr_affine=skew.expand(2, 3, 2, 3), camouflage=torch.tensor([0.0, camouflage]))
    batch = composite(layers, *size)
    residual = batch.frames - (batch.alpha * batch.foreground + (1 - batch.alpha) * batch.background)
    assert residual.abs().max() < 1e-6
    for name in ("frames", "alpha", "foreground", "background"):
        value = getattr(batch, name)
        assert value.shape == (2, 3, 1 if name == "alpha" else 3, *size)
        assert value.min() >= 0
        assert value.max() <= 1


def test_identity_affine_returns_the_sources_pixels(make_layers: MakeLayers) -> None:
    layers = make_layers()
    batch = composite(layers, 36, 40)
    seen = layers.pha.expand_as(layers.fgr) > 0
    assert torch.equal((batch.alpha * 255).round(), layers.pha.float())
    assert torch.equal((batch.foreground * 255).round()[seen], layers.fgr.float()[seen])
    assert torch.equal((batch.background * 255).round(), layers.bgr.float().expand(2, 3, 3, 36, 40))


def test_whole_pixel_shift_moves_exactly_and_fills_outside(make_layers: MakeLayers) -> None:
    shift = affine(1, 0, -5, 0, 1, 3).expand(2, 3, 2, 3)
    layers = make_layers(fgr_affine=shift, bgr_affine=shift)
    batch = composite(layers, 36, 40)
    assert torch.equal((batch.alpha[..., :-3, 5:] * 255).round(), layers.pha[..., 3:, :-5].float())
    assert torch.equal(batch.alpha[..., :4], torch.zeros(2, 3, 1, 36, 4))  # nobody outside the canvas
    moved = (batch.background * 255).round()
    assert torch.equal(moved[..., :-3, 5:], layers.bgr[..., 3:, :-5].expand(2, 3, 3, 33, 35).float())
    assert torch.equal(moved[..., :-3, 0], layers.bgr[..., 3:, 0].expand(2, 3, 3, 33).float())  # the border goes on


def test_colour_from_outside_the_person_does_not_bleed_in(make_layers: MakeLayers) -> None:
    fgr, pha = torch.zeros(1, 1, 3, 20, 20, dtype=torch.uint8), torch.zeros(1, 1, 1, 20, 20, dtype=torch.uint8)
    fgr[..., 5:15, 5:15], pha[..., 5:15, 5:15] = 200, 255
    half = affine(1, 0, 0.5, 0, 1, 0.25).expand(1, 1, 2, 3)
    batch = composite(make_layers(1, 1, (20, 20), fgr=fgr, pha=pha, fgr_affine=half), 20, 20)
    colour = batch.foreground[batch.alpha.expand_as(batch.foreground) > 0]
    torch.testing.assert_close(colour, torch.full_like(colour, 200 / 255))


def test_shrinking_averages_instead_of_aliasing() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 1, 64, 64).contiguous()
    shrunk = resample(stripes, affine(4, 0, 1.5, 0, 4, 1.5).expand(1, 1, 2, 3), 16, 16, "border")
    assert (shrunk[..., 1:-1, 1:-1] - 0.5).abs().max() < 1e-5


def test_clip_does_not_depend_on_its_batch(make_layers: MakeLayers) -> None:
    layers = make_layers(
        4, camouflage=torch.tensor([0.0, 1.0, 0.5, 0.2]), noise_std=torch.full((4,), 0.05),
        jpeg_quality=torch.tensor([0, 60, 0, 80]), h264_crf=torch.tensor([-1, -1, 30, 20]),
        fgr_defocus=torch.tensor([0.0, 1.5, 5.0, 0.2]), bgr_defocus=torch.tensor([3.0, 0.0, 1.0, 7.0]),
    )  # fmt: skip
    layers.fgr_affine[2, ..., :2] *= 2.2
    whole = composite(layers, 30, 34)
    for n in range(4):
        alone = {name: value[n : n + 1] for name, value in vars(layers).items() if value is not None}
        single = composite(Layers(**alone), 30, 34)
        assert torch.equal(whole.frames[n], single.frames[0])
        assert torch.equal(whole.foreground[n], single.foreground[0])


def test_clips_of_different_sizes_are_in_one_batch_what_each_is_alone(make_layers: MakeLayers) -> None:
    """The others' size is no more than memory; also along the borders, out of focus and shrunk."""
    changes = {"fgr_defocus": torch.tensor([2.5]), "bgr_defocus": torch.tensor([4.0])}
    samples = []
    for seed, source in enumerate([(36, 40), (24, 52), (30, 30)]):
        seen = affine(1.8, 0.1, -9 - seed, -0.1, 1.8, -12).expand(1, 3, 2, 3)
        layers = make_layers(1, 3, source, seed, **changes, fgr_affine=seen, bgr_affine=seen)
        values = {item.name: value for item in fields(layers) if (value := getattr(layers, item.name)) is not None}
        samples.append(Layers(**{name: value[0] for name, value in values.items()}))
    samples[1] = replace(samples[1], texture=torch.rand(3, 2, 24, 52), camouflage=torch.tensor(0.7))
    batch = collate_layers(samples)
    assert torch.equal(batch.bgr_size, torch.tensor([(36, 40), (24, 52), (30, 30)]))
    whole = composite(batch, 34, 38)
    for n, sample in enumerate(samples):
        single = composite(collate_layers([sample]), 34, 38)
        for name in ("frames", "alpha", "foreground", "background"):
            assert torch.equal(getattr(whole, name)[n], getattr(single, name)[0])
    for name, beyond in (("bgr", "border"), ("fgr", "zeros")):
        pictures, blurs, size = (getattr(batch, each) for each in (name, f"{name}_defocus", f"{name}_size"))
        ours = resample(pictures, batch.fgr_affine, 34, 38, beyond, blurs, size=size)
        theirs = resample_by_torch(unit(pictures), batch.fgr_affine, 34, 38, beyond, blurs, size)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", [torch.float64, torch.float16, torch.bfloat16])
def test_draws_of_any_precision_give_pictures_in_single(make_layers: MakeLayers, precision: torch.dtype) -> None:
    layers = make_layers(noise_std=torch.full((2,), 0.125))  # these draws are the same in all of them
    names = ("bgr_affine", "fgr_affine", "bgr_gain", "fgr_gain", "camouflage", "noise_std")
    other = replace(layers, **{name: getattr(layers, name).to(precision) for name in names})
    found, expected = (composite(each, 24, 32) for each in (other, layers))
    assert found.frames.dtype == torch.float32
    assert torch.equal(found.frames, expected.frames)


def test_noise_comes_from_the_clips_seed(make_layers: MakeLayers) -> None:
    layers = make_layers()
    noisy_layers = replace(layers, noise_std=torch.tensor([0.02, 0.0]))
    clean, noisy, again = (composite(each, 36, 40).frames for each in (layers, noisy_layers, noisy_layers))
    other = composite(replace(noisy_layers, seed=torch.tensor([8, 9])), 36, 40).frames
    inside = (clean[0] > 0.1) & (clean[0] < 0.9)
    assert (noisy[0] - clean[0])[inside].std() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy[0], other[0])
    assert torch.equal(noisy[1], clean[1])


def test_near_plane_is_part_of_the_true_background(make_layers: MakeLayers) -> None:
    near = torch.zeros(2, 4, 36, 40, dtype=torch.uint8)
    near[:, :, 20:] = torch.tensor([10, 20, 30, 255], dtype=torch.uint8)[:, None, None]
    layers = make_layers(near=near)
    batch = composite(replace(layers, near_affine=layers.bgr_affine), 36, 40)
    expected = torch.tensor([10.0, 20, 30])[:, None, None].expand(2, 3, 3, 16, 40)
    torch.testing.assert_close(batch.background[..., 20:, :] * 255, expected)
    torch.testing.assert_close(batch.background[..., :20, :], composite(layers, 36, 40).background[..., :20, :])
    one = replace(layers, near=near[1:], near_clips=torch.tensor([1]), near_affine=layers.bgr_affine)
    mixed, without = composite(one, 36, 40), composite(layers, 36, 40)
    assert torch.equal(mixed.background[1], batch.background[1])
    assert torch.equal(mixed.background[0], without.background[0])


def test_background_flow_and_affine_lead_to_the_previous_frame(make_layers: MakeLayers) -> None:
    motion = torch.stack([affine(1, 0, 4, 0, 1, 4), affine(0.99, 0.03, 6.2, -0.03, 1.01, 3.1)])[None]
    layers = make_layers(
        1, 2, (60, 64), bgr=smooth(1, 1, 3, 60, 64), bgr_affine=motion, pha=torch.zeros(1, 2, 1, 60, 64),
        fgr_flow=torch.zeros(1, 2, 2, 60, 64),
    )  # fmt: skip
    batch = composite(layers, 48, 52, flow=True)
    assert batch.flow is not None
    assert batch.background_affine is not None
    assert batch.flow[0, 0].abs().max() == 0
    torch.testing.assert_close(batch.background_affine[0, 0], torch.eye(2, 3))
    error = (warp(batch.background[0, 0], batch.flow[0, 1]) - batch.background[0, 1])[..., 8:-8, 8:-8]
    assert error.square().mean() < 1e-4  # 40 dB
    by_affine = apply_affine(batch.background_affine[0, 1], 48, 52) - apply_affine(torch.eye(2, 3), 48, 52)
    torch.testing.assert_close(batch.flow[0, 1].movedim(0, -1), by_affine)


def test_person_flow_joins_source_motion_and_affines(make_layers: MakeLayers) -> None:
    # The source moves by 3 pixels to the right from frame 0 to 1, and its canvas is scaled and mirrored.
    source = smooth(1, 1, 3, 60, 70)[..., :64]
    clip = torch.cat([source, torch.roll(source, 3, dims=-1)], dim=1)
    source_flow = torch.zeros(1, 2, 2, 60, 64)
    source_flow[:, 1, 0] = -3
    affines = torch.stack([affine(-0.8, 0, 55, 0, 0.8, 5), affine(-0.82, 0.02, 54, 0.01, 0.8, 5.5)])[None]
    layers = make_layers(
        1, 2, (60, 64), fgr=clip, pha=torch.ones(1, 2, 1, 60, 64), fgr_flow=source_flow, fgr_affine=affines
    )
    batch = composite(layers, 48, 52, flow=True)
    assert batch.flow is not None
    error = (warp(batch.frames[0, 0], batch.flow[0, 1]) - batch.frames[0, 1])[..., 10:-10, 10:-10]
    assert error.square().mean() < 1e-4


def test_camouflage_wears_the_background_at_the_texture_coordinates(make_layers: MakeLayers) -> None:
    bgr = smooth(1, 1, 3, 40, 40)
    pixels = apply_affine(torch.eye(2, 3), 40, 40).movedim(-1, 0) / 40
    grey = torch.full((1, 1, 3, 40, 40), 0.5)
    layers = make_layers(
        1, 1, (40, 40), bgr=bgr, fgr=grey, pha=torch.ones(1, 1, 1, 40, 40), texture=pixels[None, None],
        camouflage=torch.ones(1), camouflage_shift=torch.tensor([[4.0, -3.0]]),
    )  # fmt: skip
    batch = composite(layers, 40, 40)
    expected = bgr[0, 0, :, :-3, 4:]
    torch.testing.assert_close(batch.foreground[0, 0, :, 3:, :-4], expected, atol=1e-4, rtol=0)


def test_camouflage_without_texture_matches_the_colours_behind(make_layers: MakeLayers) -> None:
    layers = make_layers(1, 2, (40, 40), bgr=0.3 + 0.2 * smooth(1, 1, 3, 40, 40), camouflage=torch.ones(1))
    batch = composite(layers, 40, 40)
    weights = batch.alpha / batch.alpha.sum()
    means = [(value * weights).sum((0, 1, 3, 4)) for value in (batch.foreground, batch.background)]
    torch.testing.assert_close(means[0], means[1], atol=0.01, rtol=0)


def test_cut_shows_the_second_picture(make_layers: MakeLayers) -> None:
    layers = make_layers(1, 3)
    bgr = torch.cat([layers.bgr, 255 - layers.bgr], dim=1)
    batch = composite(replace(layers, bgr=bgr, bgr_index=torch.tensor([[0, 0, 1]])), 36, 40)
    torch.testing.assert_close(batch.background[0, 2], 1 - batch.background[0, 1])
    assert batch.background_affine is not None


def test_video_background_shows_each_frame_and_has_no_affine(make_layers: MakeLayers) -> None:
    bgr = torch.randint(0, 256, (2, 3, 3, 36, 40), dtype=torch.uint8)
    batch = composite(make_layers(bgr=bgr, bgr_index=torch.arange(3).expand(2, 3)), 36, 40)
    assert torch.equal((batch.background * 255).round(), bgr.float())
    assert batch.background_affine is None


def test_flow_that_nobody_knows_is_refused(make_layers: MakeLayers) -> None:
    with pytest.raises(ValueError, match="knows no flow"):
        composite(make_layers(), 36, 40, flow=True)
    video = make_layers(bgr=torch.zeros(2, 3, 3, 36, 40), fgr_flow=torch.zeros(2, 3, 2, 36, 40))
    with pytest.raises(ValueError, match="background videos"):
        composite(video, 36, 40, flow=True)
    cut = replace(video, bgr=torch.zeros(2, 2, 3, 36, 40))
    with pytest.raises(ValueError, match="over cuts"):
        composite(cut, 36, 40, flow=True)
    for unknown in (make_layers(), video, cut):
        assert composite(unknown, 36, 40, flow=None).flow is None
    assert composite(make_layers(fgr_flow=torch.zeros(2, 3, 2, 36, 40)), 36, 40, flow=None).flow is not None


def test_collate_pads_pictures_and_missing_layers(make_layers: MakeLayers) -> None:
    def single(**changes: object) -> Layers:
        layers = make_layers(1, **changes)
        values = {name: value[0] if value is not None else None for name, value in vars(layers).items()}
        return Layers(**values)

    near, path = torch.full((1, 4, 36, 40), 255, dtype=torch.uint8), torch.eye(2, 3).expand(1, 3, 2, 3)
    video = torch.zeros(1, 4, 3, 36, 40, dtype=torch.uint8)
    batch = collate_layers([single(), single(near=near, near_affine=path), single(bgr=video)])
    assert batch.bgr.shape == (3, 4, 3, 36, 40)
    assert torch.equal(batch.bgr[0, 3], batch.bgr[0, 0])
    assert batch.near is not None
    assert torch.equal(batch.near, near)
    assert batch.near_clips is not None
    assert batch.near_clips.tolist() == [1]  # no empty picture is held, or travels, for the others
    assert batch.texture is None
    assert batch.clip == ["clip0"] * 3


def test_previous_frame_affine_inverts_the_one_before() -> None:
    first, second = affine(0.5, 0.1, 3, -0.2, 0.6, 1), affine(0.7, 0, -2, 0.1, 0.5, 4)
    step = to_previous_frame(torch.stack([first, second])[None])[0, 1]
    point = torch.tensor([7.0, 9.0, 1.0])
    torch.testing.assert_close(first @ torch.cat([step @ point, torch.ones(1)]), second @ point)


def test_numbers_do_not_depend_on_the_number_of_threads(make_layers: MakeLayers) -> None:
    layers = make_layers(
        2, 4, (150, 160), camouflage=torch.ones(2), noise_std=torch.full((2,), 0.02),
        jpeg_quality=torch.tensor([80, 0]), h264_crf=torch.tensor([-1, 25]),
    )  # fmt: skip
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(composite(layers, 140, 150).frames)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.gpu
def test_gpu_gives_the_same_numbers_to_float_tolerance(make_layers: MakeLayers) -> None:
    shrinks = torch.eye(2, 3).expand(2, 3, 2, 3) * torch.tensor([1.0, 1.8])[:, None, None, None]
    layers = make_layers(
        noise_std=torch.full((2,), 0.05), camouflage=torch.ones(2), fgr_affine=shrinks, bgr_affine=shrinks.clone(),
        fgr_flow=torch.zeros(2, 3, 2, 36, 40), texture=torch.rand(2, 3, 2, 36, 40),
    )  # fmt: skip
    on_gpu = composite(layers.to("cuda"), 36, 40, flow=True)
    assert all(each.is_contiguous() for each in (on_gpu.frames, on_gpu.foreground, on_gpu.background))
    for name, value in vars(composite(layers, 36, 40, flow=True)).items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(getattr(on_gpu, name).cpu(), value, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_compositing_does_not_wait_for_the_gpu(make_layers: MakeLayers) -> None:
    layers = make_layers(noise_std=torch.full((2,), 0.05), camouflage=torch.ones(2)).to("cuda")
    composite(layers, 36, 40)
    torch.cuda.set_sync_debug_mode("error")
    try:
        composite(layers, 36, 40)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_person_out_of_focus_is_spread_with_the_alpha_and_the_place_apart(make_layers: MakeLayers) -> None:
    pha = torch.zeros(1, 1, 1, 24, 24)
    pha[..., 12:] = 1
    layers = make_layers(1, 1, (24, 24), fgr=torch.full((1, 1, 3, 24, 24), 0.25), pha=pha)
    sharp, soft = composite(layers, 24, 24), composite(replace(layers, fgr_defocus=torch.tensor([4.0])), 24, 24)
    assert torch.equal(soft.background, sharp.background)
    edges = [((batch.alpha > 0.01) & (batch.alpha < 0.99)).sum() / 24 for batch in (sharp, soft)]
    assert edges == [0, 4]
    edge = soft.alpha[0, 0, 0, 12]
    assert edge.diff().min() > -1e-5
    assert edge.mean() == pytest.approx(0.5)
    colour = soft.foreground[soft.alpha.expand_as(soft.foreground) > 0]
    torch.testing.assert_close(colour, torch.full_like(colour, 0.25))  # nothing bleeds in
    torch.testing.assert_close(soft.frames, soft.alpha * soft.foreground + (1 - soft.alpha) * soft.background)
    blurred = composite(replace(layers, bgr_defocus=torch.tensor([4.0])), 24, 24)
    assert torch.equal(blurred.alpha, sharp.alpha)
    assert blurred.background.std() < 0.5 * sharp.background.std()
