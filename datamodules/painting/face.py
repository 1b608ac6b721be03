"""A face: its complexion, and charts of its colours and relief over the front of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.poses import Build
from datamodules.painting.surface import blur, bump, fractal_noise, slope, smoothstep

HALF_HEIGHT = 0.5  # crown to chin is the unit of a person
SKINS = ((0.98, 0.84, 0.76), (0.93, 0.75, 0.64), (0.85, 0.65, 0.52), (0.74, 0.54, 0.40), (0.58, 0.39, 0.28),
         (0.43, 0.28, 0.20), (0.31, 0.20, 0.15))  # fmt: skip
IRISES = ((0.25, 0.15, 0.09), (0.33, 0.21, 0.11), (0.38, 0.36, 0.2), (0.35, 0.45, 0.5), (0.3, 0.42, 0.34))


@dataclass
class Complexion:
    """Colours of a person's skin, hair and eyes, displayed values in [0, 1]."""

    skin: Tensor
    hair: Tensor
    iris: Tensor
    age: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Complexion:
        """Skin over the human range, hair natural for most."""
        tone = rng.uniform(0, len(SKINS) - 1.001)
        low = int(tone)
        skin = (1 - tone + low) * np.array(SKINS[low]) + (tone - low) * np.array(SKINS[low + 1])
        skin = np.clip(skin + rng.normal(0, 0.015, 3), 0.08, 1)
        hairs = [(0.09, 0.075, 0.07), (0.14, 0.10, 0.08), (0.24, 0.16, 0.11), (0.36, 0.25, 0.16), (0.52, 0.38, 0.22),
                 (0.70, 0.56, 0.36), (0.44, 0.20, 0.10), (0.58, 0.57, 0.56), (0.82, 0.81, 0.79)]  # fmt: skip
        weights = np.array([5, 5, 3, 2, 1.5, 1.5, 1, 1.2, 0.6])
        if tone > 3:
            weights[2:7] = (1.5, 0.4, 0.1, 0.1, 0.05)
        choice = rng.choice(len(hairs), p=weights / weights.sum())
        hair = np.array(hairs[choice]) * rng.uniform(0.85, 1.15)
        if rng.random() < 0.05:
            hair = rng.uniform(0.15, 0.8, 3)
        iris = IRISES[rng.choice([0, 1]) if tone > 2.5 else rng.integers(len(IRISES))]
        age = float(np.clip(rng.normal(0.35, 0.25) + (0.4 if choice >= 7 else 0), 0, 1))
        skin_, hair_, iris_ = (torch.tensor(c, dtype=torch.float32).clamp(0, 1) for c in (skin, hair, np.array(iris)))
        return Complexion(skin_, hair_, iris_, age)


