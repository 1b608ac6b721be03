"""What a cell's scores are read against: a constant matte, floors and an untrained net, scored once for all cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from datamodules.files.writing import remove_abandoned
from datamodules.testset import TestClip
from datamodules.video_matting import VideoMattingDataModule
from experiments.records.cell_record import write_table
from experiments.records.fingerprints import describe_weights
from experiments.records.tables import read_table
from experiments.records.world import git_commit
from experiments.scoring.evaluation import evaluate, evaluate_constant
from experiments.scoring.floors import NUM_MATTES, evaluate_floors, mean_training_matte
from experiments.scoring.memory import groups_of, in_order
from experiments.training.data import describe_cell_data, make_typical_data
from experiments.training.nets import make_net
from experiments.training.settings import Settings, settings_hash
from experiments.training.trunk import trunk_settings
from lightning_modules.metrics.table import METRICS


def baselines_of(
    settings: Settings, data: VideoMattingDataModule, clips: Sequence[TestClip], device: torch.device, place: Path
) -> pd.DataFrame:
    """The scale on which a trained net is read; what another cell has scored, of the same data and net, is taken.

    Nothing of it depends on the cell's seed: the untrained net is drawn under the seed of the evaluation, and where
    arms share a trunk it is the trunk's. Where nothing is trained there are the floors alone: no untrained net, and
    the constant is that of validation.

    Args:
        settings: of the cell.
        data: of the test, set up.
        clips: its test set.
        device: where to compute.
        place: a folder of the experiment; two cells that come at the same time both score, and one file stays. Files of
            other code are not used.

    Returns:
        Tables of `evaluate_constant`, `evaluate_floors` and `evaluate`, with `method`, by condition.
    """
    model = _untrained_model(settings) if settings.stages else {}
    typical = make_typical_data(settings, NUM_MATTES)
    read = {"data": describe_cell_data(settings), "weights": describe_weights(model)}
    size = None if typical is None else list(typical.size)
    code = {"commit": git_commit(), "metrics": list(METRICS)}
    identity = settings_hash({"data": settings.data, "read": read, "typical": size, "model": model, "code": code})
    path = place / f"{identity}.parquet"
    if path.is_file():
        try:
            return read_table(path)
        except ValueError:
            pass  # damaged: made anew, in its place
    mean_matte = None if typical is None else mean_training_matte(typical)
    tables = []
    if settings.stages:
        untrained = make_net(model, settings.data["evaluation_seed"])
        alpha = float(torch.stack([batch.alpha.mean() for batch in data.val_dataloader()]).mean())
    for group in groups_of(clips):  # each is composited once for all of them
        if settings.stages:
            tables.append(evaluate_constant(group, alpha).assign(method="constant alpha"))
        # A column of truth values has no gaps.
        tables.append(evaluate_floors(group, mean_matte).assign(foreground_predicted=False))
        if settings.stages:
            tables.append(evaluate(untrained, group, device).assign(method="untrained"))
    found = in_order(tables, clips)
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    write_table(path, found)
    return found


def _untrained_model(settings: Settings) -> Mapping[str, Any]:
    """Options of the net that training starts from."""
    trunks = [name for name, stage in settings.stages.items() if stage.trunk is not None]
    return trunk_settings(settings, trunks[0]).model if trunks else settings.model
