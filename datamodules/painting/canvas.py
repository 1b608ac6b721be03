"""The frames that a person is painted on, and the stage: who is painted, where every part is, in what light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.painting.poses import Build, Segment, Skeleton
from datamodules.painting.surface import Light

Box = tuple[slice, slice]
STILL, STEP = 0.4, 1.0  # pixels: a part that moves less is not smeared; between two pictures that a smear averages


class Canvas:
    """Frames that parts are painted on, back to front: premultiplied colour, alpha, and what surface is on top.

    Args:
        num_frames: N, frames.
        size: height and width in pixels.
        moves: keep what surface is on top.
    """

    def __init__(self, num_frames: int, size: int, device: torch.device | str, moves: bool = True) -> None:
        self.size = size
        self.colour = torch.zeros(num_frames, 3, size, size, device=device)
        self.alpha = torch.zeros(num_frames, 1, size, size, device=device)
        self.surface = torch.zeros(num_frames, 4, size, size, device=device) if moves else None
        self.known = torch.zeros(num_frames, 1, size, size, device=device, dtype=torch.bool)  # where a surface is

    def box(self, points: Tensor, margin: float, sweep: Tensor | None = None, hull: Tensor | None = None) -> Box | None:
        """Rows and columns of all that is within `margin` pixels of points (…, 2); None if off the canvas.

        What lies more than 2 pixels off the box round the points of `hull` (…, 2) is left out. There is room for what
        is smeared by `sweep`.
        """
        low, high = points.reshape(-1, 2).amin(0) - margin, points.reshape(-1, 2).amax(0) + margin
        if hull is not None:
            low, high = torch.maximum(low, hull.amin(0) - 2), torch.minimum(high, hull.amax(0) + 2)
        if sweep is not None:
            way = (sweep - sweep[1]).norm(dim=-1).amax()
            low, high = low - way, high + way
        left, top = (max(int(v), 0) for v in low.tolist())
        right, bottom = (min(int(v) + 2, self.size) for v in high.tolist())
        return None if right - left < 2 or bottom - top < 2 else (slice(top, bottom), slice(left, right))

    def pixels(self, box: Box, step: int = 1) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (x, y) of a box, (1, 1, w) and (1, h, 1).

        With a `step`, of its multiples alone, from the last at or before the box's start to the first at its end or
        beyond.
        """
        y, x = (
            torch.arange(
                side.start // step * step, side.stop + step - 1, step, device=self.alpha.device, dtype=torch.float32
            )
            for side in box
        )
        return x[None, None, :], y[None, :, None]

    def every_pixel(self, values: Tensor, box: Box) -> Tensor:
        """(N, h, w) of a box from values at every second pixel, as `pixels` with step 2 gives them."""
        height, width = values.shape[-2:]
        grown = F.interpolate(values[:, None], (2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=True)
        rows, columns = (slice(side.start % 2, side.start % 2 + side.stop - side.start) for side in box)
        return grown[:, 0, rows, columns]

    def coordinates(self) -> Tensor:
        """(1, 2, H, W) x and y of every pixel."""
        x, y = self.pixels((slice(0, self.size), slice(0, self.size)))
        return torch.stack(torch.broadcast_tensors(x, y), dim=1)

    def darken(self, box: Box, shadow: Tensor) -> None:
        """Multiply what is painted so far with 1 − shadow, (N, h, w) in [0, 1]; alpha stays."""
        self.colour[(..., *box)] *= (1 - shadow)[:, None]

    def paint(
        self, box: Box, colour: Tensor, cover: Tensor, surface: Tensor | None, sweep: Tensor | None = None
    ) -> None:
        """Lay a part over what is there.

        Args:
            box: rows and columns that the part lies in.
            colour: (N, 3, h, w) straight.
            cover: (N, h, w) in [0, 1].
            surface: (N, 4, h, w) where each point was one frame before, and where it is at rest, in pixels; None on
                a canvas that does not keep it.
            sweep: how the part moves while the shutter is open, see `Stage.sweep`; None where it does not.
        """
        alpha, where = cover[:, None], (..., *box)
        if self.surface is not None and surface is not None:
            # The part that covers most of the pixel owns it: a motion is never a mixture of two parts'.
            owns = (alpha > 0.5) | (alpha > self.alpha[where])
            self.surface[where] = torch.where(owns & (alpha > 0), surface, self.surface[where])
            self.known[where] |= alpha > 1 / 512
        layer = torch.cat([colour * alpha, alpha], dim=1)
        if sweep is not None:
            smear(layer, sweep - sweep.new_tensor([box[1].start, box[0].start]))
        rest = 1 - layer[:, 3:]
        self.colour[where].mul_(rest).add_(layer[:, :3])
        self.alpha[where].mul_(rest).add_(layer[:, 3:])

    def develop(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Straight colour (N, 3, H, W), alpha (N, 1, H, W), and displacement (N, 4, H, W) in pixels.

        The displacement leads from a pixel to where its surface was one frame before, and to where it is at
        rest; None where that is not kept. Colour and displacement are carried on past the silhouette, so that
        resampling mixes in no void.
        """
        displacement = None
        if self.surface is not None:
            known = self.known.float()
            displacement = spread((self.surface - self.coordinates().repeat(1, 2, 1, 1)) * known, known)
        return spread(self.colour, self.alpha), self.alpha, displacement


def smear(layer: Tensor, sweep: Tensor) -> None:
    """Average a part over its way while the shutter is open, in place.

    Args:
        layer: (N, 4, h, w) premultiplied colour and alpha in the middle of that time; what reaches over the edge goes
            on as it is there.
        sweep: (3, N, 2, 2) two points of it, x and y in pixels of the layer, when the shutter opens, in the middle and
            when it closes. Between them the part is shifted, turned and scaled as the points are.
    """
    import cv2

    sampling = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    points = torch.view_as_complex(sweep.cpu().double().contiguous()).numpy()
    ways = np.abs(points[::2] - points[1]).sum(0).max(-1)
    covered = [(layer[:, 3] > 0).any(axis).cpu().numpy() for axis in (2, 1)]
    for n in np.flatnonzero(ways > STILL):
        rows, columns = (np.flatnonzero(each[n]) for each in covered)
        if not rows.size:
            continue
        room = int(ways[n]) + 2
        top, left = max(rows[0] - room, 0), max(columns[0] - room, 0)
        where = (n, slice(None), slice(top, rows[-1] + room + 1), slice(left, columns[-1] + room + 1))
        window = layer[where].permute(1, 2, 0).contiguous().cpu().numpy()
        total = np.zeros_like(window)
        matrices = _to_middle(points[:, n] - (left + 1j * top), max(int(np.ceil(ways[n] / STEP)), 2))
        for matrix in matrices:
            moved = cv2.warpAffine(window, matrix, window.shape[1::-1], flags=sampling, borderMode=cv2.BORDER_REPLICATE)
            cv2.accumulate(moved, total)
        layer[where] = torch.from_numpy(total).permute(2, 0, 1).to(layer.device) / len(matrices)


def _to_middle(ends: np.ndarray, count: int) -> np.ndarray:
    """(count, 2, 3) affine maps to pixels in the middle of the shutter's time from those at times spread over it.

    Args:
        ends: (3, 2) complex, two points when it opens, in the middle and when it closes.
        count: how many times.
    """
    opened, middle, closed = ends
    times = ((np.arange(count) + 0.5) * 2 / count - 1)[:, None]
    at = middle + np.where(times > 0, times * (closed - middle), times * (middle - opened))
    turn = (middle[1] - middle[0]) / (at[:, 1] - at[:, 0])
    shift = middle[0] - turn * at[:, 0]
    rows = [turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag]
    return np.stack(rows, axis=-1).reshape(count, 2, 3)


def spread(premultiplied: Tensor, weight: Tensor) -> Tensor:
    """Values where weight is above 1/255, and beyond it those of the nearest place known, by a pyramid.

    Args:
        premultiplied: (N, C, H, W) values times weight.
        weight: (N, 1, H, W).
    """
    levels = [(premultiplied, weight)]
    while min(levels[-1][0].shape[-2:]) > 1:
        values, mass = (F.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False) for t in levels[-1])
        levels.append((values, mass))
    filled = levels[-1][0] / levels[-1][1].clamp_min(1e-8)
    for values, mass in reversed(levels[:-1]):
        # Positions of a pyramid level lie linearly inside the next, so nearest is enough below and bilinear above.
        grown = F.interpolate(filled, size=values.shape[-2:], mode="bilinear", align_corners=False)
        filled = torch.where(mass > 1 / 255, values / mass.clamp_min(1e-8), grown)
    return filled


@dataclass
class Stage:
    """What every part needs to be painted.

    Attributes:
        here: the skeleton at the N frames.
        before: the skeleton one frame before each of them.
        rest: the skeleton at the clip's start, N times.
        shutter: the skeleton when the shutter opens and when it closes; None: it is open for no time.
    """

    canvas: Canvas
    light: Light
    build: Build
    here: Skeleton
    before: Skeleton
    rest: Skeleton
    shutter: tuple[Skeleton, Skeleton] | None

    @property
    def scale(self) -> float:
        """Pixels per head."""
        return self.here.head.scale

    def surface(
        self, place: Callable[..., tuple[Tensor, Tensor]], *local: Tensor, at: Sequence[object] = ()
    ) -> Tensor | None:
        """(N, 4, h, w): `place(skeleton, *local) → x, y` one frame before and at rest, for `Canvas.paint`.

        `at` is what `place` is given in the place of both skeletons. None where no surface is kept.
        """
        if self.canvas.surface is None:
            return None
        before, rest = at or (self.before, self.rest)
        points = [*place(before, *local), *place(rest, *local)]
        return torch.stack(torch.broadcast_tensors(*points), dim=1)

    def sweep(self, ends: Callable[[Skeleton], Segment]) -> Tensor | None:
        """(3, N, 2, 2): both ends of a part, px, when the shutter opens, in the middle, and when it closes."""
        if self.shutter is None:
            return None
        opened, closed = self.shutter
        return torch.stack([torch.stack(ends(s), dim=1) for s in (opened, self.here, closed)])
