"""Cut-out people in pairs of videos: the official VideoMatte240K, and any folder of such pairs."""

from __future__ import annotations

from pathlib import Path

from datamodules.files.fingerprint import Contents
from datamodules.files.folders import VIDEO_SUFFIXES, by_name, name_of, pairs, refuse_other_frames, visible
from datamodules.files.mattes import read_mattes
from datamodules.images import cover_size, crop_person, estimate_foreground, window_of
from datamodules.sources.interface import ForegroundClip
from datamodules.sources.splits import split_names
from datamodules.video import probe, read_frames

# RVM's training notes move these out of the official train folder.
VALIDATION_CLIPS = ("0000", "0100", "0200", "0300")


class VideoMattes:
    """A folder of `NAME_rgb.mp4` + `NAME_pha.mp4` (any video file, or a folder of frames, each)."""

    def __init__(
        self,
        root: str | Path,
        part: str,
        size: int | tuple[int, int] | None = 512,
        splits: str | Path | None = None,
        shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
        person: str = ".+",
        unmix: bool = False,
    ) -> None:
        """Find the pairs.

        Args:
            root: the folder.
            part: "train", "val" or "test".
            size: canvas, (height, width) or one for both, pixels; of a smaller file one of its shape. None leaves
                each clip as it is.
            splits: folder with train.txt, val.txt, test.txt; None divides by names.
            shares: of the three parts, without lists.
            person: regular expression; names for which it matches the same text are one person.
            unmix: the colour videos are whole pictures: estimate the foreground colours (takes time).

        Raises:
            ValueError: the folder or the part is missing or empty, two clips have one name, or colours or an
                alpha have no partner.
        """
        root = _folder(root)
        clips = by_name(_clips(root), name_of)
        colours, alphas = (
            {name.removesuffix(ending): path for name, path in clips.items() if name.endswith(ending)}
            for ending in ("_rgb", "_pha")
        )
        found = pairs(colours, alphas, ("colours NAME_rgb.mp4", "alpha NAME_pha.mp4"), (root, root))
        if not found:
            raise ValueError(f"{root}: no pairs NAME_rgb.mp4 + NAME_pha.mp4 in it; check the layout")
        names = split_names(list(found), part, root, splits, shares, person)
        self._take({name: found[name] for name in names}, size, unmix)

    def _take(self, pairs: dict[str, tuple[Path, Path]], size: int | tuple[int, int] | None, unmix: bool) -> None:
        """The colours and the alpha of each clip, by name."""
        self._pairs, self._names, self._unmix = pairs, list(pairs), unmix
        self.canvas = (size, size) if isinstance(size, int) else size and (size[0], size[1])

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """Name of clip i."""
        return self._names[i]

    def contents(self) -> Contents:
        """The colours and the alpha of each clip."""
        layers = ("rgb", "pha")
        return {
            f"{name}/{layer}": path
            for name in self._names
            for layer, path in zip(layers, self._pairs[name], strict=True)
        }

    def num_frames(self, i: int) -> int:
        """Frames of clip i.

        Raises:
            ValueError: the alpha has another size or number of frames than the colours, or, as folders, other frames.
        """
        rgb, pha = self._pairs[self._names[i]]
        refuse_other_frames(rgb, pha)
        colours, alpha = probe(rgb), probe(pha)
        if alpha.num_frames != colours.num_frames:
            counts = f"{alpha.num_frames} frames, {rgb.name} has {colours.num_frames}"
            raise ValueError(f"{pha}: {counts}; fetch the pair again or cut both to one length")
        if (alpha.height, alpha.width) != (colours.height, colours.width):
            sizes = f"{alpha.width}×{alpha.height} pixels, {rgb.name} has {colours.width}×{colours.height}"
            raise ValueError(f"{pha}: {sizes}; both must have one size")
        return colours.num_frames

    def own_size(self, i: int) -> tuple[int, int]:
        """(height, width) of clip i in its file."""
        info = probe(self._pairs[self._names[i]][0])
        return info.height, info.width

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        """Frames of clip i, scaled to cover the canvas, or a smaller one of its shape, and cropped to the person."""
        self.num_frames(i)  # checks the pair
        rgb, pha = self._pairs[self._names[i]]
        info = probe(rgb)
        own = (info.height, info.width)
        # Nothing is made larger than it is in its file.
        window = own if self.canvas is None else window_of(own, self.canvas)
        size = cover_size(own, window)
        fgr = read_frames(rgb, frames, *size)
        alpha = read_mattes(pha, frames, *size)
        if self._unmix:
            fgr = estimate_foreground(fgr, alpha)
        if self.canvas is None:
            return ForegroundClip(fgr, alpha)
        return ForegroundClip(*crop_person(fgr, alpha, window))


class VideoMatte240K(VideoMattes):
    """The official folders `train/{fgr,pha}` and `test/{fgr,pha}` with NAME.mp4 or NAME/00000.jpg each.

    Validation takes RVM's four clips out of train, unless there is a folder `valid`.
    """

    def __init__(self, root: str | Path, part: str, size: int | tuple[int, int] | None = 512) -> None:
        """Find the clips.

        Args:
            root: the folder that holds `train` and `test`.
            part: "train", "val" or "test".
            size: canvas, (height, width) or one for both, pixels; of a smaller file one of its shape. None leaves
                each clip as it is.

        Raises:
            ValueError: a folder is missing or empty, or colours or an alpha have no partner.
        """
        root = _folder(root)
        moved = (root / "valid").is_dir()
        folder = {"train": "train", "val": "valid" if moved else "train", "test": "test"}.get(part, part)
        colours, alphas = _folder(root / folder / "fgr"), _folder(root / folder / "pha")
        rgb, pha = (by_name(_clips(where), name_of) for where in (colours, alphas))
        found = pairs(rgb, pha, ("colours", "alpha"), (colours, alphas))
        if folder == "train":
            found = {name: pair for name, pair in found.items() if (name in VALIDATION_CLIPS) == (part == "val")}
        if not found:
            raise ValueError(f"{colours}: no clips for {part}; expected NAME.mp4 or NAME/00000.jpg")
        self._take({f"{folder}/{name}": pair for name, pair in found.items()}, size, unmix=False)


def _folder(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; set root to the folder of the clips")
    return path


def _clips(folder: Path) -> list[Path]:
    """The videos of a folder, files and folders."""
    return [path for path in visible(folder) if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES]
