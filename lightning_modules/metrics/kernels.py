"""The sums behind the metrics on a CPU: compiled loops that make no frame-sized temporaries.

Imported where they are used, since numba takes a moment to load. Frames are NumPy arrays (N, …) of uint8 codes or
float32. Every kernel releases the GIL and works frame by frame: a frame's figure does not depend on its batch. Each
column is added up in float64 by itself, many at a time. Legend: N frames, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[Any]
Mask = NDArray[np.bool_] | None

LEVELS = 10  # Conn's thresholds: 0.1 … 1.0
CUT = np.float32(0.15)  # below it a pixel counts as fully connected


def compiled(kernel: Callable[..., Any], **flags: Any) -> Callable[..., Any]:
    """The compiled kernel; without flags in strict IEEE arithmetic, so that equal frames give exactly 0."""
    return numba.njit(kernel, nogil=True, cache=True, error_model="numpy", **flags)


# Only its sums can be reordered, into vector lanes; a row is added up in float32, rows are in float64.
@partial(compiled, fastmath={"reassoc", "nsz"})
def difference_sums(pred: Frames, target: Frames, mask: Mask) -> Frames:
    """Σ|p − q| and Σ(p − q)² of each frame over the mask's pixels: (N, C, H, W) twice, (N, H, W) → (N, 2)."""
    N, C, H, W = pred.shape
    sums = np.zeros((N, 2))
    for n in range(N):
        for y in range(H):
            for c in range(C):
                absolute, square = np.float32(0), np.float32(0)
                for x in range(W):
                    error = np.float32(pred[n, c, y, x]) - np.float32(target[n, c, y, x])
                    if mask is not None:
                        error = error if mask[n, y, x] else np.float32(0)
                    absolute += abs(error)
                    square += error * error
                sums[n, 0] += absolute
                sums[n, 1] += square
    return sums


@compiled
def change_sums(pred: Frames, target: Frames, pred_before: Frames, target_before: Frames, mask: Mask) -> Frames:
    """Σ((p − p_before) − (q − q_before))² of each frame over the mask's pixels: all (N, H, W) → (N,)."""
    N, H, W = pred.shape
    sums = np.empty(N)
    for n in range(N):
        square = np.zeros(W)
        for y in range(H):
            for x in range(W):
                pred_change = np.float32(pred[n, y, x]) - np.float32(pred_before[n, y, x])
                change = pred_change - (np.float32(target[n, y, x]) - np.float32(target_before[n, y, x]))
                if mask is not None:
                    change = change if mask[n, y, x] else np.float32(0)
                square[x] += change * change
        sums[n] = square.sum()
    return sums


@compiled
def filter_row(image: Frames, y: int, taps: Frames, columns: Frames, magnitude: Frames) -> None:
    """Write row y of the gradient magnitude.

    Written out tap by tap, so that a row is read once and compiled into vector instructions. Differences are taken
    before they are weighted: flat areas give exactly 0.

    Args:
        image: (H, W).
        y: which row.
        taps: (2, 5), smoothing and derivative taps from the centre outwards.
        columns: (2, W + 8) scratch: the image filtered down its columns, the border repeated to both sides.
        magnitude: (W,), what is written.
    """
    H, W = image.shape
    s0, s1, s2, s3, s4 = taps[0, 0], taps[0, 1], taps[0, 2], taps[0, 3], taps[0, 4]
    d1, d2, d3, d4 = taps[1, 1], taps[1, 2], taps[1, 3], taps[1, 4]
    smooth, slope = columns[0], columns[1]
    inner_smooth, inner_slope = smooth[4 : W + 4], slope[4 : W + 4]
    row, above, below = image[y], image[max(y - 1, 0)], image[min(y + 1, H - 1)]
    above_2, below_2 = image[max(y - 2, 0)], image[min(y + 2, H - 1)]
    for x in range(W):
        a1, b1, a2, b2 = np.float32(above[x]), np.float32(below[x]), np.float32(above_2[x]), np.float32(below_2[x])
        inner_smooth[x] = s0 * np.float32(row[x]) + s1 * (b1 + a1) + s2 * (b2 + a2)
        inner_slope[x] = d1 * (b1 - a1) + d2 * (b2 - a2)
    above_3, below_3 = image[max(y - 3, 0)], image[min(y + 3, H - 1)]
    above_4, below_4 = image[max(y - 4, 0)], image[min(y + 4, H - 1)]
    for x in range(W):
        a3, b3, a4, b4 = np.float32(above_3[x]), np.float32(below_3[x]), np.float32(above_4[x]), np.float32(below_4[x])
        inner_smooth[x] += s3 * (b3 + a3) + s4 * (b4 + a4)
        inner_slope[x] += d3 * (b3 - a3) + d4 * (b4 - a4)
    for line in (smooth, slope):
        line[:4], line[W + 4 :] = line[4], line[W + 3]
    for x in range(W):
        along_x = d1 * (smooth[x + 5] - smooth[x + 3]) + d2 * (smooth[x + 6] - smooth[x + 2])
        along_x += d3 * (smooth[x + 7] - smooth[x + 1]) + d4 * (smooth[x + 8] - smooth[x])
        along_y = s1 * (slope[x + 5] + slope[x + 3]) + s2 * (slope[x + 6] + slope[x + 2])
        along_y += s3 * (slope[x + 7] + slope[x + 1]) + s4 * (slope[x + 8] + slope[x]) + s0 * slope[x + 4]
        magnitude[x] = np.sqrt(along_x * along_x + along_y * along_y)


