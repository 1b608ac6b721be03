"""What is kept of test clips to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from torch import Tensor

from datamodules.testset import TestClip
from experiments.scoring.movies import Movie
from experiments.scoring.pictures import Strips

PICTURED_CLIPS = 8  # of each condition


class MediaFolder:
    """Where the pictures of a test set go: of each condition those of its first clips, one of a person."""

    def __init__(self, folder: Path, clips: Iterable[TestClip]) -> None:
        """Choose them: `clips` is the whole set, in its order; it may be scored in another."""
        self.folder = folder
        named: dict[str, dict[str, str]] = {}
        for clip in clips:
            named.setdefault(clip.stratum, {}).setdefault(clip.name, clip.key)
        self.places = {key: place for keys in named.values() for place, key in enumerate(keys.values())}

    def of(self, clip: TestClip) -> ClipMedia | None:
        """Of one clip; None where none are kept."""
        place = self.places.get(clip.key)
        return None if place is None else ClipMedia.of(self.folder, clip, place)


class ClipMedia:
    """The pictures of one clip: a sheet for the report's viewer; of a condition's first clip strips and a video."""

    def __init__(self, folder: Path, clip: TestClip, first: bool) -> None:
        """Collect for `folder`, where files are called STRATUM__CLIP."""
        self.stem = folder / f"{clip.stratum}__{clip.name}".replace("/", "-")
        self.sheet = Strips.sheet(clip.num_frames)
        self.strips = Strips.across(clip.num_frames) if first else None
        self.movie = Movie() if first else None

    @classmethod
    def of(cls, folder: Path, clip: TestClip, place: int) -> Self | None:
        """Of the clip that is number `place` of its condition; None where none are kept."""
        return cls(folder, clip, first=place == 0) if place < PICTURED_CLIPS else None

    def add(self, start: int, layers: Mapping[str, Tensor]) -> None:
        """Keep what is shown of a piece that begins with frame `start`; layers (T, C, h, w) in [0, 1] by name."""
        for each in (self.sheet, self.strips, self.movie):
            if each is not None:
                each.add(start, layers)

    def write(self) -> None:
        """Write all files, each whole or not at all."""
        self.sheet.write(self.stem, ".webp")
        if self.strips is not None and self.movie is not None:
            self.strips.write(self.stem)
            self.movie.write(self.stem.with_name(f"{self.stem.name}.mp4"))
