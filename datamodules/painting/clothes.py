"""What people wear: colours, patterns and folds as charts over torso and arms, and where skin shows."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.poses import Build
from datamodules.painting.surface import blur, fractal_noise, slope, smoothstep

PATTERNS = (
    "plain",
    "plain",
    "heather",
    "knit",
    "stripes",
    "pinstripes",
    "checks",
    "tartan",
    "dots",
    "flowers",
    "print",
)
# Torso chart: angle round the body in [−REACH, REACH] rad, and height from above the neck's pit, in heads.
REACH, CHART_TOP, CHART_BOTTOM = 2.1, -0.3, 3.5


def cloth_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) a displayed colour that clothes are dyed in: neutrals, navy and denim, muted and a few loud ones."""
    if rng.random() < 0.4:
        neutrals = [(0.93, 0.92, 0.9), (0.12, 0.12, 0.13), (0.42, 0.43, 0.45), (0.7, 0.69, 0.67), (0.12, 0.16, 0.28),
                    (0.72, 0.63, 0.5), (0.28, 0.35, 0.47), (0.33, 0.25, 0.2)]  # fmt: skip
        return np.clip(np.array(neutrals[rng.integers(len(neutrals))]) + rng.normal(0, 0.02, 3), 0.05, 0.97)
    # Hues of wardrobes: blues, reds, earths, greens, and now and then anything.
    centre, spread = ((0.6, 0.04), (0.98, 0.03), (0.08, 0.03), (0.42, 0.08), (0.5, 0.5))[
        rng.choice(5, p=[0.32, 0.2, 0.2, 0.16, 0.12])
    ]
    return np.array(
        colorsys.hsv_to_rgb((centre + rng.normal(0, spread)) % 1, rng.uniform(0.2, 0.72), rng.uniform(0.25, 0.88))
    )


def _dye(colour: Tensor, paint: Tensor, weight: Tensor) -> Tensor:
    return colour + (paint.reshape(3, 1, 1) - colour) * weight.clamp(0, 1)


def _wave(t: Tensor, share: float = 0.5, soft: float = 0.12) -> Tensor:
    """Stripes of period 1 that take a share of it."""
    off = (t - t.floor() - 0.5).abs() * 2
    return smoothstep(share + soft, share - soft, off)


def _seam(colour: Tensor, distance: Tensor, depth: float, width: float = 0.011) -> Tensor:
    """Darker by `depth` along the line where the distance is 0, `width` heads to either side."""
    return colour * (1 - depth * torch.exp(-0.5 * (distance / width) ** 2))


