"""The pixels of a composite test set against RVM's protocol, worked out here with Pillow and NumPy."""

from collections.abc import Callable
from dataclasses import replace
from math import cos, radians, sin, tan
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.augment.pose import Pose
from datamodules.batch import MattingBatch
from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
from datamodules.testset import CompositeTestSet
from datamodules.testset.composite import blend, fit, pose
from datamodules.testset.interface import TestClip as Clip  # by its own name pytest would take it for a test

MakeSet = Callable[..., CompositeTestSet]
LAYERS = ("frames", "alpha", "foreground", "background")


def bytes_of(values: torch.Tensor) -> np.ndarray:
    """(T, H, W, C) uint8 of a batch of one clip, which must hold nothing but 8-bit values."""
    pixels = (values[0] * 255).round()
    assert torch.equal(pixels.div(255), values[0])
    return pixels.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def stretched(file: Path, size: tuple[int, int] = (32, 18)) -> np.ndarray:
    return np.array(Image.open(file).resize(size, Image.Resampling.BILINEAR))


def test_a_video_clip_is_the_protocols_pixel_by_pixel(video_set: MakeSet, people_videos: Path, places: Path) -> None:
    test_set = video_set(num_clips=4)
    clip = next(clip for clip in test_set if clip.name == "anna" and clip.plan.mirrored and clip.stratum == "motion")
    batch = clip.read(0, 5)
    for t in range(5):
        number = clip.plan.start + t
        fgr = stretched(people_videos / "anna_rgb" / f"{number:05d}.png")[:, ::-1]
        pha = stretched(people_videos / "anna_pha" / f"{number:05d}.png")[:, ::-1]
        bgr = stretched(places / clip.scene.split("/")[1] / f"{t}.png")
        a = pha.astype(np.float64)[..., None] / 255
        com = np.floor(fgr * a + bgr * (1 - a) + 1e-9).astype(np.uint8)
        for layer, expected in zip(LAYERS, (com, pha[..., None], fgr, bgr), strict=True):
            np.testing.assert_array_equal(bytes_of(getattr(batch, layer))[t], expected)


def test_a_static_clip_stands_before_one_picture(video_set: MakeSet, places: Path) -> None:
    clip = video_set(strata=["static"])[0]
    background = bytes_of(clip.read(0, 5).background)
    assert (background == stretched(places / f"{clip.scene.split('/')[1]}.png")).all()


def test_blending_cuts_and_is_exact_for_every_byte() -> None:
    F, a = np.meshgrid(np.arange(256), np.arange(256))
    for B in (0, 7, 255):
        expected = (F * a + B * (255 - a)) // 255
        pictures = (torch.from_numpy(each.astype(np.uint8))[None, None] for each in (F, a, np.full_like(F, B)))
        np.testing.assert_array_equal(blend(*pictures)[0, 0].numpy(), expected)


@pytest.mark.parametrize("kind", ["video", "still", "procedural"])
def test_pieces_are_those_of_the_whole_clip(kind: str, request: pytest.FixtureRequest) -> None:
    clips = list(procedural_set() if kind == "procedural" else request.getfixturevalue(f"{kind}_set")())
    assert len({clip.key for clip in clips}) == len({(c.stratum, c.name, c.scene) for c in clips}) == len(clips)
    for clip in clips:
        assert isinstance(clip, Clip)
        whole = clip.read(0, clip.num_frames)
        assert (whole.clip, whole.scene, whole.stratum) == ([clip.name], [clip.scene], [clip.stratum])
        assert whole.frames.shape == (1, clip.num_frames, 3, *clip.size)
        for start, stop in ((0, 1), (1, 4), (4, 5)):
            piece = clip.read(start, stop)
            for layer in LAYERS:
                assert torch.equal(getattr(piece, layer), getattr(whole, layer)[:, start:stop])


def procedural_set(height: int = 36, width: int = 64) -> CompositeTestSet:
    people = ProceduralPeople(num_clips=2, num_frames=5, size=height, part="test")
    rooms = ProceduralRooms(num_scenes=2, size=(round(1.25 * height), round(1.25 * width)), part="test", parallax=1.0)
    return CompositeTestSet(people, rooms, (height, width), num_clips=2, num_frames=5)


def test_procedural_motion_is_a_camera_that_moves_and_static_one_that_does_not() -> None:
    for clip in procedural_set():
        background = clip.read(0, 5).background[0]
        moves = (background[1:] - background[:-1]).abs().mean((1, 2, 3))
        assert (moves > 0.002).all() if clip.stratum == "motion" else (moves == 0).all()


