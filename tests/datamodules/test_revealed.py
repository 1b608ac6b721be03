import torch

from datamodules.batch import MattingBatch
from datamodules.revealed import revealed_share
from tests.batches import tiny_batch


def batch(alpha: torch.Tensor, shift: float = 0.0) -> MattingBatch:
    """Clips whose background moves `shift` pixels to the left from frame to frame."""
    affine = torch.eye(2, 3).repeat(*alpha.shape[:2], 1, 1)
    affine[:, 1:, 0, 2] = shift
    colours = torch.zeros(*alpha.shape[:2], 3, *alpha.shape[-2:])
    return tiny_batch(alpha, colours, colours, affine=affine)


def person(*lefts: int | None) -> torch.Tensor:
    """(1, T, 1, 8, 16): somebody four pixels wide, at these columns; None: nobody."""
    alpha = torch.zeros(1, len(lefts), 1, 8, 16)
    for t, left in enumerate(lefts):
        if left is not None:
            alpha[:, t, ..., left : left + 4] = 1
    return alpha


def test_who_stands_still_reveals_nothing_and_who_steps_aside_what_was_behind() -> None:
    assert revealed_share(batch(person(4, 4, 4))).tolist() == [[0.0, 0.0, 0.0]]
    assert revealed_share(batch(person(4, 6, 6, 2))).tolist() == [[0.0, 0.5, 0.5, 1.0]]


def test_who_comes_later_hides_what_is_known_and_an_empty_frame_has_no_share() -> None:
    shares = revealed_share(batch(person(None, 4, 4)))
    assert shares[0, 0].isnan()
    assert shares[0, 1:].tolist() == [1.0, 1.0]


def test_what_was_seen_moves_with_the_background() -> None:
    # The background moves to the left under somebody who stands still: each step shows two new columns behind.
    shares = revealed_share(batch(person(4, 4, 4), shift=2.0))
    assert shares.tolist() == [[0.0, 0.5, 1.0]]


def test_what_left_the_frame_is_forgotten() -> None:
    assert revealed_share(batch(person(0, 4, 12), shift=-20.0)).tolist() == [[0.0, 0.0, 0.0]]


def test_half_seen_pixels_are_neither_shown_nor_hidden() -> None:
    alpha = person(4, 8)
    alpha[:, 0, ..., 8:12] = 0.2
    assert revealed_share(batch(alpha)).tolist() == [[0.0, 0.0]]
