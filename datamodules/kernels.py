"""Compiled loops over pixels on the CPU; `datamodules.resample` and `datamodules.blend` call them, and no one else.

Imported where they are used, since numba takes a moment to load. Pictures lie in a frame one pixel wide (`framed`), so
that all four neighbours of any point are there. Loops over a row are written so that they compile to vector
instructions, apart from the one that fetches neighbours; a view is cut into blocks of `BLOCK` columns and `BAND` rows,
which see a piece of a turned picture that stays in the cache from row to row, and of a still from view to view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PIXELS = ("uint8", "float32")
WORDS = ("uint32", "uint64")
BLOCK = 256
BAND = 64
ONE = np.uint64(1)
NEVER = np.uint64(2**63)  # no place in a picture: a loop that may end there fetches one by one, which is faster


def compiled(*signatures: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles a kernel, with these types of arguments when it is imported; without, for a kernel that calls it.

    Sums may be contracted and reordered, by no more than a rounding. What all processes compile is kept in one folder:
    it is the same in each and in the same order, so that they may all do so at once.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
    return numba.njit([*signatures] or None, cache=bool(signatures), **options)


@compiled("void(float32[:, ::1], boolean)", "void(uint32[:, ::1], boolean)")
def frame(plane: Array, border: bool) -> None:
    """Write the outermost pixels of a plane (h + 2, w + 2), float32 or packed: those next to them, or 0."""
    h, w = plane.shape
    nothing = plane.dtype.type(0)
    # In loops, here and below: numba compiles `row[:] = other` for seconds, for what it says if they do not fit.
    for y in range(1, h - 1):
        plane[y, 0] = plane[y, 1] if border else nothing
        plane[y, w - 1] = plane[y, w - 2] if border else nothing
    for x in range(w):
        plane[0, x] = plane[1, x] if border else nothing
        plane[h - 1, x] = plane[h - 2, x] if border else nothing


@compiled(*(f"void({pixels}[:, :, ::1], float64, float32[:, ::1], boolean, float32[:, :, ::1])" for pixels in PIXELS))
def framed(picture: Array, scale: float, alpha: Array, border: bool, planes: Array) -> None:
    """Write a picture, multiplied with its alpha, and the frame around it.

    Args:
        picture: (C, h, w) uint8 or float32.
        scale: factor of its values.
        alpha: (h, w) float32; (0, 0): opaque.
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
                    row[x] *= weight[x]
        frame(planes[c], border)


@compiled()
def add(total: Array, weight: float, first: Array, second: Array, more: bool) -> None:
    """Total += weight · (first + second); without `more` total = weight · first."""
    if more:
        for x in range(len(total)):
            total[x] += weight * (first[x] + second[x])
    else:
        for x in range(len(total)):
            total[x] = weight * first[x]


@compiled("void(float32[:, :, ::1], float64, float64, boolean)")
def averaged(planes: Array, across: float, down: float, border: bool) -> None:
    """Replace the inner pixels by means over `across` × `down` ≥ 1 pixels, a fraction of the outermost of them.

    Args:
        planes: (C, h + 2, w + 2) float32; what is inside of the frame goes on with its border.
        across: pixels; down: pixels.
        border: of the frame afterwards, as in `framed`.
    """
    if max(across, down) <= 1:
        return
    C, h, w = planes.shape[0], planes.shape[1] - 2, planes.shape[2] - 2
    radius_x, radius_y = int(across / 2 + 0.5), int(down / 2 + 0.5)
    line = np.empty(w + 2 * radius_x, np.float32)
    inner = line[radius_x : radius_x + w]
    rows = np.empty((h, w), np.float32)
    for c in range(C):
        for y in range(h):
            for x in range(w):
                inner[x] = planes[c, y + 1, x + 1]
            for x in range(radius_x):
                line[x], line[radius_x + w + x] = inner[0], inner[w - 1]
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


@compiled()
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


@compiled()
def fetch(plane: Array, w: int, first: Array, near0: Array, near1: Array, near2: Array, near3: Array) -> None:
    """The four neighbours of each point: upper left, upper right, lower left, lower right."""
    below = np.uint64(w)
    for x in range(len(first)):
        i = np.uint64(first[x])
        if i >= NEVER:
            break
        near0[x], near1[x] = plane[i], plane[i + ONE]
        near2[x], near3[x] = plane[i + below], plane[i + below + ONE]