def test_a_set_of_another_size_shows_the_same_clips(video_set: MakeSet) -> None:
    small, large = video_set(size=(18, 32)), video_set(size=(36, 64))
    assert small.plans == large.plans
    for one, other in zip(small, large, strict=True):
        shrunk = torch.nn.functional.avg_pool2d(other.read(0, 5).alpha[0], 2)
        assert (shrunk - one.read(0, 5).alpha[0]).abs().mean() < 0.05


def test_the_same_seed_gives_the_same_bits_and_another_does_not(still_set: MakeSet) -> None:
    def bits(seed: int) -> list[torch.Tensor]:
        return [clip.read(0, 5).frames for clip in still_set(seed=seed)]

    assert all(map(torch.equal, bits(0), bits(0)))
    assert not all(map(torch.equal, bits(0), bits(1)))


def test_plans_of_a_manifest_give_the_clip_again(still_set: MakeSet) -> None:
    drawn = still_set()
    again = still_set(plans=drawn.plans[3:], seed=99)
    assert torch.equal(again[0].read(2, 4).frames, drawn[3].read(2, 4).frames)


def test_a_still_moves_linearly_from_its_first_pose(still_set: MakeSet) -> None:
    drawn = still_set(num_clips=1, strata=["static"], num_frames=5)
    first, last = Pose(0, 0, 0, 1, 0), Pose(0, 0.2, 0, 1, 0)
    plan = replace(drawn.plans[0], first_pose=first, last_pose=last, extent=1.0)
    alpha = bytes_of(still_set(plans=[plan], size=(40, 40))[0].read(0, 5).alpha)[..., 0]
    for t in range(1, 5):  # 0.2 of 40 pixels in 4 steps: 2 pixels each
        np.testing.assert_array_equal(alpha[t][:, 2 * t :], alpha[0][:, : -2 * t])
        assert (alpha[t][:, : 2 * t] == 0).all()


def test_a_pose_is_rotation_then_scale_and_shear_about_the_centre() -> None:
    degrees, shift, scale, shear = 7.0, (3, -2), 1.1, 4.0
    width, height = 61, 41
    x0, y0 = np.array([12.0, -8.0])
    # torchvision's convention: y down, clockwise; rotation with shear, times scale, then the shift.
    a, s = radians(degrees), radians(shear)
    linear = scale * np.array([[cos(a), -cos(a) * tan(s) - sin(a)], [sin(a), -sin(a) * tan(s) + cos(a)]])
    moved = linear @ [x0, y0] + shift
    picture = np.zeros((height, width), np.uint8)
    picture[int(height // 2 + y0) - 1 :, int(width // 2 + x0) - 1 :][:3, :3] = 255
    here = Pose(degrees, shift[0] / width, shift[1] / height, scale, shear)
    seen = np.array(pose(Image.fromarray(picture), here, here, 0.5), dtype=float)
    rows, columns = np.mgrid[:height, :width]
    centre = (columns * seen).sum() / seen.sum() - width // 2, (rows * seen).sum() / seen.sum() - height // 2
    np.testing.assert_allclose(centre, moved, atol=0.15)


@pytest.mark.parametrize(
    ("picture", "still", "box"),
    [
        ((20, 10), False, (0, 20, 15, 10)),  # narrow: the full height, centred
        ((10, 40), False, (10, 10, 0, 40)),  # wide video: on the lower edge
        ((10, 40), True, (5, 10, 0, 40)),  # wide still: in the middle
        ((40, 80), False, (0, 20, 0, 40)),  # the frame's aspect: all of it
    ],
)
def test_a_person_keeps_the_aspect(picture: tuple[int, int], still: bool, box: tuple[int, int, int, int]) -> None:
    top, height, left, width = box
    expected = torch.zeros(20, 40, dtype=torch.uint8)
    expected[top : top + height, left : left + width] = 255
    fitted = fit(Image.new("L", (picture[1], picture[0]), 255), (20, 40), still)
    assert torch.equal(fitted[0], expected)


def test_frames_that_are_not_there_are_refused(video_set: MakeSet) -> None:
    with pytest.raises(ValueError, match="static/0000: frames 3 to 5 asked, the clip has 0 to 4"):
        video_set()[0].read(3, 6)
    with pytest.raises(ValueError, match="size must be"):
        video_set(size=(0, 3))
    with pytest.raises(ValueError, match="is not in the sources"):
        video_set(plans=[replace(video_set().plans[0], foreground="nobody")])


def test_the_batch_is_whole(video_set: MakeSet) -> None:
    batch: MattingBatch = video_set()[0].read(0, 2)
    assert batch.flow is None
    assert all(getattr(batch, layer).dtype == torch.float32 for layer in LAYERS)
    assert all(getattr(batch, layer).is_contiguous() for layer in LAYERS)
