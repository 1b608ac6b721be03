"""YouTubeVIS: short videos with a mask of every object in every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from datamodules.files.fingerprint import Contents
from datamodules.files.names import inside
from datamodules.files.pictures import read_image
from datamodules.images import shrink
from datamodules.sources.annotations import decode, read_annotations, union
from datamodules.sources.interface import SegmentedClip

# Of the 2021 labels; in those of 2019 the person is number 1.
PERSON = 26


class YouTubeVIS:
    """YouTubeVIS as published: `train/JPEGImages/` and `train/instances.json`. Videos without a person are left out."""

    def __init__(self, root: str | Path, size: int = 512, category: int | None = None) -> None:
        """Read the annotations.

        Args:
            root: the folder that holds `train`.
            size: frames are scaled down to this shorter side, pixels.
            category: number of the person; None: that of the category "person" in the file, or 26, its number
                in the labels of 2021, if the file names no categories.

        Raises:
            ValueError: a file is missing or malformed, or no video shows a person.
        """
        self.size, self.images = size, Path(root) / "train" / "JPEGImages"
        file = self.annotations = Path(root) / "train" / "instances.json"
        data = read_annotations(file, "videos", "annotations")
        if category is None:
            named = {each.get("name"): each.get("id") for each in data.get("categories", [])}
            category = named.get("person", PERSON)
        try:
            self._videos = _videos(data, category)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: malformed ({error!r}); fetch it again") from error
        if not self._videos:
            raise ValueError(f"{file}: no video shows category {category}; set category to the person's")

    def __len__(self) -> int:
        return len(self._videos)

    def name(self, i: int) -> str:
        """Name of video i: the folder of its frames."""
        return str(Path(self._videos[i][0][0]).parent)

    def contents(self) -> Contents:
        """The annotations and each frame of the videos with a person."""
        frames = {f"frames/{name}": self.images / name for files, *_ in self._videos for name in files}
        return {"annotations": self.annotations, **frames}

    def num_frames(self, i: int) -> int:
        """Frames of video i."""
        return len(self._videos[i][0])

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """The given frames of video i.

        Raises:
            ValueError: a file is missing or broken, or frame and mask differ in size.
        """
        files, run_lengths, height, width = self._videos[i]
        images, masks = {}, {}
        for frame in set(frames):
            image = read_image(self.images / files[frame], turned=False)[None]
            if image.shape[-2:] != (height, width):
                sizes = f"{tuple(image.shape[-2:])} pixels, its masks {(height, width)}"
                raise ValueError(f"{self.images / files[frame]}: {sizes}; fetch frames and annotations of one release")
            images[frame] = shrink(image, self.size)
            masks[frame] = shrink(decode(run_lengths[frame], height, width)[None, None], self.size, "nearest")
        return SegmentedClip(torch.cat([images[f] for f in frames]), torch.cat([masks[f] for f in frames]))


def _videos(data: dict[str, Any], category: int) -> list[tuple[list[str], list[bytes], int, int]]:
    """Frame files, run lengths of each frame's mask, height and width of each video with a person."""
    people: dict[int, list[Any]] = {}
    for annotation in data["annotations"]:
        if annotation["category_id"] == category:
            people.setdefault(annotation["video_id"], []).append(annotation["segmentations"])
    found = []
    for video in data["videos"]:
        if video["id"] in people:
            files = [inside(str(name)) for name in video["file_names"]]
            height, width = int(video["height"]), int(video["width"])
            if any(len(each) != len(files) for each in people[video["id"]]):
                raise ValueError(f"video {video['id']}: not one mask (or null) for each of {len(files)} frames")
            by_frame = zip(*people[video["id"]], strict=True)
            masks = [union([each for each in frame if each is not None], height, width) for frame in by_frame]
            found.append((files, masks, height, width))
    return found
