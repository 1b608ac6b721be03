"""Supervisely Person Dataset (SPD): single pictures of people with masks as pictures."""

from __future__ import annotations

from pathlib import Path

from datamodules.files.fingerprint import Contents
from datamodules.images import read_image, shrink
from datamodules.sources.interface import SegmentedClip
from datamodules.video import frame_files


class SuperviselyPerson:
    """SPD as RVM's training notes lay it out: `img/` and `seg/`, paired by their sorted names; masks are 8-bit grey."""

    def __init__(self, root: str | Path, size: int = 512) -> None:
        """Find the pairs.

        Args:
            root: the folder.
            size: pictures are scaled down to this shorter side, pixels.

        Raises:
            ValueError: a folder is missing or empty, or the two hold different numbers of files.
        """
        self.size = size
        folders = [Path(root) / name for name in ("img", "seg")]
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise ValueError(f"{missing[0]}: no such folder; expected img/ with pictures and seg/ with masks")
        images, masks = (frame_files(folder) for folder in folders)
        if not images or len(images) != len(masks):
            raise ValueError(
                f"{root}: {len(images)} pictures in img/, {len(masks)} masks in seg/; one for each is needed"
            )
        self._pairs = list(zip(images, masks, strict=True))

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, i: int) -> str:
        """Name of picture i: its file's."""
        return self._pairs[i][0].name

    def contents(self) -> Contents:
        """The picture and the mask of each pair."""
        return {f"{path.parent.name}/{path.name}": path for pair in self._pairs for path in pair}

    def num_frames(self, i: int) -> int:
        """1: a still."""
        return 1

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """Picture i, once for each of the frames.

        Raises:
            ValueError: a file is broken, or picture and mask differ in size.
        """
        files = self._pairs[i]
        image, mask = (read_image(file, turned=False)[None] for file in files)
        if image.shape != mask.shape:
            sizes = f"{tuple(mask.shape[-2:])} pixels, {files[0].name} has {tuple(image.shape[-2:])}"
            raise ValueError(f"{files[1]}: {sizes}; pairs go by sorted names, so check that none is missing")
        images, masks = shrink(image, self.size), shrink(mask[:, :1], self.size, "nearest")
        return SegmentedClip(images.expand(len(frames), -1, -1, -1), masks.expand(len(frames), -1, -1, -1))
