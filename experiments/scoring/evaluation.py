"""Scoring a net on test clips: one row a clip and frame, pictures of a few clips, and the figures of a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.utils import flow_to_image

from datamodules.batch import MattingBatch
from datamodules.testset import TestClip
from experiments.inference.streaming import Piece, Streaming, Tap, run_clips, side_by_side
from experiments.scoring.media import ClipMedia, MediaFolder
from lightning_modules.metrics.background import background_psnr, flat_background_psnr
from lightning_modules.metrics.frames import quantise
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.table import ALWAYS, METRICS
from lightning_modules.metrics.trimap import closed_trimap
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.warp import resize_flow
from lightning_modules.options import check_choice

QUANTISE = ("none", "round", "truncate")
REGIONS = ("full", "unknown")


@dataclass(frozen=True)
class Scoring:
    """What is measured on mattes.

    Attributes:
        metrics: names in `METRICS`, to which `ALWAYS` is added; None for all of them, without those that are too slow
            for the width of the frames (`Metric.widest`). The flow of nets whose `aux` holds one is measured besides,
            where the true one is known.
        quantise: of mattes and foregrounds before they are scored: "none" (scoring mode float), or to 8 bits (mode
            disk8) by "round" or by "truncate", as RVM's and BGMv2's writers do.
        region: "full" frame, or the "unknown" region of the trimap that BGMv2's recipe makes of the true alpha.

    Raises:
        ValueError: one of them is none of these.
    """

    metrics: tuple[str, ...] | None = None
    quantise: str = "none"
    region: str = "full"

    def __post_init__(self) -> None:
        if unknown := [name for name in self.metrics or () if name not in METRICS]:
            raise ValueError(f"metrics: there is no {', '.join(unknown)}; there are {', '.join(METRICS)}")
        if self.metrics == ():
            raise ValueError("metrics: none given; leave them out for all")
        check_choice("quantise", self.quantise, QUANTISE)
        check_choice("region", self.region, REGIONS)

    @property
    def mode(self) -> str:
        """How tables name it: "float" or "disk8"."""
        return "float" if self.quantise == "none" else f"disk8 ({self.quantise})"

    def metrics_for(self, clip: TestClip) -> tuple[str, ...]:
        """What is measured on mattes of a clip; figures of the foreground only where its truth is known."""
        asked = (*ALWAYS, *(self.metrics or ()))
        if self.metrics is None:
            asked = tuple(name for name, row in METRICS.items() if row.widest is None or clip.size[1] <= row.widest)
        untold = {"flow"} if clip.has_foreground else {"flow", "foreground"}
        return tuple(name for name, row in METRICS.items() if name in asked and not untold & set(row.needs))

    def as_saved(self, pixels: Tensor) -> Tensor:
        """`pixels` in [0, 1] as a file would hold them."""
        if self.quantise == "none":
            return pixels
        return quantise(pixels, "round" if self.quantise == "round" else "truncate")


class ClipScores:
    """Scores of clips of one kind that go side by side and arrive in pieces."""

    def __init__(self, scoring: Scoring, clips: Sequence[TestClip]) -> None:
        self.scoring, self.clips = scoring, clips
        self.metrics = scoring.metrics_for(clips[0])
        self.before: tuple[Tensor, Tensor] | None = None  # the last frames' predicted and true alpha
        self.broke: Tensor | None = None  # (B, 1), whether those mattes were none
        self.columns: dict[str, list[Tensor]] = {}

    def add(self, batch: MattingBatch, output: MattingOutput, extras: dict[str, Tensor] | None = None) -> None:
        """Score the next frames; `extras` are further columns (B, T)."""
        predicted = output.foreground is not None
        metrics, pairs = self.metrics, dict[str, Any]()
        alpha, broken = _numbers_only(output.alpha)
        # NaN says that a figure is undefined; a matte or a flow that is not a number is worse than any other.
        broke = torch.zeros_like(broken[:, :1]) if self.broke is None else self.broke
        before = torch.cat((broke, broken[:, :-1]), dim=1)
        lost = {name: broken | before if "previous" in METRICS[name].needs else broken for name in metrics}
        if of_colour := [name for name in metrics if "foreground" in METRICS[name].needs]:
            # A net without foreground is scored with the input frame in its place (RVM's evaluation).
            foreground = batch.frames if output.foreground is None else output.foreground
            foreground, colourless = _numbers_only(foreground)
            pairs |= {"foreground": self.scoring.as_saved(foreground), "true_foreground": batch.foreground}
            lost |= dict.fromkeys(of_colour, broken | colourless)
        flow = output.aux.get("flow")
        if flow is not None and batch.flow is not None:
            of_flow = [name for name, row in METRICS.items() if "flow" in row.needs]
            metrics = (*metrics, *of_flow)
            size = (batch.flow.shape[-2], batch.flow.shape[-1])  # that of the net's own may be smaller
            flow, astray = _numbers_only(flow)
            pairs |= {"flow": resize_flow(flow.float(), size), "true_flow": batch.flow}
            lost |= dict.fromkeys(of_flow, astray)
        pred = self.scoring.as_saved(alpha)
        found = score_frames(
            pred,
            batch.alpha,
            trimap=closed_trimap(batch.alpha) if self.scoring.region == "unknown" else None,
            previous=self.before,
            metrics=metrics,
            **pairs,
        )
        for name, values in found.items():
            worst = 0.0 if METRICS[name].higher_is_better else torch.inf
            values.masked_fill_(lost[name], worst)
        if "foreground" in pairs:
            found["foreground_predicted"] = torch.full_like(broken, predicted)
        for name, values in (found | (extras or {})).items():
            self.columns.setdefault(name, []).append(values.cpu())
        self.before, self.broke = (pred[:, -1:], batch.alpha[:, -1:]), broken[:, -1:]

    def tables(self) -> list[pd.DataFrame]:
        """A table a clip, a row for each frame so far: clip, scene, stratum, frame, then the raw figures."""
        values = {name: torch.cat(pieces, dim=1) for name, pieces in self.columns.items()}
        columns = {name: (v if v.dtype == torch.bool else v.double()).numpy() for name, v in values.items()}
        tables = []
        for place, clip in enumerate(self.clips):
            found = {name: column[place] for name, column in columns.items()}
            frames = range(len(next(iter(found.values()))))
            names = {"clip": clip.name, "scene": clip.scene, "stratum": clip.stratum, "frame": frames}
            tables.append(pd.DataFrame(names | found))
        return tables


def evaluate(
    net: MattingNet,
    clips: Iterable[TestClip],
    device: torch.device,
    how: Streaming | None = None,
    scoring: Scoring | None = None,
    decoder: nn.Module | None = None,
    media: MediaFolder | None = None,
) -> pd.DataFrame:
    """Score whole clips, each from an empty state; small ones go side by side.

    Args:
        net: in any mode; it is scored in eval mode and left in the mode it had.
        clips: a test set.
        device: where to compute.
        how: the net is run; see `Streaming`.
        scoring: what is measured; see `Scoring`.
        decoder: decodes restored background features to an image, for its PSNR and its picture.
        media: where the pictures of the clips go, or None.

    Returns:
        Columns clip, scene, stratum, frame, a raw figure for each metric, and for nets that have them coverage
        (share of cells with restored background), background_psnr (dB, over those cells),
        flat_background_psnr (of the one colour that is nearest to them), refined_share;
        foreground_predicted is false where the input frame was scored as foreground.
    """
    was_training = net.training
    net.to(device).eval()
    tables: list[pd.DataFrame] = []
    how = how or Streaming()
    for group in side_by_side(clips, how):
        kept = [None if media is None else media.of(clip) for clip in group]
        tables += evaluate_together(net, group, device, how, scoring or Scoring(), decoder, kept)
    net.train(was_training)
    return pd.concat(tables, ignore_index=True)


def evaluate_clip(
    net: MattingNet,
    clip: TestClip,
    device: torch.device,
    how: Streaming,
    scoring: Scoring,
    media: ClipMedia | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """`evaluate` of one clip; the net is in eval mode and on `device`, `progress` is called with frames done."""
    return evaluate_together(net, [clip], device, how, scoring, None, [media], progress)[0]


def evaluate_together(
    net: MattingNet,
    clips: Sequence[TestClip],
    device: torch.device,
    how: Streaming,
    scoring: Scoring,
    decoder: nn.Module | None,
    media: Sequence[ClipMedia | None],
    progress: Callable[[int], None] | None = None,
    tap: Tap | None = None,
) -> list[pd.DataFrame]:
    """Tables of clips of one kind that go side by side, as in `evaluate_clip`; `tap` as for `run_clips`."""
    scores, plates_known = ClipScores(scoring, clips), clips[0].has_background
    with torch.inference_mode():
        for piece in run_clips(net, clips, how, device, tap):
            restored = _restored_background(piece.output, decoder)
            scores.add(piece.batch, piece.output, _extras(piece, restored, plates_known))
            for place, kept in enumerate(media):
                if kept is not None:
                    kept.add(piece.start, _layers(piece, place, restored, plates_known))
            if progress is not None:
                progress(piece.output.alpha.shape[1])
    for kept in media:
        if kept is not None:
            kept.write()
    return scores.tables()


def evaluate_constant(clips: Iterable[TestClip], alpha: float) -> pd.DataFrame:
    """The table of `evaluate` for a matte that is `alpha` everywhere: what knowing nothing scores."""
    tables = []
    for clip in clips:
        scores = ClipScores(Scoring(), [clip])
        for start, stop in Streaming().pieces(clip):
            batch = clip.read(start, stop)
            scores.add(batch, MattingOutput(torch.full_like(batch.alpha, alpha)))
        tables += scores.tables()
    return pd.concat(tables, ignore_index=True)


def _numbers_only(video: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, C, H, W) with zeros for frames that have values which are not finite, and which those are, (B, T)."""
    if bool(video.sum().isfinite()):  # so is each value; the other way round it need not be
        return video, video.new_zeros(video.shape[:2], dtype=torch.bool)
    broken = ~video.isfinite().flatten(2).all(dim=2)
    return video.masked_fill(broken[:, :, None, None, None], 0), broken


