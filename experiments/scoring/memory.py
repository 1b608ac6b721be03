"""Whether a net uses its memory: the same weights and frames, with its state carried, emptied, and of another clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from datamodules.batch import MattingBatch
from datamodules.testset import TestClip
from experiments.inference.streaming import CLIPS_AT_ONCE, Streaming, kind, run_clips, run_frames
from experiments.scoring.evaluation import ClipScores, Scoring
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
) -> pd.DataFrame | None:
    """Score whole clips thrice, alike but for the state: a net that ignores it scores the same to the last bit.

    The state is "carried" from frame to frame, "emptied" before each frame, or "foreign": that of another clip at the
    same frame. Of clips that go side by side (`groups_of`) each gets the state of the one before it, the first that of
    the last; a clip that is alone of its size and length has no foreign state.

    Args:
        net: in any mode; it is scored in eval mode and left in the mode it had.
        clips: a test set, in any order.
        device: where to compute.
        how: the net is run.

    Returns:
        The columns of `evaluation.evaluate` with MAD, MSE and dtSSD alone, and `state`; None for a net that carries
        nothing from frame to frame.
    """
    was_training = net.training
    net.to(device).eval()
    tables: list[pd.DataFrame] = []
    for group in groups_of(clips) if _carries(net, clips[0], how, device) else ():
        batch = MattingBatch.joined([clip.read(0, clip.num_frames) for clip in group])
        for state, alphas in _mattes(net, batch, group[0].has_background, how, device).items():
            scores = ClipScores(_SCORING, group)
            scores.add(batch, MattingOutput(alphas))
            tables += [table.assign(state=state) for table in scores.tables()]
    net.train(was_training)
    return pd.concat(tables, ignore_index=True) if tables else None


def _carries(net: MattingNet, clip: TestClip, how: Streaming, device: torch.device) -> bool:
    """Whether the net, run so, hands anything on from frame to frame."""
    return how.reset_every != 1 and next(run_clips(net, [clip], replace(how, chunk=1), device)).output.state is not None


def groups_of(clips: Sequence[TestClip]) -> Iterator[list[TestClip]]:
    """Clips of one size and length, ordered by condition, person and place, in groups of at most eight."""
    ordered = sorted(clips, key=lambda clip: (*kind(clip), clip.stratum, clip.name, clip.scene, clip.key))
    for _, alike in groupby(ordered, kind):
        ring = list(alike)
        fit = PIXELS_AT_ONCE // (ring[0].num_frames * ring[0].size[0] * ring[0].size[1])
        count = -(-len(ring) // min(max(fit, 2), CLIPS_AT_ONCE))
        # Of sizes as equal as can be; one clip is left alone only where there is no other.
        for places in np.array_split(np.arange(len(ring)), min(count, max(1, len(ring) // 2))):
            yield [ring[place] for place in places]


def _mattes(
    net: MattingNet, batch: MattingBatch, plate_known: bool, how: Streaming, device: torch.device
) -> dict[str, Tensor]:
    """By state, alpha (clips, T, 1, H, W) on the CPU, of whole clips that go side by side."""
    plates = batch.background if plate_known and how.plate != "none" else None
    states = (EMPTIED, FOREIGN, CARRIED) if len(batch) > 1 else (EMPTIED, CARRIED)
    found: dict[str, list[Tensor]] = {state: [] for state in states}
    memory: Any = None
    for t in range(batch.frames.shape[1]):
        if how.reset_every and t % how.reset_every == 0:
            memory = None
        frame, plate, flow, alpha = (
            None if clip is None else clip[:, place : place + 1].to(device)
            for clip, place in (
                (batch.frames, t),
                (plates, 0 if how.plate == "first" else t),
                (batch.flow, t),
                (batch.alpha, t),
            )
        )
        assert frame is not None
        before = pytree.tree_map_only(Tensor, lambda part: part.roll(1, dims=0), memory)
        given = {EMPTIED: None, FOREIGN: before, CARRIED: memory}
        for state in states:
            if memory is not None or state == states[0]:  # at a clip's start all are alike
                output = run_frames(net, frame, given[state], plate, how, flow, alpha)
            found[state].append(output.alpha.cpu())
        memory = output.state  # carried, which comes last
    mattes = {state: torch.cat(alphas, dim=1) for state, alphas in found.items()}
    return {state: one_frame_delay(alpha) for state, alpha in mattes.items()} if how.one_frame_delay else mattes
