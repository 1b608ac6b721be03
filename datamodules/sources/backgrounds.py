"""Backgrounds from folders: stills, videos, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datamodules.augment.temporal import choose_frames
from datamodules.files.fingerprint import Contents
from datamodules.files.folders import IMAGE_SUFFIXES, by_name, name_of, visible
from datamodules.files.pictures import picture_size, read_image
from datamodules.images import cover_size, crop_centre, resize, window_of
from datamodules.sources.interface import Scene
from datamodules.sources.splits import split_names
from datamodules.video import is_video, probe, read_frames


class FolderBackgrounds:
    """Pictures are stills, video files are videos, and a sub-folder of pictures is a video of these frames."""

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        part: str,
        size: int | tuple[int, int] | None = 512,
        splits: str | Path | None = None,
        shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
        place: str = ".+",
        kinds: str = "all",
    ) -> None:
        """Find the scenes.

        Args:
            root: a folder, or several.
            part: "train", "val" or "test".
            size: canvas, (height, width) or one for both, pixels; of a smaller file one of its shape. None leaves
                each scene as it is.
            splits: folder with train.txt, val.txt, test.txt, lines like `FOLDER/NAME`; None divides by names.
            shares: of the three parts, without lists.
            place: regular expression; names for which it matches the same text show one place.
            kinds: "stills", "videos" or "all".

        Raises:
            ValueError: a folder or the part is missing or empty, two files have one name, or kinds is unknown.
        """
        if kinds not in ("stills", "videos", "all"):
            raise ValueError(f"kinds of backgrounds must be stills, videos or all, got {kinds!r}")
        roots = [Path(root)] if isinstance(root, (str, Path)) else [Path(each) for each in root]
        scenes: list[Path] = []
        for folder in roots:
            if not folder.is_dir():
                raise ValueError(f"{folder}: no such folder; set root to the folder of the backgrounds")
            scenes += [path for path in visible(folder) if _kind(path) and kinds in ("all", _kind(path))]
        found = by_name(scenes, lambda path: f"{path.parent.name}/{name_of(path)}")
        if not found:
            raise ValueError(f"{', '.join(map(str, roots))}: no backgrounds of kind {kinds}; add pictures or videos")
        names = split_names(list(found), part, roots[0], splits, shares, place)
        self._paths = {name: found[name] for name in names}
        self._names = names
        self.canvas = (size, size) if isinstance(size, int) else size and (size[0], size[1])
        self.has_videos = any(self.is_video(i) for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """Name of scene i: FOLDER/NAME."""
        return self._names[i]

    def contents(self) -> Contents:
        """The file or the folder of each scene."""
        return dict(self._paths)

    def is_video(self, i: int) -> bool:
        """Whether scene i is a video."""
        return _kind(self._paths[self._names[i]]) == "videos"

    def num_frames(self, i: int) -> int:
        """Frames of scene i; 1 of a still."""
        return probe(self._paths[self._names[i]]).num_frames if self.is_video(i) else 1

    def own_size(self, i: int) -> tuple[int, int]:
        """(height, width) of scene i in its file."""
        path = self._paths[self._names[i]]
        if self.is_video(i):
            info = probe(path)
            return info.height, info.width
        return picture_size(path)

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        """Scene i; of a video a random run of frames."""
        if self.is_video(i):
            return Scene(self.read_frames(i, choose_frames(self.num_frames(i), num_frames, generator)), is_video=True)
        picture = read_image(self._paths[self._names[i]])[None]
        if self.canvas is None:
            return Scene(picture)
        own = (picture.shape[-2], picture.shape[-1])
        window = window_of(own, self.canvas)
        return Scene(crop_centre(resize(picture, cover_size(own, window)), window))

    def read_frames(self, i: int, frames: list[int]) -> Tensor:
        """The given frames (T, 3, Hb, Wb) uint8 of scene i, a video."""
        path = self._paths[self._names[i]]
        info = probe(path)
        if self.canvas is None:
            return read_frames(path, frames)
        own = (info.height, info.width)
        window = window_of(own, self.canvas)
        return crop_centre(read_frames(path, frames, *cover_size(own, window)), window)


def _kind(path: Path) -> str:
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return "stills"
    return "videos" if is_video(path) else ""
