"""A picture that things are painted on one after another: shapes with smooth edges, in units of its height."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.surface import blur, fractal_noise, smoothstep

Colour = Tensor | np.ndarray | tuple[float, float, float]


def hue(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """(3,) a colour with saturation and value in the given ranges: mostly earths, creams, blues and greens."""
    centre, spread = ((0.09, 0.04), (0.58, 0.05), (0.35, 0.08), (0.5, 0.5))[rng.choice(4, p=[0.45, 0.22, 0.13, 0.2])]
    tint = (centre + rng.normal(0, spread)) % 1
    return np.array(colorsys.hsv_to_rgb(tint, rng.uniform(*saturation), rng.uniform(*value)))


class Scene:
    """Colour (3, H, W) in [0, 1] and cover (H, W); x runs to `aspect`, y from 0 above to 1 below.

    Args:
        size: height and width in pixels.
        rng: draws grain and every random choice of the painters.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.height, self.width = size
        self.rng, self.aspect = rng, self.width / self.height
        self.colour = torch.zeros(3, *size)
        self.alpha = torch.zeros(size)
        self.x = ((torch.arange(self.width) + 0.5) / self.height)[None, :].expand(size)
        self.y = ((torch.arange(self.height) + 0.5) / self.height)[:, None].expand(size)

    def edge(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Cover (H, W) of the inside (negative) of a signed distance; edges are one pixel or `soft` wide."""
        return (0.5 - distance / max(soft, 1.2 / self.height)).clamp(0, 1)

    def _within(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        soft: float,
        distance: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Cover (H, W) of a shape that ends within ranges of x and y: its distance is asked for there alone."""
        room = max(soft, 1.2 / self.height)
        rows, columns = (
            slice(max(int((low - room) * self.height), 0), max(int((high + room) * self.height) + 1, 0))
            for low, high in (y, x)
        )
        cover = torch.zeros(self.height, self.width)
        cover[rows, columns] = self.edge(distance(self.x[rows, columns], self.y[rows, columns]), soft)
        return cover

    def box(
        self, left: float, top: float, right: float, bottom: float, round_: float = 0.0, soft: float = 0.0
    ) -> Tensor:
        """Cover of a rectangle with rounded corners."""

        def distance(x: Tensor, y: Tensor) -> Tensor:
            dx = (x - (left + right) / 2).abs() - (right - left) / 2 + round_
            dy = (y - (top + bottom) / 2).abs() - (bottom - top) / 2 + round_
            outer = torch.sqrt(dx.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2)
            return outer + torch.maximum(dx, dy).clamp(max=0) - round_

        return self._within((left, right), (top, bottom), soft, distance)

    def ellipse(self, x: float, y: float, rx: float, ry: float, soft: float = 0.0) -> Tensor:
        """Cover of an ellipse around (x, y) with half axes rx and ry."""

        def distance(at_x: Tensor, at_y: Tensor) -> Tensor:
            return (torch.sqrt(((at_x - x) / rx) ** 2 + ((at_y - y) / ry) ** 2) - 1) * min(rx, ry)

        # A soft edge is as many shares of the longer half axis wide as of the shorter one.
        soft, far = max(soft, 1.2 / self.height), max(rx, ry) / min(rx, ry) - 1
        ranges = ((x - rx - far * soft, x + rx + far * soft), (y - ry - far * soft, y + ry + far * soft))
        return self._within(*ranges, soft, distance)

    def polygon(self, corners: list[tuple[float, float]], soft: float = 0.0) -> Tensor:
        """Cover of a convex polygon, corners in clockwise order as seen."""
        # Distances are those from the lines: beyond a sharp corner the cover reaches far.
        far = torch.full_like(self.x, -9.0)
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            length = max(float(np.hypot(bx - ax, by - ay)), 1e-6)
            far = torch.maximum(far, ((by - ay) * (self.x - ax) - (bx - ax) * (self.y - ay)) / length)
        return self.edge(far, soft)

    def bar(self, x0: float, y0: float, x1: float, y1: float, thick: float, thin: float | None = None) -> Tensor:
        """Cover of a line from one point to another, `thick` wide at its start and `thin` at its end."""
        dx, dy, thin = x1 - x0, y1 - y0, thick if thin is None else thin

        def distance(x: Tensor, y: Tensor) -> Tensor:
            t = (((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-9)).clamp(0, 1)
            off = torch.sqrt((x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2)
            return off - (thick + (thin - thick) * t) / 2

        half = max(thick, thin) / 2
        across, down = ((min(ends) - half, max(ends) + half) for ends in ((x0, x1), (y0, y1)))
        return self._within(across, down, 0.0, distance)

    def paint(self, cover: Tensor, colour: Colour, shade: Tensor | float = 1.0) -> None:
        """Lay a colour (3,) or (3, H, W), times shade, over the scene."""
        paint = torch.as_tensor(np.asarray(colour), dtype=torch.float32) if not isinstance(colour, Tensor) else colour
        paint = (paint.reshape(3, 1, 1) if paint.dim() == 1 else paint).expand(3, *cover.shape)
        covered = cover.numpy() > 0
        rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
        if not rows.size:
            return
        where = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        cover, paint = cover[where], paint[:, *where]
        shade = shade.expand_as(self.alpha)[where] if isinstance(shade, Tensor) else shade
        self.colour[:, *where] = self.colour[:, *where] * (1 - cover) + paint * shade * cover
        self.alpha[where] = self.alpha[where] * (1 - cover) + cover

    def darken(self, cover: Tensor, amount: float) -> None:
        """Take `amount` of the light away."""
        self.colour = self.colour * (1 - amount * cover)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Add light round a point."""
        r2 = ((self.x - x) ** 2 + (self.y - y) ** 2) / radius**2
        tint = torch.as_tensor(np.asarray(colour), dtype=torch.float32).reshape(3, 1, 1)
        self.colour = self.colour * (1 + strength * tint * torch.exp(-r2)) + 0.25 * strength * tint * torch.exp(-2 * r2)

    def noise(self, cells: tuple[float, float], octaves: int = 4, gain: float = 0.55) -> Tensor:
        """(H, W) fractal noise, see `surface.fractal_noise`."""
        return fractal_noise(self.rng, self.height, self.width, cells, octaves, gain)

    def defocus(self, radius: float) -> None:
        """Blur what is painted so far, `radius` in picture heights."""
        pixels = round(radius * self.height)
        both = blur(torch.cat([self.colour * self.alpha, self.alpha[None]]), pixels)
        self.colour, self.alpha = both[:3] / both[3].clamp_min(1e-4), both[3]

    def finish(self) -> Tensor:
        """(3, H, W) uint8."""
        return (self.colour.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def wood(scene: Scene, base: Colour, upright: bool = False) -> Tensor:
    """(3, H, W) wood grain over the whole scene."""
    cells = (40.0, 3.0) if not upright else (3.0, 40.0)
    grain = scene.noise(cells, 3, 0.7)
    rings = torch.sin(6 * scene.noise((8, 1.5) if not upright else (1.5, 8), 2))
    tone = torch.as_tensor(np.asarray(base), dtype=torch.float32).reshape(3, 1, 1)
    return tone * (1 + 0.10 * grain + 0.08 * rings)


def bricks(scene: Scene, base: np.ndarray, row: float, mortar: np.ndarray) -> Tensor:
    """(3, H, W) a brick wall with rows of height `row`."""
    line = (scene.y / row).floor()
    column = scene.x / (2.3 * row) + 0.5 * (line % 2)
    dx = ((column % 1) - 0.5).abs() * 2.3 * row - 1.15 * row
    dy = ((scene.y / row % 1) - 0.5).abs() * row - 0.5 * row
    inside = smoothstep(-0.03 * row, -0.14 * row, torch.maximum(dx, dy))
    # One tone a brick, from a hash of its place.
    tone = torch.sin(line * 12.9898 + column.floor() * 78.233) * 43758.5453
    tone = 0.82 + 0.32 * (tone - tone.floor()) + 0.07 * scene.noise((30, 30), 3)
    brick = torch.tensor(base, dtype=torch.float32).reshape(3, 1, 1) * tone
    ground = torch.tensor(mortar, dtype=torch.float32).reshape(3, 1, 1) * (1 + 0.05 * scene.noise((40, 40), 2))
    return ground + (brick - ground) * inside
