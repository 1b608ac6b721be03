"""What mattes score that no net makes: figures that a trained net has to beat before it has learned anything."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.testset import TestClip
from datamodules.video_matting import VideoMattingDataModule
from experiments.inference.streaming import Streaming
from experiments.scoring.evaluation import ClipScores, Scoring
from lightning_modules.metrics.table import PRIMARY
from lightning_modules.nets.blocks import fold_time, unfold_time
from lightning_modules.nets.interface import MattingOutput

NUM_MATTES = 64  # that the mean training matte is the mean of
PLATE_DIFFERENCE = 0.05
PLATE_BOX = 5  # pixels
_SCORING = Scoring(metrics=PRIMARY)


def evaluate_floors(clips: Iterable[TestClip], mean_matte: Tensor | None) -> pd.DataFrame:
    """Score mattes that depend on the data alone.

    Args:
        clips: a test set.
        mean_matte: (1, 1, 1, h, w) in [0, 1], of `mean_training_matte`, at any size; None leaves out its floor.

    Returns:
        The columns of `evaluation.evaluate` with MAD, MSE and dtSSD alone, and `method`: the empty matte, the mean
        training matte above ½, the first true matte of the clip held, and where a frame differs from the first true
        background (`plate_difference`), if that is known.
    """
    tables = []
    for clip in clips:
        first, scores = clip.read(0, 1), dict[str, ClipScores]()
        for start, stop in Streaming().pieces(clip):
            batch = clip.read(start, stop)
            mattes = {"empty matte": torch.zeros_like(batch.alpha), "first true matte held": first.alpha}
            if mean_matte is not None:
                typical = F.interpolate(mean_matte[0], clip.size, mode="bilinear")[None] > 0.5
                mattes["mean training matte above ½"] = typical.to(batch.alpha)
            if clip.has_background:
                mattes["difference to the first plate"] = plate_difference(batch.frames, first.background)
            for method, matte in mattes.items():
                scored = scores.setdefault(method, ClipScores(_SCORING, [clip]))
                scored.add(batch, MattingOutput(matte.expand_as(batch.alpha)))
        tables += [scored.tables()[0].assign(method=method) for method, scored in scores.items()]
    return pd.concat(tables, ignore_index=True)


def plate_difference(frames: Tensor, plate: Tensor) -> Tensor:
    """1 where frames differ from a background plate by more than 0.05, mean of the colours and of a 5 × 5 box, else 0.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].
        plate: (B, 1, 3, H, W) in [0, 1].

    Returns:
        (B, T, 1, H, W). At the border the box is what of it lies in the frame.
    """
    difference = fold_time((frames - plate).abs().mean(dim=2, keepdim=True))
    box = F.avg_pool2d(difference, PLATE_BOX, stride=1, padding=PLATE_BOX // 2, count_include_pad=False)
    return unfold_time((box > PLATE_DIFFERENCE).to(frames.dtype), frames.shape[1])


def mean_training_matte(data: VideoMattingDataModule) -> Tensor:
    """(1, 1, 1, H, W): the mean true matte of all training batches, which are of one size."""
    batches = data.train_loader(0, data.num_steps, 0, 1)
    return torch.stack([batch.alpha.mean(dim=(0, 1), keepdim=True) for batch in batches]).mean(dim=0)
