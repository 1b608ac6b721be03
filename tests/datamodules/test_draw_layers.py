from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from datamodules.augment.codec import NO_H264, NO_JPEG
from datamodules.batch import Layers
from datamodules.dice import Draws
from datamodules.difficulty import Difficulty
from datamodules.draw_layers import draw_layers
from datamodules.sources.interface import ForegroundClip, Scene


@dataclass
class Clips:
    """Thirty frames that tell their number, with flow and texture."""

    knows_flow: bool = True

    def __len__(self) -> int:
        return 3

    def name(self, i: int) -> str:
        return f"clip{i}"

    def num_frames(self, i: int) -> int:
        return 30

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        pixels = torch.tensor(frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 40, 40)
        moved = torch.ones(len(frames), 2, 40, 40)
        return ForegroundClip(pixels, pixels[:, :1], moved if self.knows_flow else None, moved)


@dataclass
class Scenes:
    """Stills (or videos) that tell their number, with a near plane."""

    video: bool = False

    def __len__(self) -> int:
        return 4

    def name(self, i: int) -> str:
        return f"scene{i}"

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        pictures = torch.full((num_frames if self.video else 1, 3, 50, 60), i, dtype=torch.uint8)
        return Scene(pictures, torch.zeros(4, 50, 60, dtype=torch.uint8), self.video)


def draw(
    index: int = 0,
    frames: int = 6,
    flow: bool | None = False,
    clips: Clips | None = None,
    video: bool = False,
    **options: object,
) -> Layers:
    difficulty, draws = Difficulty().but(options), Draws((0, index))
    return draw_layers(clips or Clips(), Scenes(video), 1, 2, frames, (32, 32), difficulty, draws, flow)


def same(first: Layers, second: Layers, *but: str) -> None:
    for name, value in vars(first).items():
        if name not in but:
            other = getattr(second, name)
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_sample_is_a_function_of_its_key() -> None:
    same(draw(3), draw(3))
    assert not torch.equal(draw(3).bgr_affine, draw(4).bgr_affine)


def test_draws_stay_what_they_were_before_there_were_crop_jitter_and_compression() -> None:
    layers = draw(3, noise_std=(0, 0.1), camouflage=(0, 1), light_change=(0, 0.3), static_share=0.0)
    assert layers.fgr[:, 0, 0, 0].tolist() == [6, 7, 8, 9, 10, 11]
    assert layers.seed == 8138521493598925735
    recorded = {
        "bgr_affine": [1.3806, -0.0342, 10.8478, 0.0868, 1.3839, 3.1708],
        "near_affine": [1.3806, -0.0342, 14.7352, 0.0868, 1.3839, 2.9979],
        "fgr_affine": [-1.186, 0.0, 37.678, 0.0, 1.186, 1.3967], "fgr_gain": [1.0462, 1.028, 0.934],
        "bgr_gain": [0.9149, 0.8945, 0.8973],
    }  # fmt: skip
    for name, values in recorded.items():
        torch.testing.assert_close(getattr(layers, name)[5].flatten(), torch.tensor(values), atol=1e-4, rtol=0)
    numbers = torch.stack([layers.camouflage, *layers.camouflage_shift, layers.noise_std])
    torch.testing.assert_close(numbers, torch.tensor([0.8045, -2.9027, -12.2033, 0.0366]), atol=1e-4, rtol=0)


def test_condition_changes_only_what_it_names() -> None:
    easy = draw(static_share=1.0)
    same(easy, draw(static_share=0.0, background_speed=(4, 4)), "bgr_affine", "near_affine")
    same(easy, draw(static_share=1.0, camouflage=(0.5, 0.5)), "camouflage", "texture")
    same(easy, draw(static_share=1.0, noise_std=(0.1, 0.1)), "noise_std")
    same(easy, draw(static_share=1.0, jpeg_share=1.0), "jpeg_quality")
    same(easy, draw(static_share=1.0, h264_share=1.0), "h264_crf")
    same(easy, draw(static_share=1.0, alpha_gamma_share=1.0), "pha")
    same(easy, draw(static_share=1.0, foreground_brightness=(1.1, 1.2)), "fgr")
    same(easy, draw(static_share=1.0, jpeg_quality=(5, 6), h264_crf=(40, 50), alpha_gamma=(3, 4)))


def test_static_clip_stands_still_and_fast_one_moves_farther() -> None:
    still, slow, fast = (
        draw(static_share=share, background_speed=(speed, speed), shake_share=0.0).bgr_affine
        for share, speed in ((1.0, 4.0), (0.0, 1.0), (0.0, 4.0))
    )
    assert torch.equal(still, still[:1].expand_as(still))
    scale = [affine[0, :, :2].norm() for affine in (slow, fast)]
    steps = [affine.diff(dim=0)[..., 2].norm() / s for affine, s in zip((slow, fast), scale, strict=True)]
    assert steps[1] > 2 * steps[0]


def test_frames_are_taken_by_stride_and_backwards() -> None:
    numbers = draw(frame_stride=(3, 3), reverse_share=1.0).fgr[:, 0, 0, 0].tolist()
    assert [a - b for a, b in pairwise(numbers)] == [3] * 5


