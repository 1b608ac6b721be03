from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.augment.temporal import choose_frames


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    source=st.integers(1, 50),
    frames=st.integers(1, 40),
    stride=st.integers(1, 5),
    seed=st.integers(0, 99),
    reverse=st.booleans(),
)
def test_frames_exist_and_follow_each_other_by_the_stride(
    source: int, frames: int, stride: int, seed: int, reverse: bool
) -> None:
    chosen = choose_frames(source, frames, generator(seed), stride, reverse)
    assert len(chosen) == frames
    assert all(0 <= frame < source for frame in chosen)
    if source > (frames - 1) * stride:
        step = -stride if reverse else stride
        assert [b - a for a, b in pairwise(chosen)] == [step] * (frames - 1)


def test_short_source_is_played_forth_and_back() -> None:
    assert choose_frames(4, 9, generator()) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert choose_frames(1, 3, generator()) == [0, 0, 0]


def test_every_start_occurs() -> None:
    starts = {choose_frames(12, 10, generator(seed))[0] for seed in range(60)}
    assert starts == {0, 1, 2}


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        choose_frames(10, 0, generator())
