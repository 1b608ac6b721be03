"""The types that data flows in: `Layers` before compositing, `MattingBatch` after it, and `SegmentationBatch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor


def _on(device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """Copies to a device; a CUDA device takes pinned memory by itself while the CPU goes on."""
    return partial(Tensor.to, device=device, non_blocking=torch.device(device).type == "cuda")


def _each(self: Any, change: Callable[[Tensor], Tensor], names: Sequence[str] = ()) -> Any:
    """The same batch with its tensors, or those of some names, changed."""
    chosen = names or [item.name for item in fields(self)]
    changed = {name: change(value) for name in chosen if isinstance(value := getattr(self, name), Tensor)}
    return replace(self, **changed)


def _joined(values: Sequence[Any]) -> Any:
    """Tensors along their batch, lists one after the other; None where one of them is, else the common value."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [name for names in values for name in names] if isinstance(values[0], list) else values[0]


def num_bytes(batch: Any) -> int:
    """Bytes of the tensors of a batch, or of a named one of interleaved passes."""
    values = batch if isinstance(batch, tuple) else vars(batch).values()
    tensors = sum(value.nbytes for value in values if isinstance(value, Tensor))
    return tensors + sum(num_bytes(value) for value in values if is_dataclass(value))


PIXELS = ("fgr", "pha", "bgr", "near", "fgr_flow", "texture")
"""Fields of `Layers` with a value a pixel; all others are a few draws."""


