"""The frames that a person is painted on, and the stage: who is painted, where every part is, in what light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.painting.poses import Build, Skeleton
from datamodules.painting.surface import Light

Box = tuple[slice, slice]


class Canvas:
    """Frames that parts are painted on, back to front: premultiplied colour, alpha, and what surface is on top.

    Args:
        num_frames: frames to be delivered.
        num_shutter: pictures per frame that the open shutter averages; the middle one gives the surface.
        size: height and width in pixels.
        moves: keep what surface is on top.
    """

    def __init__(
        self, num_frames: int, num_shutter: int, size: int, device: torch.device | str, moves: bool = True
    ) -> None:
        n = num_frames * num_shutter
        self.num_shutter, self.size = num_shutter, size
        self.middle = slice(num_shutter // 2, n, num_shutter)
        self.colour = torch.zeros(n, 3, size, size, device=device)
        self.alpha = torch.zeros(n, 1, size, size, device=device)
        self.surface = torch.zeros(num_frames, 4, size, size, device=device) if moves else None

    def box(self, points: Tensor, margin: float, hull: Tensor | None = None) -> Box | None:
        """Rows and columns of all that is within `margin` pixels of points (…, 2); None if off the canvas.

        What lies more than 2 pixels off the box round the points of `hull` (…, 2) is left out.
        """
        low, high = points.reshape(-1, 2).amin(0) - margin, points.reshape(-1, 2).amax(0) + margin
        if hull is not None:
            low, high = torch.maximum(low, hull.amin(0) - 2), torch.minimum(high, hull.amax(0) + 2)
        left, top = (max(int(v), 0) for v in low.tolist())
        right, bottom = (min(int(v) + 2, self.size) for v in high.tolist())
        return None if right - left < 2 or bottom - top < 2 else (slice(top, bottom), slice(left, right))

    def pixels(self, box: Box) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (x, y) of a box, (1, 1, w) and (1, h, 1)."""
        rows, columns = box
        y = torch.arange(rows.start, rows.stop, device=self.alpha.device, dtype=torch.float32)
        x = torch.arange(columns.start, columns.stop, device=self.alpha.device, dtype=torch.float32)
        return x[None, None, :], y[None, :, None]

    def coordinates(self) -> Tensor:
        """(1, 2, H, W) x and y of every pixel."""
        x, y = self.pixels((slice(0, self.size), slice(0, self.size)))
        return torch.stack(torch.broadcast_tensors(x, y), dim=1)

    def darken(self, box: Box, shadow: Tensor) -> None:
        """Multiply what is painted so far with 1 − shadow, (N, h, w) in [0, 1]; alpha stays."""
        self.colour[(..., *box)] *= (1 - shadow)[:, None]

    def paint(self, box: Box, colour: Tensor, cover: Tensor, surface: Tensor | None) -> None:
        """Lay a part over what is there.

        Args:
            box: rows and columns that the part lies in.
            colour: (N, 3, h, w) straight.
            cover: (N, h, w) in [0, 1].
            surface: (F, 4, h, w) where each point was one frame before, and where it is at rest, in pixels; None on
                a canvas that does not keep it.
        """
        alpha, where = cover[:, None], (..., *box)
        if self.surface is not None and surface is not None:
            seen = alpha[self.middle]
            # The part that covers most of the pixel owns it: a motion is never a mixture of two parts'.
            owns = (seen > 0.5) | (seen > self.alpha[self.middle][where])
            self.surface[where] = torch.where(owns & (seen > 0), surface, self.surface[where])
        rest = 1 - alpha
        self.colour[where].mul_(rest).add_(colour * alpha)
        self.alpha[where].mul_(rest).add_(alpha)

    def develop(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Straight colour (F, 3, H, W), alpha (F, 1, H, W), shutter averaged, and displacement (F, 4, H, W) in pixels.

        The displacement leads from a pixel to where its surface was one frame before, and to where it is at
        rest; None where that is not kept. Colour and displacement are carried on past the silhouette, so that
        resampling mixes in no void.
        """
        displacement = None
        if self.surface is not None:
            covered = (self.alpha[self.middle] > 1 / 512).float()
            displacement = spread((self.surface - self.coordinates().repeat(1, 2, 1, 1)) * covered, covered)
        colour, alpha = self.colour, self.alpha
        if self.num_shutter > 1:
            colour = colour.unflatten(0, (-1, self.num_shutter)).mean(1)
            alpha = alpha.unflatten(0, (-1, self.num_shutter)).mean(1)
        return spread(colour, alpha), alpha, displacement


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
        here: the skeleton at the N times of the canvas's pictures.
        before: the skeleton one frame before each of the F frames.
        rest: the skeleton at the clip's start, F times.
    """

    canvas: Canvas
    light: Light
    build: Build
    here: Skeleton
    before: Skeleton
    rest: Skeleton

    @property
    def scale(self) -> float:
        """Pixels per head."""
        return self.here.head.scale

    def surface(
        self, place: Callable[..., tuple[Tensor, Tensor]], *local: Tensor, at: Sequence[object] = ()
    ) -> Tensor | None:
        """(F, 4, h, w): `place(skeleton, *local) → x, y` one frame before and at rest, for `Canvas.paint`.

        `at` is what `place` is given in the place of both skeletons. None where no surface is kept.
        """
        if self.canvas.surface is None:
            return None
        picked = [value[self.canvas.middle] for value in local]
        before, rest = at or (self.before, self.rest)
        points = [*place(before, *picked), *place(rest, *picked)]
        return torch.stack(torch.broadcast_tensors(*points), dim=1)
