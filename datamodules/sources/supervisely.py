"""Supervisely Person Dataset (SPD): single pictures of people with masks as pictures."""

from __future__ import annotations

from pathlib import Path

from datamodules.files.fingerprint import Contents
from datamodules.files.folders import by_name, name_of, pairs, pictures_in
from datamodules.files.mattes import read_matte
from datamodules.files.pictures import read_image
from datamodules.images import shrink
from datamodules.sources.interface import SegmentedClip


class SuperviselyPerson:
    """SPD as RVM's training notes lay it out: `img/` and `seg/`, paired by name; masks are grey, 255 is person."""

    def __init__(self, root: str | Path, size: int = 512) -> None:
        """Find the pairs.

        Args:
            root: the folder.
            size: pictures are scaled down to this shorter side, pixels.

        Raises:
            ValueError: a folder is missing or empty, or a picture or a mask has no partner.
        """
        self.size = size
        folders = [Path(root) / name for name in ("img", "seg")]
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise ValueError(f"{missing[0]}: no such folder; expected img/ with pictures and seg/ with masks")
        images, masks = (by_name(pictures_in(folder), name_of) for folder in folders)
        self._pairs = list(pairs(images, masks, ("picture", "mask"), (folders[0], folders[1])).values())
        if not self._pairs:
            raise ValueError(f"{folders[0]}: no pictures in it; expected img/ with pictures and seg/ with masks")

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
            ValueError: a file is broken, picture and mask differ in size, or the mask is no matte (`read_matte`).
        """
        files = self._pairs[i]
        image, mask = read_image(files[0], turned=False)[None], read_matte(files[1], turned=False)[None]
        if image.shape[-2:] != mask.shape[-2:]:
            sizes = f"{tuple(mask.shape[-2:])} pixels, {files[0].name} has {tuple(image.shape[-2:])}"
            raise ValueError(f"{files[1]}: {sizes}; both must have one size")
        images, masks = shrink(image, self.size), shrink(mask, self.size, "nearest")
        return SegmentedClip(images.expand(len(frames), -1, -1, -1), masks.expand(len(frames), -1, -1, -1))