class Face:
    """Charts of one face over its front plane, x and y in heads: colours, relief, creases.

    Two variants lie side by side, eyes open with lips closed, and eyes closed with lips open; blink and
    talk blend between them.
    """

    def __init__(
        self, rng: np.random.Generator, look: Complexion, build: Build, resolution: int, device: torch.device | str
    ) -> None:
        self.build, n = build, resolution
        self.width = build.face
        axis = torch.linspace(-1, 1, n)
        self.x, self.y = (axis * self.width)[None, :].expand(n, n), (axis * HALF_HEIGHT)[:, None].expand(n, n)
        self.look = look
        self.mottle = fractal_noise(rng, n, n, (5, 5), 5, 0.7)
        self.fibre = fractal_noise(rng, n, n, (30, 22), 3, 0.8)
        self._draw_features(rng, build)
        height = self._relief()
        charts = []
        for closed in (False, True):
            creases, colour, gloss = self._colours(closed)
            full = height + creases
            dx, dy = slope(full)
            unit = (n - 1) / 2
            occlusion = (1 + 9 * (full - blur(full[None], max(n // 24, 1))[0])).clamp(0.35, 1)
            charts.append(torch.cat([colour, torch.stack([dx * unit / self.width, dy * unit / HALF_HEIGHT]),
                                     occlusion[None], gloss[None]]))  # fmt: skip
        self.chart, self.relief = torch.cat(charts).to(device), height.to(device)

    def _draw_features(self, rng: np.random.Generator, build: Build) -> None:
        self.eye_x, self.eye_y = 0.142 + rng.normal(0, 0.006), 0.005 + rng.normal(0, 0.01)
        self.eye_width, self.eye_open = 0.066 + rng.normal(0, 0.004), 0.030 * rng.uniform(0.75, 1.2)
        self.slant = rng.normal(0.05, 0.07)
        self.nose_y, self.nose_width = 0.185 + rng.normal(0, 0.012), 0.05 * rng.uniform(0.8, 1.3)
        self.nose_out = rng.uniform(0.055, 0.095)
        self.mouth_y, self.mouth_width = 0.303 + rng.normal(0, 0.01), 0.094 * rng.uniform(0.85, 1.2)
        self.lips, self.smile = rng.uniform(0.7, 1.45), rng.uniform(-0.005, 0.022)
        self.brow_y, self.brow_thick = -0.078 + rng.normal(0, 0.008), rng.uniform(0.009, 0.019)
        self.beard = rng.choice(["none", "stubble", "full", "goatee", "moustache"], p=[0.42, 0.22, 0.2, 0.08, 0.08])
        if build.frame < 0.1:
            self.beard = "none"
        self.glasses = rng.choice(["none", "round", "square"], p=[0.78, 0.11, 0.11])
        self.makeup = float(rng.random() < 0.5 and build.frame < 0.0)

    def _relief(self) -> Tensor:
        x, y, ax = self.x, self.y, self.x.abs()
        ny, nw = self.nose_y, self.nose_width
        along = smoothstep(-0.05, ny, y) * smoothstep(ny + 0.055, ny - 0.005, y)
        ridge = torch.exp(-0.5 * (x / (0.020 + 0.018 * along)) ** 2)
        h = self.nose_out * ridge * along * (0.35 + 0.65 * smoothstep(-0.02, ny, y))
        h = h + 0.028 * bump(ax, y, (0, ny - 0.01), (0.034, 0.03)) + 0.024 * bump(ax, y, (nw, ny + 0.008), (0.02, 0.02))
        h = h + 0.016 * bump(ax, y, (0.13, self.brow_y + 0.02), (0.085, 0.026))
        h = h - 0.034 * bump(ax, y, (self.eye_x - 0.02, self.eye_y), (0.068, 0.042))
        h = h + 0.016 * bump(ax, y, (self.eye_x, self.eye_y + 0.003), (0.042, 0.034))
        h = h + 0.022 * bump(ax, y, (0.20, 0.10), (0.075, 0.06)) - 0.018 * bump(ax, y, (0.23, 0.25), (0.07, 0.08))
        h = h + 0.02 * bump(ax, y, (0, self.mouth_y), (0.1, 0.06)) + 0.026 * bump(ax, y, (0, 0.425), (0.07, 0.045))
        return h - 0.014 * bump(ax, y, (0, 0.363), (0.08, 0.014)) - 0.02 * bump(ax, y, (0.31, -0.12), (0.05, 0.1))

    def _colours(self, closed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Fine relief (H, W), displayed colour (3, H, W) and gloss (H, W) of one variant."""
        x, y, ax, n = self.x, self.y, self.x.abs(), self.x.shape[0]
        mottle, fibre = self.mottle, self.fibre
        skin = self.look.skin
        colour = skin[:, None, None].expand(3, n, n).clone()
        colour = colour * (1 + 0.025 * mottle)
        blush = bump(ax, y, (0.19, 0.13), (0.07, 0.06)) + 0.8 * bump(ax, y, (0, self.nose_y), (0.045, 0.04))
        blush = blush + 0.5 * bump(ax, y, (0, 0.42), (0.06, 0.04))
        colour = self._tint(colour, (1.0, 0.80, 0.78), 0.55 * blush)
        under = bump(ax, y, (self.eye_x - 0.01, self.eye_y + 0.05), (0.05, 0.018))
        socket = bump(ax, y, (self.eye_x, self.eye_y - 0.035), (0.06, 0.02))
        colour = self._tint(colour, (0.80, 0.72, 0.74), (0.35 + 0.4 * self.look.age) * under + 0.4 * socket)
        gloss = 0.05 + 0.10 * bump(ax, y, (0, -0.25), (0.12, 0.08)) + 0.14 * bump(x, y, (0, 0.16), (0.02, 0.03))
        folds = torch.zeros_like(x)
        cheek = self.nose_width + 0.02 + 0.35 * (y - self.nose_y - 0.02)
        laugh = torch.exp(-0.5 * ((ax - cheek) / 0.012) ** 2) * smoothstep(0.17, 0.22, y) * smoothstep(0.36, 0.28, y)
        folds = folds - (0.0015 + 0.007 * self.look.age) * laugh
        lines = torch.sin(y * 130 + 0.8 * mottle) * bump(x, y, (0, -0.24), (0.16, 0.07))
        folds = folds + 0.003 * max(self.look.age - 0.4, 0) * lines
        colour, gloss = self._mouth(colour, gloss, closed)
        colour, gloss = self._eyes(colour, gloss, closed)
        colour = self._brows(colour, fibre)
        nostril = bump(ax, y, (0.5 * self.nose_width, self.nose_y + 0.022), (0.014, 0.008))
        colour = self._tint(colour, (0.30, 0.22, 0.22), nostril)
        colour = self._beard(colour, fibre)
        return folds, self._glasses(colour), gloss

    @staticmethod
    def _tint(colour: Tensor, factor: tuple[float, float, float], weight: Tensor) -> Tensor:
        return colour * (1 + (torch.tensor(factor)[:, None, None] - 1) * weight.clamp(0, 1))

    @staticmethod
    def _cover(colour: Tensor, paint: Tensor, weight: Tensor) -> Tensor:
        return colour + (paint.reshape(3, 1, 1) - colour) * weight.clamp(0, 1)

    def _mouth(self, colour: Tensor, gloss: Tensor, opened: bool) -> tuple[Tensor, Tensor]:
        x, ax = self.x, self.x.abs()
        part = (ax / self.mouth_width).clamp(max=1.2)
        y = self.y - self.mouth_y + self.smile * part**2
        drop = 0.03 if opened else 0.0
        taper = (1 - part**2.2).clamp_min(0)
        dip = 0.006 * torch.exp(-0.5 * (x / 0.012) ** 2)
        above, below = -(0.021 * self.lips * taper - dip * taper), 0.027 * self.lips * taper + drop * taper
        soft = 0.006
        lips = torch.sigmoid((y - above) / soft * 2) * torch.sigmoid((below - y) / soft * 2) * (taper > 0)
        red = torch.tensor([0.92, 0.66, 0.66]) if not self.makeup else torch.tensor([0.92, 0.40, 0.44])
        colour = self._cover(colour, self.look.skin * red, 0.85 * lips)
        line = torch.exp(-0.5 * (y / 0.004) ** 2) * smoothstep(1.06, 0.9, part)
        inside = torch.sigmoid((y + 0.001) / 0.002) * torch.sigmoid((drop * taper * 0.85 - y) / 0.003) * (taper > 0.02)
        colour = self._cover(colour, self.look.skin * torch.tensor([0.35, 0.22, 0.22]), 0.8 * line)
        if opened:
            colour = self._cover(colour, torch.tensor([0.20, 0.06, 0.06]), inside)
            teeth = inside * torch.sigmoid((0.009 - y) / 0.002) * smoothstep(0.8, 0.6, part)
            colour = self._cover(colour, torch.tensor([0.86, 0.83, 0.78]), 0.9 * teeth)
        shadow = torch.exp(-0.5 * ((y - below - 0.014) / 0.01) ** 2) * (taper > 0.2)
        colour = self._tint(colour, (0.82, 0.76, 0.76), 0.6 * shadow)
        return colour, gloss + 0.12 * lips * (y > 0)

    def _eyes(self, colour: Tensor, gloss: Tensor, closed: bool) -> tuple[Tensor, Tensor]:
        for side in (-1, 1):
            u = (self.x * side - self.eye_x) / self.eye_width
            v = self.y - self.eye_y + self.slant * (self.x * side - self.eye_x)
            arch = (1 - u.abs().clamp(max=1) ** 2.2).clamp_min(0)
            upper, lower = -self.eye_open * arch**0.75, 0.6 * self.eye_open * arch
            if closed:
                upper = lower - 0.002
            soft = 0.0035
            inside = torch.sigmoid((v - upper) / soft * 2) * torch.sigmoid((lower - v) / soft * 2) * (arch > 0)
            eye = (0.25 * self.look.skin + torch.tensor([0.60, 0.62, 0.63]))[:, None, None].expand_as(colour)
            eye = eye * (1 - 0.45 * torch.exp(-((v - upper) / 0.012).clamp_min(0)))
            r = torch.sqrt((self.x * side - self.eye_x) ** 2 + (v + 0.004) ** 2)
            eye = self._cover(eye, self.look.iris * 0.45, torch.sigmoid((0.0255 - r) / 0.002))
            eye = self._cover(eye, self.look.iris * 1.15, torch.sigmoid((0.021 - r) / 0.003))
            eye = self._cover(eye, torch.tensor([0.03, 0.03, 0.03]), torch.sigmoid((0.0105 - r) / 0.0015))
            glint = bump(self.x, v, (side * self.eye_x + 0.008, -0.012), (0.005, 0.005))
            eye = self._cover(eye, torch.tensor([1.0, 1.0, 1.0]), 0.9 * glint)
            colour = colour + (eye - colour) * inside
            lash = torch.exp(-0.5 * ((v - upper) / (0.0045 + 0.003 * self.makeup)) ** 2) * (u.abs() < 1.02)
            colour = self._cover(colour, torch.tensor([0.08, 0.06, 0.055]), (0.75 + 0.2 * self.makeup) * lash)
            rim = torch.exp(-0.5 * ((v - lower) / 0.004) ** 2) * (u.abs() < 0.95)
            colour = self._tint(colour, (0.62, 0.50, 0.50), 0.7 * rim)
            crease = torch.exp(-0.5 * ((v + self.eye_open * arch**0.6 + 0.016) / 0.005) ** 2) * (u.abs() < 1)
            colour = self._tint(colour, (0.62, 0.54, 0.53), 0.6 * crease)
            gloss = gloss + 0.1 * inside
        return colour, gloss

    def _brows(self, colour: Tensor, fibre: Tensor) -> Tensor:
        u = ((self.x.abs() - 0.06) / 0.17).clamp(-0.2, 1.2)
        line = self.brow_y - 0.028 * torch.sin(u.clamp(0, 1) * 2.4) + 0.012
        thick = self.brow_thick * (1.15 - 0.75 * u)
        brow = torch.exp(-(((self.y - line) / thick) ** 2)) * smoothstep(-0.08, 0.06, u) * smoothstep(1.08, 0.8, u)
        return self._cover(colour, 0.75 * self.look.hair, brow * (0.72 + 0.22 * fibre))

    def _beard(self, colour: Tensor, fibre: Tensor) -> Tensor:
        y, ax = self.y, self.x.abs()
        jaw = smoothstep(0.0, 0.10, y - 0.27 + 0.62 * (ax - 0.12).clamp_min(0) - 0.9 * (ax - 0.23).clamp_min(0))
        moustache = bump(ax, y, (0.045, 0.255), (0.055, 0.016))
        goatee = bump(ax, y, (0, 0.41), (0.075, 0.06))
        mouth = bump(ax, y, (0, self.mouth_y + 0.006), (0.075, 0.024))
        grown = {
            "none": 0 * y,
            "stubble": 0.42 * (jaw + moustache).clamp(0, 1),
            "full": 1.5 * (jaw + moustache).clamp(0, 1),
            "goatee": 1.2 * torch.maximum(moustache, goatee) + 0.2 * jaw,
            "moustache": 1.3 * moustache + 0.15 * jaw,
        }[str(self.beard)]
        weight = (grown - 0.95 * mouth * (grown > 0)) * (1 + 0.3 * fibre)
        return self._cover(colour, 0.85 * self.look.hair + 0.02, weight.clamp(0, 0.94))

    def _glasses(self, colour: Tensor) -> Tensor:
        if self.glasses == "none":
            return colour
        u, v = (self.x.abs() - self.eye_x - 0.008) / 0.105, (self.y - self.eye_y - 0.012) / 0.082
        power = 2 if self.glasses == "round" else 5
        ring = (u.abs() ** power + v.abs() ** power).clamp_min(1e-6) ** (1 / power)
        frame = torch.exp(-(((ring - 1) / 0.075) ** 2))
        bridge = torch.exp(-(((self.y - self.eye_y + 0.008) / 0.007) ** 2)) * (self.x.abs() < 0.05)
        temple = torch.exp(-(((self.y - self.eye_y + 0.01) / 0.008) ** 2)) * (self.x.abs() > self.eye_x + 0.11)
        colour = self._tint(colour, (0.93, 0.95, 0.97), torch.sigmoid((1 - ring) * 20))
        tone = 0.06 + 0.1 * self.look.iris
        return self._cover(colour, tone, 0.95 * torch.maximum(frame, torch.maximum(bridge, temple)))
