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

FIRST = np.uint64(0)  # of a place in an array; unsigned, since signed ones are checked for counting from the end
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
def segment_rows(
    pred: Frames, target: Frames, thresholds: Frames, columns: Frames, levels: Frames, ends: Frames
) -> None:
    """Cut a frame's rows where the level of min(p, q), 0…10, changes in the row or in the one above it.

    All labellings then walk over these segments. What is written in a loop over pixels is written at each of them and
    kept by moving on, since a branch that cannot be foreseen costs more; likewise in `label_runs`.

    Args:
        pred: (H, W); target: the same shape.
        thresholds: (10,) in the units and type of the frames.
        columns: (H·(W + 1),) is filled with where each segment begins; the last one of a row lies beyond it.
        levels: (2, H·(W + 1)) uint8 is filled with the level of the segment, and of the pixels above it.
        ends: (H + 1,) is filled with 0 and the number of segments up to the end of each row.
    """
    H, W = pred.shape
    here, above = np.zeros(W + 2, np.uint8), np.zeros(W + 2, np.uint8)  # with a pixel of level 0 to both sides
    changes = np.empty(W + 1, np.uint8)
    filled = FIRST
    for y in range(H):
        here, above = above, here
        ours, true, line = pred[y], target[y], here[1 : W + 1]
        line[:] = 0
        for threshold in thresholds:
            for x in range(W):
                line[x] += (ours[x] >= threshold) & (true[x] >= threshold)
        for x in range(W + 1):
            changes[x] = (here[x] != here[x + 1]) | (above[x] != above[x + 1])
        changes[0] = changes[W] = 1
        for x in range(W + 1):
            columns[filled] = x
            levels[0, filled], levels[1, filled] = here[x + 1], above[x + 1]
            filled += changes[x]
        ends[y + 1] = filled
    ends[0] = 0


@compiled
def find(parent: Frames, run: int) -> int:
    """Root of a run's set; halves the path on the way. A root's parent is minus the area of its set."""
    above = parent[run]
    while above >= 0:
        if parent[above] < 0:
            return above
        parent[run] = parent[above]
        run = parent[above]
        above = parent[run]
    return run


@compiled
def join(parent: Frames, first: int, second: int) -> None:
    """Unite the sets of two runs. A set's root is its first run in scan order, which decides ties in area."""
    root, other = find(parent, first), find(parent, second)
    if root != other:
        low, high = min(root, other), max(root, other)
        parent[low] += parent[high]
        parent[high] = low
        if second != low:
            parent[second] = low


@compiled
def label_runs(
    columns: Frames, levels: Frames, ends: Frames, level: int, edges: Frames, rows: Frames, parent: Frames
) -> int:
    """Label the 4-connected components of all pixels of a level or above, run by run of a row.

    Args:
        columns: of `segment_rows`; levels, ends: likewise.
        level: uint8.
        edges: is filled with where each run begins and, next to it, where it ends.
        rows: (H + 1,) is filled with 0 and the number of runs up to the end of each row.
        parent: is filled with union-find sets of runs (see `find`).

    Returns:
        The number of runs.
    """
    most = (ends[1:] - ends[:-1]).max()
    switches, switches_above, meets = np.empty((3, most), np.uint8)
    pairs = np.empty((2, most), np.int32)
    num_edges = num_above = FIRST
    rows[0] = 0
    for y in range(len(rows) - 1):
        row = slice(ends[y], ends[y + 1])
        column, here, above = columns[row], levels[0, row], levels[1, row]
        # Runs switch on and off; one meets a run of the row above where both become, or are, on.
        switches[0], switches_above[0] = here[0] >= level, above[0] >= level
        meets[0] = switches[0] & switches_above[0]
        for s in range(1, len(here)):
            switches[s] = (here[s] >= level) != (here[s - 1] >= level)
            switches_above[s] = (above[s] >= level) != (above[s - 1] >= level)
            meets[s] = (min(here[s], above[s]) >= level) & (min(here[s - 1], above[s - 1]) < level)
        num_pairs = FIRST
        for s in range(len(here)):
            edges[num_edges] = column[s]
            num_edges += switches[s]
            num_above += switches_above[s]
            pairs[0, num_pairs], pairs[1, num_pairs] = num_above, num_edges
            num_pairs += meets[s]
        rows[y + 1] = np.int64(num_edges) // 2
        for run in range(rows[y], rows[y + 1]):
            parent[run] = edges[2 * run] - edges[2 * run + 1]
        for i in range(np.int64(num_pairs)):  # run r lasts from switch 2 r + 1 to 2 r + 2
            join(parent, pairs[0, i] >> 1, pairs[1, i] >> 1)
    return rows[-1]


