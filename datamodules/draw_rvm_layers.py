"""All draws of one training sample as RVM draws it; `draw_layers` draws by the ranges of a difficulty."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.augment.codec import NO_H264, NO_JPEG
from datamodules.augment.rvm import RVMAugmentation, draw_affines, draw_frames, draw_look, draw_pause
from datamodules.batch import Layers
from datamodules.dice import Draws, seed_of
from datamodules.draw_layers import flow_to_previous
from datamodules.sources.interface import BackgroundSource, ForegroundSource, VideoBackgrounds


def draw_rvm_layers(
    foregrounds: ForegroundSource,
    backgrounds: BackgroundSource,
    clip: int,
    scene: int,
    num_frames: int,
    size: tuple[int, int],
    augmentation: RVMAugmentation,
    draws: Draws,
    flow: bool = False,
) -> Layers:
    """One sample before compositing, a pure function of its arguments, which are those of `draw_layers`.

    Raises:
        ValueError: flow=True and the motion is unknown, as it is of clips that skip frames or run backwards.
    """
    shown = draw_pause(num_frames, augmentation.pause_share, draws)
    num_source_frames = foregrounds.num_frames(clip)
    frames = draw_frames(num_source_frames, num_frames, augmentation, draws, "foreground")
    frames = [frames[t] for t in shown]
    person = foregrounds.read(clip, frames)
    pictures, bgr_index, near = _behind(backgrounds, scene, shown, augmentation, draws)
    person_canvas, scene_canvas = ((pixels.shape[-2], pixels.shape[-1]) for pixels in (person.fgr, pictures))
    still = num_source_frames == 1
    affines = draw_affines(augmentation, num_frames, size, person_canvas, scene_canvas, still, draws)
    fgr_affine, bgr_affine = (affine[shown] for affine in affines)
    none = torch.tensor(0.0)
    return Layers(
        fgr=person.fgr,
        pha=person.pha,
        bgr=pictures,
        bgr_index=bgr_index,
        fgr_affine=fgr_affine,
        bgr_affine=bgr_affine,
        fgr_defocus=none,
        bgr_defocus=none,
        fgr_gain=torch.ones(num_frames, 3),
        bgr_gain=torch.ones(num_frames, 3),
        camouflage=none,
        camouflage_shift=torch.zeros(2),
        noise_std=none,
        jpeg_quality=torch.tensor(NO_JPEG),
        h264_crf=torch.tensor(NO_H264),
        seed=torch.tensor(seed_of(*draws.key, "noise field")),
        near=near,
        near_affine=bgr_affine,  # a picture moves flat: what stands near in it moves with the rest
        fgr_flow=flow_to_previous(person, frames, foregrounds.name(clip), required=True) if flow else None,
        look=draw_look(augmentation, shown, draws),
        clip=foregrounds.name(clip),
        scene=backgrounds.name(scene),
    )


def _behind(
    backgrounds: BackgroundSource, number: int, shown: list[int], augmentation: RVMAugmentation, draws: Draws
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Background pictures (K, 3, Hb, Wb), which of them each frame shows (T,), and the near plane (4, Hb, Wb)."""
    if isinstance(backgrounds, VideoBackgrounds) and backgrounds.is_video(number):
        # At least 3 frames, because two pictures are a still with a cut.
        count = max(len(shown), 3)
        frames = draw_frames(backgrounds.num_frames(number), count, augmentation, draws, "background")
        return backgrounds.read_frames(number, frames), torch.tensor(shown), None
    scene = backgrounds.read(number, 1, draws.generator("scene"))
    return scene.pictures[:1], torch.zeros(len(shown), dtype=torch.long), scene.near
