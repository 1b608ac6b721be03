"""A person made by code: an identity drawn once, then any frames of it painted part by part, back to front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.painting.canvas import Canvas, Stage
from datamodules.painting.clothes import Outfit
from datamodules.painting.face import Complexion, Face
from datamodules.painting.hair import Hair
from datamodules.painting.head import cast_shadow, paint_ears, paint_face
from datamodules.painting.limbs import hand_chart, paint_arm, paint_leg
from datamodules.painting.poses import Build, Motion, Skeleton
from datamodules.painting.surface import Light
from datamodules.painting.trunk import paint_neck, paint_torso

PIXELS_AT_ONCE = 600000  # frames are painted in chunks that stay in a processor's cache


class PaintedClip(NamedTuple):
    """A person as painted, T frames of S × S pixels.

    Attributes:
        fgr: (T, 3, S, S) uint8, straight colour.
        pha: (T, 1, S, S) uint8, alpha.
        flow: (T, 2, S, S) half, pixels to the frame before, zero at t = 0.
        texture: (T, 2, S, S) half, body-fixed coordinates in units of S.

    flow and texture are None where they were not asked for.
    """

    fgr: Tensor
    pha: Tensor
    flow: Tensor | None = None
    texture: Tensor | None = None


class Person:
    """One person and how they move during a clip.

    Args:
        rng: all draws come from it.
        size: the canvas's side in pixels.
        num_frames: length of the clip.
        hair_fineness: in [0, 1]; 0 is a crisp edge, 1 a fringe of many loose hairs thinner than a pixel.
        motion_speed: in [0, 3]; 0 stands still, 1 talks lively.
        motion_blur: in [0, 1], share of the frame time that the shutter is open.
        device: where to paint.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: int,
        num_frames: int,
        hair_fineness: float = 0.5,
        motion_speed: float = 1.0,
        motion_blur: float = 0.4,
        device: torch.device | str = "cpu",
    ) -> None:
        self.size, self.num_frames, self.motion_blur, self.device = size, num_frames, motion_blur, torch.device(device)
        self.build, self.look = Build.draw(rng), Complexion.draw(rng)
        self.motion = Motion(rng, self.build, size, num_frames, motion_speed)
        self.light = Light.draw(rng, device)
        scale = self.motion.scale
        self.skin = self.look.skin.to(device)
        self.face = Face(rng, self.look, self.build, int(np.clip(1.3 * scale, 64, 512)), device)
        self.outfit = Outfit(rng, self.look.skin, self.build.frame)
        self.hair = Hair(rng, self.look, self.build, scale, hair_fineness, device)
        # Tall hair must not touch the upper border.
        self.motion.top += 0.5 * self.hair.style.top * self.hair.volume * scale
        self.torso = self.outfit.torso_chart(int(np.clip(4.5 * scale, 96, 1024)), self.build).to(device)
        arm, hand = int(np.clip(2.2 * scale, 48, 512)), int(np.clip(1.4 * scale, 48, 256))
        self.sleeves = [self.outfit.arm_chart(arm, 2 * self.build.arm).to(device) for _ in range(2)]
        self.hands = [hand_chart(rng, hand).to(device) for _ in range(2)]
        self.leg = self.outfit.leg_chart(64).to(device)
        self.upper_arm = int(rng.integers(2))

    @torch.no_grad()
    def render(self, moves: bool = True) -> PaintedClip:
        """All frames of the clip; with flow and texture only where it `moves`."""
        step = max(1, PIXELS_AT_ONCE // self.size**2)
        times, half = torch.arange(float(self.num_frames)), self.motion_blur / 2
        moments = [times, (times - 1).clamp_min(0), 0 * times]
        if half:
            moments += [times - half, times + half]
        every = self.motion.at(torch.cat(moments)).to(self.device)
        skeletons = [every.some(slice(t, t + len(times))) for t in range(0, len(every.turn), len(times))]
        chunks = [self._render(slice(t, t + step), skeletons, moves) for t in range(0, self.num_frames, step)]
        return PaintedClip(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))

    def _render(self, frames: slice, skeletons: Sequence[Skeleton], moves: bool) -> list[Tensor]:
        """Colour and alpha as bytes, flow and texture in half precision, of some frames."""
        here, before, rest, *shutter = (skeleton.some(frames) for skeleton in skeletons)
        canvas = Canvas(len(rest.turn), self.size, self.device, moves)
        open_close = (shutter[0], shutter[1]) if shutter else None
        self._paint(Stage(canvas, self.light, self.build, here, before, rest, open_close))
        colour, alpha, displacement = canvas.develop()
        made = [(t.clamp(0, 1) * 255 + 0.5).to(torch.uint8) for t in (colour, alpha)]
        if displacement is not None:
            flow, texture = displacement[:, :2], displacement[:, 2:] + canvas.coordinates()
            if frames.start == 0:
                flow[0] = 0
            made += [flow.half(), (texture / self.size).half()]
        return [each.cpu() for each in made]

    def _paint(self, stage: Stage) -> None:
        """All parts, farthest first."""
        self.hair.paint_back(stage)
        for side in (-1, 1):
            paint_leg(stage, self.leg, side)
        paint_neck(stage, self.outfit)
        paint_torso(stage, self.outfit, self.torso)
        cast_shadow(stage)
        paint_ears(stage, self.skin, front=False)
        paint_face(stage, self.face)
        paint_ears(stage, self.skin, front=True)
        self.hair.paint_front(stage)
        for side in (1 - self.upper_arm, self.upper_arm):
            paint_arm(stage, self.sleeves[side], self.hands[side], self.skin, side, bare=self.outfit.sleeve < 1.2)
