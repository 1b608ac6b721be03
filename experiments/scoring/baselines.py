"""What a cell's scores are read against: a constant matte, floors and an untrained net, scored once for all cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import torch
from torch import Tensor

from datamodules.files.writing import remove_abandoned
from datamodules.sources.rendering import Report
from datamodules.testset import TestClip
from datamodules.video_matting import VideoMattingDataModule
from experiments.records.cell_record import write_table
from experiments.records.fingerprints import describe_weights
from experiments.records.identity import config_hash
from experiments.records.locks import lock_cell
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
from lightning_modules.nets.interface import MattingNet

Group: TypeAlias = Sequence[TestClip]
Tables: TypeAlias = list[pd.DataFrame]


def baselines_of(
    settings: Settings,
    data: VideoMattingDataModule,
    clips: Group,
    device: torch.device,
    place: Path,
    report: Report = lambda done, total: None,
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
        place: a folder of the experiment; cells that come at the same time share the work. Files of other code are not
            used.
        report: is told how many groups of clips are done, and of how many.

    Returns:
        Tables of `evaluate_floors`, `evaluate_constant` and `evaluate`, with `method`, by condition.
    """
    model = _untrained_model(settings) if settings.stages else {}
    typical = make_typical_data(settings, NUM_MATTES)
    read = {"data": describe_cell_data(settings), "weights": describe_weights(model)}
    size = None if typical is None else list(typical.size)
    code = {"commit": git_commit(), "metrics": list(METRICS)}
    identity = settings_hash({"data": settings.data, "read": read, "typical": size, "model": model, "code": code})

    @cache
    def known() -> tuple[MattingNet | None, float, Tensor | None]:
        """The untrained net, the constant and the mean matte; of no use where all is scored."""
        mean_matte = None if typical is None else mean_training_matte(typical)
        if not settings.stages:
            return None, 0.0, mean_matte
        alpha = float(torch.stack([batch.alpha.mean() for batch in data.val_dataloader()]).mean())
        return make_net(model, settings.data["evaluation_seed"]), alpha, mean_matte

    def score(group: Group) -> pd.DataFrame:  # it is composited once for all of them
        untrained, alpha, mean_matte = known()
        # A column of truth values has no gaps.
        tables = [evaluate_floors(group, mean_matte).assign(foreground_predicted=False)]
        if untrained is not None:
            tables.append(evaluate_constant(group, alpha).assign(method="constant alpha"))
            tables.append(evaluate(untrained, group, device).assign(method="untrained"))
        return pd.concat(tables, ignore_index=True)

    return in_order(_together(list(groups_of(clips)), score, place / identity, report), clips)


def _together(groups: Sequence[Group], score: Callable[[Group], pd.DataFrame], place: Path, report: Report) -> Tables:
    """The tables of all groups, of which each is scored by one of the cells that are here now or were before."""
    found: dict[int, pd.DataFrame] = {}
    while True:
        for number, group in enumerate(groups):
            if number in found:
                continue
            part = place / config_hash({clip.key: clip.num_frames for clip in group})
            part.mkdir(parents=True, exist_ok=True)
            with lock_cell(part) as lock:
                if lock is not None:
                    remove_abandoned(part)
                    found[number] = _read_or_write(part / "scores.parquet", group, score)
                    report(len(found), len(groups))
        if len(found) == len(groups):
            return [found[number] for number in range(len(groups))]
        time.sleep(0.2)  # the last ones are another cell's


def _read_or_write(path: Path, group: Group, score: Callable[[Group], pd.DataFrame]) -> pd.DataFrame:
    with suppress(ValueError):  # missing, or damaged: made anew, in its place
        return read_table(path)
    table = score(group)
    write_table(path, table)
    return table


def _untrained_model(settings: Settings) -> Mapping[str, Any]:
    """Options of the net that training starts from."""
    trunks = [name for name, stage in settings.stages.items() if stage.trunk is not None]
    return trunk_settings(settings, trunks[0]).model if trunks else settings.model
