"""Cut-out stills: clips of equal frames, which move only by the affines they are composited with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from datamodules.files.fingerprint import Contents
from datamodules.files.folders import by_name, name_of, pairs, pictures_in
from datamodules.files.mattes import read_matte, refuse_faint
from datamodules.files.pictures import picture_size, read_image
from datamodules.images import cover_size, crop_person, estimate_foreground, resize, resize_cutout, window_of
from datamodules.sources.interface import ForegroundClip
from datamodules.sources.splits import split_names


class ImageMattes:
    """A folder of pictures with alpha, in one of three layouts.

    `fgr/NAME.ext` + `pha/NAME.ext`: colours without background (Adobe, Distinctions-646, PhotoMatte85).
    `NAME.ext` + `NAME_pha.png`: whole photos; their foreground colours are estimated.
    `NAME.png`: RGBA with straight colours.
    """

    def __init__(
        self,
        root: str | Path,
        part: str,
        size: int | tuple[int, int] | None = 512,
        splits: str | Path | None = None,
        shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
        person: str = ".+",
        unmix: bool = True,
    ) -> None:
        """Find the pictures.

        Args:
            root: the folder.
            part: "train", "val" or "test".
            size: canvas, (height, width) or one for both, pixels; of a smaller file one of its shape. None leaves
                each picture as it is.
            splits: folder with train.txt, val.txt, test.txt; None divides by names.
            shares: of the three parts, without lists.
            person: regular expression; names for which it matches the same text are one person.
            unmix: estimate the foreground colours of whole photos.

        Raises:
            ValueError: the folder or the part is missing or empty, two pictures have one name, or a picture or an
                alpha has no partner.
        """
        self.root = Path(root)
        self.canvas = (size, size) if isinstance(size, int) else size and (size[0], size[1])
        if not self.root.is_dir():
            raise ValueError(f"{self.root}: no such folder; set root to the folder of the pictures")
        self._files = _find(self.root)
        if not self._files:
            raise ValueError(f"{self.root}: no pictures with alpha; expected fgr/ + pha/, NAME_pha.png or RGBA files")
        self._names = split_names(list(self._files), part, self.root, splits, shares, person)
        self._unmix = unmix and not (self.root / "fgr").is_dir()

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """Name of picture i: its file's, without the ending."""
        return self._names[i]

    def contents(self) -> Contents:
        """The picture of each name and, where it is a file of its own, the alpha."""
        pairs = {name: self._files[name] for name in self._names}
        alphas = {f"{name}/pha": alpha for name, (_, alpha) in pairs.items() if alpha is not None}
        return {name: picture for name, (picture, _) in pairs.items()} | alphas

    def num_frames(self, i: int) -> int:
        """1: a still."""
        return 1

    def own_size(self, i: int) -> tuple[int, int]:
        """(height, width) of picture i in its file."""
        return picture_size(self._files[self._names[i]][0])

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        """Picture i, once for each of the frames (all share one memory)."""
        fgr, pha = self._read_pair(*self._files[self._names[i]])
        num_frames = len(frames)
        return ForegroundClip(
            fgr=fgr.expand(num_frames, -1, -1, -1),
            pha=pha.expand(num_frames, -1, -1, -1),
            flow=torch.zeros(1, 2, *fgr.shape[-2:]).expand(num_frames, -1, -1, -1),
        )

    def _read_pair(self, picture: Path, alpha: Path | None) -> tuple[Tensor, Tensor]:
        if alpha is None:
            rgba = read_image(picture, with_alpha=True)[None]
            fgr, pha = rgba[:, :3], rgba[:, 3:]
            refuse_faint([pha], picture)
        else:
            fgr, pha = read_image(picture)[None], read_matte(alpha)[None]
        if fgr.shape[-2:] != pha.shape[-2:]:
            sizes = f"{tuple(pha.shape[-2:])} but its picture {tuple(fgr.shape[-2:])}"
            raise ValueError(f"{alpha}: alpha is {sizes}; both must have one size")
        own_size = (fgr.shape[-2], fgr.shape[-1])
        window = own_size if self.canvas is None else window_of(own_size, self.canvas)
        size = cover_size(own_size, window)
        if self._unmix and alpha is not None:
            fgr, pha = resize(fgr, size), resize(pha, size)
            fgr = estimate_foreground(fgr, pha)
        else:
            fgr, pha = resize_cutout(fgr, pha, size)
        return (fgr, pha) if self.canvas is None else crop_person(fgr, pha, window)


def _find(root: Path) -> Mapping[str, tuple[Path, Path | None]]:
    """The picture and, if it is a file of its own, the alpha of each name."""
    fgr, pha = root / "fgr", root / "pha"
    if fgr.is_dir():
        if not pha.is_dir():
            raise ValueError(f"{pha}: no such folder; fgr/ needs the alpha of its pictures beside it")
        pictures, alphas = (by_name(pictures_in(folder), name_of) for folder in (fgr, pha))
        return pairs(pictures, alphas, ("picture", "alpha"), (fgr, pha))
    files = by_name(pictures_in(root), name_of)
    alphas = {name.removesuffix("_pha"): file for name, file in files.items() if name.endswith("_pha")}
    pictures = {name: file for name, file in files.items() if not name.endswith("_pha")}
    if not alphas:
        return {name: (file, None) for name, file in pictures.items()}
    return pairs(pictures, alphas, ("picture", "alpha NAME_pha.png"), (root, root))
