"""YouTubeVIS's folder as published, with frames drawn here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sources.youtubevis import YouTubeVIS

HEIGHT, WIDTH, FRAMES = 18, 32, 4
Images = Callable[[Path, np.ndarray], None]


def stripe(column: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:15, column : column + 4] = True
    return mask


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[False], mask.T.ravel()])
    runs = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]), [mask.size]]))
    return {"size": [HEIGHT, WIDTH], "counts": [int(n) for n in runs]}


@pytest.fixture
def make_folder(tmp_path: Path, images: Images) -> Callable[..., Path]:
    """Video 5 has two people, the second gone in frame 1, and a car; video 6 a car alone."""

    def make(person: int = 26, **tables: Any) -> Path:
        videos = []
        for number, name in ((5, "0a1b"), (6, "ffee")):
            files = [f"{name}/{5 * t:05d}.jpg" for t in range(FRAMES)]
            videos.append({"id": number, "height": HEIGHT, "width": WIDTH, "file_names": files})
            for t, file in enumerate(files):
                images(tmp_path / "train" / "JPEGImages" / file, np.full((HEIGHT, WIDTH, 3), 60 * t, np.uint8))
        first = [run_lengths(stripe(t)) for t in range(FRAMES)]
        second = [None if t == 1 else run_lengths(stripe(20)) for t in range(FRAMES)]
        annotations = [
            {"video_id": 5, "category_id": person, "iscrowd": 0, "segmentations": first},
            {"video_id": 5, "category_id": person, "iscrowd": 0, "segmentations": second},
            {"video_id": 5, "category_id": 5, "iscrowd": 0, "segmentations": [run_lengths(stripe(27))] * FRAMES},
            {"video_id": 6, "category_id": 5, "iscrowd": 0, "segmentations": [run_lengths(stripe(27))] * FRAMES},
        ]
        content = {"videos": videos, "annotations": annotations, **tables}
        (tmp_path / "train" / "instances.json").write_text(json.dumps(content))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("person", "tables"),
    [
        (26, {}),  # numbered as in 2021
        (26, {"categories": [{"id": 5, "name": "car"}, {"id": 26, "name": "person"}]}),
        (1, {"categories": [{"id": 1, "name": "person"}, {"id": 5, "name": "car"}]}),  # as in 2019
    ],
)
def test_people_of_a_frame_are_one_mask(make_folder: Callable[..., Path], person: int, tables: Any) -> None:
    source = YouTubeVIS(make_folder(person, **tables))
    assert (len(source), source.name(0), source.num_frames(0)) == (1, "0a1b", FRAMES)
    frames = [3, 1, 1, 0]
    clip = source.read(0, frames)
    assert clip.images.shape == (4, 3, HEIGHT, WIDTH)
    for t, image, mask in zip(frames, clip.images, clip.masks, strict=True):
        assert abs(int(image.float().mean()) - 60 * t) <= 2
        people = stripe(t) | (stripe(20) if t != 1 else False)
        np.testing.assert_array_equal(mask[0].numpy(), 255 * people)
    assert YouTubeVIS(make_folder(person, **tables), size=9).read(0, [0]).masks.shape == (1, 1, 9, 16)


def test_what_is_missing_or_broken_is_said(make_folder: Callable[..., Path], images: Images) -> None:
    folder = make_folder()
    with pytest.raises(ValueError, match="no video shows category 1;"):
        YouTubeVIS(folder, category=1)
    images(folder / "train" / "JPEGImages" / "0a1b" / "00005.jpg", np.zeros((HEIGHT, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"00005.jpg: \(18, 10\) pixels, its masks \(18, 32\)"):
        YouTubeVIS(folder).read(0, [1])
    short = [{"video_id": 5, "category_id": 26, "segmentations": [None]}]
    with pytest.raises(ValueError, match=r"malformed .*not one mask \(or null\) for each of 4 frames"):
        YouTubeVIS(make_folder(annotations=short))
    (folder / "train" / "instances.json").unlink()
    with pytest.raises(ValueError, match="no such annotation file"):
        YouTubeVIS(folder)


def test_a_frame_outside_of_the_folder_is_refused(make_folder: Callable[..., Path]) -> None:
    file = make_folder() / "train" / "instances.json"
    file.write_text(file.read_text().replace("0a1b/00005", "/etc/00005"))
    with pytest.raises(ValueError, match=r"/etc/00005.* leads out of its folder") as told:
        YouTubeVIS(file.parents[1])
    assert str(file) in str(told.value)