@compiled
def stretch(image: Frames) -> np.float32:
    """One over the range of an image; 0 for a constant one, which a stretch to 0…1 turns into zeros."""
    low, high = image[0].copy(), image[0].copy()
    for row in image:
        for x in range(len(row)):
            low[x] = row[x] if row[x] < low[x] else low[x]
            high[x] = row[x] if row[x] > high[x] else high[x]
    extent = np.float32(high.max()) - np.float32(low.min())
    return 1 / extent if extent > 0 else np.float32(0)


@compiled
def gradient_sums(pred: Frames, target: Frames, mask: Mask, taps: Frames) -> Frames:
    """Σ(G(p) − G(q))² of each frame over the mask's pixels, as given and with both stretched to 0…1.

    A stretch multiplies the magnitude of the whole frame, so one filtering serves both figures.

    Args:
        pred: (N, H, W); target: the same shape; mask: the same shape.
        taps: (2, 5) float32, smoothing and derivative taps from the centre outwards.

    Returns:
        (N, 2).
    """
    N, H, W = pred.shape
    sums = np.empty((N, 2))
    columns = np.empty((2, W + 8), np.float32)
    pred_magnitude, target_magnitude = np.empty(W, np.float32), np.empty(W, np.float32)
    for n in range(N):
        ours, true = stretch(pred[n]), stretch(target[n])
        plain, stretched = np.zeros(W), np.zeros(W)
        for y in range(H):
            filter_row(pred[n], y, taps, columns, pred_magnitude)
            filter_row(target[n], y, taps, columns, target_magnitude)
            for x in range(W):
                difference = pred_magnitude[x] - target_magnitude[x]
                stretched_difference = ours * pred_magnitude[x] - true * target_magnitude[x]
                if mask is not None:
                    difference = difference if mask[n, y, x] else np.float32(0)
                    stretched_difference = stretched_difference if mask[n, y, x] else np.float32(0)
                plain[x] += difference * difference
                stretched[x] += stretched_difference * stretched_difference
        sums[n, 0] = plain.sum()
        sums[n, 1] = stretched.sum()
    return sums


@compiled
def find(parent: Frames, pixel: int) -> int:
    """Root of a pixel's set; halves the path on the way. A root's parent is minus the area of its set."""
    above = parent[pixel]
    while above >= 0:
        if parent[above] < 0:
            return above
        parent[pixel] = parent[above]
        pixel = parent[above]
        above = parent[pixel]
    return pixel


@compiled
def order_by_level(levels: Frames) -> tuple[Frames, Frames]:
    """Pixels of level ≥ 1, highest level first and row by row within one, and where each level ends in that list."""
    ends = np.zeros(LEVELS + 2, np.int64)
    for level in levels:
        ends[level] += 1
    ends[LEVELS + 1] = 0
    for level in range(LEVELS, 0, -1):
        ends[level] += ends[level + 1]
    filled = ends[1:].copy()
    order = np.empty(ends[1], np.int32)
    for pixel in range(levels.size):
        level = levels[pixel]
        if level > 0:
            order[filled[level]] = pixel
            filled[level] += 1
    return order, ends


