"""All draws of one sample: which frames, where, how they move, which colours. Pixels are left as decoded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.augment.codec import NO_H264, NO_JPEG
from datamodules.augment.crop import random_window
from datamodules.augment.motion import SHIFT_X, absences, cover, nearer, path_matrices, place, random_path, stand
from datamodules.augment.photometric import change_alpha, change_colours, changing_light, jitter_colours, random_gain
from datamodules.augment.temporal import choose_frames
from datamodules.batch import Layers
from datamodules.dice import Draws, seed_of
from datamodules.difficulty import Difficulty
from datamodules.images import cover_size, crop_centre, resize
from datamodules.sources.interface import BackgroundSource, ForegroundClip, ForegroundSource


def draw_layers(
    foregrounds: ForegroundSource,
    backgrounds: BackgroundSource,
    clip: int,
    scene: int,
    num_frames: int,
    size: tuple[int, int],
    difficulty: Difficulty,
    draws: Draws,
    flow: bool | None = False,
    stratum: str = "",
) -> Layers:
    """One sample before compositing, a pure function of its arguments.

    Args:
        foregrounds: the source of people.
        backgrounds: the source of scenes.
        clip: number of the person's clip in its source.
        scene: number of the scene in its source.
        num_frames: T.
        size: (height, width) of the output that the affines lead from.
        difficulty: ranges of all draws.
        draws: the sample's dice.
        flow: keep the source's motion; None: where it is known.
        stratum: name of the condition.

    Raises:
        ValueError: flow=True and the motion is unknown.
    """
    frames = choose_frames(
        foregrounds.num_frames(clip),
        num_frames,
        draws.generator("frames"),
        draws.integer("frame stride", *difficulty.frame_stride),
        draws.happens("reverse", difficulty.reverse_share),
    )
    person = foregrounds.read(clip, frames)
    fgr, pha = _recoloured(person, difficulty, draws)
    pictures, bgr_index, near = _behind(backgrounds, scene, num_frames, difficulty, draws)
    if difficulty.photometric > 0:
        pictures = jitter_colours(pictures, seed_of(*draws.key, "background jitter"), difficulty.photometric)
    frame = (round(size[0] * difficulty.crop_height), round(size[1] * difficulty.crop_width))
    bgr_affine, near_affine = _background_affines(num_frames, frame, _canvas(pictures), difficulty, draws)
    fgr_gain, bgr_gain = _gains(num_frames, difficulty, draws)
    camouflage = draws.number("camouflage", difficulty.camouflage)
    shift = torch.rand(2, generator=draws.generator("camouflage shift")) - 0.5
    fgr_affine = _foreground_affine(num_frames, frame, _canvas(fgr), difficulty, draws)
    fgr_defocus = draws.number("foreground defocus", difficulty.foreground_defocus)
    bgr_defocus = draws.number("background defocus", difficulty.background_defocus)
    layers = Layers(
        fgr=fgr,
        pha=pha,
        bgr=pictures,
        bgr_index=bgr_index,
        fgr_affine=fgr_affine,
        bgr_affine=bgr_affine,
        fgr_defocus=fgr_defocus * min(size) * _pixels_of(fgr_affine),
        bgr_defocus=bgr_defocus * min(size) * _pixels_of(bgr_affine),
        fgr_gain=fgr_gain,
        bgr_gain=bgr_gain,
        camouflage=torch.tensor(camouflage),
        camouflage_shift=shift * min(frame),
        noise_std=torch.tensor(draws.number("noise", difficulty.noise_std)),
        jpeg_quality=_compression("jpeg", difficulty.jpeg_share, difficulty.jpeg_quality, NO_JPEG, draws),
        h264_crf=_compression("h264", difficulty.h264_share, difficulty.h264_crf, NO_H264, draws),
        seed=torch.tensor(seed_of(*draws.key, "noise field")),
        near=near,
        near_affine=near_affine,
        fgr_flow=None if flow is False else flow_to_previous(person, frames, foregrounds.name(clip), bool(flow)),
        texture=person.texture if camouflage > 0 else None,
        clip=foregrounds.name(clip),
        scene=backgrounds.name(scene),
        stratum=stratum,
    )
    return layers if frame == size else random_window(layers, frame, size, draws.generator("crop"))


def _canvas(pictures: Tensor) -> tuple[int, int]:
    return pictures.shape[-2], pictures.shape[-1]


def _recoloured(person: ForegroundClip, difficulty: Difficulty, draws: Draws) -> tuple[Tensor, Tensor]:
    """The person's colours (T, 3, Hs, Ws) and alpha (T, 1, Hs, Ws), uint8."""
    fgr, pha = person.fgr, person.pha
    if difficulty.photometric > 0:
        fgr = jitter_colours(fgr, seed_of(*draws.key, "foreground jitter"), difficulty.photometric)
    if draws.happens("alpha gamma", difficulty.alpha_gamma_share):
        pha = change_alpha(pha, draws.number("alpha gamma exponent", difficulty.alpha_gamma))
    fgr = change_colours(
        fgr,
        pha,
        brightness=draws.number("foreground brightness", difficulty.foreground_brightness),
        contrast=draws.number("foreground contrast", difficulty.foreground_contrast),
        saturation=draws.number("foreground saturation", difficulty.foreground_saturation),
        hue=draws.number("foreground hue", difficulty.foreground_hue),
    )
    return fgr, pha


