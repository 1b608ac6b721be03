"""Loose hairs thinner than a pixel: curves from roots on the head, drawn as points that cover a share of a pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.canvas import Stage
from datamodules.painting.face import HALF_HEIGHT
from datamodules.painting.hairstyles import Style
from datamodules.painting.head import sweep_of_head
from datamodules.painting.poses import Build, Skeleton
from datamodules.painting.surface import smoothstep

THINNEST, THICKEST = 0.10, 0.34  # widths of a hair (or a wisp of a few) in pixels, whatever the canvas's size


class Strands:
    """The loose hairs of one person, K strands of P points.

    Args:
        rng: all draws come from it.
        style: where they grow, how long and curly they are.
        colour: (3,) displayed.
        build: the head they grow on.
        thickness: the hair's thickness over the head at unit vectors (3, K), as a share of its radius.
        count: how many at most.
        scale: pixels per head.
        device: where to paint.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        style: Style,
        colour: Tensor,
        build: Build,
        thickness: Callable[[Tensor], Tensor],
        count: int,
        scale: float,
        device: torch.device | str,
    ) -> None:
        self.style, self.colour, self.build = style, colour, build
        around, crown = self._roots(rng, count)
        k, hanging = around.size, style.hang > 0
        m = np.stack([np.sin(crown) * np.sin(around), -np.cos(crown), np.sin(crown) * np.cos(around)])
        length = style.length * np.minimum(rng.gamma(5, 0.2, k), 1.8)
        over_face = (np.abs(around) < 0.9) & (crown > 0.5)
        length = np.where(over_face, np.minimum(length, 0.12), length)
        points = max(int(np.ceil(style.length * scale * (1.8 + 1.2 * style.curl))), 6)
        t = np.linspace(0, 1, points)
        # Most lie close, a few fly away.
        stick = rng.beta(0.9, 3.5, k) * (0.35 if hanging else 0.9)
        fall = np.sqrt(1 - stick**2) if hanging else 0.35 * rng.uniform(0.1, 0.75, k)
        tangent = np.array([[0.0], [1.0], [0.0]]) - m[1] * m
        tangent /= np.maximum(np.linalg.norm(tangent, axis=0), 0.05)
        tangent += rng.normal(0, 0.22 + 0.3 * style.curl, (3, k))
        width = rng.uniform(THINNEST, THICKEST, k)
        mass = (width * length * scale / points * 1.3)[:, None] * (1 - 0.65 * t)
        along = (0.6 * (1 - stick) * length)[:, None] * (t - 0.4 * t**2) * (0.5 if hanging else 1)
        drop = (fall * length)[:, None] * t ** (1.1 if hanging else 1.6)
        wave = self._waves(rng, k, t)
        arrays = (m, tangent, stick[:, None] * length[:, None] * t, along, wave + [[[0]], [[1]]] * drop, t, mass,
                  rng.uniform(0.75, 1.35, k))  # fmt: skip
        tensors = [torch.tensor(a, dtype=torch.float32, device=device) for a in arrays]
        self.root, self.tangent, self.out, self.along, self.offset, self.t, self.mass, self.tone = tensors
        self.reach = 1 + 0.8 * thickness(self.root)

    def _roots(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Angles round the head and from the crown."""
        around = rng.uniform(-np.pi, np.pi, 6 * count + 6)
        crown = np.arccos(rng.uniform(-0.6, 1, around.size))
        limit = self.style.limit(torch.tensor(around, dtype=torch.float32)).numpy()
        # Most show at the outline, so roots over the face are thinned out.
        keep = (crown < limit - 0.05) & ((np.abs(around) > 0.7) | (crown < 0.6) | (rng.random(around.size) < 0.25))
        return around[keep][:count], crown[keep][:count]

    def _waves(self, rng: np.random.Generator, k: int, t: np.ndarray) -> np.ndarray:
        """(2, K, P) sideways and upward excursions, in heads, zero at the root."""
        curl = self.style.curl
        turns, phase = rng.uniform(0.5, 1.2, (k, 1)) * (1 + 2 * curl), rng.uniform(0, 2 * np.pi, (k, 1))
        amplitude = (0.008 + 0.022 * curl) * rng.uniform(0.3, 1.3, (k, 1))
        angle = 2 * np.pi * turns * t + phase
        x = amplitude * (np.cos(angle) - np.cos(phase)) * min(1, 6 * self.style.length)
        return np.stack([x, amplitude * (np.sin(angle) - np.sin(phase)) * curl])

    def _points(self, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Image coordinates (N, K, P) of all points."""
        root, tangent = skeleton.rotation @ self.root, skeleton.rotation @ self.tangent
        sway = self.t**2 * min(1.5 * self.style.length + 0.2, 1.4)
        at = []
        for c, radius in enumerate((self.build.face, HALF_HEIGHT)):
            line = (root[:, c] * self.reach * radius)[..., None] + root[:, c, :, None] * self.out
            line = line + tangent[:, c, :, None] * self.along + self.offset[c]
            at.append(line + skeleton.lag[:, c, None, None] * sway)
        return skeleton.head.forward(*at)

    def paint(self, stage: Stage) -> None:
        """Over all that is on the canvas; strands rooted behind the head are left out."""
        if self.root.shape[1] == 0:
            return
        canvas, sweep = stage.canvas, sweep_of_head(stage)
        x, y = self._points(stage.here)
        box = canvas.box(torch.stack([x, y], dim=-1), 1, sweep)
        if box is None:
            return
        x, y = x - box[1].start, y - box[0].start
        size = (box[0].stop - box[0].start, box[1].stop - box[1].start)
        root = stage.here.rotation @ self.root
        lx, ly, lz = stage.light.direction
        lit = (0.55 + 0.45 * (root[:, 0] * lx + root[:, 1] * ly + root[:, 2] * lz)).clamp(0.2, 1) * self.tone
        mass = self.mass * smoothstep(-0.35, -0.1, root[:, 2])[..., None]
        density, tone = splat(x, y, torch.stack([mass, mass * lit[..., None]]), size)
        tone = tone / density.clamp_min(1e-6)
        colour = (self.colour[None, :, None, None] * (0.55 + 0.65 * tone[:, None])).clamp(0, 1)
        surface = None
        if canvas.surface is not None:
            places = [c for s in (stage.before, stage.rest) for c in self._points(s)]
            moved = splat(x, y, torch.stack([mass, *(mass * p for p in places)]), size)
            surface = (moved[1:] / moved[0].clamp_min(1e-6)).movedim(0, 1)
        # Several hairs over a pixel hide each other at random.
        cover = 1 - torch.exp(-density)
        cover = torch.where(cover < 1 / 255, torch.zeros_like(cover), cover)
        canvas.paint(box, colour, cover, surface, sweep)


def splat(x: Tensor, y: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, N, H, W) sums of the values (C, N, K, P) of points at (x, y) px, each shared by its four pixels."""
    channels, n = values.shape[:2]
    # A border of one pixel takes what falls off the picture.
    high, wide = size[0] + 2, size[1] + 2
    x, y = x.clamp(-1, size[1] - 0.001) + 1, y.clamp(-1, size[0] - 0.001) + 1
    left, top = x.floor(), y.floor()
    u, v = x - left, y - top
    corner = torch.arange(n, device=x.device).reshape(-1, 1, 1) * (high * wide) + top.long() * wide + left.long()
    total = torch.zeros(channels, n * high * wide, device=x.device)
    for shift, weight in ((0, (1 - u) * (1 - v)), (1, u * (1 - v)), (wide, (1 - u) * v), (wide + 1, u * v)):
        index = (corner + shift).flatten()
        for c in range(channels):
            total[c].index_add_(0, index, (weight * values[c]).flatten())
    return total.reshape(channels, n, high, wide)[:, :, 1:-1, 1:-1]
