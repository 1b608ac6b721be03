"""Test sets composited while they are read, by RVM's protocol: the bits that the files of such a set would hold."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.augment.motion import cover, nearer, path_matrices, random_path
from datamodules.augment.pose import Pose
from datamodules.batch import MattingBatch
from datamodules.images import cover_size, crop_centre
from datamodules.resample import resample
from datamodules.sources.interface import BackgroundSource, ForegroundClip, ForegroundSource, VideoBackgrounds
from datamodules.testset.frames import Frames, Last, checked_range
from datamodules.testset.plans import STRATA, ClipPlan, draw_plans

Cutout: TypeAlias = tuple[Image.Image, Image.Image]
"""Colours and alpha of one frame."""
CAMERA_ROOM = 1.25
"""Size of a still under a moving camera, in sizes of the frame: below what `resample` would have to filter first."""
PARALLAX = 1.5
SHAKE_STD = 0.002


class CompositeTestSet(Sequence["CompositeClip"]):
    """Clips made of people and scenes as `draw_plans` says: all stills ("static"), then all moving ones ("motion").

    Alpha and colours have 8 bits before they are composited, and the composite is cut to 8 bits, not rounded.
    People keep their aspect: they fill the frame as far as it reaches, the rest is empty; videos stand on the
    frame's lower edge (half-body pictures end there), stills are centred. Scenes are stretched to the frame behind
    videos, and cut to it behind stills. Sources should deliver their own size (`size=None`).
    """

    def __init__(
        self,
        foregrounds: ForegroundSource,
        backgrounds: BackgroundSource,
        size: tuple[int, int] = (288, 512),
        num_clips: int = 25,
        num_frames: int = 100,
        seed: int = 0,
        *,
        strata: Sequence[str] = STRATA,
        moving_camera: bool | None = None,
        plans: Sequence[ClipPlan] | None = None,
    ) -> None:
        """Draw the clips; nothing is read.

        Args:
            foregrounds: the source of people: videos, or stills, which then move by affine motion.
            backgrounds: the source of scenes.
            size: (height, width) of the frames, pixels; sets of one seed and several sizes show the same clips.
            num_clips: clips in each stratum; fewer where the data has not so many pairs.
            num_frames: of a clip.
            seed: of all draws.
            strata: "static", "motion" or both.
            moving_camera: see `draw_plans`.
            plans: those of a manifest; None draws them from the arguments above.

        Raises:
            ValueError: an option is out of its range, a video is too short, or a plan names what is not there.
        """
        if min(size) < 1:
            raise ValueError(f"size must be (height, width) of at least 1 pixel, got {tuple(size)}")
        if plans is None:
            plans = draw_plans(foregrounds, backgrounds, strata, num_clips, num_frames, seed, moving_camera)
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.size, self.num_frames, self.plans = (size[0], size[1]), num_frames, list(plans)
        self.people = {foregrounds.name(i): i for i in range(len(foregrounds))}
        self.scenes = {backgrounds.name(i): i for i in range(len(backgrounds))}
        for plan in self.plans:
            if plan.foreground not in self.people or plan.background not in self.scenes:
                raise ValueError(f"{plan.foreground} or {plan.background} of clip {plan.folder} is not in the sources")
        self.still_person = Last(self._still_person)
        self.still_scene = Last(self._still_scene)

    def __len__(self) -> int:
        return len(self.plans)

    @overload
    def __getitem__(self, index: int) -> CompositeClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[CompositeClip]: ...
    def __getitem__(self, index: int | slice) -> CompositeClip | list[CompositeClip]:
        """A clip, or some of them."""
        if isinstance(index, slice):
            return [CompositeClip(self, plan) for plan in self.plans[index]]
        return CompositeClip(self, self.plans[index])

    def _still_person(self, name: str) -> Cutout:
        return cutouts(self.foregrounds.read(self.people[name], [0]))[0]

    def _still_scene(self, name: str) -> tuple[Tensor, Tensor | None]:
        # A still draws nothing from its generator.
        scene = self.backgrounds.read(self.scenes[name], 1, torch.Generator())
        return scene.pictures[:1], scene.near


class CompositeClip:
    """One clip of a `CompositeTestSet`, a `TestClip`; `plan` says what it is made of."""

    has_foreground = True
    has_background = True

    def __init__(self, test_set: CompositeTestSet, plan: ClipPlan) -> None:
        self.test_set, self.plan = test_set, plan
        self.key, self.stratum = f"{plan.stratum}/{plan.folder}", plan.stratum
        self.name, self.scene = plan.foreground, plan.background
        self.num_frames, self.size = test_set.num_frames, test_set.size

    def read(self, start: int, stop: int) -> MattingBatch:
        """Frames start … stop − 1.

        Raises:
            ValueError: a source's file is broken, or the clip has not so many frames.
        """
        frames = checked_range(self, start, stop)
        fgr, pha = self._foreground(frames)
        bgr = self._background(frames)
        return Frames(blend(fgr, pha, bgr), pha, fgr, bgr).to_batch(self)

    def _foreground(self, frames: range) -> tuple[Tensor, Tensor]:
        """Colours (T, 3, H, W) and alpha (T, 1, H, W), uint8."""
        plan, source = self.plan, self.test_set.foregrounds
        if plan.first_pose is None:
            person = source.read(self.test_set.people[plan.foreground], [plan.start + t for t in frames])
            pairs = cutouts(person)
        else:
            pairs = [self.test_set.still_person(plan.foreground)] * len(frames)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            placed = list(threads.map(self._place, pairs, frames))
        return torch.stack([fgr for fgr, _ in placed]), torch.stack([pha for _, pha in placed])

    def _place(self, pair: Cutout, t: int) -> tuple[Tensor, Tensor]:
        """A person in the frame: mirrored, moved if it is a still, and fitted."""
        plan = self.plan
        if plan.mirrored:
            pair = (ImageOps.mirror(pair[0]), ImageOps.mirror(pair[1]))
        if plan.first_pose is None or plan.last_pose is None:
            return fit(pair[0], self.size, still=False), fit(pair[1], self.size, still=False)
        progress = plan.extent * t / max(self.num_frames - 1, 1)
        pair = (
            pose(pair[0], plan.first_pose, plan.last_pose, progress),
            pose(pair[1], plan.first_pose, plan.last_pose, progress),
        )
        return fit(pair[0], self.size, still=True), fit(pair[1], self.size, still=True)

    def _background(self, frames: range) -> Tensor:
        """The scene (T, 3, H, W) uint8."""
        plan, source = self.plan, self.test_set.backgrounds
        number = self.test_set.scenes[plan.background]
        if isinstance(source, VideoBackgrounds) and source.is_video(number):
            return self._framed(source.read_frames(number, list(frames)))
        picture, near = self.test_set.still_scene(plan.background)
        if plan.camera_seed is not None:
            return camera_views(picture, near, self.size, frames, self.num_frames, plan.camera_seed)
        if near is not None:
            picture = blend(near[None, :3], near[None, 3:], picture)
        return self._framed(picture).expand(len(frames), -1, -1, -1)

    def _framed(self, pictures: Tensor) -> Tensor:
        """Pictures (T, 3, h, w) at the frame's size: stretched behind a video, cut behind a still."""
        if self.plan.first_pose is None:
            return resize(pictures, self.size)
        covering = cover_size((pictures.shape[-2], pictures.shape[-1]), self.size)
        return crop_centre(resize(pictures, covering), self.size)