@compiled()
def blend(near0: Array, near1: Array, near2: Array, near3: Array, along: Array, down: Array, out: Array) -> None:
    """Bilinear mean of four neighbours."""
    for x in range(len(out)):
        top = near0[x] + along[x] * (near1[x] - near0[x])
        bottom = near2[x] + along[x] * (near3[x] - near2[x])
        out[x] = top + down[x] * (bottom - top)


@compiled("void(float32[:, :, ::1], float32[:, :, ::1], float32[:, :, :, ::1])")
def sampled(planes: Array, affines: Array, out: Array) -> None:
    """Write the views (T, C, H, W) of framed planes (C, h, w) float32, bilinear, through affines (T, 2, 3)."""
    _, h, w = planes.shape
    T, C, H, W = out.shape
    first, along, down = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    near = np.empty((4, BLOCK), np.float32)
    for top in range(0, H, BAND):
        for t in range(T):
            for left in range(0, W, BLOCK):
                n = min(BLOCK, W - left)
                at, fx, fy = first[:n], along[:n], down[:n]
                for y in range(top, min(top + BAND, H)):
                    locate(affines[t], y, left, h, w, at, fx, fy)
                    for c in range(C):
                        fetch(planes[c].ravel(), w, at, near[0], near[1], near[2], near[3])
                        blend(near[0], near[1], near[2], near[3], fx, fy, out[t, c, y, left : left + n])


@compiled()
def put(source: Array, shift: int, words: Array) -> None:
    """Put bytes `shift` bits high into words where these are 0."""
    up = np.uint32(shift)
    for x in range(len(words)):
        words[x] |= np.uint32(source[x]) << up


@compiled("void(uint8[:, :, ::1], int64, uint32[:, ::1])")
def packed(picture: Array, number: int, words: Array) -> None:
    """Put a picture (C, h, w) uint8 into framed words (h + 2, w + 2) uint32 as the bytes from `number` on.

    Byte 0 is the lowest; with it all that words hold is overwritten, but for the frame.
    """
    C, h, w = picture.shape
    if number == 0:
        words[:] = 0
    for y in range(h):
        for c in range(C):
            put(picture[c, y], 8 * (number + c), words[y + 1, 1 : w + 1])


@compiled("void(float32[:, :, ::1], uint64[:, ::1])")
def packed_fine(planes: Array, words: Array) -> None:
    """Write framed planes (C, h + 2, w + 2) float32 in [0, 1], C ≤ 4, into words (h + 2, w + 2) of 4 × 16 bits."""
    for y in range(len(words)):
        row = words[y]
        row[:] = 0
        for c in range(len(planes)):
            source, up = planes[c, y], np.uint64(16 * c)
            for x in range(len(row)):
                row[x] |= np.uint64(np.uint32(min(np.float32(65535) * source[x] + np.float32(0.5), 65535))) << up


@compiled()
def part(word: int, number: int, bits: int) -> Any:
    """Number `number` of those of `bits` bits that stand in a word, the lowest first, as float32."""
    return np.float32(np.int32((word >> np.uint32(bits * number)) & np.uint32((1 << bits) - 1)))


@compiled()
def blend_parts(near: Array, number: int, bits: int, along: Array, down: Array, out: Array) -> None:
    """`blend` of one part of the neighbours' words, the largest number as 1."""
    largest = np.float32((1 << bits) - 1)
    for x in range(len(out)):
        left, right = part(near[0, x], number, bits), part(near[1, x], number, bits)
        left_below, right_below = part(near[2, x], number, bits), part(near[3, x], number, bits)
        top = left + along[x] * (right - left)
        bottom = left_below + along[x] * (right_below - left_below)
        out[x] = (top + down[x] * (bottom - top)) / largest


