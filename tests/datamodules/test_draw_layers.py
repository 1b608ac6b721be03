from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from datamodules.batch import Layers
from datamodules.difficulty import Difficulty
from datamodules.draw_layers import Draws, draw_layers
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
    flow: bool = False,
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


def test_condition_changes_only_what_it_names() -> None:
    easy = draw(static_share=1.0)
    same(easy, draw(static_share=0.0, background_speed=(4, 4)), "bgr_affine", "near_affine")
    same(easy, draw(static_share=1.0, camouflage=(0.5, 0.5)), "camouflage", "texture")
    same(easy, draw(static_share=1.0, noise_std=(0.1, 0.1)), "noise_std")


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


@pytest.mark.parametrize("name", ["light_change", "gain", "photometric", "foreground_speed"])
def test_option_has_an_effect(name: str) -> None:
    value = 1.0 if name in ("gain", "photometric") else (1.0, 1.0)
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
    }
    assert differing == expected[name]
