"""COCO's folder as published, two tables of it, with pictures drawn here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.sources.coco import Coco

HEIGHT, WIDTH = 24, 32
Images = Callable[[Path, np.ndarray], None]


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(top: int, bottom: int, left: int, right: int) -> list[float]:
    return [float(v) for v in (left, top, right, top, right, bottom, left, bottom)]


def counts(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel()])
    return [int(n) for n in np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]), [mask.size]]))]


PEOPLE, BAG, DOG = [box(2, 20, 3, 10), box(4, 22, 18, 25)], box(10, 14, 8, 12), box(0, 24, 28, 32)


@pytest.fixture
def folder(tmp_path: Path, images: Images) -> Path:
    """Picture 7 has two people, a backpack and a dog; 9 a dog alone; 11 a crowd; 12 a tie alone."""
    pictures = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": HEIGHT, "width": WIDTH} for number in (7, 9, 11, 12)
    ]
    for picture in pictures:
        images(tmp_path / "train2017" / picture["file_name"], np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    person, crowd = ({"size": [HEIGHT, WIDTH], "counts": counts(mask)} for mask in (PEOPLE[1], PEOPLE[0] | PEOPLE[1]))
    instances = [
        {"image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": [polygon(2, 20, 3, 10)]},
        {"image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": person},
        {"image_id": 7, "category_id": 27, "iscrowd": 0, "segmentation": [polygon(10, 14, 8, 12)]},
        {"image_id": 7, "category_id": 18, "iscrowd": 0, "segmentation": [polygon(0, 24, 28, 32)]},
        {"image_id": 9, "category_id": 18, "iscrowd": 0, "segmentation": [polygon(0, 24, 28, 32)]},
        {"image_id": 11, "category_id": 1, "iscrowd": 1, "segmentation": crowd},
        {"image_id": 12, "category_id": 32, "iscrowd": 0, "segmentation": [polygon(10, 14, 8, 12)]},
    ]  # fmt: skip
    layers = {
        7: [(3_000_001, 1, PEOPLE[0]), (70_000, 1, PEOPLE[1]), (300, 27, BAG), (5, 18, DOG)],
        9: [(5, 18, DOG)],
        11: [(16_777_214, 1, PEOPLE[0] | PEOPLE[1])],
        12: [(6, 32, BAG)],
    }
    panoptic = []
    for number, segments in layers.items():
        ids = np.zeros((HEIGHT, WIDTH), np.int64)
        for segment, _, mask in segments:
            ids[mask] = segment
        file = f"{number:012d}.png"
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        images(tmp_path / "panoptic_train2017" / file, colours)
        info = [{"id": segment, "category_id": category, "iscrowd": 0} for segment, category, _ in segments]
        panoptic.append({"image_id": number, "file_name": file, "segments_info": info})
    (tmp_path / "annotations").mkdir()
    for kind, annotations in {"instances": instances, "panoptic": panoptic}.items():
        tables: dict[str, Any] = {"images": pictures, "annotations": annotations, "categories": []}
        (tmp_path / "annotations" / f"{kind}_train2017.json").write_text(json.dumps(tables))
    return tmp_path


@pytest.mark.parametrize("annotations", ["panoptic", "instances"])
def test_people_and_what_they_carry_are_one_mask(folder: Path, annotations: str) -> None:
    source = Coco(folder, annotations=annotations)
    assert [source.name(i) for i in range(len(source))] == ["000000000007.jpg", "000000000011.jpg"]
    assert source.num_frames(0) == 1
    clip = source.read(0, [0, 0])
    assert clip.images.shape == (2, 3, HEIGHT, WIDTH)
    for mask in clip.masks[:, 0]:
        np.testing.assert_array_equal(mask.numpy(), 255 * (PEOPLE[0] | PEOPLE[1] | BAG))
    np.testing.assert_array_equal(source.read(1, [0]).masks[0, 0].numpy(), 255 * (PEOPLE[0] | PEOPLE[1]))


@pytest.mark.parametrize("annotations", ["panoptic", "instances"])
def test_person_alone_as_the_paper_says(folder: Path, annotations: str) -> None:
    mask = Coco(folder, annotations=annotations, categories=[1]).read(0, [0]).masks[0, 0]
    seen = (PEOPLE[0] & ~BAG) | PEOPLE[1] if annotations == "panoptic" else PEOPLE[0] | PEOPLE[1]
    np.testing.assert_array_equal(mask.numpy(), 255 * seen)


def test_large_pictures_are_scaled_down_with_hard_masks(folder: Path) -> None:
    clip = Coco(folder, size=12).read(0, [0])
    assert clip.images.shape == (1, 3, 12, 16)
    assert set(clip.masks.unique().tolist()) == {0, 255}
    assert torch.equal(clip.masks, Coco(folder).read(0, [0]).masks[..., 1::2, 1::2])


def test_what_is_missing_or_broken_is_said(folder: Path) -> None:
    with pytest.raises(ValueError, match="must be panoptic or instances"):
        Coco(folder, annotations="keypoints")
    with pytest.raises(ValueError, match=r"panoptic_val2017.json: no such annotation file"):
        Coco(folder, images="val2017")
    with pytest.raises(ValueError, match="no picture shows category 90"):
        Coco(folder, categories=(90,))
    (folder / "train2017" / "000000000007.jpg").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*000000000007.jpg"):
        Coco(folder).read(0, [0])
    broken = folder / "annotations" / "instances_train2017.json"
    broken.write_text(json.dumps({"images": [{}], "annotations": [{"id": 3}]}))
    with pytest.raises(ValueError, match=r"instances_train2017.json: malformed .*category_id"):
        Coco(folder, annotations="instances")


def test_picture_of_another_size_than_its_mask_is_refused(folder: Path, images: Images) -> None:
    images(folder / "train2017" / "000000000007.jpg", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(24, 33\) pixels, its mask \(24, 32\)"):
        Coco(folder).read(0, [0])


@pytest.mark.parametrize("annotations", ["instances", "panoptic"])
def test_a_picture_outside_of_the_folder_is_refused(folder: Path, annotations: str) -> None:
    file = folder / "annotations" / f"{annotations}_train2017.json"
    file.write_text(file.read_text().replace("000000000007.", "../../7."))
    with pytest.raises(ValueError, match=r"\.\./\.\./7.* leads out of its folder") as told:
        Coco(folder, annotations=annotations)
    assert str(file) in str(told.value)
