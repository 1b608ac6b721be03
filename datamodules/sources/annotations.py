"""Annotation files in COCO's formats: JSON, and masks as polygons or run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_annotations(path: Path, *tables: str) -> dict[str, Any]:
    """A JSON file that holds lists of these names.

    Raises:
        ValueError: the file is missing, or is no such JSON.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such annotation file; check the folder's layout")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); fetch it again") from error
    if missing := [table for table in tables if not isinstance(data, dict) or not isinstance(data.get(table), list)]:
        raise ValueError(f"{path}: no list {missing[0]!r} in it; it is another kind of annotation file")
    return data


def union(segmentations: Iterable[Any], height: int, width: int) -> bytes:
    """COCO's compressed run lengths of all that some annotations cover.

    Args:
        segmentations: each a list of polygons [x0, y0, x1, y1, …], or {"size": [H, W], "counts": …} with run
            lengths down the columns, skipped and drawn in turn, as a list of numbers or as COCO's text.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Raises:
        ValueError: one is neither, or its size is another.
    """
    from pycocotools import mask

    parts = [mask.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)]  # nothing
    for each in segmentations:
        if isinstance(each, list):
            polygons = _polygons(each, 2 * max(height, width))
            parts += mask.frPyObjects(polygons, height, width) if polygons else []
            continue
        if not isinstance(each, dict) or each.get("size") != [height, width]:
            raise ValueError(f"a mask is neither polygons nor run lengths of {height} × {width} pixels")
        counts = each.get("counts")
        if isinstance(counts, str):
            counts = _counts(counts)  # pycocotools crashes on text that is broken
        if not isinstance(counts, list) or min(counts, default=0) < 0 or sum(counts) != height * width:
            raise ValueError(f"run lengths of a mask do not cover {height} × {width} pixels")
        parts.append(mask.frPyObjects({"size": [height, width], "counts": counts}, height, width))
    return bytes(mask.merge(parts)["counts"])


def _counts(text: str) -> list[int]:
    """Run lengths from COCO's text: 5 bits a character, the lowest first; from the fourth on, less the last but one.

    >>> _counts("52203")
    [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last character of its number
            value -= (bits & 16) << (shift - 4)  # its sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def _polygons(polygons: list[Any], farthest: float) -> list[list[float]]:
    """Those of three points and more; of two, which have no area, pycocotools would make a box."""
    for polygon in polygons:
        # Coordinates far outside, or not a number, would cost pycocotools all memory.
        if not isinstance(polygon, list) or not all(-farthest <= value <= farthest for value in polygon):
            raise ValueError("a polygon of a mask has points far outside of its picture")
    return [polygon for polygon in polygons if len(polygon) >= 6]


def decode(run_lengths: bytes, height: int, width: int) -> Tensor:
    """The mask (H, W) uint8 of compressed run lengths, 255 where they draw."""
    from pycocotools import mask

    return torch.from_numpy(mask.decode({"size": [height, width], "counts": run_lengths})) * 255
