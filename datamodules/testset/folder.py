"""Test sets that lie in a folder: those that RVM's scripts write, their relatives, and our own."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from datamodules.files.fingerprint import Contents
from datamodules.files.folders import frame_files, frame_key, visible
from datamodules.files.mattes import FAINT, matte_of, refuse_faint
from datamodules.files.pictures import picture_size, read_image, read_pixels, refuse_other_size
from datamodules.testset.frames import Frames, checked_range

MANIFEST = "manifest.json"
LAYERS = ("com", "pha", "fgr", "bgr")


class FolderTestSet(Sequence["FolderClip"]):
    """The clips of a folder, in the order of our manifest, or else by stratum and number.

    Each clip has the composite `com`, alpha `pha` and, where they are known, foreground `fgr` and background `bgr`
    (a single picture there is that of all frames), as PNG or JPEG frames of any numbering. Layouts:
    `STRATUM/CLIP/com/0000.png` (RVM's scripts, and ours), `STRATUM/com/CLIP/0000.png` (what their help text says),
    and both without strata. What our `manifest.json` says of a clip is its name and scene.
    """

    def __init__(self, root: str | Path, num_foregrounds: int | None = None) -> None:
        """List the clips; no frame is decoded.

        Args:
            root: the folder.
            num_foregrounds: for sets without manifest, how many people take turns: clip i shows person
                i mod num_foregrounds, as RVM's scripts have it (VideoMatte240K: 5). None: a person a clip.

        Raises:
            ValueError: the folder is missing or no test set, or a clip lacks frames.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f"{self.root}: no such folder; give the folder of a test set")
        found = {"": _clips_of(self.root)}
        if not found[""]:
            found = {kind.name: _clips_of(kind) for kind in _folders(self.root)}
        self.manifest = _read_manifest(self.root)
        listed = {(clip["stratum"], clip["folder"]): clip for clip in self.manifest.get("clips", ())}
        order = {f"{stratum}/{folder}": number for number, (stratum, folder) in enumerate(listed)}
        self._clips: list[FolderClip] = []
        for stratum, clips in found.items():
            for number, (folder, layers) in enumerate(clips.items()):
                person = folder if num_foregrounds is None else f"{number % num_foregrounds:04d}"
                says = listed.pop((stratum, folder), {"foreground": person, "background": folder})
                self._clips.append(FolderClip(folder, stratum, says["foreground"], says["background"], layers))
        self._clips.sort(key=lambda clip: order.get(clip.key, len(order)))
        if listed:
            stratum, folder = next(iter(listed))
            raise ValueError(f"{self.root}: {stratum}/{folder} is missing; make the set again, it goes on where it was")
        if not self._clips:
            raise ValueError(f"{self.root}: no test set; expected STRATUM/CLIP/com/0000.png and pha beside com")

    def __len__(self) -> int:
        return len(self._clips)

    def contents(self) -> Contents:
        """Every frame of every layer, and the manifest if there is one."""
        manifest = self.root / MANIFEST
        frames = {
            f"{clip.key}/{layer}/{file.name}": file
            for clip in self
            for layer, files in clip.layers.items()
            for file in files
        }
        return frames | ({MANIFEST: manifest} if manifest.is_file() else {})

    @overload
    def __getitem__(self, index: int) -> FolderClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[FolderClip]: ...
    def __getitem__(self, index: int | slice) -> FolderClip | list[FolderClip]:
        """A clip, or some of them."""
        return self._clips[index]