def _behind(
    backgrounds: BackgroundSource, number: int, num_frames: int, difficulty: Difficulty, draws: Draws
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Background pictures (K, 3, Hb, Wb), which of them each frame shows (T,), and the near plane (4, Hb, Wb)."""
    # At least 3 frames of a video, because two pictures are a still with a cut.
    scene = backgrounds.read(number, max(num_frames, 3), draws.generator("scene"))
    if scene.is_video:
        return scene.pictures, torch.arange(num_frames), scene.near
    index = torch.zeros(num_frames, dtype=torch.long)
    if num_frames == 1 or len(backgrounds) == 1 or not draws.happens("cut", difficulty.cut_share):
        return scene.pictures[:1], index, scene.near
    index[draws.integer("cut frame", 1, num_frames - 1) :] = 1
    other = (number + draws.integer("cut scene", 1, len(backgrounds) - 1)) % len(backgrounds)
    after = backgrounds.read(other, 1, draws.generator("scene after the cut"))
    # Both lie in one tensor, of the first one's size.
    size = _canvas(scene.pictures)
    second = crop_centre(resize(after.pictures[:1], cover_size(_canvas(after.pictures), size)), size)
    # What stood near before the cut must not stay after it.
    return torch.cat([scene.pictures[:1], second]), index, None


def _pixels_of(affine: Tensor) -> Tensor:
    """() canvas pixels in one of the output, the mean over the frames of (T, 2, 3)."""
    return affine[..., :2].det().abs().sqrt().mean()


def _gains(num_frames: int, difficulty: Difficulty, draws: Draws) -> tuple[Tensor, Tensor]:
    """Colour factors (T, 3) of the foreground, and of the background with its changing light."""
    generator = draws.generator("gains")
    foreground, background = (random_gain(generator, difficulty.gain) for _ in range(2))
    amplitude = draws.number("light change", difficulty.light_change)
    light = changing_light(num_frames, draws.generator("light"), amplitude)
    return foreground.expand(num_frames, 3), background * light


def _background_affines(
    num_frames: int, size: tuple[int, int], canvas: tuple[int, int], difficulty: Difficulty, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Output → canvas pixel (T, 2, 3) of the background and of a near plane in front of it."""
    moves = not draws.happens("static", difficulty.static_share)
    shakes = moves and draws.happens("shake", difficulty.shake_share)
    path = random_path(
        num_frames,
        draws.generator("background path"),
        speed=moves * draws.number("background speed", difficulty.background_speed),
        pan=moves * draws.number("pan", difficulty.pan),
        shake_std=shakes * difficulty.shake_std,
    )
    matrices = path_matrices(path, size)
    near = path_matrices(nearer(path, draws.number("parallax", difficulty.parallax)), size)
    to_canvas = cover(matrices, size, canvas, difficulty.background_view)
    return (to_canvas @ matrices)[:, :2].float(), (to_canvas @ near)[:, :2].float()


def _foreground_affine(
    num_frames: int, size: tuple[int, int], canvas: tuple[int, int], difficulty: Difficulty, draws: Draws
) -> Tensor:
    """Output → canvas pixel (T, 2, 3) of the foreground."""
    position = torch.rand(2, generator=draws.generator("position")).tolist()
    placed = place(
        size,
        canvas,
        draws.number("foreground scale", difficulty.foreground_scale),
        (position[0], position[1]),
        draws.happens("flip", difficulty.flip_share),
        difficulty.foreground_offset,
    )
    speed = draws.number("foreground speed", difficulty.foreground_speed)
    absent = draws.happens("absence share", difficulty.absence_share)
    if speed == 0 and not absent:
        return placed[:2].float().expand(num_frames, 2, 3)
    path = torch.zeros(num_frames, 5, dtype=torch.float64)
    if speed:
        path = random_path(num_frames, draws.generator("foreground path"), speed=speed, zoom=(0.9, 1.1))
    if absent:
        # What lies under the output moves left as the path goes right.
        left, right = ((edge - placed[0, 2]) / placed[0, 0] for edge in (-0.5, canvas[1] - 0.5))
        low, high = min(left, right), max(left, right)
        way = low - size[1] if draws.happens("absence side", 0.5) else high
        # Further than that, since the sway may bring back some of it, by its shift, zoom and rotation.
        reach = math.copysign(1.2 * abs(way) / min(size) + float(path[:, SHIFT_X].abs().amax()), way)
        path[:, SHIFT_X] += reach * absences(num_frames, draws)
    return stand(placed, path_matrices(path, size), size, canvas)[:, :2].float()


def _compression(codec: str, share: float, low_high: tuple[int, int], none: int, draws: Draws) -> Tensor:
    """How much a codec compresses the clip, () int64."""
    return torch.tensor(draws.integer(f"{codec} quality", *low_high) if draws.happens(codec, share) else none)


def flow_to_previous(person: ForegroundClip, frames: list[int], name: str, required: bool) -> Tensor | None:
    """The source's motion (T, 2, Hs, Ws) from each frame to the one before it in the clip; None where unknown."""
    steps = [frame - before for frame, before in zip(frames[1:], frames, strict=False)]
    if person.flow is None or any(step not in (0, 1) for step in steps):
        if not required:
            return None
        reason = "the source knows none" if person.flow is None else "the clip skips frames or runs backwards"
        raise ValueError(f"true flow of clip {name} is unknown ({reason}): set flow=False or play it frame by frame")
    moves = torch.tensor([0, *steps], dtype=person.flow.dtype)
    return person.flow * moves[:, None, None, None]