def cutouts(person: ForegroundClip) -> list[Cutout]:
    """Colours and alpha of each frame as images."""
    return [(_image(fgr), _image(pha)) for fgr, pha in zip(person.fgr, person.pha, strict=True)]


def blend(fgr: Tensor, pha: Tensor, bgr: Tensor) -> Tensor:
    """The composite αF + (1 − α)B of uint8 pictures (T, C, H, W), cut (not rounded) to 8 bits, without float error.

    >>> blend(*(torch.full((1, 1, 1, 1), value, dtype=torch.uint8) for value in (200, 128, 201))).item()
    200
    """
    F, a, B = (each.numpy().astype(np.uint16) for each in (fgr, pha, bgr))
    # At most 255 · 255, which uint16 holds.
    return torch.from_numpy(((F * a + B * (255 - a)) // 255).astype(np.uint8))


def pose(image: Image.Image, first: Pose, last: Pose, progress: float) -> Image.Image:
    """A picture part of the way between two poses; what comes from outside of it is 0."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import affine

    def between(low: float, high: float) -> float:
        return low + (high - low) * progress

    width, height = image.size
    # Whole pixels at the two ends, as in RVM's scripts; fractions in between.
    shift_x = between(round(first.shift_x * width), round(last.shift_x * width))
    shift_y = between(round(first.shift_y * height), round(last.shift_y * height))
    moved: Image.Image = affine(
        image,
        between(first.degrees, last.degrees),
        [shift_x, shift_y],
        between(first.scale, last.scale),
        [between(first.shear_degrees, last.shear_degrees), 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    return moved


def fit(image: Image.Image, size: tuple[int, int], still: bool) -> Tensor:
    """A picture (C, H, W) that keeps its aspect and reaches as far as the frame does; the rest is 0."""
    (height, width), (w, h) = size, image.size
    scaled = (max(w * height // h, 1), height) if height * w <= width * h else (width, max(h * width // w, 1))
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BICUBIC if still else Image.Resampling.BILINEAR)
    if scaled != (width, height):
        frame = Image.new(image.mode, (width, height))
        free = height - scaled[1]
        frame.paste(image, ((width - scaled[0]) // 2, free // 2 if still else free))
        image = frame
    return _pixels(image)


def resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (T, C, h, w) uint8 stretched to (height, width) as Pillow does it, bilinear with antialias."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    height, width = size
    resized = [_image(picture).resize((width, height), Image.Resampling.BILINEAR) for picture in pictures]
    return torch.stack([_pixels(image) for image in resized])


def camera_views(
    picture: Tensor, near: Tensor | None, size: tuple[int, int], frames: range, num_frames: int, seed: int
) -> Tensor:
    """A still seen by a hand-held camera that moves as in MODNet-V, section 4.1.

    Args:
        picture: (1, 3, h, w) uint8.
        near: (4, h, w) uint8 RGBA, things that stand nearer and so move further, or None.
        size: (height, width) of the views.
        frames: which views.
        num_frames: views in all.
        seed: of the camera.

    Returns:
        (len(frames), 3, height, width) uint8.
    """
    room = (math.ceil(CAMERA_ROOM * size[0]), math.ceil(CAMERA_ROOM * size[1]))
    path = random_path(num_frames, torch.Generator().manual_seed(seed), shake_std=SHAKE_STD)
    matrices = path_matrices(path, size)
    to_canvas = cover(matrices, size, room)

    def views(pixels: Tensor, seen: Tensor) -> Tensor:
        covering = cover_size((pixels.shape[-2], pixels.shape[-1]), room)
        canvas = crop_centre(resize(pixels, covering), room)[None].float() / 255
        affine = (to_canvas @ seen)[None, frames.start : frames.stop, :2].float()
        return (resample(canvas, affine, *size, "border")[0] * 255).round().to(torch.uint8)

    background = views(picture, matrices)
    if near is None:
        return background
    nearer_views = views(near[None], path_matrices(nearer(path, PARALLAX), size))
    return blend(nearer_views[:, :3], nearer_views[:, 3:], background)


def _image(pixels: Tensor) -> Image.Image:
    """A picture (C, h, w) uint8 with 1, 3 or 4 channels as Pillow has it."""
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).squeeze(2).numpy()))


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1)
