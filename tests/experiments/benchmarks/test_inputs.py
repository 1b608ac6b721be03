from __future__ import annotations

import pytest
import torch

from experiments.benchmarks.inputs import MovingPortrait, Size, Stream, parse_size, portrait


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512x288", Size(288, 512, 1.0)),
        ("1920x1080", Size(1080, 1920, 0.25)),
        ("3840X2160", Size(2160, 3840, 0.125)),
        ("1024x768", Size(768, 1024, 0.5)),
        ("96x64@0.375", Size(64, 96, 0.375)),
    ],
)
def test_sizes_have_the_ratio_of_the_papers(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "512", "512x", "axb", "16x288", "512x288@0", "512x288@2", "0x0", "512x288@x"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="got"):
        parse_size(text)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (65, 65)])
def test_a_portrait_fills_frames_of_any_shape(size: tuple[int, int]) -> None:
    colour, alpha = portrait(*size)
    assert colour.shape == (1, 3, *size)
    assert alpha.shape == (1, 1, *size)
    assert 0.05 < alpha.mean() < 0.9


def test_frames_depend_on_their_number_alone_and_show_the_plate_where_nobody_is() -> None:
    clip, again = (MovingPortrait(64, 96, torch.device("cpu")) for _ in range(2))
    again.frame(5)
    assert torch.equal(clip.frame(2), again.frame(2))
    assert not torch.equal(clip.frame(2), clip.frame(3))
    assert torch.equal(clip.frame(0)[..., 0, 0], clip.plate[..., 0, 0])
    assert 0 <= clip.frame(1).min() <= clip.frame(1).max() <= 1


def test_a_stream_carries_its_state_and_begins_anew_without_one() -> None:
    def step(frame: torch.Tensor, state: float | None) -> tuple[torch.Tensor, float]:
        total = float(frame) + (state or 0)
        return torch.tensor(total), total

    stream = Stream(step, [torch.tensor(1.0), torch.tensor(2.0)])
    assert [float(stream()) for _ in range(3)] == [1, 3, 4]
    stream.state = None
    assert float(stream()) == 2
