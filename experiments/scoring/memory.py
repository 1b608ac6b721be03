"""Whether a net uses its memory: the same weights and frames, with its state carried, emptied, and of another clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from datamodules.batch import MattingBatch
from datamodules.testset import TestClip
from experiments.inference.streaming import (
    CLIPS_AT_ONCE,
    Piece,
    Streaming,
    kind,
    run_clips,
    run_frames,
)
from experiments.scoring.evaluation import ClipScores, Scoring, evaluate, evaluate_together
from experiments.scoring.media import MediaFolder
from lightning_modules.metrics.table import PRIMARY
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import one_frame_delay

CARRIED, EMPTIED, FOREIGN = "carried", "emptied", "foreign"
PIXELS_AT_ONCE = 2**22  # of clips side by side
_SCORING = Scoring(metrics=PRIMARY)


def evaluate_states(
    net: MattingNet,
    clips: Sequence[TestClip],
    device: torch.device,
    how: Streaming,
    decoder: nn.Module | None = None,
    media: MediaFolder | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Score whole clips thrice, alike but for the state: a net that ignores it scores the same to the last bit.

    The state is "carried" from frame to frame, "emptied" before each frame, or "foreign": that of another clip at the
    same frame. Of clips that go side by side (`groups_of`) each gets the state of the one before it, the first that of
    the last; a clip that is alone of its size and length has no foreign state.

    Args:
        net: in any mode; it is scored in eval mode and left in the mode it had.
        clips: a test set, in any order.
        device: where to compute.
        how: the net is run; one with a state a frame at a time, whatever `chunk` says.
        decoder, media: see `evaluation.evaluate`.

    Returns:
        The table of `evaluation.evaluate`; and its columns with MAD, MSE and dtSSD alone and `state`, or None for a net
        that carries nothing from frame to frame.
    """
    if not _carries(net, clips[0], how, device):
        return evaluate(net, clips, device, how, decoder=decoder, media=media), None
    was_training = net.training
    net.to(device).eval()
    carried: list[pd.DataFrame] = []
    of_states: list[pd.DataFrame] = []
    for group in groups_of(clips):
        lent = _Lent(net, how, (EMPTIED, FOREIGN, CARRIED) if len(group) > 1 else (EMPTIED, CARRIED))
        kept = [None if media is None else media.of(clip) for clip in group]
        tables = evaluate_together(net, group, device, replace(how, chunk=1), Scoring(), decoder, kept, tap=lent.tap)
        carried += tables
        # All three anew and alike, so that they differ by their states alone.
        batch = MattingBatch.joined([clip.read(0, clip.num_frames) for clip in group])
        for state, alphas in lent.mattes().items():
            scores = ClipScores(_SCORING, group)
            scores.add(batch, MattingOutput(alphas))
            of_states += [table.assign(state=state) for table in scores.tables()]
    net.train(was_training)
    return pd.concat(carried, ignore_index=True), pd.concat(of_states, ignore_index=True)


def _carries(net: MattingNet, clip: TestClip, how: Streaming, device: torch.device) -> bool:
    """Whether the net, run so, hands anything on from frame to frame."""
    if how.reset_every == 1:
        return False
    was_training = net.training
    net.to(device).eval()
    first = next(run_clips(net, [clip], replace(how, chunk=1, one_frame_delay=False), device))
    net.train(was_training)
    return first.output.state is not None


def groups_of(clips: Sequence[TestClip]) -> Iterator[list[TestClip]]:
    """Clips of one size and length, ordered by condition, person and place, in groups of at most `CLIPS_AT_ONCE`."""
    ordered = sorted(clips, key=lambda clip: (*kind(clip), clip.stratum, clip.name, clip.scene, clip.key))
    for _, alike in groupby(ordered, kind):
        ring = list(alike)
        fit = PIXELS_AT_ONCE // (ring[0].num_frames * ring[0].size[0] * ring[0].size[1])
        count = -(-len(ring) // min(max(fit, 2), CLIPS_AT_ONCE))
        # Of sizes as equal as can be; one clip is left alone only where there is no other.
        for places in np.array_split(np.arange(len(ring)), min(count, max(1, len(ring) // 2))):
            yield [ring[place] for place in places]


class _Lent:
    """Mattes of frames with their own state, and of the same shown to the net once more with states not theirs."""

    def __init__(self, net: MattingNet, how: Streaming, states: Sequence[str]) -> None:
        self.net, self.how = net, how
        self.alphas: dict[str, list[Tensor]] = {state: [] for state in states}

    def tap(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Pieces of one frame with the state carried, as they come."""
        memory: Any = None
        for piece in pieces:
            if self.how.reset_every and piece.start % self.how.reset_every == 0:
                memory = None
            foreign = pytree.tree_map_only(Tensor, lambda part: part.roll(1, dims=0), memory)
            for state, alphas in self.alphas.items():
                output, batch = piece.output, piece.batch
                if state != CARRIED and memory is not None:  # at a clip's start all are alike
                    given = foreign if state == FOREIGN else None
                    output = run_frames(self.net, batch.frames, given, piece.plate, self.how, batch.flow, batch.alpha)
                alphas.append(output.alpha.cpu())
            memory = piece.output.state
            yield piece

    def mattes(self) -> dict[str, Tensor]:
        """By state, alpha (clips, T, 1, H, W) of whole clips, on the CPU."""
        mattes = {state: torch.cat(alphas, dim=1) for state, alphas in self.alphas.items()}
        smooth = self.how.one_frame_delay
        return {state: one_frame_delay(alpha) if smooth else alpha for state, alpha in mattes.items()}


def in_order(tables: list[pd.DataFrame], clips: Sequence[TestClip]) -> pd.DataFrame:
    """Tables of groups as one, in which conditions follow each other as in the test set."""
    order = {stratum: place for place, stratum in enumerate(dict.fromkeys(clip.stratum for clip in clips))}
    whole = pd.concat(tables, ignore_index=True)
    return whole.sort_values("stratum", key=lambda names: names.map(order), kind="stable", ignore_index=True)
