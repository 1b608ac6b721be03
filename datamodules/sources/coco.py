"""COCO: single pictures of everyday scenes; every person in a picture belongs to its mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.files.fingerprint import Contents
from datamodules.files.names import inside
from datamodules.files.pictures import read_image
from datamodules.images import shrink
from datamodules.sources.annotations import decode, read_annotations, union
from datamodules.sources.interface import SegmentedClip


class Coco:
    """COCO 2017 as published: `train2017/`, `annotations/`, and `panoptic_train2017/` for panoptic masks.

    Pictures without a person are left out.
    """

    def __init__(
        self,
        root: str | Path,
        size: int = 512,
        annotations: str = "panoptic",
        categories: Sequence[int] = (1, 27, 32),
        images: str = "train2017",
    ) -> None:
        """Read the annotations; takes a minute for the whole of COCO.

        Args:
            root: the folder.
            size: pictures are scaled down to this shorter side, pixels.
            annotations: "panoptic" or "instances": `annotations/panoptic_train2017.json` with one PNG a picture,
                as RVM takes them, or `annotations/instances_train2017.json` with polygons and run lengths.
            categories: numbers of what belongs to the mask, the person first: person, backpack and tie as in
                RVM's code; (1,) is the person alone, as RVM's paper says.
            images: name of the folder of the pictures, and the end of the annotation files' names.

        Raises:
            ValueError: a file is missing or malformed, or no picture shows a person.
        """
        if annotations not in ("panoptic", "instances"):
            raise ValueError(f"annotations of COCO must be panoptic or instances, got {annotations!r}")
        self.size, self.images = size, Path(root) / images
        self.panoptic = Path(root) / f"panoptic_{images}"
        file = self.annotations = Path(root) / "annotations" / f"{annotations}_{images}.json"
        read = _panoptic if annotations == "panoptic" else _instances
        data = read_annotations(file, "images", "annotations")
        try:
            self._masks: list[tuple[str, Any]] = sorted(read(data, tuple(categories)).items())
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: malformed ({error!r}); fetch it again") from error
        if not self._masks:
            raise ValueError(f"{file}: no picture shows category {categories[0]}; set categories to the person's")

    def __len__(self) -> int:
        return len(self._masks)

    def name(self, i: int) -> str:
        """Name of picture i: its file's."""
        return self._masks[i][0]

    def contents(self) -> Contents:
        """The annotations, and each picture with a person and its panoptic mask, if there is one."""
        masks = {name: record[0] for name, record in self._masks if isinstance(record[0], str)}
        return {
            "annotations": self.annotations,
            **{f"images/{name}": self.images / name for name, _ in self._masks},
            **{f"masks/{name}": self.panoptic / png for name, png in masks.items()},
        }

    def num_frames(self, i: int) -> int:
        """1: a still."""
        return 1

    def read(self, i: int, frames: list[int]) -> SegmentedClip:
        """Picture i, once for each of the frames.

        Raises:
            ValueError: a file is missing or broken, or picture and mask differ in size.
        """
        name, record = self._masks[i]
        image, mask = read_image(self.images / name, turned=False), self._mask(record)
        if image.shape[-2:] != mask.shape:
            sizes = f"{tuple(image.shape[-2:])} pixels, its mask {tuple(mask.shape)}"
            raise ValueError(f"{self.images / name}: {sizes}; fetch pictures and annotations of one release")
        masks = shrink(mask[None, None], self.size, "nearest")
        return SegmentedClip(
            shrink(image[None], self.size).expand(len(frames), -1, -1, -1), masks.expand(len(frames), -1, -1, -1)
        )

    def _mask(self, record: Any) -> Tensor:
        """(H, W) uint8 from what `_panoptic` or `_instances` kept."""
        if isinstance(record[0], bytes):
            return decode(*record)
        png, segments = record
        red, green, blue = read_image(self.panoptic / png, turned=False).int()
        return torch.isin(red + 256 * green + 65536 * blue, torch.tensor(segments)).to(torch.uint8) * 255


def _panoptic(data: dict[str, Any], categories: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """File of each picture → its PNG, and the numbers in it that belong to the mask."""
    files = {image["id"]: inside(str(image["file_name"])) for image in data["images"]}
    found = {}
    for annotation in data["annotations"]:
        segments = annotation["segments_info"]
        if any(segment["category_id"] == categories[0] for segment in segments):
            numbers = tuple(int(segment["id"]) for segment in segments if segment["category_id"] in categories)
            found[files[annotation["image_id"]]] = (inside(str(annotation["file_name"])), numbers)
    return found


def _instances(data: dict[str, Any], categories: tuple[int, ...]) -> dict[str, tuple[bytes, int, int]]:
    """File of each picture → run lengths of its mask, height, width."""
    covered: dict[int, list[Any]] = {}
    with_person: set[int] = set()
    for annotation in data["annotations"]:
        if annotation["category_id"] in categories:
            covered.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
        if annotation["category_id"] == categories[0]:
            with_person.add(annotation["image_id"])
    found = {}
    for image in data["images"]:
        if image["id"] in with_person:
            height, width = int(image["height"]), int(image["width"])
            found[inside(str(image["file_name"]))] = (union(covered[image["id"]], height, width), height, width)
    return found
