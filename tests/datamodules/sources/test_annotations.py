import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from datamodules.sources.annotations import decode, read_annotations, union

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def run_lengths(mask: np.ndarray) -> list[int]:
    """Down the columns, skipped and drawn in turn, beginning with skipped."""
    flat = np.concatenate([[False], mask.T.ravel()])
    runs = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]), [mask.size]]))
    return [int(run) for run in runs]


def compressed(counts: list[int]) -> str:
    """COCO's text of run lengths."""
    text = ""
    for k, count in enumerate(counts):
        value, more = count - (counts[k - 2] if k > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def covered(segmentations: list[Any], height: int, width: int) -> np.ndarray:
    return decode(union(segmentations, height, width), height, width).numpy()


@given(MASKS)
def test_run_lengths_as_numbers_and_as_text_give_the_mask(mask: np.ndarray) -> None:
    height, width = mask.shape
    for counts in (run_lengths(mask), compressed(run_lengths(mask))):
        got = covered([{"size": [height, width], "counts": counts}], height, width)
        np.testing.assert_array_equal(got, 255 * mask.astype(np.uint8))


@given(st.integers(0, 19), st.integers(0, 19), st.integers(1, 20), st.integers(1, 20))
def test_rectangle_polygon_covers_its_pixels(left: int, top: int, width: int, height: int) -> None:
    right, bottom = min(left + width, 30), min(top + height, 24)
    mask = np.zeros((24, 30), np.uint8)
    mask[top:bottom, left:right] = 255
    polygon = [float(v) for v in (left, top, right, top, right, bottom, left, bottom)]
    np.testing.assert_array_equal(covered([[polygon]], 24, 30), mask)


def test_union_joins_annotations_of_all_kinds() -> None:
    mask, stripe = np.zeros((8, 9), bool), np.zeros((8, 9), bool)
    mask[1:3, 2:5], stripe[:, 7] = True, True
    parts: list[Any] = [
        [[2.0, 1.0, 5.0, 1.0, 5.0, 3.0, 2.0, 3.0], [0.0, 0.0, 1.0, 1.0]],  # the second has no area
        {"size": [8, 9], "counts": compressed(run_lengths(stripe))},
    ]
    np.testing.assert_array_equal(covered(parts, 8, 9), 255 * (mask | stripe))
    assert not covered([], 8, 9).any()


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [4, 4], "counts": [15]}, {"size": [4, 4], "counts": [20, -4]}, {"size": [4, 5], "counts": [16]},
        {"size": [4, 4], "counts": "zzz"}, {"size": [4, 4]}, "text", [[0.0, 0.0, 1e9, 0.0, 1e9, 1e9]],
        [[float("nan")] * 6],
    ],
)  # fmt: skip
def test_broken_masks_are_refused(broken: Any) -> None:
    with pytest.raises(ValueError, match="mask"):
        union([broken], 4, 4)


def test_files_that_are_no_annotations_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    with pytest.raises(ValueError, match="no such annotation file"):
        read_annotations(file, "images")
    file.write_text("{torn")
    with pytest.raises(ValueError, match="not JSON"):
        read_annotations(file, "images")
    file.write_text(json.dumps({"videos": []}))
    with pytest.raises(ValueError, match="no list 'images'"):
        read_annotations(file, "videos", "images")
