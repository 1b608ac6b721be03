"""Check data before a long run does: open every clip and scene, draw a contact sheet.

python -m experiments.check_data data=video_mattes data.root=PEOPLE data.scenes=PLACES
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.video_matting import VideoMattingDataModule
from experiments.command import ends_with_one_line, run_hydra
from experiments.data import data_options
from experiments.scoring.pictures import strip, write_picture

NUM_TRAINING_CLIPS = 6
NUM_FRAMES = 4


def main() -> int:
    """Check the data of the command line; 1 if a file is unusable."""
    faults: list[str] = []

    def check(config: DictConfig) -> None:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        data = VideoMattingDataModule(
            **data_options(plain["data"]),
            size=plain["scale"]["size"],
            clip_length=NUM_FRAMES,
            batch_size=NUM_TRAINING_CLIPS,
            num_steps=1,
            seed=plain["seed"],
        )
        data.prepare_data()
        faults.extend(find_faults(data))
        if not faults:
            write_picture(Path(plain["sheet"]), contact_sheet(data))
            print(f"contact sheet: {plain['sheet']}")

    for error in run_hydra(check, "check_data"):
        raise error
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def find_faults(data: VideoMattingDataModule) -> list[str]:
    """A line for each clip or scene that cannot be read; prints how many there are of each."""
    faults = []
    for part, (people, scenes) in data.sources().items():
        print(f"{part}: {len(people)} clips, {len(scenes)} scenes")
        for i in track(range(len(people)), f"{part} clips", disable=not sys.stdout.isatty()):
            try:
                people.read(i, [0, people.num_frames(i) - 1])
            except (ValueError, OSError) as error:
                faults.append(f"{people.name(i)}: {' '.join(str(error).split())}")
        for i in track(range(len(scenes)), f"{part} scenes", disable=not sys.stdout.isatty()):
            try:
                scenes.read(i, 2, torch.Generator().manual_seed(0))
            except (ValueError, OSError) as error:
                faults.append(f"{scenes.name(i)}: {' '.join(str(error).split())}")
    return faults


def contact_sheet(data: VideoMattingDataModule) -> Tensor:
    """(3, H, W): training clips on the left, a clip of each test condition on the right; frames over mattes."""
    training = next(iter(data.train_dataloader()))
    rows = [_row(training, index) for index in range(NUM_TRAINING_CLIPS)]
    conditions: dict[str, Tensor] = {}
    for batch in data.test_dataloader():
        conditions.setdefault(batch.stratum[0], _row(batch, 0))
    left, right = torch.cat(rows, dim=1), torch.cat(list(conditions.values()), dim=1)
    height = max(left.shape[1], right.shape[1])
    left, right = (torch.nn.functional.pad(each, (0, 0, 0, height - each.shape[1])) for each in (left, right))
    return torch.cat((left, torch.ones(3, height, 8), right), dim=2)


def _row(batch: MattingBatch, index: int) -> Tensor:
    num_frames = batch.frames.shape[1]
    shown = torch.linspace(0, num_frames - 1, min(NUM_FRAMES, num_frames)).round().long()
    size = batch.frames.shape[-2:]
    return torch.cat([strip(layer[index][shown], size) for layer in (batch.frames, batch.alpha)], dim=1)


if __name__ == "__main__":
    ends_with_one_line(main)
