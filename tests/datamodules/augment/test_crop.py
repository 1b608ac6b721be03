from collections.abc import Callable
from dataclasses import replace

import torch

from datamodules.augment.crop import random_window
from datamodules.batch import Layers
from datamodules.composite import collate_layers, composite

FRAME, SIZE = (30, 40), (16, 20)


def sample(make_layers: Callable[..., Layers], **changes: object) -> Layers:
    """One clip whose layers are the frame's pixels."""
    layers = make_layers(1, 3, FRAME, **changes)
    values = {name: value if value is None else value[0] for name, value in vars(layers).items()}
    return Layers(**values)


def window(layers: Layers, seed: int) -> Layers:
    return random_window(layers, FRAME, SIZE, torch.Generator().manual_seed(seed))


def test_window_is_a_piece_of_the_frame_the_same_in_all_frames_and_layers(make_layers: Callable[..., Layers]) -> None:
    layers = sample(make_layers)
    whole = composite(collate_layers([layers]), *FRAME)
    places = set()
    for seed in range(60):
        seen = window(layers, seed)
        left, top = (round(float(value)) for value in seen.fgr_affine[0, :, 2])
        places.add((left, top))
        batch = composite(collate_layers([seen]), *SIZE)
        for name in ("frames", "alpha", "background"):
            expected = getattr(whole, name)[..., top : top + SIZE[0], left : left + SIZE[1]]
            torch.testing.assert_close(getattr(batch, name), expected, atol=2e-4, rtol=0)
    assert len(places) > 40
    assert {left for left, _ in places} <= set(range(21))
    assert {top for _, top in places} <= set(range(15))


def test_draws_are_of_the_generator_alone(make_layers: Callable[..., Layers]) -> None:
    layers = sample(make_layers)
    assert torch.equal(window(layers, 5).bgr_affine, window(layers, 5).bgr_affine)


def test_windows_without_the_person_are_drawn_again_and_nobody_at_all_ends(make_layers: Callable[..., Layers]) -> None:
    layers = sample(make_layers)
    pha = torch.zeros_like(layers.pha)
    nobody = replace(layers, pha=pha)
    assert window(nobody, 0).fgr_affine.shape == (3, 2, 3)
    pha = pha.clone()
    pha[:, :, :3, :3] = 255  # 9 of 320 pixels, in the corner
    cornered = replace(layers, pha=pha)

    def shown(seen: Layers) -> bool:
        return bool(composite(collate_layers([seen]), *SIZE).alpha[0, 1].any())

    once = sum(shown(replace(cornered, fgr_affine=window(nobody, s).fgr_affine)) for s in range(80))
    again = sum(shown(window(cornered, s)) for s in range(80))
    assert again > once