@dataclass(frozen=True)
class FolderClip:
    """One clip of a folder, a `TestClip`.

    Attributes:
        folder: its name there.
        stratum: name of the condition.
        name: of the foreground.
        scene: name of the background.
        layers: the files of each layer that there is, in order.
    """

    folder: str
    stratum: str
    name: str
    scene: str
    layers: dict[str, list[Path]]

    @property
    def key(self) -> str:
        """STRATUM/FOLDER."""
        return f"{self.stratum}/{self.folder}".lstrip("/")

    @property
    def num_frames(self) -> int:
        """Files of its composite."""
        return len(self.layers["com"])

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of its first frame.

        Raises:
            ValueError: the file is broken.
        """
        return picture_size(self.layers["com"][0])

    @property
    def has_foreground(self) -> bool:
        """Whether there is `fgr`."""
        return "fgr" in self.layers

    @property
    def has_background(self) -> bool:
        """Whether there is `bgr`."""
        return "bgr" in self.layers

    def read(self, start: int, stop: int) -> MattingBatch:
        """Frames start … stop − 1.

        Raises:
            ValueError: a file is broken or has another size than the first, its alpha is no matte, or the clip has
                not so many frames.
        """
        frames = checked_range(self, start, stop)
        wanted = {layer: [files[min(t, len(files) - 1)] for t in frames] for layer, files in self.layers.items()}
        # Links to one picture, as in clips with a still background, are decoded once.
        unique = {file.resolve(): (file, layer) for layer, files in wanted.items() for file in files}
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            pixels = dict(zip(unique, threads.map(lambda each: self._pixels(*each), unique.values()), strict=True))
        if 0 < max(int(pixels[file.resolve()].max()) for file in wanted["pha"]) <= FAINT:  # or masks of 0 and 1
            refuse_faint((_matte(file) for file in self.layers["pha"]), self.layers["pha"][0].parent)
        stacked = {layer: torch.stack([pixels[file.resolve()] for file in files]) for layer, files in wanted.items()}
        return Frames(stacked["com"], stacked["pha"], stacked.get("fgr"), stacked.get("bgr")).to_batch(self)

    def _pixels(self, file: Path, layer: str) -> Tensor:
        pixels = _matte(file) if layer == "pha" else read_image(file)
        refuse_other_size(file, pixels, self.layers["com"][0], self.size)
        return pixels


def _matte(file: Path) -> Tensor:
    """(1, H, W) uint8 of one frame."""
    return matte_of(read_pixels(file), file)


def _clips_of(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """The files of each layer of each clip that lies in a folder, by the clip's name."""
    layers = _layer_folders(folder)
    if {"com", "pha"} <= layers.keys():
        names = [clip.name for clip in _folders(layers["com"])]
        if not names:  # the folder is one clip
            return {folder.name: _files_of(layers)}
        return {
            name: _files_of({layer: where / name for layer, where in layers.items() if (where / name).is_dir()})
            for name in names
        }
    clips = {clip.name: _layer_folders(clip) for clip in _folders(folder)}
    return {
        name: _files_of(layers)
        for name, layers in clips.items()
        if ("com" in layers or "pha" in layers) and not any(map(_folders, layers.values()))
    }


def _layer_folders(folder: Path) -> dict[str, Path]:
    return {layer: folder / layer for layer in LAYERS if (folder / layer).is_dir()}


def _files_of(folders: dict[str, Path]) -> dict[str, list[Path]]:
    """The files of each layer of one clip.

    Raises:
        ValueError: alpha or the composite is missing, or layers have different frames.
    """
    for layer in ("com", "pha"):
        if layer not in folders:
            there = next(iter(folders.values()))
            raise ValueError(f"{there}: no folder {layer} for it; a test clip needs com and pha")
    files = {layer: frame_files(folder) for layer, folder in folders.items()}
    num_frames, keys = len(files["com"]), [frame_key(file) for file in files["com"]]
    for layer, frames in files.items():
        if layer == "bgr" and len(frames) == 1:
            continue
        if not frames or len(frames) != num_frames:
            raise ValueError(f"{folders[layer]}: {len(frames)} frames, {folders['com']} has {num_frames}")
        if [frame_key(file) for file in frames] != keys:
            strange = next(file for file in frames if frame_key(file) not in keys)
            raise ValueError(f"{strange}: the frames here have other names than those of {folders['com']}")
    return files


def _folders(folder: Path) -> list[Path]:
    """Its sub-folders in natural order; hidden ones are unfinished."""
    return [path for path in visible(folder) if path.is_dir()]


def _read_manifest(root: Path) -> dict[str, Any]:
    file = root / MANIFEST
    if not file.is_file():
        return {}
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for clip in manifest["clips"]:
            if not all(isinstance(clip[key], str) for key in ("stratum", "folder", "foreground", "background")):
                raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not the manifest of a test set; restore it, or remove it to do without") from error
    return manifest
