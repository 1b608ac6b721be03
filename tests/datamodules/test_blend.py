"""The loops that colour and blend give what the same few operations of torch give."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.blend import OPAQUE_ENOUGH, blended, brightened, uncovered

ROUNDING = 5e-7
SIZES = given(
    clips=st.integers(1, 2), frames=st.integers(1, 3), height=st.integers(1, 19), width=st.integers(1, 40),
    seed=st.integers(0, 50),
)  # fmt: skip


def drawn(*shape: int, seed: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Even in [low, high], some of them its ends."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 1.4 - 0.2
    return values.clamp(0, 1) * (high - low) + low


@settings(max_examples=40)
@SIZES
def test_brightened_equals_torch(clips: int, frames: int, height: int, width: int, seed: int) -> None:
    pixels = drawn(clips, frames, 3, height, width, seed=seed)
    gain = drawn(clips, frames, 3, seed=seed + 1, low=0.5, high=1.5)
    expected = (pixels * gain[..., None, None]).clamp(0, 1)
    torch.testing.assert_close(brightened(pixels.clone(), gain), expected, atol=ROUNDING, rtol=0)
    turned = pixels.mT.contiguous().mT
    torch.testing.assert_close(brightened(turned, gain), expected, atol=ROUNDING, rtol=0)


@settings(max_examples=40)
@SIZES
def test_uncovered_equals_torch(clips: int, frames: int, height: int, width: int, seed: int) -> None:
    alpha = drawn(clips, frames, 1, height, width, seed=seed)
    straight = drawn(clips, frames, 5, height, width, seed=seed + 1, low=-0.1, high=1.1)
    gain = drawn(clips, frames, 3, seed=seed + 2, low=0.5, high=1.5)
    views = torch.cat([straight * alpha, alpha], dim=2)
    divided = views[:, :, :-1] / alpha.clamp_min(OPAQUE_ENOUGH)
    colours, found, others = uncovered(views, gain)
    assert torch.equal(found, alpha)
    expected = (divided[:, :, :3] * gain[..., None, None]).clamp(0, 1)
    torch.testing.assert_close(colours, expected, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(others, divided[:, :, 3:], atol=ROUNDING, rtol=0)
    nobody = (alpha == 0).expand_as(colours)
    assert not colours[nobody].any()


@settings(max_examples=40)
@SIZES
def test_blended_equals_torch_and_keeps_what_is_pure(
    clips: int, frames: int, height: int, width: int, seed: int
) -> None:
    alpha = drawn(clips, frames, 1, height, width, seed=seed)
    background, foreground = (drawn(clips, frames, 3, height, width, seed=seed + k) for k in (1, 2))
    found = blended(background, foreground, alpha)
    torch.testing.assert_close(found, torch.lerp(background, foreground, alpha), atol=ROUNDING, rtol=0)
    for value, pure in ((0, background), (1, foreground)):
        there = (alpha == value).expand_as(found)
        assert torch.equal(found[there], pure[there])
