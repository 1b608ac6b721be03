"""Running a net over a test clip as it would run on a video: a few frames at a time, its state carried on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, groupby, pairwise
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.testset import TestClip
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import one_frame_delay
from lightning_modules.nets.reduction import UPSAMPLERS
from lightning_modules.options import check_choice

PLATES = ("first", "true", "none")
PRECISIONS: dict[str, torch.dtype | None] = {"32": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
# Frames of a piece hold about this many pixels unless it is told: 14 frames of 512 × 288, one of 1920 × 1080.
PIXELS_AT_ONCE = 8 * 512**2
CLIPS_AT_ONCE = 16  # at most, of those that are matted whole; more gain little


@dataclass(frozen=True)
class Streaming:
    """How a net is run over a clip.

    Attributes:
        chunk: frames at once; None for as many as hold `PIXELS_AT_ONCE`, one at least.
        recurrence: whether the state is carried from frame to frame; a number n empties it every n frames.
        one_frame_delay: MODNet's smoothing (OFD), aligned with the frames; across the borders of chunks too.
        downsample_ratio: side of the frame that the net works on / side of the frame, in (0, 1]; "auto" brings
            the longer side to 512 pixels (RVM's rule); None leaves the frame, and the net's own ratio, alone.
        upsampler: how alpha is enlarged where the net does not do it: see `MattingNet.matte`.
        plate: the true background that the net is given: the "first" frame's, the "true" one of every frame, "none".
        precision: of the net: "32", "16-mixed" or "bf16-mixed".

    Raises:
        ValueError: one of them is none of these.
    """

    chunk: int | None = None
    recurrence: bool | int = True
    one_frame_delay: bool = False
    downsample_ratio: float | str | None = None
    upsampler: str = "fast_guided_filter"
    plate: str = "true"
    precision: str = "32"

    def __post_init__(self) -> None:
        if self.chunk is not None and (not isinstance(self.chunk, int) or self.chunk < 1):
            raise ValueError(f"chunk must be a number of frames from 1 on, or null, got {self.chunk!r}")
        if not isinstance(self.recurrence, int) or (self.recurrence < 1 and self.recurrence is not False):
            raise ValueError(f"recurrence must be true, false or a number of frames from 1 on, got {self.recurrence!r}")
        if not isinstance(self.one_frame_delay, bool):
            raise ValueError(f"one_frame_delay must be true or false, got {self.one_frame_delay!r}")
        ratio = self.downsample_ratio
        if ratio not in (None, "auto") and not (isinstance(ratio, int | float) and 0 < ratio <= 1):
            raise ValueError(f"downsample_ratio must be above 0 and at most 1, auto or null, got {ratio!r}")
        check_choice("upsampler", self.upsampler, UPSAMPLERS)
        check_choice("plate", self.plate, PLATES)
        check_choice("precision", self.precision, PRECISIONS)

    @classmethod
    def among(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a command's config that are of this, as they stand there."""
        return {each.name: config[each.name] for each in fields(cls) if each.name in config}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From a config, in which YAML has read `plate: true` as a truth value and `precision: 32` as a number."""
        plate, precision = options.get("plate", "true"), str(options.get("precision", "32"))
        plate = {True: "true", False: "none", None: "none"}.get(plate, plate)
        return cls(**{**options, "plate": plate, "precision": "32" if precision == "32-true" else precision})

    def ratio_for(self, size: tuple[int, int]) -> float | None:
        """The ratio for frames of (height, width)."""
        ratio = self.downsample_ratio
        return min(1.0, 512 / max(size)) if ratio == "auto" else None if ratio is None else float(ratio)

    def pieces(self, clip: TestClip) -> Iterator[tuple[int, int]]:
        """(start, stop) of the pieces of a clip; where the state is emptied a new one begins."""
        height, width = clip.size
        chunk = self.chunk or max(1, PIXELS_AT_ONCE // (height * width))
        start = 0
        while start < clip.num_frames:
            left = self.reset_every - start % self.reset_every if self.reset_every else chunk
            stop = min(start + chunk, start + left, clip.num_frames)
            yield start, stop
            start = stop

    def clips_at_once(self, clip: TestClip) -> int:
        """How many clips like this one go side by side: whole ones, and all together no more than a piece holds."""
        whole = next(self.pieces(clip)) == (0, clip.num_frames)
        height, width = clip.size
        fit = PIXELS_AT_ONCE // (clip.num_frames * height * width)
        return max(1, min(fit, CLIPS_AT_ONCE)) if whole else 1

    @property
    def reset_every(self) -> int:
        """Frames after which the state is emptied, 0 for never."""
        return 0 if self.recurrence is True else int(self.recurrence) or 1


@dataclass
class Piece:
    """Some frames of clips and what the net gave for them, in float32 and in [0, 1].

    `start` is the first one; `plate` (B, 1 or T, 3, H, W) the background that the net was given.
    """

    start: int
    batch: MattingBatch
    plate: Tensor | None
    output: MattingOutput


Tap: TypeAlias = Callable[[Iterator[Piece]], Iterator[Piece]]
"""Looks at pieces and hands them on."""


def kind(clip: TestClip) -> tuple[Any, ...]:
    """What clips that go side by side have in common."""
    return tuple(clip.size), clip.num_frames, clip.has_foreground, clip.has_background


def _motion_is_known(clip: TestClip) -> bool:
    return clip.read(0, 1).flow is not None


def side_by_side(clips: Iterable[TestClip], how: Streaming) -> Iterator[list[TestClip]]:
    """The clips in their order, neighbours of one kind in groups: a net takes small ones at once far faster."""
    for _, alike in groupby(clips, kind):
        group = list(alike)
        count = how.clips_at_once(group[0])
        for start in range(0, len(group), count):
            some = group[start : start + count]
            # Of some the true motion is known, as before stills, of others not: these have no figure of it.
            yield from [some] if count == 1 else (list(each) for _, each in groupby(some, _motion_is_known))


def run_clips(
    net: MattingNet, clips: Sequence[TestClip], how: Streaming, device: torch.device, tap: Tap | None = None
) -> Iterator[Piece]:
    """Clips side by side in pieces with their mattes, from an empty state; one or two pieces are in memory.

    Args:
        net: in eval mode, on `device`.
        clips: of one `kind`; read piece by piece.
        how: see `Streaming`.
        device: where to compute.
        tap: sees the pieces first, before the one-frame delay.
    """
    pieces = _run_pieces(net, clips, how, device)
    if tap is not None:
        pieces = tap(pieces)
    return _delay(pieces) if how.one_frame_delay else pieces


def _run_pieces(net: MattingNet, clips: Sequence[TestClip], how: Streaming, device: torch.device) -> Iterator[Piece]:
    state: Any = None
    first_plate: Tensor | None = None
    for start, stop in how.pieces(clips[0]):
        batch = MattingBatch.joined([clip.read(start, stop) for clip in clips]).to(device)
        plate = None
        if how.plate != "none" and clips[0].has_background:
            first_plate = batch.background[:, :1] if first_plate is None else first_plate
            plate = first_plate if how.plate == "first" else batch.background
        if how.reset_every and start % how.reset_every == 0:
            state = None
        output = run_frames(net, batch.frames, state, plate, how, batch.flow, batch.alpha)
        state = output.state
        yield Piece(start, batch, plate, output)


def run_frames(
    net: MattingNet,
    frames: Tensor,
    state: Any,
    plate: Tensor | None,
    how: Streaming,
    flow: Tensor | None = None,
    alpha: Tensor | None = None,
) -> MattingOutput:
    """One call of the net at the precision and ratio of `how`; alpha and foreground are float32 in [0, 1].

    The true flow and alpha go to nets that need them.
    """
    dtype = PRECISIONS[how.precision]
    ratio = how.ratio_for((frames.shape[-2], frames.shape[-1]))
    with torch.inference_mode(), torch.autocast(frames.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        output = net.matte(frames, state, plate, flow, ratio, how.upsampler, alpha)
    output.alpha = output.alpha.float().clamp(0, 1)
    if output.foreground is not None:
        output.foreground = output.foreground.float().clamp(0, 1)
    return output


def _delay(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pieces with one-frame delay: each waits for the next one, whose first matte its last one is compared with."""
    before: Tensor | None = None  # the last matte of the piece before, unsmoothed
    for piece, after in pairwise(chain(pieces, [None])):
        assert piece is not None
        alpha = piece.output.alpha
        alphas = [alpha] if before is None else [before, alpha]
        smooth = one_frame_delay(torch.cat(alphas if after is None else [*alphas, after.output.alpha[:, :1]], dim=1))
        first = len(alphas) - 1
        piece.output.alpha = smooth[:, first : first + alpha.shape[1]]
        before = alpha[:, -1:]
        yield piece
