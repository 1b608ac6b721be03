"""Running a clip in pieces: state, resets, one-frame delay, ratio, plate, precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from experiments.inference.streaming import PIXELS_AT_ONCE, Streaming, run_clips, side_by_side
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import one_frame_delay
from tests.batches import tiny_batch

CPU = torch.device("cpu")


class Clip:
    """A `TestClip` of noise in memory that counts how many frames are read at once."""

    key, name, scene, stratum = "static/0000", "anna", "room", "static"
    has_foreground = has_background = True

    def __init__(self, num_frames: int = 7, size: tuple[int, int] = (64, 96)) -> None:
        draw = torch.Generator().manual_seed(0)
        self.num_frames, self.size = num_frames, size
        self.alpha = torch.rand(1, num_frames, 1, *size, generator=draw)
        self.foreground, self.background = torch.rand(2, 1, num_frames, 3, *size, generator=draw)
        self.flow: Tensor | None = torch.randn(1, num_frames, 2, *size, generator=draw)
        self.most = 0

    def read(self, start: int, stop: int) -> MattingBatch:
        self.most = max(self.most, stop - start)
        alpha, foreground, background = (x[:, start:stop] for x in (self.alpha, self.foreground, self.background))
        flow = None if self.flow is None else self.flow[:, start:stop]
        return tiny_batch(alpha, foreground, background, flow, clip="anna", stratum="static")


class Counter(MattingNet):
    """Alpha is the number of frames that its state has seen, / 100; keeps the plates and frames it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.plates: list[Tensor | None] = []
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        self.plates.append(background)
        self.sizes.append(tuple(frames.shape[-2:]))
        seen = (state or 0) + torch.arange(1, frames.shape[1] + 1)
        alpha = (seen / 100).view(1, -1, 1, 1, 1).expand(-1, -1, 1, *frames.shape[-2:])
        return MattingOutput(alpha.clone(), state=int(seen[-1]))


class Reader(MattingNet):
    """Finds the true alpha in the green channel of a clip whose frames hold it there."""

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        return MattingOutput(frames[:, :, 1:2].clone())


def matted(net: MattingNet, clip: Clip, **how: Any) -> Tensor:
    return torch.cat([piece.output.alpha for piece in run_clips(net.eval(), [clip], Streaming(**how), CPU)], dim=1)


