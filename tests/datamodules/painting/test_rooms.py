import numpy as np
import pytest
import torch

from datamodules.painting import distractors, furniture, rooms
from datamodules.painting.scene import Scene

THINGS = (
    *dict.fromkeys(furniture.FURNITURE),
    distractors.bystander,
    distractors.statue,
    distractors.coat,
    distractors.portrait,
)


def scene(number: int, size: tuple[int, int] = (48, 64), **options):
    return rooms.paint_scene(np.random.default_rng([3, number]), size, **options)


@pytest.mark.parametrize("size", [(32, 32), (33, 57), (90, 41)])
def test_picture_has_the_size_asked_for(size) -> None:
    picture, near = scene(0, size, parallax=1.0)
    assert picture.shape == (3, *size)
    assert near is not None
    assert near.shape == (4, *size)
    assert picture.dtype == near.dtype == torch.uint8


def test_pictures_differ_and_are_not_plain() -> None:
    pictures = torch.stack([scene(n)[0] for n in range(8)]).float()
    assert (pictures.flatten(1).std(1) > 3).all()
    far = (pictures[:, None] - pictures[None]).abs().mean((2, 3, 4)) + 99 * torch.eye(8)
    assert far.min() > 8


def test_same_draws_give_the_same_picture() -> None:
    assert torch.equal(scene(4)[0], scene(4)[0])


def test_distractors_change_the_picture() -> None:
    changed = [not torch.equal(scene(n, distractors=0.0)[0], scene(n, distractors=1.0)[0]) for n in range(3)]
    assert all(changed)


def test_parallax_is_the_probability_of_a_near_plane() -> None:
    assert all(scene(n, parallax=0.0)[1] is None for n in range(3))
    planes = [scene(n, parallax=1.0)[1] for n in range(3)]
    assert all(plane is not None and 0 < plane[3].float().mean() < 250 for plane in planes)


@pytest.mark.parametrize("kind", [rooms.room, rooms.wall, rooms.street, rooms.nature, rooms.lights, rooms.studio])
@pytest.mark.parametrize("clutter", [0.0, 1.0])
def test_every_kind_of_place_fills_the_picture(kind, clutter) -> None:
    painted = Scene((40, 56), np.random.default_rng(1))
    floor = kind(painted, clutter)
    assert 0.5 < floor < 1.3
    assert torch.isfinite(painted.colour).all()
    assert painted.alpha.min() > 0.99


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_every_thing_leaves_a_mark(thing) -> None:
    painted = Scene((64, 64), np.random.default_rng(2))
    painted.paint(torch.ones_like(painted.x), (0.5, 0.5, 0.5))
    thing(painted, 0.5, 0.95, 0.8)
    assert torch.isfinite(painted.colour).all()
    assert ((painted.colour - 0.5).abs().amax(0) > 0.02).float().mean() > 0.02