def test_cut_shows_another_scene_from_some_frame_on() -> None:
    layers = draw(cut_share=1.0)
    shown = layers.bgr[layers.bgr_index, 0, 0, 0].tolist()
    assert shown == sorted(shown, key=lambda number: number != 2)
    assert len(set(shown)) == 2
    assert layers.near is None


def test_video_shows_its_frames_and_is_never_taken_for_a_cut() -> None:
    assert draw(frames=2, video=True).bgr.shape[0] == 3
    assert draw(frames=5, video=True, cut_share=1.0).bgr_index.tolist() == [0, 1, 2, 3, 4]


def test_texture_is_kept_only_for_camouflage() -> None:
    assert draw().texture is None
    assert draw(camouflage=(0.2, 0.9)).texture is not None


def test_flow_is_kept_where_it_is_known() -> None:
    flow = draw(flow=True).fgr_flow
    assert flow is not None
    assert flow[0].abs().max() == 0
    assert flow[1:].min() == 1
    with pytest.raises(ValueError, match=r"clip1 is unknown \(the source knows none\)"):
        draw(flow=True, clips=Clips(knows_flow=False))
    with pytest.raises(ValueError, match="skips frames or runs backwards"):
        draw(flow=True, frame_stride=(2, 2))
    assert torch.equal(draw(flow=None).fgr_flow, flow)  # type: ignore[arg-type]
    assert draw(flow=None, clips=Clips(knows_flow=False)).fgr_flow is None
    assert draw(flow=None, frame_stride=(2, 2)).fgr_flow is None


def test_compression_is_drawn_once_a_clip_in_its_range() -> None:
    drawn = [draw(i, jpeg_share=0.5, jpeg_quality=(70, 72), h264_share=0.5, h264_crf=(18, 20)) for i in range(120)]
    jpeg, crf = ([int(getattr(layers, name)) for layers in drawn] for name in ("jpeg_quality", "h264_crf"))
    assert set(jpeg) == {NO_JPEG, 70, 71, 72}
    assert set(crf) == {NO_H264, 18, 19, 20}
    assert 40 < jpeg.count(NO_JPEG) < 80
    assert 40 < crf.count(NO_H264) < 80
    assert {draw(i, jpeg_share=1.0, jpeg_quality=(30, 30)).jpeg_quality.item() for i in range(5)} == {30}


def test_crop_shows_a_window_of_a_larger_frame() -> None:
    wholes, windows = ([draw(i, crop_height=k, crop_width=k, static_share=1.0) for i in range(20)] for k in (1.0, 2.0))
    for whole, window in zip(wholes, windows, strict=True):
        # The canvas covers a frame twice as large: half as many of its pixels lie in a pixel of the output.
        for name in ("fgr_affine", "bgr_affine"):
            torch.testing.assert_close(2 * getattr(window, name)[..., :2], getattr(whole, name)[..., :2])
    assert len({tuple(window.bgr_affine[0, :, 2].tolist()) for window in windows}) == 20
    same(windows[3], draw(3, crop_height=2.0, crop_width=2.0, static_share=1.0))


@pytest.mark.parametrize(
    "name",
    ["light_change", "gain", "photometric", "foreground_speed", "absence_share", "background_view", "crop_height"],
)
def test_option_has_an_effect(name: str) -> None:
    value = {"gain": 1.0, "photometric": 1.0, "absence_share": 1.0, "background_view": 0.5, "crop_height": 2.0}.get(
        name, (1.0, 1.0)
    )
    changed, plain = draw(8, **{name: value}), draw(8)
    differing = {
        key
        for key, v in vars(plain).items()
        if isinstance(v, torch.Tensor) and not torch.equal(v, getattr(changed, key))
    }
    expected = {
        "light_change": {"bgr_gain"},
        "gain": {"fgr_gain", "bgr_gain"},
        "photometric": {"fgr", "bgr"},
        "foreground_speed": {"fgr_affine"},
        "absence_share": {"fgr_affine"},
        "background_view": {"bgr_affine", "near_affine"},
        "crop_height": {"fgr_affine", "bgr_affine", "near_affine"},
    }
    assert differing == expected[name]


@pytest.mark.parametrize("speed", [0.0, 2.0])
def test_who_is_away_is_wholly_out_of_the_picture_and_else_where_others_are(speed: float) -> None:
    for index in range(20):
        layers = draw(index, frames=24, absence_share=1.0, foreground_speed=(speed, speed))
        there = draw(index, frames=24, foreground_speed=(speed, speed))
        height, width = 32, 32
        x = torch.arange(width, dtype=torch.float32)
        # Canvas columns that the output's middle row shows.
        columns = (
            layers.fgr_affine[:, 0, :1] * x + layers.fgr_affine[:, 0, 1:2] * height / 2 + layers.fgr_affine[:, 0, 2:]
        )
        visible = ((columns > -1) & (columns < 40)).any(dim=1)
        assert not visible.all()
        assert visible.any()
        moved = (layers.fgr_affine - there.fgr_affine).abs().amax((1, 2))
        if speed == 0:
            assert moved.min() < 1e-5
    one = draw(0, frames=1, absence_share=1.0)
    assert torch.equal(one.fgr_affine, draw(0, frames=1).fgr_affine)
