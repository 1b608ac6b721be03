"""Segmentation data that need no files, and several sources joined to one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import torch

from datamodules.batch import Layers
from datamodules.composite import collate_layers, composite
from datamodules.dice import Draws
from datamodules.difficulty import Difficulty
from datamodules.draw_layers import draw_layers
from datamodules.files.fingerprint import Contents, contents_of
from datamodules.sources.interface import SegmentationSource, SegmentedClip
from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms

# Nothing that must see all frames of a clip at once (camouflage), since `read` composites only those asked for.
SCENES = Difficulty(foreground_scale=(0.6, 1.3))


class ProceduralSegmentation:
    """Clips of nobody, one or several people in a room, all made by code; the mask is where alpha is above 0.5.

    Args:
        num_clips: how many clips, and how many people and rooms they are made of.
        num_frames: of each clip.
        size: height and width, pixels.
        seed: decides everything, together with the clip's number; people are those of `ProceduralPeople`'s
            part "train" under this seed.
        shares: of clips with nobody, one person, two people and so on.
        cache_dir: folder that keeps rendered people and rooms, or None to render again in every process.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        num_clips: int = 64,
        num_frames: int = 24,
        size: int = 96,
        seed: int = 0,
        shares: Sequence[float] = (0.1, 0.6, 0.3),
        cache_dir: str | Path | None = None,
    ) -> None:
        if not shares or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"shares of clips with 0, 1, … people must be at least 0, and one above, got {shares}")
        canvas = round(4 / 3 * size)
        self.people = ProceduralPeople(num_clips, num_frames, canvas, seed, cache_dir=cache_dir, extras=())
        # Without bystanders: in matting they are background, here they would be people outside of the mask.
        self.rooms = ProceduralRooms(num_clips, 2 * size, seed, distractors=0, cache_dir=cache_dir)
        self.size, self.seed, self.shares = size, seed, tuple(shares)

    def __len__(self) -> int:
        return len(self.people)

    def name(self, i: int) -> str:
        """Name of clip i, such as "scene-0007"."""
        return f"scene-{i:04d}"

    def contents(self) -> Contents:
        """All that decides the pixels."""
        scenes = f"{self.size} pixels, seed {self.seed}, shares {self.shares}"
        return {**self.people.contents(), **self.rooms.contents(), "scenes": scenes}

    def num_frames(self, i: int) -> int:
        """Frames of clip i."""
        return self.people.num_frames(i)

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """The given frames of clip i."""
        draws = Draws((self.seed, "segmented scene", i))
        bounds = list(accumulate(share / sum(self.shares) for share in self.shares))
        num_people = min(bisect_right(bounds, draws.number("people")), len(self.shares) - 1)
        chosen = torch.randperm(len(self), generator=draws.generator("who"))[: max(num_people, 1)].tolist()
        views, size = [], (self.size, self.size)
        for k, person in enumerate(chosen):
            own = Draws((*draws.key, k))
            layers = draw_layers(self.people, self.rooms, person, i, self.num_frames(i), size, SCENES, own)
            views.append(composite(collate_layers([_only(layers, frames)]), *size))
        images, nobody = views[0].background[0], torch.ones_like(views[0].alpha[0])
        for view in views[:num_people]:  # each stands before the one drawn earlier
            images = torch.lerp(images, view.foreground[0], view.alpha[0])
            nobody = nobody * (1 - view.alpha[0])
        return SegmentedClip((images * 255).round().to(torch.uint8), (nobody < 0.5).to(torch.uint8) * 255)

    def rendered(self) -> list[object]:
        """The sources of its people and rooms."""
        return [self.people, self.rooms]


class JoinedSegmentation:
    """The clips of several sources, one source after the other.

    Args:
        sources: by their names, which begin the names of their clips.
    """

    def __init__(self, sources: Mapping[str, SegmentationSource]) -> None:
        self.sources = dict(sources)
        self._places = [(name, i) for name, source in sources.items() for i in range(len(source))]

    def __len__(self) -> int:
        return len(self._places)

    def name(self, i: int) -> str:
        """Name of clip i: SOURCE/NAME."""
        source, k = self._places[i]
        return f"{source}/{self.sources[source].name(k)}"

    def contents(self) -> Contents:
        """Those of all sources."""
        return {
            f"{name}/{part}": content
            for name, source in self.sources.items()
            for part, content in contents_of(source).items()
        }

    def num_frames(self, i: int) -> int:
        """Frames of clip i."""
        source, k = self._places[i]
        return self.sources[source].num_frames(k)

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """The given frames of clip i."""
        source, k = self._places[i]
        return self.sources[source].read(k, frames)

    def rendered(self) -> list[object]:
        """Those of all sources that may make their own pictures."""
        made = [source for source in self.sources.values() if isinstance(source, ProceduralSegmentation)]
        return [part for source in made for part in source.rendered()]


def _only(layers: Layers, frames: list[int]) -> Layers:
    """Layers of some of their frames, in the order given."""
    return replace(
        layers,
        fgr=layers.fgr[frames],
        pha=layers.pha[frames],
        bgr_index=layers.bgr_index[frames],
        fgr_affine=layers.fgr_affine[frames],
        bgr_affine=layers.bgr_affine[frames],
        near_affine=None if layers.near_affine is None else layers.near_affine[frames],
        fgr_gain=layers.fgr_gain[frames],
        bgr_gain=layers.bgr_gain[frames],
    )
