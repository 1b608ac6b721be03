import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.augment.codec import NO_H264, NO_JPEG, compress, through_h264, through_jpeg

Codec = Callable[[Tensor, int], Tensor]


def clip(frames: int = 4, height: int = 48, width: int = 64) -> Tensor:
    """A smooth coloured picture that drifts, (T, 3, H, W) uint8."""
    coarse = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    wide = F.interpolate(coarse, (height, width + 4 * frames), mode="bicubic").clamp(0, 1)
    views = [wide[0, :, :, 4 * t : 4 * t + width] for t in range(frames)]
    return (torch.stack(views) * 255).round().to(torch.uint8)


def grey(frames: int = 4, height: int = 48, width: int = 64) -> Tensor:
    return clip(frames, height, width)[:, :1].expand(-1, 3, -1, -1)


def psnr(first: Tensor, second: Tensor) -> float:
    return float(-10 * ((first.float() - second.float()) / 255).square().mean().log10())


def test_jpeg_at_quality_100_hardly_shows_and_the_error_grows_as_quality_falls() -> None:
    values = [psnr(through_jpeg(clip(), quality), clip()) for quality in (100, 85, 70, 40, 10)]
    assert values[0] > 40
    assert values == sorted(values, reverse=True)
    assert values[-1] < 33


def test_h264_at_crf_0_hardly_shows_and_the_error_grows_with_crf() -> None:
    # Of grey, as the halved resolution of colour is lost at any rate.
    values = [psnr(through_h264(grey(), crf), grey()) for crf in (0, 18, 25, 32, 40, 51)]
    assert values[0] > 45
    assert values == sorted(values, reverse=True)
    assert values[-1] < 28


@pytest.mark.parametrize(("codec", "best"), [(through_jpeg, 100), (through_h264, 0)])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 140, 200)])
def test_flat_colours_stay(codec: Codec, best: int, colour: tuple[int, int, int]) -> None:
    flat = torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(2, 3, 32, 32)
    assert (codec(flat, best).int() - flat.int()).abs().max() <= 3


@pytest.mark.parametrize(("codec", "quality"), [(through_jpeg, 50), (through_h264, 30)])
@pytest.mark.parametrize("frames", [1, 2, 3, 70])
def test_all_frames_come_back_in_their_order(codec: Codec, quality: int, frames: int) -> None:
    levels = torch.linspace(10, 245, frames)
    bars = levels[:, None, None, None].expand(frames, 3, 16, 32).round().to(torch.uint8)
    decoded = codec(bars, quality)
    assert decoded.shape == bars.shape
    assert (decoded.float().mean((1, 2, 3)) - levels).abs().max() < 4


@settings(max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40), frames=st.integers(1, 3))
@pytest.mark.parametrize(("codec", "quality"), [(through_jpeg, 90), (through_h264, 20)])
def test_every_size_comes_back_whole(codec: Codec, quality: int, height: int, width: int, frames: int) -> None:
    flat = torch.full((frames, 3, height, width), 100, dtype=torch.uint8)
    decoded = codec(flat, quality)
    assert decoded.shape == flat.shape
    assert decoded.dtype == torch.uint8
    assert (decoded.int() - 100).abs().max() <= 4


def test_odd_sizes_lose_nothing_at_their_last_row_and_column() -> None:
    odd = grey(3, 47, 61)
    decoded = through_h264(odd, 0)
    assert psnr(decoded[..., -1, :], odd[..., -1, :]) > 35
    assert psnr(decoded[..., -1], odd[..., -1]) > 35


def test_h264_uses_what_frames_share() -> None:
    # A still: later frames are predicted from the first and stay like it; by JPEG all are coded alike and equal.
    still = clip(1).expand(4, -1, -1, -1)
    assert psnr(through_h264(still, 30)[1:], through_h264(still, 30)[:1].expand(3, -1, -1, -1)) > 35
    assert torch.equal(through_jpeg(still, 30)[0], through_jpeg(still, 30)[3])


def test_only_clips_that_ask_for_it_change_and_whatever_is_beside_them() -> None:
    frames = torch.stack([clip(3).float() / 255] * 4) + 0.001
    frames = frames.clamp(0, 1)
    before = frames.clone()
    jpeg, crf = torch.tensor([NO_JPEG, 50, NO_JPEG, 50]), torch.tensor([NO_H264, NO_H264, 30, 30])
    after = compress(frames, jpeg, crf)
    assert torch.equal(after[0], before[0])
    for n, expected in (
        (1, through_jpeg(clip(3), 50)),
        (2, through_h264(clip(3), 30)),
        (3, through_h264(through_jpeg(clip(3), 50), 30)),
    ):
        assert torch.equal((after[n] * 255).round(), expected.float())
        alone = compress(before[n : n + 1].clone(), jpeg[n : n + 1], crf[n : n + 1])
        assert torch.equal(alone[0], after[n])
    assert after.min() >= 0
    assert after.max() <= 1


def test_missing_pyav_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"needs PyAV, which is not installed: pip install av") as error:
        through_h264(clip(), 23)
    assert "\n" not in str(error.value)


def test_missing_encoder_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    def refuse(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.CodecContext, "create", staticmethod(refuse), raising=True)
    with pytest.raises(ValueError, match="needs a PyAV with libx264"):
        through_h264(clip(), 23)