class Outfit:
    """One person's clothes.

    Its charts are (6, H, W): displayed colour (3), slope of the relief along x and y (2), what creases leave
    of the light (1).

    Args:
        rng: all draws come from it.
        skin: (3,) displayed colour of what is not covered.
        frame: see `Build`.
    """

    def __init__(self, rng: np.random.Generator, skin: Tensor, frame: float) -> None:
        self.rng, self.skin = rng, skin
        self.kind = str(rng.choice(["tee", "knit", "shirt", "jacket", "hoodie", "vneck", "strap"],
                                   p=[0.22, 0.18, 0.18, 0.16, 0.1, 0.1, 0.06]))  # fmt: skip
        if self.kind == "strap" and frame > 0:
            self.kind = "tee"
        self.base, self.second, self.third = (torch.tensor(cloth_colour(rng), dtype=torch.float32) for _ in range(3))
        self.pattern = str(rng.choice(PATTERNS))
        if self.kind == "knit":
            self.pattern = str(rng.choice(["knit", "knit", "stripes", "heather"]))
        if self.kind == "jacket":
            self.pattern = str(rng.choice(["plain", "plain", "pinstripes", "checks", "heather"]))
        self.period, self.share = rng.uniform(0.07, 0.3), rng.uniform(0.35, 0.65)
        self.folds = rng.uniform(0.012, 0.03) * (1.2 if self.kind in ("tee", "shirt", "hoodie") else 0.8)
        # Where sleeves end: 0 the shoulder, 1 the elbow, 2 the wrist.
        self.sleeve = {"tee": rng.uniform(0.45, 0.8), "vneck": rng.uniform(0.4, 1.9), "strap": 0.0}.get(
            self.kind, rng.choice([1.93, 1.3], p=[0.85, 0.15])
        )
        # A dress or a long coat ends below the picture.
        self.hem = 9.0 if frame < 0 and rng.random() < 0.3 else rng.uniform(2.45, 2.75)
        self.gloss = rng.choice([0.0, 0.05, 0.12], p=[0.6, 0.3, 0.1])
        # How deep the neckline is cut below the throat, in heads; a turtleneck is negative.
        self.neckline = {
            "tee": rng.uniform(0.04, 0.14),
            "knit": rng.choice([-0.1, 0.02, 0.06]),
            "hoodie": 0.02,
            "vneck": rng.uniform(0.25, 0.5),
            "strap": rng.uniform(0.25, 0.4),
        }.get(self.kind, 0.0)
        self.collar = self.kind in ("shirt", "jacket")
        self.tie = self.kind == "jacket" and rng.random() < 0.4
        self.trousers = torch.tensor(cloth_colour(rng) * 0.7, dtype=torch.float32)

    def _weave(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Colour (3, H, W) and fine relief (H, W) of the cloth at surface points u, v in heads."""
        h, w = u.shape
        grain = 1 + 0.035 * fractal_noise(self.rng, h, w, (h / 3, w / 3), 2, 0.8)
        colour, relief = self.base[:, None, None].expand(3, h, w), torch.zeros_like(u)
        if self.pattern == "knit":
            relief = 0.004 * torch.sin(2 * np.pi * (u / 0.045)) * (1 + 0.5 * torch.sin(2 * np.pi * v / 0.06))
        elif self.pattern != "plain":
            for paint, weight in self._pattern(u, v, self.period):
                colour = _dye(colour, paint, weight)
        return colour * grain, relief

    def _pattern(self, u: Tensor, v: Tensor, p: float) -> list[tuple[Tensor, Tensor]]:
        """Colours (3,) and where (H, W) they lie over the cloth's base, with a period of p heads."""
        rng, two, three, (h, w) = self.rng, self.second, self.third, u.shape
        if self.pattern == "heather":
            return [(two, 0.3 * torch.sigmoid(3 * fractal_noise(rng, h, w, (h / 3, w / 4), 2, 0.9)))]
        if self.pattern == "stripes":
            return [(two, _wave(v / p, self.share))]
        if self.pattern == "pinstripes":
            return [(two, 0.6 * _wave(2 * u / p, 0.15))]
        if self.pattern == "checks":
            return [(two, 0.5 * _wave(u / p) + 0.5 * _wave(v / p))]
        if self.pattern == "tartan":
            a, b = u / (1.6 * p), v / (1.6 * p)
            lines = torch.maximum(_wave(a + 0.5, 0.06, 0.05), _wave(b + 0.5, 0.06, 0.05))
            return [(two, 0.5 * _wave(a, 0.45) + 0.5 * _wave(b, 0.45)), (three, 0.7 * lines)]
        if self.pattern == "print":
            patch = smoothstep(0.42, 0.36, torch.maximum((u / 1.1).abs(), ((v - 0.85) / 0.9).abs()))
            return [(two, patch * smoothstep(-0.1, 0.2, fractal_noise(rng, h, w, (6, 5), 2)))]
        du, dv = (u / p + 0.5 * ((v / p).floor() % 2)) % 1 - 0.5, (v / p) % 1 - 0.5
        petals = 1 + 0.35 * torch.cos(5 * torch.atan2(dv, du)) * (self.pattern == "flowers")
        r = torch.sqrt(du * du + dv * dv) / petals
        heart = smoothstep(0.13, 0.07, r) * (self.pattern == "flowers")
        return [(two, smoothstep(0.30, 0.22, r)), (three, heart)]

    def _creased(self, h: int, w: int, cells: tuple[float, float]) -> Tensor:
        """(H, W) folds in heads: ridges along warped diagonals, wide ones and finer ones."""
        warp = fractal_noise(self.rng, h, w, (3, 3), 2, 0.5)
        down, across = torch.linspace(0, 1, h)[:, None], torch.linspace(-1, 1, w)[None, :]
        total = torch.zeros(h, w)
        for share, size in ((1.0, 1.0), (0.45, 2.1)):
            noise = fractal_noise(self.rng, h, w, (cells[0] * size, cells[1] * size * 0.6), 2, 0.3)
            slanted = torch.sin(
                (down * cells[0] * 2.2 - across.abs() * cells[1] * 0.5) * size + 2.2 * warp + 1.5 * noise
            )
            total = total + share * (1 - (0.55 * noise + 0.6 * slanted).abs().clamp(max=1.3))
        return 1.5 * self.folds * blur(total[None], max(h // 90, 1))[0]

    @staticmethod
    def _finish(colour: Tensor, relief: Tensor, extent: tuple[float, float]) -> Tensor:
        """The chart of a colour and a relief; `extent` is how many heads wide and high it is."""
        h, w = relief.shape
        dx, dy = slope(relief)
        hollow = relief - blur(relief[None], max(h // 30, 1))[0]
        occlusion = (1 + 9 * hollow).clamp(0.4, 1)
        return torch.cat([colour, torch.stack([dx * (w - 1) / extent[0], dy * (h - 1) / extent[1], occlusion])])

    def torso_chart(self, resolution: int, build: Build) -> Tensor:
        """The torso's front as a chart: rows from CHART_TOP to CHART_BOTTOM heads, columns ±REACH rad."""
        h, w, width = resolution, int(resolution * 0.9), build.shoulders
        angle = torch.linspace(-REACH, REACH, w)[None, :].expand(h, w)
        y = torch.linspace(CHART_TOP, CHART_BOTTOM, h)[:, None].expand(h, w)
        u = angle * width * 0.8
        x = width * torch.sin(angle.clamp(-1.57, 1.57))
        colour, relief = self._weave(u, y)
        # Cloth hangs in folds where it is loose, and is smooth over the shoulders.
        relief = relief + self._creased(h, w, (4, 6)) * (0.25 + smoothstep(0.1, 1.1, y))
        bust = 0.035 + 0.045 * smoothstep(0.3, -0.7, torch.tensor(build.frame))
        relief = relief + bust * torch.exp(-0.5 * (((u.abs() - 0.36) / 0.22) ** 2 + ((y - 0.95) / 0.24) ** 2))
        below = y - build.shoulder_line(x.abs())
        skin = self._bare(x.abs(), below, build.neck)
        colour, relief = self._trim(colour, relief, x, y, below, build.neck)
        relief = (relief + 0.012) * (1 - skin)
        body = self.skin[:, None, None] * (1 + 0.02 * fractal_noise(self.rng, h, w, (6, 6), 4))
        collarbone = torch.exp(-0.5 * ((y - 0.10 + 0.12 * x.abs()) / 0.022) ** 2) * smoothstep(0.05, 0.15, x.abs())
        relief = relief + 0.012 * skin * collarbone
        colour = colour + (body - colour) * skin
        return self._finish(colour, relief, (2 * REACH * width * 0.8, CHART_BOTTOM - CHART_TOP))

    def raised(self, ax: Tensor, neck: float) -> Tensor:
        """How far a collar stands above the shoulder line, in heads."""
        if self.kind == "hoodie":
            return 0.10 * smoothstep(neck + 0.28, neck + 0.06, ax) * smoothstep(0.06, 0.2, ax)
        if not self.collar:
            return torch.zeros_like(ax)
        return 0.12 * smoothstep(neck + 0.13, neck + 0.05, ax) * smoothstep(0.03, 0.2, ax)

    def neck(self, across: Tensor, y: Tensor) -> Tensor:
        """Displayed colour (N, 3, H, W) of the neck: skin, or a turtleneck up to its rim."""
        skin = (self.skin * torch.tensor([0.98, 0.94, 0.92])).to(y.device)[None, :, None, None]
        if self.neckline >= 0:
            return skin.expand(len(y), 3, *y.shape[1:])
        ribs = 1 + 0.12 * torch.sin(across * 110) - 0.35 * torch.exp(-(((y + 0.27) / 0.02) ** 2))
        worn = smoothstep(-0.29, -0.27, y)[:, None]
        return skin + (self.base.to(y.device)[None, :, None, None] * ribs[:, None] - skin) * worn

    def _opening(self, ax: Tensor, neck: float) -> Tensor:
        """How deep below the shoulder line the neckline lies, in heads."""
        d = self.neckline
        if self.kind in ("tee", "knit", "hoodie"):
            round_ = 1 - (ax / (neck + 0.07 + 0.35 * max(d, 0))) ** 2
            return (d + 0.03) * torch.sqrt(round_.clamp_min(0)) - 0.3 * smoothstep(0.02, -0.05, round_)
        if self.kind == "vneck":
            return d * (1 - ax / (neck + 0.10)).clamp(-0.5, 1)
        if self.kind == "strap":
            strap = smoothstep(0.36, 0.38, ax) * smoothstep(0.52, 0.50, ax)
            return (d + 0.1 * smoothstep(0.2, 0.6, ax)) * (1 - strap)
        return 0.20 * (1 - ax / (0.85 * neck)).clamp(-0.5, 1)

    def _bare(self, ax: Tensor, below: Tensor, neck: float) -> Tensor:
        """(H, W) in [0, 1], 1 where the neckline leaves the skin bare; `below` is the depth under the shoulders."""
        if self.neckline < 0:
            return torch.zeros_like(ax)
        return torch.sigmoid((self._opening(ax, neck) - below) / 0.007)

    def _trim(
        self, colour: Tensor, relief: Tensor, x: Tensor, y: Tensor, below: Tensor, neck: float
    ) -> tuple[Tensor, Tensor]:
        """Collars, lapels, buttons, hems on colour (3, H, W) and relief (H, W)."""
        ax = x.abs()
        lining = 0.5 + 0.45 * self.second
        if self.kind in ("tee", "knit", "vneck", "strap"):
            hem = below - self._opening(ax, neck)
            colour = _seam(colour, hem - 0.06, 0.25)
            relief = relief + 0.012 * smoothstep(0.065, 0.055, hem)
        elif self.kind == "hoodie":
            ring = torch.sqrt((ax / 0.42) ** 2 + ((y + 0.05) / 0.26) ** 2)
            relief = relief + 0.05 * torch.exp(-0.5 * ((ring - 0.85) / 0.16) ** 2)
            colour = _seam(colour, ring - 1.12, 0.4, 0.05)
            cord = torch.exp(-0.5 * ((ax - 0.1 - 0.02 * torch.sin(9 * y)) / 0.012) ** 2)
            colour = _dye(colour, 0.3 + 0.6 * self.second, cord * smoothstep(0.12, 0.16, y) * smoothstep(0.75, 0.72, y))
        elif self.kind == "jacket":
            opening = 0.33 * (1 - y / 1.55).clamp_min(0)
            inner = smoothstep(0.012, -0.012, ax - opening) * (y < 1.52)
            colour = _dye(colour, lining, inner)
            if self.tie:
                tie = smoothstep(0.008, -0.008, ax - 0.045 - 0.05 * smoothstep(0.1, 1.3, y)) * inner
                colour = _dye(colour, 0.8 * self.third, tie)
                colour = _dye(colour, 0.6 * self.third + 0.3, 0.8 * tie * (torch.sin((x + y) * 45) > 0.3))
            colour = _seam(colour, torch.where(y < 1.53, ax - opening, x), 0.55, 0.014)
            lapel = 0.33 + 0.17 * smoothstep(0.0, 0.45, y) - 0.46 * smoothstep(0.5, 1.55, y)
            colour = _seam(colour, torch.where(y < 1.5, ax - lapel, torch.full_like(x, 9)), 0.4, 0.011)
            relief = relief + 0.014 * smoothstep(0.01, -0.01, ax - lapel) * (1 - inner) * (y < 1.5)
        elif self.kind == "shirt":
            colour = _seam(colour, x - 0.05, 0.25, 0.008)
            spot = torch.sqrt(x**2 + ((y - 0.26) - 0.34 * ((y - 0.26) / 0.34).round().clamp_min(0)) ** 2)
            colour = _seam(
                _dye(colour, 0.4 + 0.5 * self.second, smoothstep(0.028, 0.018, spot)), spot - 0.03, 0.3, 0.007
            )
        if self.collar:
            # Two flaps beside the throat, their points below it.
            flap = y - 0.29 + 0.9 * (ax - 0.17).abs()
            inside = smoothstep(0.012, -0.012, flap) * smoothstep(0.36, 0.33, ax)
            colour = _dye(colour, lining, inside * (self.kind == "jacket"))
            colour = _seam(colour, flap - 0.012, 0.32, 0.013)
            relief = relief + 0.025 * inside
        return colour, relief

    def arm_chart(self, resolution: int, radius: float) -> Tensor:
        """A whole arm as a chart: rows from shoulder (0) over elbow (1) to wrist (2), columns ±π/2 rad."""
        h, w = int(resolution * 1.2), resolution // 2
        u = torch.linspace(-1.57, 1.57, w)[None, :].expand(h, w) * radius
        along = torch.linspace(-0.15, 2.15, h)[:, None].expand(h, w)
        colour, relief = self._weave(u, along * 1.2)
        bunched = 0.6 + 1.2 * torch.exp(-0.5 * ((along - 1.0) / 0.22) ** 2)
        relief = relief + 0.8 * self._creased(h, w, (9, 1.5)) * bunched
        wavy = 0.012 * fractal_noise(self.rng, h, w, (2, 2), 1)
        skin = torch.sigmoid((along - self.sleeve + wavy) / 0.01)
        colour = colour * (1 - 0.35 * torch.exp(-0.5 * ((along - self.sleeve + wavy + 0.06) / 0.012) ** 2))
        body = self.skin[:, None, None] * (1 + 0.02 * fractal_noise(self.rng, h, w, (8, 4), 4))
        below = torch.exp(-((along - self.sleeve).clamp_min(0) / 0.06))
        body = body * (1 - 0.45 * below)
        colour = colour + (body - colour) * skin
        relief = relief * (1 - skin)
        return self._finish(colour, relief, (3.14 * radius, 2.3 * 1.2))

    def leg_chart(self, resolution: int) -> Tensor:
        """A trouser leg unrolled, hip to knee."""
        folds = fractal_noise(self.rng, int(1.5 * resolution), resolution, (6, 2), 3)
        colour = self.trousers[:, None, None] * (1 + 0.05 * folds)
        return self._finish(colour, 0.02 * folds, (1.2, 2.1))