@dataclass
class Layers:
    """One clip, or a batch of clips, not yet composited: pixels of the sources and the draws to be applied.

    Written for one clip; a batch has a leading B on every tensor and a list of B strings in the names.
    Pixels are uint8 in [0, 255] (as decoded) or float in [0, 1]. An affine maps output pixel
    coordinates to source pixel coordinates, both with (0, 0) at the centre of the first pixel, so a
    layer is resampled exactly once.

    Attributes:
        fgr: (T, 3, Hs, Ws) foreground colour, straight (not multiplied with alpha).
        pha: (T, 1, Hs, Ws) its alpha.
        bgr: (K, 3, Hb, Wb) background pictures: K = 1 for a still, T for a video, 2 for a still with a cut.
        bgr_index: (T,) int64, which picture of `bgr` frame t shows.
        fgr_affine: (T, 2, 3) output (x, y, 1) → foreground source pixel.
        bgr_affine: (T, 2, 3) output (x, y, 1) → background source pixel.
        fgr_size: (2,) int64, in a batch of clips from sources of different sizes: height and width of this clip's own,
            which is the upper left part of the foreground's pixels; what is beyond is transparent. None: all are.
        bgr_size: the same for `bgr`; what is beyond repeats its border.
        near: (4, Hb, Wb) RGBA picture between background and person (parallax), or None; in a batch (N, 4, Hb, Wb), of
            those clips alone that have one.
        near_clips: in a batch (N,) int64, which clips the near pictures are of; None: of each clip one.
        near_affine: (T, 2, 3) for it, or None; in a batch for every clip.
        fgr_flow: (T, 2, Hs, Ws) float, motion inside the foreground source from frame t to t−1 in
            source pixels (dx, dy), zero at t = 0; None for sources that do not know it.
        texture: (T, 2, Hs, Ws) float, coordinates fixed to the body's surface in units of the source's
            height; camouflage samples the background by them. None for sources that do not know them.
        fgr_defocus: () side of the square that a point of the foreground is spread over, source pixels; 0 in focus.
        bgr_defocus: () the same for the background and the near plane.
        fgr_gain: (T, 3) colour factors of the foreground.
        bgr_gain: (T, 3) colour factors of the background (light change).
        camouflage: () in [0, 1], share of the foreground's colour that is drawn from the background.
        camouflage_shift: (2,) where on the background that colour is taken from, in output pixels.
        noise_std: () standard deviation of the sensor's noise on the composite.
        jpeg_quality: () int64, of the JPEG that the composite goes through; 0 for none.
        h264_crf: () int64, constant rate factor of the H.264 that it goes through; −1 for none.
        seed: () int64, seed of all random fields made while compositing (the noise).
        look: noise, colours, sharpness and blur before blending, a `datamodules.augment.look.Look`; in a batch a list
            of them. None: nothing of it.
        clip: name of the foreground clip.
        scene: name of the background.
        stratum: name of the condition in a test set, "" in training.
        size: (height, width) of the output where it is drawn for each batch; None: as the data module says.
    """

    fgr: Tensor
    pha: Tensor
    bgr: Tensor
    bgr_index: Tensor
    fgr_affine: Tensor
    bgr_affine: Tensor
    fgr_defocus: Tensor
    bgr_defocus: Tensor
    fgr_gain: Tensor
    bgr_gain: Tensor
    camouflage: Tensor
    camouflage_shift: Tensor
    noise_std: Tensor
    jpeg_quality: Tensor
    h264_crf: Tensor
    seed: Tensor
    fgr_size: Tensor | None = None
    bgr_size: Tensor | None = None
    near: Tensor | None = None
    near_clips: Tensor | None = None
    near_affine: Tensor | None = None
    fgr_flow: Tensor | None = None
    texture: Tensor | None = None
    look: Any = None
    clip: Any = ""
    scene: Any = ""
    stratum: Any = ""
    size: tuple[int, int] | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same layers with their pixels on another device; the draws, which are looked at, stay on the CPU."""
        return _each(self, _on(device), PIXELS)

    def pin_memory(self) -> Self:
        """The same layers with their pixels in memory that a device copies from by itself."""
        return _each(self, Tensor.pin_memory, PIXELS)


@dataclass
class MattingBatch:
    """A batch of composited clips and all that is known about them: frames = αF + (1−α)B (+ noise, compression).

    Attributes:
        frames: (B, T, 3, H, W) float in [0, 1].
        alpha: (B, T, 1, H, W) float in [0, 1].
        foreground: (B, T, 3, H, W) float in [0, 1], straight.
        background: (B, T, 3, H, W) float in [0, 1], the true background, also behind the person.
        flow: (B, T, 2, H, W) float, pixels (dx, dy) from frame t to t−1, zero at t = 0, or None.
            The person's motion where alpha ≥ 0.5, the background's elsewhere.
        background_affine: (B, T, 2, 3) background pixel of frame t → the same point in frame t−1
            (identity at t = 0), in output pixel coordinates; the oracle of motion compensation.
            None for the whole batch if one of its backgrounds is a video. Over a cut (`cut_share` > 0) it
            is the camera's step alone: the new picture has no counterpart in frame t−1.
        clip: names of the B foreground clips.
        scene: names of the B backgrounds.
        stratum: names of the B test conditions, "" in training.
        pass_name: which of its recipe's interleaved passes the batch is for; "" without such passes.
    """

    frames: Tensor
    alpha: Tensor
    foreground: Tensor
    background: Tensor
    flow: Tensor | None
    background_affine: Tensor | None
    clip: list[str]
    scene: list[str]
    stratum: list[str]
    pass_name: str = ""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return _each(self, _on(device))

    def pin_memory(self) -> Self:
        """The same batch in memory that a device copies from by itself."""
        return _each(self, Tensor.pin_memory)

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """Clips of one size and length side by side; what is not known of one of them is known of none."""
        if len(batches) == 1:
            return batches[0]
        parts = [[getattr(batch, item.name) for batch in batches] for item in fields(cls)]
        return cls(*(_joined(values) for values in parts))

    def __len__(self) -> int:
        return self.frames.shape[0]


@dataclass
class SegmentationBatch:
    """A batch of pictures or clips, and where people are in them.

    Attributes:
        images: (B, T, 3, H, W) float in [0, 1], RGB; T = 1 for pictures.
        masks: (B, T, 1, H, W) float in [0, 1], 1 is person; soft along outlines, where masks were scaled.
        clip: names of the B pictures or clips.
        pass_name: which of its recipe's interleaved passes the batch is for; "" without such passes.
    """

    images: Tensor
    masks: Tensor
    clip: list[str]
    pass_name: str = ""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return _each(self, _on(device))

    def pin_memory(self) -> Self:
        """The same batch in memory that a device copies from by itself."""
        return _each(self, Tensor.pin_memory)

    def __len__(self) -> int:
        return self.images.shape[0]