@compiled()
def blend_weighted(near: Array, number: int, weight: int, bits: int, along: Array, down: Array, out: Array) -> None:
    """`blend` of the products of two parts of the neighbours' words."""
    largest = np.float32((1 << bits) - 1)
    for x in range(len(out)):
        left = part(near[0, x], number, bits) * part(near[0, x], weight, bits)
        right = part(near[1, x], number, bits) * part(near[1, x], weight, bits)
        left_below = part(near[2, x], number, bits) * part(near[2, x], weight, bits)
        right_below = part(near[3, x], number, bits) * part(near[3, x], weight, bits)
        top = left + along[x] * (right - left)
        bottom = left_below + along[x] * (right_below - left_below)
        out[x] = (top + down[x] * (bottom - top)) / (largest * largest)


@compiled(*(f"void({words}[:, ::1], int64, float32[:, :, ::1], int64, float32[:, :, :, ::1])" for words in WORDS))
def sampled_words(words: Array, bits: int, affines: Array, weight: int, out: Array) -> None:
    """Write the views (T, C, H, W) in [0, 1] of framed, packed pictures (h, w), bilinear, through affines (T, 2, 3).

    Each word holds the channels of a pixel, of so many bits each. Channels before number `weight` are multiplied with
    it before they are interpolated; 0: none is.
    """
    h, w = words.shape
    T, C, H, W = out.shape
    first, along, down = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    near, flat = np.empty((4, BLOCK), words.dtype), words.ravel()
    for top in range(0, H, BAND):
        for t in range(T):
            for left in range(0, W, BLOCK):
                n = min(BLOCK, W - left)
                at, fx, fy = first[:n], along[:n], down[:n]
                for y in range(top, min(top + BAND, H)):
                    locate(affines[t], y, left, h, w, at, fx, fy)
                    fetch(flat, w, at, near[0], near[1], near[2], near[3])
                    for c in range(C):
                        line = out[t, c, y, left : left + n]
                        if c < weight:
                            blend_weighted(near, c, weight, bits, fx, fy, line)
                        else:
                            blend_parts(near, c, bits, fx, fy, line)


@compiled()
def limited(value: float) -> Any:
    """A value in [0, 1]."""
    return min(max(value, np.float32(0)), np.float32(1))


@compiled("void(float32[:, :, ::1], float32[::1])")
def brightened(planes: Array, gain: Array) -> None:
    """Multiply planes (N, H, W) with a gain (N,) each, in place and in [0, 1]."""
    for n in range(len(planes)):
        pixels, factor = planes[n].ravel(), gain[n]
        for x in range(len(pixels)):
            pixels[x] = limited(factor * pixels[x])


@compiled("void(float32[:, :, :, ::1], float32[:, ::1], float32[:, :, :, ::1], float32[:, :, :, ::1])")
def uncovered(views: Array, gain: Array, colours: Array, alpha: Array) -> None:
    """Write colours (N, 3, H, W) and alpha (N, 1, H, W) of views (N, C, H, W), multiplied with alpha, their last.

    Channels between colours and alpha are divided in place. `gain` (N, 3) is that of the colours.
    """
    N, C, H, _ = views.shape
    for n in range(N):
        for y in range(H):
            a, covered = alpha[n, 0, y], views[n, C - 1, y]
            for x in range(len(a)):
                a[x] = limited(covered[x])
            for c in range(3):
                straight, colour, factor = colours[n, c, y], views[n, c, y], gain[n, c]
                for x in range(len(a)):
                    straight[x] = limited(factor * (colour[x] / max(a[x], np.float32(1e-6))))
            for c in range(3, C - 1):
                values = views[n, c, y]
                for x in range(len(a)):
                    values[x] /= max(a[x], np.float32(1e-6))


@compiled(f"void({', '.join(4 * ['float32[:, :, :, ::1]'])})")
def blended(background: Array, foreground: Array, alpha: Array, frames: Array) -> None:
    """Write frames (N, 3, H, W), αF + (1−α)B, of alpha (N, 1, H, W): just F where it is 1, just B where it is 0."""
    N, C, H, _ = frames.shape
    half, one = np.float32(0.5), np.float32(1)
    for n in range(N):
        for y in range(H):
            a = alpha[n, 0, y]
            for c in range(C):
                B, F, row = background[n, c, y], foreground[n, c, y], frames[n, c, y]
                for x in range(len(a)):
                    change = F[x] - B[x]
                    row[x] = B[x] + a[x] * change if a[x] < half else F[x] - (one - a[x]) * change
