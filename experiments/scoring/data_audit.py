"""How well trivial cues tell people in some data, beside how well they do in real ones, as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from datamodules.augment.rvm import RVMAugmentation
from datamodules.batch import MattingBatch
from datamodules.composite import collate_layers, composite
from datamodules.difficulty import Difficulty
from datamodules.images import cover_size, crop_centre, resize
from datamodules.samples import SampleKey, TrainingSamples
from datamodules.shortcuts import CUES, Estimate, Seen, audit, look
from datamodules.sources import build_backgrounds, build_foregrounds
from datamodules.sources.interface import ForegroundClip, ForegroundSource
from datamodules.sources.splits import BUT_FOR_NUMBER
from datamodules.video_matting import VideoMattingDataModule

NUM_FRAMES = 4  # of each stretch that is looked at
STRETCHES = 3  # of a clip that is as it was filmed, spread evenly
# Spread of the colours outside the person, in 255ths, below which a file is no whole picture but a cut-out.
CUT_OUT = 15
EVERYTHING = (1.0, 0.0, 0.0)  # shares of train, val and test


def audit_table(columns: Mapping[str, Sequence[Seen]]) -> str:
    """A Markdown table: a cue a row, a data set a column."""
    told = {name: audit(clips) for name, clips in columns.items()}
    heads = [f"{name} ({len({clip.person for clip in columns[name]})} people)" for name in columns]
    rows = [["area under the curve, 95 % interval", *heads], ["---"] * (1 + len(columns))]
    for cue in CUES:
        rows.append([cue, *(_shown(each.get(cue), "{:.2f}") for each in told.values())])
    rows.append(["soft pixels, share", *(_shown(each["soft"], "{:.1%}") for each in told.values())])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _shown(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "–"
    return f"{form} ({form} to {form})".format(estimate.value, estimate.low, estimate.high)


def training_clips(data: VideoMattingDataModule, person: str | None) -> list[Seen]:
    """All clips of the data module's training; `person` is the expression that names of one person share."""
    return [seen for batch in data.train_dataloader() for seen in _seen(batch, person or ".+")]


def composited_clips(
    people: Sequence[Path], scenes: Path, size: int, difficulty: Difficulty | RVMAugmentation, num_clips: int, seed: int
) -> list[Seen]:
    """People of some folders of mattes before the scenes of a folder, placed and moved as a difficulty says.

    Pictures have their own focus: none is drawn.
    """
    if isinstance(difficulty, Difficulty):
        difficulty = difficulty.but({"foreground_defocus": (0, 0), "background_defocus": (0, 0)})
    backgrounds = build_backgrounds("folder", root=scenes, part="train", size=2 * size, shares=EVERYTHING)
    clips = []
    for folder in people:
        source = _mattes(folder, round(4 / 3 * size), cut_out=True)
        samples = TrainingSamples(source, backgrounds, (size, size), difficulty, seed)
        for index in range(-(-num_clips // len(people))):
            batch = composite(collate_layers([samples[SampleKey(index, NUM_FRAMES)]]), size, size)
            clips += _seen(batch, BUT_FOR_NUMBER)
    return clips


def filmed_clips(people: Sequence[Path], size: int) -> list[Seen]:
    """Clips and photos of some folders of mattes as they were filmed, the middle square of them; no cut-outs.

    Raises:
        ValueError: fewer than two people are left.
    """
    clips = []
    for folder in people:
        source = _mattes(folder, None, cut_out=False)
        for i in range(len(source)):
            for clip in _stretches(source, i):
                if _is_whole(clip):
                    frames, alpha = (_squared(pixels, size) for pixels in (clip.fgr, clip.pha))
                    clips.append(look(frames, alpha, _person(source.name(i), BUT_FOR_NUMBER)))
    if len({clip.person for clip in clips}) < 2:
        raise ValueError(
            f"beside: {', '.join(map(str, people))} hold whole pictures of fewer than two people (the colours around "
            f"the others are flat): add a folder of photos or clips with their backgrounds"
        )
    return clips


def _mattes(folder: Path, size: int | None, cut_out: bool) -> ForegroundSource:
    """All clips, or all pictures, of a folder; people who are in it beside their backgrounds are cut out, or not."""
    is_video = any(re.search(r"_(rgb|fgr)(\.\w+)?$", path.name) for path in folder.glob("*"))
    name = "video_mattes" if is_video else "image_mattes"
    options = {"root": folder, "part": "train", "size": size, "shares": EVERYTHING}
    return build_foregrounds(name, **options, unmix=cut_out and not is_video)


def _stretches(source: ForegroundSource, i: int) -> Iterator[ForegroundClip]:
    count = source.num_frames(i)
    num_frames = min(NUM_FRAMES, count)
    starts = torch.linspace(0, count - num_frames, STRETCHES).long().unique().tolist()
    for start in starts:
        yield source.read(i, list(range(start, start + num_frames)))


def _is_whole(clip: ForegroundClip) -> bool:
    outside = clip.fgr[(clip.pha == 0).expand_as(clip.fgr)]
    return len(outside) > 1 and float(outside.float().std()) > CUT_OUT


def _squared(pixels: Tensor, size: int) -> Tensor:
    covering = cover_size((pixels.shape[-2], pixels.shape[-1]), (size, size))
    return crop_centre(resize(pixels, covering), (size, size)).float() / 255


def _seen(batch: MattingBatch, person: str) -> list[Seen]:
    return [
        look(frames, alpha, _person(name, person))
        for frames, alpha, name in zip(batch.frames, batch.alpha, batch.clip, strict=True)
    ]


def _person(name: str, expression: str) -> str:
    match = re.match(expression, name)
    return match.group() if match else name