@compiled
def grow_forest(levels: Frames, width: int) -> tuple[Frames, Frames, Frames, Frames]:
    """One union-find forest, filled from the highest level down: it stands for the labellings of all ten thresholds.

    A set's root is its first pixel in scan order, which also decides ties in area.

    Args:
        levels: (pixels,) uint8 in 0…10, rows of `width` pixels with a border of zeros all around.
        width: of a row, with its border.

    Returns:
        hung_under: (pixels,) the root that a root was hung under, itself for the last ones; undefined at level 0.
        joined: (pixels,) uint8, the level at which that happened, 0 for the last ones.
        largest: (12,) root of the largest component at each level, -1 if there is none.
        nested: (12,) whether the largest component of the next level lies inside that of this level.
    """
    order, ends = order_by_level(levels)
    parent = np.empty(levels.size, np.int32)
    hung_under = np.empty(levels.size, np.int32)
    joined = np.zeros(levels.size, np.uint8)
    largest = np.full(LEVELS + 2, -1)
    nested = np.zeros(LEVELS + 2, np.bool_)
    area, first = 0, -1
    for level in range(LEVELS, 0, -1):
        for pixel in order[ends[level + 1] : ends[level]]:
            root = pixel
            parent[pixel] = -1
            hung_under[pixel] = pixel
            for step in (-width, -1, 1, width):
                # Neighbours of this level are in the forest only where they come earlier in scan order.
                if levels[pixel + step] >= level + (step > 0):
                    other = find(parent, pixel + step)
                    if other != root:
                        low, high = min(root, other), max(root, other)
                        parent[low] += parent[high]
                        parent[high] = low
                        hung_under[high] = low
                        joined[high] = level
                        root = low
            if -parent[root] > area or (-parent[root] == area and root < first):
                area, first = -parent[root], root
        largest[level] = first
        nested[level] = largest[level + 1] >= 0 and find(parent, largest[level + 1]) == first
    return hung_under, joined, largest, nested


@compiled
def connected_levels(levels: Frames, width: int) -> Frames:
    """The highest level up to which each pixel stays in the largest components of all levels: (pixels,) uint8.

    Largest components of successive levels are nested or disjoint. The nested ones, from level 1 up to `top`, count;
    a pixel belongs to those whose level is at most the one at which it met the seed, a pixel of the innermost.
    Arguments as for `grow_forest`.
    """
    hung_under, joined, largest, nested = grow_forest(levels, width)
    top = 1
    while top < LEVELS and nested[top]:
        top += 1
    if largest[top] < 0:
        return joined
    met = joined
    pixel, level = largest[top], top
    while True:  # the seed, and all that it was hung under
        above, next_level = hung_under[pixel], min(level, joined[pixel])
        hung_under[pixel], met[pixel] = pixel, level
        if above == pixel:
            break
        pixel, level = above, next_level
    for pixel in range(levels.size):  # all others: what a pixel hangs under comes before it
        if levels[pixel] > 0 and hung_under[pixel] != pixel:
            met[pixel] = min(met[pixel], met[hung_under[pixel]])
    return met


@compiled
def connectivity_sums(pred: Frames, target: Frames, mask: Mask, thresholds: Frames, white: float) -> Frames:
    """Σ|φ(p) − φ(q)| of each frame over the mask's pixels: (N, H, W) → (N,).

    Args:
        pred: (N, H, W); target: the same shape; mask: the same shape.
        thresholds: (10,) in the units and type of the frames.
        white: what full opacity is in these units.
    """
    N, H, W = pred.shape
    sums = np.empty(N)
    for n in range(N):
        levels = np.zeros((H + 2, W + 2), np.uint8)
        for y in range(H):
            ours, true, line = pred[n, y], target[n, y], levels[y + 1, 1 : W + 1]
            for threshold in thresholds:
                for x in range(W):
                    line[x] += (ours[x] >= threshold) & (true[x] >= threshold)
        connected = connected_levels(levels.ravel(), W + 2).reshape(H + 2, W + 2)
        total = np.zeros(W)
        for y in range(H):
            line = connected[y + 1, 1 : W + 1]
            for x in range(W):
                # Compared in float32, as published; no 8-bit code comes near the cut.
                level = np.float32(line[x]) / np.float32(LEVELS)
                ours_left = np.float32(pred[n, y, x]) / np.float32(white) - level
                true_left = np.float32(target[n, y, x]) / np.float32(white) - level
                ours_left = ours_left if ours_left >= CUT else np.float32(0)
                true_left = true_left if true_left >= CUT else np.float32(0)
                change = abs(ours_left - true_left)
                if mask is not None:
                    change = change if mask[n, y, x] else np.float32(0)
                total[x] += change
        sums[n] = total.sum()
    return sums
