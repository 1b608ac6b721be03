"""How a person stands and moves: proportions, smooth key poses, and where that puts every part at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.surface import smoothstep

# Angles of upper arm and forearm from straight down, outward positive, in radians, then how long each looks
# (foreshortening).
GESTURES = {
    "hang": (0.13, 0.06, 1.0, 1.0),
    "belly": (0.20, -1.15, 1.0, 0.82),
    "hip": (0.78, -0.55, 0.95, 0.95),
    "wave": (0.55, 2.70, 0.85, 0.95),
    "open": (0.40, 1.25, 0.95, 0.85),
    "chin": (0.30, -2.62, 0.75, 0.98),
    "crossed": (0.16, -1.48, 1.0, 0.88),
    "explain": (0.28, 2.1, 0.9, 0.62),
}
UPPER_ARM, FOREARM = 1.32, 1.12
FURTHEST_LAG = 0.2  # of the tips of hair, in heads
# Gestures that leave the canvas are drawn anew, unless stepping back to this share of the size keeps them within.
CLOSER, TRIES = 0.85, 12
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of a bone's length, where discs lie that cover it
CHANNELS = ("x", "y", "lean", "turn", "yaw", "pitch", "roll", "talk")
SPREADS = (0.13, 0.05, 0.05, 0.22, 0.42, 0.13, 0.10, 0.0)


Segment = tuple[Tensor, Tensor]  # two points, (N, 2) px


class Similarity(NamedTuple):
    """A part's own coordinates: `origin` (N, 2) px, `angle` (N,) clockwise, `scale` px per unit."""

    origin: Tensor
    angle: Tensor
    scale: float

    def inverse(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Part coordinates of image points, N first."""
        cos, sin = torch.cos(self.angle)[:, None, None], torch.sin(self.angle)[:, None, None]
        dx, dy = x - self.origin[:, 0, None, None], y - self.origin[:, 1, None, None]
        return (dx * cos + dy * sin) / self.scale, (dy * cos - dx * sin) / self.scale

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Image points of part coordinates (N, …)."""
        shape = (-1, *[1] * (x.dim() - 1))
        cos, sin = torch.cos(self.angle).view(shape) * self.scale, torch.sin(self.angle).view(shape) * self.scale
        return self.origin[:, 0].view(shape) + x * cos - y * sin, self.origin[:, 1].view(shape) + x * sin + y * cos

    def point(self, x: float, y: float) -> Tensor:
        """(N, 2) image position of one point of the part."""
        at = self.forward(torch.full_like(self.angle, x), torch.full_like(self.angle, y))
        return torch.stack(at, dim=-1)

    def ends(self, low: float, high: float) -> Segment:
        """Image positions of two points of the part's own axis, at these heights."""
        return self.point(0.0, low), self.point(0.0, high)


class Skeleton(NamedTuple):
    """All parts at N times.

    torso's origin is the pit of the neck, head's the middle between crown and chin; `turn` (N,) is the torso's
    yaw, `rotation` (N, 3, 3) the head's; `arms` holds shoulder, elbow, wrist, fingers (N, 4, 2) px of the
    person's parts on the left and on the right of the picture; `lag` (N, 2) is how far hair tips trail
    behind, in heads; blink and talk are (N,) in [0, 1].
    """

    torso: Similarity
    turn: Tensor
    head: Similarity
    rotation: Tensor
    arms: tuple[Tensor, Tensor]
    lag: Tensor
    blink: Tensor
    talk: Tensor

    def to(self, device: torch.device) -> Skeleton:
        """The same on another device."""
        return self._each(lambda values: values.to(device))

    def some(self, times: slice) -> Skeleton:
        """Those at some of the times."""
        return self._each(lambda values: values[times])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Skeleton:
        torso, head = (Similarity(change(s.origin), change(s.angle), s.scale) for s in (self.torso, self.head))
        turn, rotation, lag, blink, talk = map(change, (self.turn, self.rotation, self.lag, self.blink, self.talk))
        return Skeleton(torso, turn, head, rotation, (change(self.arms[0]), change(self.arms[1])), lag, blink, talk)


@dataclass
class Build:
    """Proportions in head heights (crown to chin); `frame` runs from −1, slight, to 1, broad."""

    frame: float
    shoulders: float
    waist: float
    neck: float
    neck_length: float
    arm: float
    face: float
    jaw: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Build:
        """Proportions of an adult."""
        frame, weight = rng.uniform(-1, 1), rng.normal(0, 0.6)
        return Build(
            frame=frame,
            shoulders=0.84 + 0.09 * frame + 0.03 * weight,
            waist=0.60 + 0.08 * frame + 0.09 * weight,
            neck=0.225 + 0.03 * frame + 0.015 * weight,
            neck_length=0.69 + rng.normal(0, 0.025),
            arm=0.162 + 0.02 * frame + 0.015 * weight,
            face=0.355 + 0.010 * frame + 0.012 * weight,
            jaw=float(np.clip(0.25 - 0.08 * frame - 0.05 * weight + rng.normal(0, 0.05), 0.08, 0.40)),
        )

    def half_face(self, y: Tensor) -> Tensor:
        """Half the head's width at height y from its middle."""
        return self.face * (1 - self.jaw * smoothstep(-0.02, 0.52, y))

    def half_torso(self, y: Tensor) -> Tensor:
        """Half the torso's width at height y below the pit of the neck."""
        taper, hip = smoothstep(0.4, 1.75, y), smoothstep(1.8, 2.6, y)
        return (self.shoulders - 0.02) * (1 - taper) + self.waist * taper + (0.2 - 0.2 * self.waist) * hip

    def shoulder_line(self, ax: Tensor) -> Tensor:
        """Height of the torso's upper outline at distance ax from the middle: throat, trapezius, shoulder."""
        root = 1.25 * self.neck
        return 0.02 - 0.17 * smoothstep(0.0, root, ax) + 0.40 * (ax - root).clamp_min(0) ** 1.1


class Motion:
    """A person's movement as a pure function of time, in frames.

    Args:
        rng: all draws come from it.
        build: proportions.
        size: the canvas's side in pixels.
        num_frames: the time that the key poses must cover.
        speed: 1 is a lively talker with a new key pose every 10 frames; 0 stands still.
    """

    def __init__(self, rng: np.random.Generator, build: Build, size: int, num_frames: int, speed: float) -> None:
        self.build, self.size = build, size
        self.interval = 10.0 * rng.uniform(0.8, 1.3) / max(speed, 1e-3)
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.framing = rng.choice(["shoulders", "half", "three-quarter"], p=[0.45, 0.35, 0.2])
        low, high = {"shoulders": (0.35, 0.46), "half": (0.245, 0.33), "three-quarter": (0.18, 0.22)}[self.framing]
        self.scale = size * rng.uniform(low, high)
        self.top = size * rng.uniform(0.07, 0.13) + 0.06 * self.scale
        self.middle = size * (0.5 + rng.uniform(-0.05, 0.05)) - 0.5
        self.breath = rng.uniform(0.008, 0.02)
        self.walk = rng.choice([0.0, rng.uniform(0.02, 0.05)], p=[0.65, 0.35]) * min(speed, 2.0)
        count = int(np.ceil((num_frames + 14) / self.interval)) + 5
        keys = rng.standard_normal((count, len(CHANNELS))) * np.array(SPREADS)
        # People hold still between movements: some keys repeat the one before.
        for k in range(1, count):
            held = rng.random(len(CHANNELS)) < 0.3
            keys[k, held] = keys[k - 1, held]
        keys[:, 4] = np.clip(keys[:, 4] + rng.normal(0, 0.2), -0.75, 0.75)
        self.blinks = rng.uniform(-10, num_frames + 60, 3 + num_frames // 60)
        keys[:, 7] = rng.choice([0.0, 1.0]) * rng.uniform(0, 1, count) * (rng.random(count) < 0.6)
        self.keys = torch.tensor(keys, dtype=torch.float32)
        self.arms = [self._draw_arm(rng, count) for _ in range(2)]
        self._keep_within(rng, torch.arange(2.0 * num_frames + 1) / 2 - 0.5)

    @staticmethod
    def _draw_arm(rng: np.random.Generator, count: int) -> Tensor:
        calm = ["hang", "hang", "belly", "hip", "crossed"]
        names = rng.choice([*calm, *GESTURES], size=2)
        change = rng.random(count) < 0.45
        keys = np.array([GESTURES[names[int(c)]] for c in change])
        keys += rng.standard_normal(keys.shape) * np.array([0.07, 0.14, 0.02, 0.04])
        bend = rng.normal(0, 0.25, (count, 1))
        return torch.tensor(np.concatenate([keys, bend], axis=1), dtype=torch.float32)

    def _keep_within(self, rng: np.random.Generator, times: Tensor) -> None:
        """Draw wide gestures anew, then step back and aside until no side of the canvas cuts the person off."""
        own = rng.spawn(1)[0]  # all else that is drawn of a person stays, however often this is tried
        skeleton, discs = self._without_lag(times), list[Tensor]()
        for side in (0, 1):
            tried: list[tuple[float, int, Tensor, Tensor]] = []
            for _ in range(TRIES):
                arm = self._arm_discs(skeleton.torso, side, times)
                seen = self.top + self.scale * (arm[1] - arm[2]) < self.size
                width = float((arm[0].abs() + arm[2])[seen].amax())
                tried.append((width, len(tried), self.arms[side], arm))
                if CLOSER * self.scale * width < 0.5 * self.size:
                    break
                self.arms[side] = self._draw_arm(own, len(self.keys))
            *_, self.arms[side], arm = min(tried)
            discs.append(arm)
        x, y, radius = torch.cat([*discs, self._body_discs(skeleton)], dim=-1)
        margin = 2 + 0.015 * self.size
        while True:
            seen = self.top + self.scale * (y - radius) < self.size
            low, high = self.scale * float((x - radius)[seen].amin()), self.scale * float((x + radius)[seen].amax())
            if high - low < self.size - 2 * margin:
                break
            self.scale *= 0.98
        self.middle += max(margin - self.middle - low, 0) - max(self.middle + high - self.size + margin, 0)
        self.top += max(margin - self.top - self.scale * float((y - radius).amin()), 0)

    def _body_discs(self, skeleton: Skeleton) -> Tensor:
        """(3, times, discs): discs that head, hair but for single hairs, and trunk lie in, see `_discs`."""
        discs = [(skeleton.head.origin, 0.8), (skeleton.head.point(0.0, 0.9), 0.9)]
        for height, half in ((0.3, self.build.shoulders), (2.0, self.build.waist)):
            discs += [(skeleton.torso.point(s * (half - 0.2), height), 0.25) for s in (-1, 1)]
        return self._discs(discs)

    def _arm_discs(self, torso: Similarity, side: int, times: Tensor) -> Tensor:
        """(3, times, discs): discs that an arm lies in, see `_discs`."""
        shoulder, elbow, wrist, fingers = self._arm(torso, 2 * side - 1, times).unbind(1)
        bones = [(shoulder + share * (elbow - shoulder), elbow + share * (wrist - elbow)) for share in SHARES]
        discs = [(joint, 1.15 * self.build.arm) for bone in bones for joint in bone]
        return self._discs([*discs, (wrist + 0.85 * (fingers - wrist), 0.44)])

    def _discs(self, discs: Sequence[tuple[Tensor, float]]) -> Tensor:
        """(3, times, discs): x from the canvas's middle, y from the top and radius, in heads whatever the scale."""
        x, y = torch.stack([centre for centre, _ in discs], dim=1).unbind(-1)
        radius = torch.tensor([radius for _, radius in discs]).expand_as(x)
        return torch.stack([(x - self.middle) / self.scale, (y - self.top) / self.scale, radius])

    def _interpolate(self, keys: Tensor, times: Tensor) -> Tensor:
        """Catmull-Rom through the keys (K, C) at times (N,) → (N, C)."""
        position = ((times + 13) / self.interval + 1).clamp(1, keys.shape[0] - 2.001)
        index = position.floor().long()
        u = (position - index)[:, None]
        a, b, c, d = (keys[(index + o).clamp(0, keys.shape[0] - 1)] for o in (-1, 0, 1, 2))
        return b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))

    def at(self, times: Tensor) -> Skeleton:
        """The skeleton at times (N,) in frames."""
        skeleton = self._without_lag(times)
        # Hair trails behind where its root was: the root's recent path, later parts weighing less.
        lag = torch.zeros_like(skeleton.lag)
        for back, weight in ((1, 0.35), (2, 0.3), (3.5, 0.2), (5, 0.15)):
            past = self._without_lag(times - back)
            lag += weight * (past.head.origin - skeleton.head.origin) / self.scale
            lag[:, 0] += weight * 0.3 * (skeleton.rotation[:, 0, 2] - past.rotation[:, 0, 2])
        return skeleton._replace(lag=FURTHEST_LAG * torch.tanh(0.8 / FURTHEST_LAG * lag))

    def _without_lag(self, times: Tensor) -> Skeleton:
        x, y, lean, turn, yaw, pitch, roll, talk = self._interpolate(self.keys, times).unbind(1)
        step = 2 * np.pi * times / 22
        x = x + self.walk * torch.sin(step + self.phase[0])
        y = y + 0.6 * self.walk * torch.cos(2 * step + self.phase[1])
        breath = self.breath * torch.sin(2 * np.pi * times / 75 + self.phase[2])
        lean = lean + 0.25 * self.walk * torch.cos(step + self.phase[0])
        neck = self.top + (0.5 + self.build.neck_length) * self.scale
        # People lean from the hip, so the neck swings sideways by the torso's length.
        origin = torch.stack(
            [self.middle + self.scale * (0.8 * x + 2.4 * torch.sin(lean)), neck + self.scale * (y - breath)], -1
        )
        torso = Similarity(origin, lean, self.scale)
        tilt = lean * 0.5 + roll
        up = self.build.neck_length * (1 - 0.05 * pitch.abs())
        centre = torch.stack([up * torch.sin(tilt) + 0.1 * yaw, -up * torch.cos(tilt) + 0.12 * pitch], -1)
        head = Similarity(origin + self.scale * centre, tilt, self.scale)
        arms = (self._arm(torso, -1, times), self._arm(torso, 1, times))
        still = torch.zeros_like(origin)
        blink = sum(torch.exp(-(((times - at) / 1.6) ** 2)) for at in self.blinks.tolist())
        blink, talk = torch.as_tensor(blink).clamp(0, 1), talk.clamp(0, 1)
        return Skeleton(torso, turn, head, _rotation(yaw + 0.3 * turn, pitch), arms, still, blink, talk)

    def _arm(self, torso: Similarity, side: int, times: Tensor) -> Tensor:
        upper, fore, upper_length, fore_length, bend = self._interpolate(self.arms[(side + 1) // 2], times).unbind(1)
        points = [torso.point(side * (self.build.shoulders - self.build.arm), 0.30)]
        swing = self.walk * 2 * torch.sin(2 * np.pi * times / 22 + self.phase[3])
        angles = (side * (upper + swing) - torso.angle, side * (fore + swing) - torso.angle, side * (fore + bend))
        for angle, length in zip(angles, (UPPER_ARM * upper_length, FOREARM * fore_length, 0.4), strict=True):
            step = torch.stack([torch.sin(angle), torch.cos(angle)], -1)
            points.append(points[-1] + torch.as_tensor(length).reshape(-1, 1) * self.scale * step)
        return torch.stack(points, dim=1)


def _rotation(yaw: Tensor, pitch: Tensor) -> Tensor:
    """(N, 3, 3) from the head's own axes (right, down, forward) to the viewer's; positive pitch looks down."""
    cy, sy, cp, sp = torch.cos(yaw), torch.sin(yaw), torch.cos(pitch), torch.sin(pitch)
    zero = torch.zeros_like(yaw)
    rows = [cy, zero, sy, -sp * sy, cp, sp * cy, -cp * sy, -sp, cp * cy]
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)