@compiled
def add_body(num_runs: int, level: int, edges: Frames, rows: Frames, parent: Frames, steps: Frames) -> bool:
    """Add the largest component of a level to the map of levels, if it lies inside that of the level before.

    Args:
        num_runs: at this level.
        level: 1…10.
        edges: of `label_runs`; rows, parent: likewise.
        steps: (H, W + 1) int8, how a pixel's level differs from that of the pixel before.

    Returns:
        Whether it does. If not, it is disjoint from it, and no pixel is in the largest components of all levels.
    """
    body, area = -1, 0
    for run in range(num_runs):
        if parent[run] < area:
            body, area = run, parent[run]
    if body < 0:
        return False
    top = np.searchsorted(rows, body, side="right") - 1
    if steps[top, : edges[2 * body] + 1].sum() != level - 1:
        return False
    inside = np.zeros(num_runs, np.bool_)
    inside[body] = True
    for y in range(len(steps)):
        step = steps[y]
        for run in range(rows[y], rows[y + 1]):
            above = parent[run]  # comes before it
            inside[run] = inside[above if above >= 0 else run]
            if inside[run]:
                step[edges[2 * run]] += 1
                step[edges[2 * run + 1]] -= 1
    return True


@compiled
def connectivity_sums(pred: Frames, target: Frames, mask: Mask, thresholds: Frames, white: float) -> Frames:
    """Σ|φ(p) − φ(q)| of each frame over the mask's pixels: (N, H, W) → (N,).

    Largest components of successive levels are nested or disjoint: the levels count as long as they are nested.

    Args:
        pred: (N, H, W); target: the same shape; mask: the same shape.
        thresholds: (10,) in the units and type of the frames.
        white: what full opacity is in these units.
    """
    N, H, W = pred.shape
    sums = np.empty(N)
    segments = np.empty(H * (W + 1), np.int32), np.empty((2, H * (W + 1)), np.uint8), np.empty(H + 1, np.int64)
    most_runs = H * ((W + 1) // 2)
    runs = np.empty(2 * most_runs + 1, np.int32), np.empty(H + 1, np.int64), np.empty(most_runs, np.int32)
    steps, line = np.empty((H, W + 1), np.int8), np.empty(W, np.int8)
    for n in range(N):
        segment_rows(pred[n], target[n], thresholds, *segments)
        steps[:] = 0
        for level in range(1, LEVELS + 1):
            num_runs = label_runs(*segments, np.uint8(level), *runs)
            if not add_body(num_runs, level, *runs, steps):
                break
        total = np.zeros(W)
        for y in range(H):
            connected = np.int8(0)
            for x in range(W):
                connected += steps[y, x]
                line[x] = connected
            for x in range(W):
                # Compared in float32, as published; no 8-bit code comes near the cut.
                level_here = np.float32(line[x]) / np.float32(LEVELS)
                ours_left = np.float32(pred[n, y, x]) / np.float32(white) - level_here
                true_left = np.float32(target[n, y, x]) / np.float32(white) - level_here
                ours_left = ours_left if ours_left >= CUT else np.float32(0)
                true_left = true_left if true_left >= CUT else np.float32(0)
                change = abs(ours_left - true_left)
                if mask is not None:
                    change = change if mask[n, y, x] else np.float32(0)
                total[x] += change
        sums[n] = total.sum()
    return sums
