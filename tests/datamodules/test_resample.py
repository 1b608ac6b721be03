import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.resample import resample, resample_by_torch, resample_cutout, unit

# grid_sample rounds its points in [−1, 1] to float32: a ten-thousandth of a pixel.
TOLERANCE = 1e-4
LENGTHS = st.integers(1, 70)


def seen(num_clips: int, num_frames: int, zoom: float, degrees: float, shift: tuple[float, float]) -> Tensor:
    """Affines (B, T, 2, 3) that zoom and turn a little more with each frame."""
    turns = math.radians(degrees) * (1 + torch.arange(num_clips * num_frames) / 10).view(num_clips, num_frames)
    cos, sin, x, y = turns.cos() * zoom, turns.sin() * zoom, *(torch.full_like(turns, each) for each in shift)
    return torch.stack([cos, -sin, x, sin, cos, y], dim=-1).view(num_clips, num_frames, 2, 3)


def pixels(*shape: int, dtype: torch.dtype) -> Tensor:
    codes = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return codes if dtype == torch.uint8 else codes.to(dtype) / 255


ANY_VIEW = given(
    source=st.tuples(LENGTHS, LENGTHS),
    size=st.tuples(LENGTHS, LENGTHS),
    channels=st.sampled_from([1, 2, 3, 4, 5, 6]),
    still=st.booleans(),
    zoom=st.floats(0.2, 1.5) | st.floats(0.2, 4),
    degrees=st.floats(-180, 180),
    shift=st.tuples(st.floats(-80, 80), st.floats(-80, 80)),
    padding=st.sampled_from(["zeros", "border"]),
    defocus=st.sampled_from([0.0, 0.3, 7.5]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float16]),
)
FEW = example(
    source=(30, 33), size=(25, 60), channels=3, still=False, zoom=0.8, degrees=20.0, shift=(-3.0, 9.5),
    padding="border", defocus=0.0, dtype=torch.uint8,
)  # fmt: skip
LARGE = example(
    source=(300, 330), size=(150, 600), channels=4, still=True, zoom=0.55, degrees=20.0, shift=(-3.0, 9.5),
    padding="zeros", defocus=0.0, dtype=torch.uint8,
)  # fmt: skip


@settings(max_examples=60)
@ANY_VIEW
@FEW
@LARGE
def test_compiled_loops_equal_grid_sample(
    source: tuple[int, int], size: tuple[int, int], channels: int, still: bool, zoom: float, degrees: float,
    shift: tuple[float, float], padding: str, defocus: float, dtype: torch.dtype,
) -> None:  # fmt: skip
    pictures = pixels(2, 1 if still else 3, channels, *source, dtype=dtype)
    blurs = torch.tensor([0.0, defocus])
    ours = resample(pictures, seen(2, 3, zoom, degrees, shift), *size, padding, blurs)
    theirs = resample_by_torch(unit(pictures), seen(2, 3, zoom, degrees, shift), *size, padding, blurs)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


@settings(max_examples=40)
@ANY_VIEW
@FEW
@LARGE
def test_cutouts_equal_grid_sample_of_colours_times_alpha(
    source: tuple[int, int], size: tuple[int, int], channels: int, still: bool, zoom: float, degrees: float,
    shift: tuple[float, float], padding: str, defocus: float, dtype: torch.dtype,
) -> None:  # fmt: skip
    colours, alpha = pixels(1, 1 if still else 2, channels + 1, *source, dtype=dtype).split([channels, 1], dim=2)
    affine, blurs = seen(1, 2, zoom, degrees, shift), torch.tensor([defocus])
    stacked = torch.cat([unit(colours) * unit(alpha), unit(alpha)], dim=2)
    ours = resample_cutout([colours[:, :, :1], colours[:, :, 1:]], alpha, affine, *size, padding, blurs)
    theirs = resample_by_torch(stacked, affine, *size, padding, blurs)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("defocus", [0.0, 4.0, 9.0])
def test_colours_of_the_faintest_alpha_are_those_of_grid_sample(defocus: float) -> None:
    """They are divided by it, which enlarges what was rounded before."""
    alpha = (torch.linspace(-2, 2, 128).sigmoid() * 40 - 5).clamp_min(0).byte().expand(1, 1, 1, 128, 128)
    colours, affine = pixels(1, 1, 3, 128, 128, dtype=torch.uint8), seen(1, 1, 1.9, 0, (0, 0))
    blurs = torch.tensor([defocus])
    ours = resample_cutout([colours], alpha, affine, 64, 64, "zeros", blurs)
    theirs = resample_by_torch(
        torch.cat([unit(colours) * unit(alpha), unit(alpha)], dim=2), affine, 64, 64, "zeros", blurs
    )
    ours, theirs = (views[:, :, :3] / views[:, :, 3:].clamp_min(1e-6) for views in (ours, theirs))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_frames_show_the_pictures_of_their_index(dtype: torch.dtype) -> None:
    pictures, affine = pixels(1, 2, 3, 20, 20, dtype=dtype), seen(1, 4, 1.1, 3, (1, 2))
    index = torch.tensor([[0, 1, 1, 0]])
    views = resample(pictures, affine, 18, 22, "border", index=index)
    torch.testing.assert_close(views, resample(pictures[:, index[0]], affine, 18, 22, "border"), atol=0, rtol=0)
