"""Hair: a shell over the head, curtains and tails behind and beside it, and loose strands thinner than a pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.canvas import Stage
from datamodules.painting.face import HALF_HEIGHT, Complexion
from datamodules.painting.hairstyles import STYLES, WEIGHTS
from datamodules.painting.head import RIM, globe, on_globe, sweep_of_head
from datamodules.painting.poses import Build, Skeleton
from datamodules.painting.strands import Strands
from datamodules.painting.surface import edge, fractal_noise, lookup, pixel_distance, smoothstep

ALL, ALPHA, THICKNESS = slice(None), slice(1, 2), slice(2, 3)  # channels of the shell's chart
FRINGE = 0.06  # how wide the outline of the finest hair fades out, in heads


class Hair:
    """One person's hair.

    Args:
        rng: all draws come from it.
        look: its colour.
        scale: pixels per head.
        fineness: in [0, 1], see `Person`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        look: Complexion,
        build: Build,
        scale: float,
        fineness: float,
        device: torch.device | str,
    ) -> None:
        weights = np.array(WEIGHTS)
        hanging = np.array([style.hang > 0 or name in ("bun", "tail") for name, style in STYLES.items()])
        weights *= np.where(hanging, 1.6 if build.frame < 0.1 else 0.25, 0.6 if build.frame < 0.1 else 1.4)
        self.name = str(rng.choice(list(STYLES), p=weights / weights.sum()))
        self.style, self.scale, self.build = STYLES[self.name], scale, build
        self.colour = look.hair.to(device)
        self.volume = rng.uniform(0.8, 1.25)
        self.part = rng.uniform(-0.5, 0.5)
        self.hang = self.style.hang * rng.uniform(0.8, 1.3)
        self.fringe = FRINGE * fineness
        self.locks = rng.random(2) < 0.6
        self.side = rng.choice([-1, 1])
        self.shell = self._shell_chart(rng, int(np.clip(2.2 * scale, 96, 640))).to(device)
        self.curtain = self._curtain_chart(rng, int(np.clip(1.6 * scale, 64, 512))).to(device)
        count = round(self.style.strands * fineness * rng.uniform(0.75, 1.25))
        self.strands = Strands(rng, self.style, self.colour, build, self._thickness, count, scale, device)

    # The shell: a chart over angle round the head (columns, front in the middle) and angle from the crown (rows).

    def _shell_chart(self, rng: np.random.Generator, n: int) -> Tensor:
        """(4, n, 2n): tone, alpha, thickness, shift of the highlight."""
        s = self.style
        around = torch.linspace(-np.pi, np.pi, 2 * n)[None, :].expand(n, 2 * n)
        crown = torch.linspace(0, np.pi, n)[:, None].expand(n, 2 * n)
        m = torch.stack([torch.sin(crown) * torch.sin(around), -torch.cos(crown), torch.sin(crown) * torch.cos(around)])
        # Strands run away from the parting, which lies off the crown.
        pole = np.array([self.part, -1.0, rng.uniform(-0.3, 0.45)])
        pole /= np.linalg.norm(pole)
        right = np.cross([0, 0, 1.0], -pole)
        right /= np.linalg.norm(right)
        basis = torch.tensor(np.stack([right, -pole, np.cross(right, -pole)]), dtype=torch.float32)
        p = torch.einsum("ij,jhw->ihw", basis, m)
        u, v = torch.atan2(p[0], p[2]) / np.pi, torch.acos((-p[1]).clamp(-1, 1)) / np.pi * 2 - 1
        swirl = u + 0.06 * s.curl * torch.sin(9 * v + 4 * u)
        if s.curl > 0.8:
            streak = fractal_noise(rng, n, 2 * n, (9, 18), 4, 0.7)
            clump = fractal_noise(rng, n, 2 * n, (6, 11), 2)
        else:
            fine = torch.stack(
                [fractal_noise(rng, n, 2 * n, (2, 70), 2, 0.7), fractal_noise(rng, n, 2 * n, (2, 12), 1)]
            )
            streak, clump = lookup(fine, swirl[None], v[None])[0]
        limit = s.limit(around) + (0.02 + 0.5 * s.rough) * clump + 0.035 * streak
        alpha = torch.sigmoid((limit - crown) / 0.03)
        if self.name == "bald":
            ring = smoothstep(1.15, 1.45, crown) * smoothstep(1.3, 1.7, around.abs())
            alpha = alpha * 0.55 * ring if rng.random() < 0.6 else 0 * alpha
        if self.name == "buzz":
            alpha = 0.85 * alpha
        over = smoothstep(1.5, 0.3, crown)
        body = (s.side + (s.top - s.side) * over) * self.volume
        # Strands meet where they part: whatever goes round that point must fade towards it.
        clump = clump * smoothstep(0.0, 0.9, torch.acos((-p[1]).clamp(-1, 1))) * smoothstep(0.0, 0.7, crown)
        swell = 1 + 0.25 * self.part * torch.sin(around) * torch.sin(crown)
        grown = smoothstep(0.0, 0.5, limit - crown)
        thickness = body * swell * (0.35 + 0.65 * grown) + s.rough * self.volume * clump * (0.3 + 0.7 * grown)
        tone = 0.86 + 0.15 * streak + 0.10 * clump - 0.25 * (1 - grown) * (s.top > 0.05)
        return torch.stack([tone.clamp(0.35, 1.5), alpha, thickness.clamp_min(0), 0.12 * streak])

    def read_shell(self, mx: Tensor, my: Tensor, mz: Tensor, *, channels: slice = ALL) -> Tensor:
        """Channels of the shell's chart (N, C, h, w), of 4, at unit vectors in the head's own axes."""
        around, crown = torch.atan2(mx, mz) / np.pi, torch.acos((-my).clamp(-0.9999, 0.9999)) / np.pi * 2 - 1
        return lookup(self.shell[channels], around, crown)

    def _thickness(self, m: Tensor) -> Tensor:
        """(K,) the shell's thickness at unit vectors (3, K)."""
        return self.read_shell(*m[:, None, None], channels=THICKNESS)[0, 0, 0]

    def _hull(self, skeleton: Skeleton) -> Tensor:
        """Corners (4N, 2) of what the shell and its shadow on the face lie in, px: a box that turns with the head."""
        reach = 1.15 * (1 + max(self.style.top, float(self.shell[2].max())))  # whatever the outline's slope does
        across, up = self.build.face * reach, max(HALF_HEIGHT * reach, 1.1 * HALF_HEIGHT + 0.05)
        return torch.cat([skeleton.head.point(side * across, y) for side in (-1, 1) for y in (-up, up)])

    def _paint_shell(self, stage: Stage, far: bool = False) -> None:
        """The shell's near half over the head, or its far half behind it."""
        here, canvas, light = stage.here, stage.canvas, stage.light
        sweep = sweep_of_head(stage)
        box = canvas.box(here.head.origin, (0.64 + 0.62 * self.style.top) * self.scale, sweep, self._hull(here))
        if box is None or not self.shell[1].any():
            return
        x, y = here.head.inverse(*canvas.pixels(box))
        if not far and self.style.top > 0.05:
            *under, _, radius = globe(self.build, x, y - 0.05, here.rotation)
            canvas.darken(box, 0.35 * self.read_shell(*under, channels=ALPHA)[:, 0] * smoothstep(1.1, 1.0, radius))
        # What stands out is seen further from the middle: solved by repetition, at every second pixel.
        rough_x, rough_y = here.head.inverse(*canvas.pixels(box, 2))
        thickness = torch.full_like(rough_x, self.style.top)
        for _ in range(3):
            reach = 1 + thickness
            *under, _, _ = globe(self.build, rough_x / reach, rough_y / reach, here.rotation, far)
            thickness = 0.5 * (thickness + self.read_shell(*under, channels=THICKNESS)[:, 0])
        thickness = canvas.every_pixel(thickness, box)
        reach = 1 + thickness
        mx, my, mz, z, radius = globe(self.build, x / reach, y / reach, here.rotation, far)
        chart = self.read_shell(mx, my, mz)
        reach = 1 + 0.5 * (thickness + chart[:, 2])
        # The strand's direction is the meridian; it shines along a ring where it is square to the half vector.
        tx, ty, tz = -my * mx, 1 - my * my, -my * mz
        r = here.rotation[:, :, :, None, None]
        tangent = [r[:, k, 0] * tx + r[:, k, 1] * ty + r[:, k, 2] * tz for k in range(3)]
        half = np.array([light.direction[0], light.direction[1], light.direction[2] + 1.0])
        half /= np.linalg.norm(half)
        along = sum(t * h for t, h in zip(tangent, half, strict=True)) / torch.sqrt(ty.clamp_min(1e-3)) + chart[:, 3]
        ring = (1 - along * along).clamp_min(0) ** (14 if self.style.curl < 0.8 else 4)
        colour = self.colour[None, :, None, None] * chart[:, :1]
        normal = (x / reach / 0.40, y / reach / 0.55, z.abs())
        norm = torch.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        normal = (normal[0] / norm, normal[1] / norm, normal[2] / norm)
        gloss = (0.03 + 0.09 * float(self.colour.mean())) * ring
        depth = 0.55 if far else 1.0
        shaded = light.shade(colour, normal, 0.3, gloss * depth, 1, depth * (0.5 + 0.5 * chart[:, 0]).clamp(0, 1))
        # Tips of hair end the outline, and light comes through between them.
        fringe = self.fringe * self.scale
        cover = edge(pixel_distance(radius - 1) + 4 * fringe * chart[:, 3], 1.4 + fringe) * chart[:, 1]

        def place(skeleton: Skeleton, mx: Tensor, my: Tensor, mz: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
            return on_globe(self.build, skeleton, mx, my, mz, reach)

        # The fringe lies outside of the globe, where no point of it is: its strands are those of the rim, further out.
        canvas.paint(box, shaded, cover, stage.surface(place, mx, my, mz, reach * radius.clamp_min(RIM) / RIM), sweep)

    # Curtains: hair that hangs, in coordinates of the head bent by the lag of its tips.

    def _curtain_chart(self, rng: np.random.Generator, n: int) -> Tensor:
        """(2, n, n): tone and offset of the edge, over x in ±1.2 heads and y from −0.6 to 2.4."""
        streak = fractal_noise(rng, n, n, (2, 60), 3, 0.75)
        wave = fractal_noise(rng, n, n, (7, 12), 2)
        clump = fractal_noise(rng, n, n, (1.5, 22), 2)
        axis = torch.linspace(-1, 1, n)
        bent = axis[None, :] + 0.05 * (0.3 + self.style.curl) * wave
        tone, ends = lookup(torch.stack([streak, clump]), bent[None], axis[None, :, None].expand(1, n, n))[0]
        return torch.stack([(0.78 + 0.17 * tone + 0.1 * ends).clamp(0.3, 1.4), 0.7 * ends + 0.3 * wave])

    def _bend(self, skeleton: Skeleton, y: Tensor) -> Tensor:
        """Sideways shift in heads of hair that hangs, at height y: tips trail, and hang straight from a tilted head."""
        s = ((y + 0.1) / 1.2).clamp_min(0)
        lag, tilt = skeleton.lag[:, 0, None, None], skeleton.head.angle[:, None, None]
        return lag * s * s * 1.4 + torch.sin(tilt) * s * 0.7 - 0.12 * skeleton.rotation[:, 0, 2, None, None]

    def _hanging(self, skeleton: Skeleton, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return skeleton.head.forward(x + self._bend(skeleton, y), y)

    def _paint_curtain(self, stage: Stage, front: bool) -> None:
        here, canvas = stage.here, stage.canvas
        corners = torch.cat([here.head.point(sx, y) for sx in (-1, 1) for y in (-0.7, max(self.hang, 1.3) + 0.3)])
        sweep = sweep_of_head(stage)
        box = canvas.box(corners, 2, sweep)
        if box is None:
            return
        x, y = here.head.inverse(*canvas.pixels(box))
        x = x - self._bend(here, y)
        chart = lookup(self.curtain, x / 1.2, (y + 0.6) / 1.5 - 1)
        ragged, ax = chart[:, 1], x.abs()
        s = (y / max(self.hang, 0.3)).clamp(0, 1)
        outer = (
            0.36 * (1 + self.style.side * self.volume)
            + (0.10 + 0.16 * self.style.curl) * torch.sin(2.2 * s)
            + 0.02 * ragged
        )
        end = y - self.hang * (1 + 0.16 * ragged - 0.25 * (ax / outer).clamp(max=1.5) ** 2)
        # Above the ears it follows the skull.
        outer = outer * torch.sqrt((1 - ((0.05 - y) / 0.55).clamp(0, 1) ** 2).clamp_min(0.01))
        if self.name == "tail":
            centre = self.side * (0.16 + 0.42 * torch.sin(1.9 * (y + 0.1).clamp(0, 1)))
            outer, ax = 0.12 * smoothstep(1.35, 0.5, y) + 0.02 * ragged, (x - centre).abs()
            end = torch.maximum(y - 1.3, -0.15 - y)
        distance = torch.maximum(torch.maximum(ax - outer, 0.6 * end), -0.45 - y)
        depth = torch.full_like(x, 0.55)
        if front:
            inner = 0.345 - 0.05 * s + 0.03 * ragged
            wanted = torch.where(x < 0, float(self.locks[0]), float(self.locks[1]))
            distance = torch.maximum(distance, inner - ax) + 9 * (1 - wanted)
            depth = 0.8 + 0.2 * smoothstep(0, 0.1, -distance)
            canvas.darken(box, 0.3 * smoothstep(0.08, -0.05, distance))
        nx = (x / 0.6).clamp(-0.9, 0.9)
        normal = (nx, 0 * nx, torch.sqrt(1 - nx * nx))
        colour = self.colour[None, :, None, None] * chart[:, :1]
        shaded = stage.light.shade(colour, normal, 0.3, 0.02, 6, depth * (0.4 + 0.6 * chart[:, 0]).clamp(0, 1))
        cover = edge((distance + 2 * self.fringe * (chart[:, 0] - 0.78)) * self.scale, 1.4 + self.fringe * self.scale)
        canvas.paint(box, shaded, cover, stage.surface(self._hanging, x, y), sweep)

    def _paint_bun(self, stage: Stage) -> None:
        here, canvas = stage.here, stage.canvas

        def place(skeleton: Skeleton, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            back = skeleton.rotation[:, :, 2, None, None]
            return skeleton.head.forward(x - 0.2 * back[:, 0], y - 0.55 - 0.2 * back[:, 1])

        zero = torch.zeros_like(here.turn)[:, None, None]
        sweep = sweep_of_head(stage)
        box = canvas.box(torch.stack(place(here, zero, zero), -1), 0.4 * self.scale, sweep)
        if box is None:
            return
        x, y = here.head.inverse(*canvas.pixels(box))
        back = here.rotation[:, :, 2, None, None]
        x, y = x + 0.2 * back[:, 0], y + 0.55 + 0.2 * back[:, 1]
        chart = lookup(self.curtain, torch.atan2(y, x + 0.05) / 4, torch.sqrt(x * x + y * y) * 3 - 1)
        distance = torch.sqrt(x * x + (y * 1.15) ** 2 + 1e-8) - 0.19 * self.volume - 0.012 * chart[:, 1]
        nx, ny = (4 * x).clamp(-0.9, 0.9), (4 * y).clamp(-0.9, 0.9)
        normal = (nx, ny, torch.sqrt((1 - nx * nx - ny * ny).clamp_min(0.05)))
        shaded = stage.light.shade(self.colour[None, :, None, None] * chart[:, :1], normal, 0.3, 0.04, 8)
        canvas.paint(box, shaded, edge(distance * self.scale), stage.surface(place, x, y), sweep)

    def paint_back(self, stage: Stage) -> None:
        """What lies behind neck and head."""
        if self.style.top > 0.05:
            self._paint_shell(stage, far=True)
        if self.hang or self.name == "tail":
            self._paint_curtain(stage, front=False)
        if self.name == "bun":
            self._paint_bun(stage)

    def paint_front(self, stage: Stage) -> None:
        """What lies over the head."""
        if self.hang and self.locks.any():
            self._paint_curtain(stage, front=True)
        self._paint_shell(stage)
        self.strands.paint(stage)
