"""What every painted surface is made of: noise, relief, the cover of an edge, and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.images import box_mean

# Colours are stored as displayed values in [0, 1]; light is added up in their squares, because a display's
# gamma is close to 2 and a square root is cheap.


def smoothstep(low: float, high: float, value: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between; `low` > `high` turns it round."""
    return _eased((value - low).div_(high - low))


def _eased(t: Tensor) -> Tensor:
    """3t² − 2t³ of t within [0, 1], which is written over: most of painting is memory traffic."""
    t.clamp_(0, 1)
    return (t * -2).add_(3).mul_(t * t)


def bump(x: Tensor, y: Tensor, at: tuple[float, float], spread: tuple[float, float]) -> Tensor:
    """A Gaussian hill of height 1 at `at` with standard deviations `spread`, at the points (x, y)."""
    return torch.exp(-0.5 * (((x - at[0]) / spread[0]) ** 2 + ((y - at[1]) / spread[1]) ** 2))


def fractal_noise(
    rng: np.random.Generator,
    height: int,
    width: int,
    cells: tuple[float, float] = (4, 4),
    octaves: int = 4,
    gain: float = 0.5,
) -> Tensor:
    """(height, width) smooth noise with standard deviation about 1, a sum of octaves of random grids.

    Args:
        cells: how many cells of the coarsest octave fit into the height and into the width.
        gain: amplitude of an octave relative to the one before.
    """
    import cv2

    # One draw whatever the size: a person stays the same person at every resolution.
    own = np.random.default_rng(rng.integers(2**63))
    total, power = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        rows, columns = (max(round(c * 2**octave), 1) + 3 for c in cells)
        grid = own.standard_normal((rows, columns), dtype=np.float32)
        if rows > 2 * height or columns > 2 * width:
            break
        total += gain**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        power += gain ** (2 * octave) * 0.55  # bicubic interpolation lowers the variance to about 0.55
    return torch.from_numpy(total) / max(power, 1e-6) ** 0.5


def blur(image: Tensor, radius: int) -> Tensor:
    """(…, C, H, W) smoothed by three box filters of the given radius in pixels; borders are repeated."""
    if radius < 1:
        return image
    for _ in range(3):
        image = box_mean(image, min(radius, min(image.shape[-2:]) - 1))
    return image


def slope(height: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of (…, H, W) along x and along y, per pixel."""
    flat = height.reshape(1, -1, *height.shape[-2:])
    p = F.pad(flat, (1, 1, 1, 1), mode="replicate").reshape(*height.shape[:-2], *(n + 2 for n in height.shape[-2:]))
    return (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2


def edge(distance: Tensor, width: float = 1.4) -> Tensor:
    """Cover of a shape from its signed distance in pixels (negative inside): exactly 1, then 0 `width` px on."""
    return _eased((distance / -width).add_(0.5))


def pixel_distance(implicit: Tensor) -> Tensor:
    """Signed distance in pixels to the zero line of any smooth implicit function, (N, H, W), to first order."""
    dx, dy = slope(implicit)
    return implicit / torch.sqrt(dx * dx + dy * dy + 1e-10)


def lookup(chart: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, C, h, w): the chart (C, Hc, Wc) read bilinearly at (x, y) in [−1, 1], each (N, h, w); borders repeat."""
    n, h, w = x.shape
    grid = torch.stack([x, y], dim=-1).reshape(1, n * h, w, 2)
    read = F.grid_sample(chart[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    return read.reshape(chart.shape[0], n, h, w).movedim(0, 1)


@dataclass
class Light:
    """One key light, a sky and a floor to bounce from.

    Attributes:
        direction: unit vector to the light, x right, y down, z to the viewer.
        key: (3,) its colour and strength.
        sky: (3,) ambient light from above.
        floor: (3,) ambient light from below.
        rim: strength of the light from behind.
    """

    direction: tuple[float, float, float]
    key: Tensor
    sky: Tensor
    floor: Tensor
    rim: float

    @staticmethod
    def draw(rng: np.random.Generator, device: torch.device | str = "cpu") -> Light:
        """A plausible light: from above and mostly from the side, warm or cool."""
        angle, up = rng.uniform(-1.3, 1.3), rng.uniform(0.15, 0.75)
        vector = np.array([np.sin(angle), -up, np.cos(angle) * rng.uniform(0.5, 1.1)])
        vector /= np.linalg.norm(vector)
        warm = rng.normal(0, 0.06)
        tint = np.array([1 + warm, 1.0, 1 - warm])
        strength, ambient = rng.uniform(0.7, 1.15), rng.uniform(0.22, 0.5)
        cool = np.array([1 - 0.8 * warm, 1.0, 1 + 0.8 * warm])
        values = (strength * tint, ambient * cool, 0.6 * ambient * np.array([1.05, 1.0, 0.93]))
        key, sky, floor = (torch.tensor(v, dtype=torch.float32, device=device) for v in values)
        return Light((vector[0], vector[1], vector[2]), key, sky, floor, float(max(0.0, rng.normal(0, 0.35))))

    def shade(
        self,
        albedo: Tensor,
        normal: tuple[Tensor, Tensor, Tensor],
        wrap: float = 0.1,
        gloss: float | Tensor = 0.0,
        shine: float = 20.0,
        occlusion: Tensor | None = None,
    ) -> Tensor:
        """Displayed colour (N, 3, H, W) of a surface.

        Args:
            albedo: (N, 3, H, W) displayed colour under plain white light.
            normal: unit normals, each (N, H, W).
            wrap: how far light creeps round the terminator (skin and wool scatter).
            gloss: strength of the highlight; `shine` its exponent.
            occlusion: (N, H, W) in [0, 1], what is left of the light in creases.
        """
        nx, ny, nz = normal
        lx, ly, lz = self.direction
        key = (nx * lx).add_(ny * ly).add_(nz * lz).add_(wrap).div_(1 + wrap).clamp_min_(0)
        up = (ny * -0.5).add_(0.5)
        rim = (1 - nz.clamp(0, 1)).pow_(3).mul_(self.rim).mul_(0.5 - 0.5 * lx * nx.sign())
        half = np.array([lx, ly, lz + 1.0])
        half /= np.linalg.norm(half)
        shiny = (nx * half[0]).add_(ny * half[1]).add_(nz * half[2]).clamp_min_(0).pow_(shine).mul_(gloss)
        if occlusion is not None:
            key, up, shiny = key * (0.35 + 0.65 * occlusion), up * occlusion, shiny * occlusion
        open_sky = 1.0 if occlusion is None else occlusion
        shaded = torch.empty(albedo.shape, device=albedo.device)
        for c in range(3):
            # Blood scatters red furthest: the terminator of a wrapping surface is warm.
            creep = key if c == 0 or wrap < 0.2 else key * (1 - 0.12 * wrap * (1 - key))
            light = (creep + rim).mul_(self.key[c]).add_(self.floor[c] * open_sky)
            light.add_((self.sky[c] - self.floor[c]) * up).mul_(albedo[:, c] ** 2)
            shaded[:, c] = light.add_(shiny * self.key[c])
        return shaded.clamp_(0, 1).sqrt_()