def _extras(piece: Piece, restored: Tensor | None, background_known: bool) -> dict[str, Tensor]:
    """What a net tells of itself, (B, T) each."""
    aux, columns = piece.output.aux, {}
    mask = aux.get("background_mask")
    if mask is not None:
        columns["coverage"] = mask.float().mean(dim=(2, 3, 4))
        if restored is not None and background_known:
            restored, lost = _numbers_only(restored)
            found = background_psnr(restored, piece.batch.background, mask)
            columns["background_psnr"] = found.masked_fill(lost, 0.0)
            columns["flat_background_psnr"] = flat_background_psnr(piece.batch.background, mask)
    if "refined_share" in aux:
        columns["refined_share"] = aux["refined_share"]
    return columns


def _restored_background(output: MattingOutput, decoder: nn.Module | None) -> Tensor | None:
    """(B, T, 3, h, w) in [0, 1], decoded from the state after each frame."""
    feature = output.aux.get("background_feature")
    if feature is None or decoder is None:
        return None
    decoder.to(feature.device).eval()
    decoded = decoder(feature.flatten(0, 1)).unflatten(0, feature.shape[:2])
    return ((decoded.float() + 1) / 2).clamp(0, 1)


def _layers(piece: Piece, place: int, restored: Tensor | None, background_known: bool) -> dict[str, Tensor]:
    """What the strips of clip number `place` show, (T, C, h, w) each."""
    batch, output = piece.batch, piece.output
    layers = {"frame": batch.frames[place], "alpha_true": batch.alpha[place], "alpha_pred": output.alpha[place]}
    if "background_mask" in output.aux:
        mask = output.aux["background_mask"][place]
        layers["coverage"] = mask.float()
        if background_known:
            layers["background_true"] = batch.background[place]
        if restored is not None:
            layers["background_restored"] = restored[place] * mask
    if "flow" in output.aux:
        flow, _ = _numbers_only(output.aux["flow"][place : place + 1].float())
        layers["flow"] = flow_to_image(flow[0]) / 255
    return layers