def seen(clip: Clip, **how: Any) -> list[int]:
    return [round(100 * float(alpha.mean())) for alpha in matted(Counter(), clip, **how)[0]]


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_the_state_is_carried_over_pieces_and_emptied_where_it_is_told(chunk: int | None) -> None:
    assert seen(Clip(), chunk=chunk) == [1, 2, 3, 4, 5, 6, 7]
    assert seen(Clip(), chunk=chunk, recurrence=False) == [1] * 7
    assert seen(Clip(), chunk=chunk, recurrence=1) == [1] * 7
    assert seen(Clip(), chunk=chunk, recurrence=3) == [1, 2, 3, 1, 2, 3, 1]
    assert seen(Clip(), chunk=chunk, recurrence=50) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_a_net_mattes_a_clip_in_pieces_as_it_does_whole(chunk: int) -> None:
    net = build_net("modnet_v", width=0.25, hidden=8, working_size=64)
    net.reset_parameters(0)
    clip = Clip()
    with torch.no_grad():
        whole = net.eval()(clip.read(0, 7).frames).alpha
    assert torch.allclose(matted(net, clip, chunk=chunk), whole, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_one_frame_delay_sees_over_the_borders_of_pieces(chunk: int, num_frames: int) -> None:
    clip = Clip(num_frames)
    raw = matted(Reader(), clip)
    delayed = matted(Reader(), clip, chunk=chunk, one_frame_delay=True)
    assert torch.equal(delayed, one_frame_delay(raw))
    assert num_frames < 3 or not torch.equal(delayed, raw)


def test_a_large_clip_is_read_a_frame_at_a_time() -> None:
    wide = Clip(3, (1080, 1920))
    assert [*Streaming().pieces(wide)] == [(0, 1), (1, 2), (2, 3)]
    small = Clip(100, (288, 512))
    assert next(Streaming().pieces(small)) == (0, PIXELS_AT_ONCE // (288 * 512))


@pytest.mark.parametrize(("ratio", "size"), [(None, (64, 96)), (1, (64, 96)), (0.5, (32, 48)), ("auto", (64, 96))])
def test_the_net_works_on_frames_of_the_ratio_and_alpha_has_their_size(ratio: Any, size: tuple[int, int]) -> None:
    net, clip = Counter(), Clip()
    assert matted(net, clip, downsample_ratio=ratio).shape == (1, 7, 1, 64, 96)
    assert set(net.sizes) == {size}
    assert Streaming(downsample_ratio="auto").ratio_for((1080, 1920)) == pytest.approx(512 / 1920)


def test_the_guided_filter_follows_the_edges_of_the_frame_where_bilinear_does_not() -> None:
    clip = Clip(2)
    # An edge between two small pixels' centres; frames show alpha itself.
    clip.alpha[:] = (torch.arange(96) >= 49).float()
    clip.foreground[:], clip.background[:] = 1, 0
    errors = {
        upsampler: float((matted(Reader(), clip, downsample_ratio=0.5, upsampler=upsampler) - clip.alpha).abs().mean())
        for upsampler in ("fast_guided_filter", "bilinear")
    }
    assert errors["fast_guided_filter"] < 0.5 * errors["bilinear"]


def test_the_plate_is_the_first_background_the_true_one_or_none() -> None:
    clip = Clip(3)
    nets = {plate: Counter() for plate in ("first", "true", "none")}
    for plate, net in nets.items():
        matted(net, clip, plate=plate, chunk=1)
    for t in range(3):
        assert torch.equal(nets["first"].plates[t], clip.background[:, :1])  # type: ignore[arg-type]
        assert torch.equal(nets["true"].plates[t], clip.background[:, t : t + 1])  # type: ignore[arg-type]
        assert nets["none"].plates[t] is None


def test_a_clip_without_true_background_gives_no_plate() -> None:
    net, clip = Counter(), Clip(2)
    clip.has_background = False
    matted(net, clip, plate="first")
    assert net.plates == [None]


def test_a_net_that_needs_the_true_flow_is_given_that_of_each_piece() -> None:
    options = {"backbone": "mobilenetv2", "width": 0.25, "context_channels": 16, "hidden": 8, "decoder_channels": 8}
    net = build_net("context_motion", flow="oracle", **options)
    net.reset_parameters(0)
    clip = Clip(5)
    for how in (Streaming(chunk=2), Streaming(chunk=2, downsample_ratio=1)):
        flow = torch.cat([piece.output.aux["flow"] for piece in run_clips(net.eval(), [clip], how, CPU)], dim=1)
        assert torch.equal(flow[:, 1:], clip.flow[:, 1:])  # type: ignore[index]
    clip.flow = None
    with pytest.raises(ValueError, match="this net is given the true flow"):
        matted(net, clip)
    assert matted(Counter(), clip).shape == (1, 5, 1, 64, 96)


def test_mixed_precision_differs_a_little_and_gives_float32() -> None:
    net = build_net("modnet", width=0.25, hidden=8)
    net.reset_parameters(0)
    full, half = matted(net, Clip(1)), matted(net, Clip(1), precision="bf16-mixed")
    assert half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 0.1


@pytest.mark.parametrize(
    "how",
    [
        {"chunk": 0},
        {"recurrence": 0},
        {"recurrence": "maybe"},
        {"one_frame_delay": 1},
        {"downsample_ratio": 0},
        {"downsample_ratio": 1.5},
        {"downsample_ratio": "half"},
        {"upsampler": "cubic"},
        {"plate": "last"},
        {"precision": "64"},
    ],
)
def test_a_wrong_option_is_named(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(how))} must be"):
        Streaming(**how)


def test_a_config_may_say_it_as_yaml_reads_it() -> None:
    assert Streaming.of({"plate": True, "precision": 32}) == Streaming(plate="true", precision="32")
    assert Streaming.of({"plate": None}).plate == Streaming.of({"plate": False}).plate == "none"
    assert Streaming.of({"precision": "32-true", "recurrence": 5}) == Streaming(recurrence=5)


def test_small_clips_of_one_kind_go_side_by_side_in_their_order() -> None:
    clips = [Clip() for _ in range(11)] + [Clip(num_frames=3), Clip(), Clip(size=(512, 2048)), Clip(size=(512, 2048))]
    groups = list(side_by_side(clips, Streaming()))
    assert [len(group) for group in groups] == [11, 1, 1, 1, 1]
    assert [clip for group in groups for clip in group] == clips


@pytest.mark.parametrize("how", [{"chunk": 3}, {"recurrence": 2}])
def test_clips_that_are_read_in_pieces_go_alone(how: dict[str, Any]) -> None:
    assert [len(group) for group in side_by_side([Clip(), Clip()], Streaming(**how))] == [1, 1]
