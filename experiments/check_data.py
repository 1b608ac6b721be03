"""Check data before a long run does: read every clip and scene, list them, draw a contact sheet.

python -m experiments.check_data data=video_mattes data.root=PEOPLE data.scenes=PLACES
python -m experiments.check_data audit
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.composite import collate_layers, composite
from datamodules.files.mattes import doubts
from datamodules.revealed import revealed_share
from datamodules.samples import EvaluationSamples
from datamodules.sources.interface import BackgroundSource, ForegroundSource, FromFiles, VideoBackgrounds
from datamodules.sources.splits import BUT_FOR_NUMBER, PARTS, shared_stems
from datamodules.video_matting import VideoMattingDataModule
from experiments.command.composing import run_hydra
from experiments.command.errors import ends_with_one_line
from experiments.command.messages import reason
from experiments.scoring.data_audit import audit_table, composited_clips, filmed_clips, training_clips
from experiments.scoring.pictures import strip, write_picture
from experiments.training.data import data_options

NUM_TRAINING_CLIPS = 8
NUM_FRAMES = 4
NUM_TEST_CLIPS = 8  # of each condition that are measured
CHUNK = 16  # frames read at once
MAX_LISTED = 200  # clips of a part


def main() -> int:
    """Check, or with the word `audit` audit, the data of the command line; 1 if a file is unusable."""
    faults: list[str] = []
    job = "audit" if "audit" in sys.argv[1:] else "check"
    sys.argv = [word for word in sys.argv if word != "audit"]

    def check(config: DictConfig) -> None:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        if job == "audit":
            return print(shortcuts(plain))
        data = _data(plain, num_steps=1)
        data.prepare_data(parts=PARTS)
        faults.extend(find_faults(data, max(plain["frames"], 1)))
        if not faults:
            print("\n".join(conditions(data)))
        if "person" in plain["data"] and (warning := leak(data)):
            print(warning, file=sys.stderr)
        if not faults:
            write_picture(Path(plain["sheet"]), contact_sheet(data))
            print(f"contact sheet: {plain['sheet']}")

    for error in run_hydra(check, "check_data"):
        raise error
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _data(plain: dict[str, Any], num_steps: int) -> VideoMattingDataModule:
    return VideoMattingDataModule(
        **data_options(plain["data"]),
        size=plain["scale"]["size"],
        clip_length=NUM_FRAMES,
        batch_size=NUM_TRAINING_CLIPS,
        num_steps=num_steps,
        seed=plain["seed"],
    )


def shortcuts(plain: dict[str, Any]) -> str:
    """How well trivial cues tell alpha in the training clips of a config and, where it names them, in real mattes.

    Raises:
        ValueError: a folder is missing or holds too few people.
    """
    data = _data(plain, num_steps=-(-plain["audit_clips"] // NUM_TRAINING_CLIPS))
    data.prepare_data(parts=("train",))
    columns = {
        Path(str(plain["data"].get("root", "procedural"))).name: training_clips(data, plain["data"].get("person"))
    }
    size, beside = plain["scale"]["size"], [Path(folder) for folder in plain["beside"]]
    if beside and plain["beside_scenes"]:
        columns["beside, composited"] = composited_clips(
            beside, Path(plain["beside_scenes"]), size, data.training_difficulty, plain["audit_clips"], plain["seed"]
        )
    if beside:
        columns["beside, as filmed"] = filmed_clips(beside, size)
    return audit_table(columns)


def find_faults(data: VideoMattingDataModule, num_frames: int) -> list[str]:
    """A line for each clip or scene that cannot be used; prints what there is of each.

    Args:
        data: whose sources are looked at.
        num_frames: of a clip or a video scene at most, spread evenly.

    Raises:
        ValueError: a folder is missing, or its files do not pair.
    """
    faults: list[str] = []
    for part, (people, scenes) in data.sources().items():
        print(f"{part}: {len(people)} clips, {len(scenes)} scenes")
        faults += _list_all(f"{part} clips", people, partial(_read_person, people, num_frames))
        faults += _list_all(f"{part} scenes", scenes, partial(_read_scene, scenes, num_frames))
    return faults


def conditions(data: VideoMattingDataModule) -> list[str]:
    """A line for each test condition: how much of the scene is in view, and of what is hidden was shown before."""
    data.setup("test")
    samples = data.test_dataloader().dataset
    assert isinstance(samples, EvaluationSamples)
    lines = []
    for place, stratum in enumerate(samples.strata):
        zooms, shares = [], []
        for clip in range(min(samples.num_clips, NUM_TEST_CLIPS)):
            layers = samples[place * samples.num_clips + clip]
            zooms.append(layers.bgr_affine[..., :2].det().sqrt().mean())
            batch = composite(collate_layers([layers]), *samples.size)
            if batch.background_affine is not None:
                shares.append(revealed_share(batch)[0])
        line = (
            f"test condition {stratum or 'all'}: {torch.stack(zooms).mean():.2f} pixels of a scene in one of the frame"
        )
        if shares:
            revealed = torch.stack(shares)
            line += (
                f"; of what the person hides, shown before: {100 * revealed.nanmean():.0f} % over the clips, "
                f"{100 * revealed[:, -1].nanmean():.0f} % in their last frames"
            )
        lines.append(line)
    return lines


def leak(data: VideoMattingDataModule) -> str:
    """A line about people who may be in several parts, with the setting that keeps them together; or ""."""
    names = {part: [people.name(i) for i in range(len(people))] for part, (people, _) in data.sources().items()}
    if not (stems := shared_stems(names)):
        return ""
    every = [name for part in names.values() for name in part]
    num_people = len({match.group() if (match := re.match(BUT_FOR_NUMBER, name)) else name for name in every})
    where = [f"{stem}* ({', '.join(f'{part} {n}' for part, n in parts.items())})" for stem, parts in stems.items()]
    more = f" and {len(where) - 5} more" if len(where) > 5 else ""
    remedy = f"add 'data.person={BUT_FOR_NUMBER}'"
    if num_people < len(names):
        remedy = f"only {num_people} would be left for {len(names)} parts, so clips of other people must be added"
    return (
        f"warning: names that differ only in a number are in several parts: {', '.join(where[:5])}{more}. If they show "
        f"one person, the test is of people seen in training; to keep them together {remedy}"
    )


def _list_all(
    what: str, source: ForegroundSource | BackgroundSource, read: Callable[[int], tuple[tuple[int, int], int]]
) -> list[str]:
    """Read each clip or scene and print its name, size and number of frames; what is wrong with them."""
    lines, faults = [], []
    for i in track(range(len(source)), what, disable=not sys.stdout.isatty()):
        try:
            (height, width), count = read(i)
            lines.append(f"  {source.name(i)}: {width}×{height}" + (f", {count} frames" if count > 1 else ""))
        except (ValueError, OSError) as error:
            faults.append(f"{source.name(i)}: {reason(error)}")
    print("\n".join(lines[:MAX_LISTED]))
    if len(lines) > MAX_LISTED:
        print(f"  and {len(lines) - MAX_LISTED:,} more {what}")
    return faults


def _read_person(people: ForegroundSource, num_frames: int, i: int) -> tuple[tuple[int, int], int]:
    """(height, width) and number of frames of a clip, after all that is to be read of it was read and looked right."""
    count = people.num_frames(i)
    mattes = [people.read(i, frames).pha for frames in _chunks(count, num_frames)]
    if doubt := doubts(torch.cat(mattes)):
        raise ValueError(doubt)
    height, width = mattes[0].shape[-2:]
    return people.own_size(i) if isinstance(people, FromFiles) else (height, width), count


def _read_scene(scenes: BackgroundSource, num_frames: int, i: int) -> tuple[tuple[int, int], int]:
    """(height, width) and number of frames of a scene, after all that is to be read of it was read."""
    count = 1
    if isinstance(scenes, VideoBackgrounds) and scenes.is_video(i):
        count = scenes.num_frames(i)
        for frames in _chunks(count, num_frames):
            pictures = scenes.read_frames(i, frames)
    else:
        pictures = scenes.read(i, 1, torch.Generator().manual_seed(0)).pictures
    height, width = pictures.shape[-2:]
    return scenes.own_size(i) if isinstance(scenes, FromFiles) else (height, width), count


def _chunks(count: int, num_frames: int) -> list[list[int]]:
    """At most `num_frames` of `count` frames, spread evenly, a few at a time."""
    frames = torch.linspace(0, count - 1, min(count, num_frames), dtype=torch.float64).round().long().tolist()
    return [frames[k : k + CHUNK] for k in range(0, len(frames), CHUNK)]


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
