"""Compiled loops that sample pictures on the CPU; `datamodules.resample` calls them, and no one else.

Imported where they are used, since numba takes a moment to load. Pictures lie in a frame one pixel wide (`framed`), so
that all four neighbours of any point are there. Loops over a row are written so that they compile to vector
instructions, apart from the one that fetches neighbours; a row is cut into blocks of `BLOCK` pixels, which see a small
piece of a turned picture that stays in the cache from row to row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BLOCK = 256
ONE = np.uint64(1)
NEVER = np.uint64(2**63)  # no place in a picture: a loop that may end there fetches one by one, which is faster


def compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled kernel; sums may be contracted and reordered, by no more than a rounding."""
    return numba.njit(kernel, nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


@compiled
def framed(picture: Array, scale: float, alpha: Array, alpha_scale: float, border: bool, planes: Array) -> None:
    """Write a picture, multiplied with its alpha, and the frame around it.

    Args:
        picture: (C, h, w) of any type.
        scale: factor of its values.
        alpha: (h, w) of any type; (0, 0): opaque.
        alpha_scale: its factor.
        border: the frame repeats the border; else it is 0.
        planes: (C, h + 2, w + 2) float32, what is written.
    """
    C, h, w = picture.shape
    for c in range(C):
        for y in range(h):
            row, source = planes[c, y + 1, 1 : w + 1], picture[c, y]
            for x in range(w):
                row[x] = np.float32(scale) * np.float32(source[x])
            if alpha.size > 0:
                weight = alpha[y]
                for x in range(w):
                    row[x] *= np.float32(alpha_scale) * np.float32(weight[x])
        frame(planes[c], border)


@compiled
def frame(plane: Array, border: bool) -> None:
    """Write the outermost pixels of a plane (h + 2, w + 2): those next to them, or 0."""
    if border:
        plane[1:-1, 0], plane[1:-1, -1] = plane[1:-1, 1], plane[1:-1, -2]
        plane[0], plane[-1] = plane[1], plane[-2]
    else:
        plane[:, 0] = plane[:, -1] = 0
        plane[0] = plane[-1] = 0


@compiled
def averaged(planes: Array, across: float, down: float, border: bool) -> None:
    """Replace the inner pixels by means over `across` × `down` ≥ 1 pixels, a fraction of the outermost of them.

    Args:
        planes: (C, h + 2, w + 2) float32; what is inside of the frame goes on with its border.
        across: pixels; down: pixels.
        border: of the frame afterwards, as in `framed`.
    """
    C, h, w = planes.shape[0], planes.shape[1] - 2, planes.shape[2] - 2
    radius_x, radius_y = int(across / 2 + 0.5), int(down / 2 + 0.5)
    line = np.empty(w + 2 * radius_x, np.float32)
    inner = line[radius_x : radius_x + w]
    rows = np.empty((h, w), np.float32)
    for c in range(C):
        for y in range(h):
            inner[:] = planes[c, y + 1, 1 : w + 1]
            line[:radius_x], line[radius_x + w :] = inner[0], inner[w - 1]
            add(rows[y], np.float32(1 / across), inner, inner, False)
            for d in range(1, radius_x + 1):
                weight = np.float32(min(across / 2 + 0.5 - d, 1.0) / across)
                add(rows[y], weight, line[radius_x - d : radius_x - d + w], line[radius_x + d : radius_x + d + w], True)
        for y in range(h):
            mean = planes[c, y + 1, 1 : w + 1]
            add(mean, np.float32(1 / down), rows[y], rows[y], False)
            for d in range(1, radius_y + 1):
                weight = np.float32(min(down / 2 + 0.5 - d, 1.0) / down)
                add(mean, weight, rows[max(y - d, 0)], rows[min(y + d, h - 1)], True)
        frame(planes[c], border)


@compiled
def add(total: Array, weight: float, first: Array, second: Array, more: bool) -> None:
    """total += weight · (first + second); without `more` total = weight · first."""
    if more:
        for x in range(len(total)):
            total[x] += weight * (first[x] + second[x])
    else:
        for x in range(len(total)):
            total[x] = weight * first[x]


@compiled
def locate(affine: Array, y: int, left: int, h: int, w: int, first: Array, along: Array, down: Array) -> None:
    """Where output pixels left + x of row y lie in a framed picture: their upper left neighbour, and how far from it.

    Args:
        affine: (2, 3) output → picture pixel.
        y: row of the output; left: first column.
        h: of the picture with its frame; w: the same.
        first: (n,) int32, number of the neighbour; along, down: (n,) float32 in [0, 1]. All are written.
    """
    a, b = np.float64(affine[0, 0]), np.float64(affine[0, 1]) * y + affine[0, 2] + 1
    c, d = np.float64(affine[1, 0]), np.float64(affine[1, 1]) * y + affine[1, 2] + 1
    for x in range(len(first)):
        X = min(max(a * (left + x) + b, 0.0), np.float64(w - 1))
        Y = min(max(c * (left + x) + d, 0.0), np.float64(h - 1))
        column, row = min(np.int32(X), np.int32(w - 2)), min(np.int32(Y), np.int32(h - 2))
        first[x] = row * np.int32(w) + column
        along[x], down[x] = np.float32(X - column), np.float32(Y - row)


@compiled
def sampled(planes: Array, affine: Array, out: Array) -> None:
    """Write the view (C, H, W) of framed planes (C, h, w) float32, bilinear, through an affine (2, 3)."""
    C, h, w = planes.shape
    H, W = out.shape[1:]
    first, along, down = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    near = np.empty((4, BLOCK), np.float32)
    for c in range(C):  # to the end before the next: planes would drive each other out of the cache
        plane = planes[c].ravel()
        for left in range(0, W, BLOCK):
            n = min(BLOCK, W - left)
            at, fx, fy = first[:n], along[:n], down[:n]
            for y in range(H):
                locate(affine, y, left, h, w, at, fx, fy)
                fetch(plane, w, at, near[0], near[1], near[2], near[3])
                blend(near[0], near[1], near[2], near[3], fx, fy, out[c, y, left : left + n])


@compiled
def fetch(plane: Array, w: int, first: Array, near0: Array, near1: Array, near2: Array, near3: Array) -> None:
    """The four neighbours of each point: upper left, upper right, lower left, lower right."""
    below = np.uint64(w)
    for x in range(len(first)):
        i = np.uint64(first[x])
        if i >= NEVER:
            break
        near0[x], near1[x] = plane[i], plane[i + ONE]
        near2[x], near3[x] = plane[i + below], plane[i + below + ONE]


@compiled
def blend(near0: Array, near1: Array, near2: Array, near3: Array, along: Array, down: Array, out: Array) -> None:
    """Bilinear mean of four neighbours."""
    for x in range(len(out)):
        top = near0[x] + along[x] * (near1[x] - near0[x])
        bottom = near2[x] + along[x] * (near3[x] - near2[x])
        out[x] = top + down[x] * (bottom - top)
