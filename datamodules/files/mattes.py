"""Mattes from files: what of a picture is its alpha stands here alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.files.folders import frame_files
from datamodules.files.pictures import read_pixels, refuse_other_size
from datamodules.files.timeline import main_stream
from datamodules.images import resize
from datamodules.video import probe, read_frames

# Levels of 255 by which the channels of a grey picture may differ: what JPEG and video codecs do to grey.
CHROMA_NOISE = 8
# The largest value of 255 up to which masks are numbers of classes (person is 1 in many, 15 in VOC, 24 in Cityscapes)
# or 12 bits in files of 16.
FAINT = 31
# Channels of RGB to brightness (BT.601, as JPEG and Pillow), in thousandths.
BRIGHTNESS = (299, 587, 114)


def matte_of(pixels: Tensor, where: Path) -> Tensor:
    """The matte (…, 1, H, W) uint8 that pictures are: their alpha channel if they have one, else their grey.

    An alpha channel that is opaque everywhere is none. A channel of colours is never taken for alpha.

    Args:
        pixels: (…, C, H, W) uint8; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        where: the file, for messages.

    Raises:
        ValueError: the picture has colours: its channels differ by more than `CHROMA_NOISE`.
    """
    channels = pixels.shape[-3]
    if channels in (2, 4):
        alpha = pixels[..., -1:, :, :]
        return alpha if bool((alpha < 255).any()) else matte_of(pixels[..., :-1, :, :], where)
    if channels == 1:
        return pixels
    red, green, blue = pixels.unbind(-3)
    # The rule, and looked at sooner than the spread; by numpy, which is many times as fast at it as torch.
    if all(np.array_equal(red.numpy(), each.numpy()) for each in (green, blue)):
        return pixels[..., :1, :, :]
    spread = int((pixels.amax(-3) - pixels.amin(-3)).max())
    if spread > CHROMA_NOISE:
        raise ValueError(
            f"{where}: a matte must be grey or have an alpha channel, this one has colours (channels differ by "
            f"{spread} of 255); save alpha as a grey picture, 0 transparent and 255 opaque"
        )
    weights = torch.tensor(BRIGHTNESS, dtype=torch.int32)[:, None, None]
    return ((pixels * weights).sum(-3, keepdim=True) + 500).div(1000, rounding_mode="floor").to(torch.uint8)


def read_matte(file: Path, turned: bool = True) -> Tensor:
    """The matte (1, H, W) uint8 of a single picture.

    Raises:
        ValueError: see `read_pixels` and `matte_of`; or it holds nothing above `FAINT`.
    """
    matte = matte_of(read_pixels(file, turned), file)
    refuse_faint([matte], file)
    return matte


def read_mattes(path: Path, indices: Sequence[int], height: int, width: int) -> Tensor:
    """The mattes (T, 1, H, W) uint8 of single frames of a video, a file or a folder, scaled to (height, width).

    Raises:
        ValueError: the video is missing or broken, or has not so many frames; a frame is no matte or of another
            size; or no frame of the video holds anything above `FAINT`.
    """
    mattes = _read(path, list(indices), height, width)
    if 0 < int(mattes.max()) <= FAINT:  # the noise of an empty frame, or a mask of 0 and 1: the other frames tell
        refuse_faint((_read(path, [i], height, width) for i in range(probe(path).num_frames)), path)
    return mattes


def refuse_faint(mattes: Iterable[Tensor], where: Path) -> None:
    """Check mattes of one clip, no more of them than it takes.

    Raises:
        ValueError: their largest value is 1 to `FAINT`, of 255.
    """
    largest = 0
    for matte in mattes:
        largest = max(largest, int(matte.max()))
        if largest > FAINT:
            return
    if largest:
        kinds = "masks of 0 and 1 or of class numbers"
        raise ValueError(f"{where}: nothing exceeds {largest} of 255, as in {kinds}; save 255 where the person is")


def doubts(mattes: Tensor) -> str:
    """What makes the mattes (T, 1, H, W) uint8 of a clip look wrong, all of them together; "" if nothing does.

    A matte is taken for inverted if it is opaque along the upper border and the upper halves of the sides, where
    people seldom are, and transparent elsewhere; for a trimap if most of what is neither opaque nor transparent has
    one value in the middle.
    """
    opaque = (mattes >= 128).float()
    height, width = opaque.shape[-2:]
    edge, half = max(min(height, width) // 20, 1), height // 2
    border = torch.zeros(height, width, dtype=torch.bool)
    border[:edge] = border[:half, :edge] = border[:half, -edge:] = True
    if not bool(mattes.any()):
        return "alpha is 0 everywhere: nobody is in it"
    if bool((mattes == 255).all()):
        return "alpha is opaque everywhere: it cuts nobody out"
    soft = mattes[(mattes > 8) & (mattes < 247)]
    if len(soft) > mattes.numel() / 500 and float(((soft >= 126) & (soft <= 130)).float().mean()) > 0.5:
        return "alpha is 0, 128 and 255 with little between: a trimap? Its grey says unknown, not half transparent"
    if float(opaque[..., border].mean()) > 0.85 and float(opaque[..., ~border].mean()) < 0.85:
        return "alpha is opaque along the borders and transparent inside: inverted? 255 is the person, 0 the background"
    return ""


def _read(path: Path, indices: list[int], height: int, width: int) -> Tensor:
    info = probe(path)
    if not path.is_dir():
        _refuse_hidden_alpha(path)
        return matte_of(read_frames(path, indices, height, width), path)
    files, mattes = frame_files(path), {}
    for i in set(indices):
        matte = matte_of(read_pixels(files[i]), files[i])
        refuse_other_size(files[i], matte, files[0], (info.height, info.width))
        mattes[i] = resize(matte[None], (height, width))
    return torch.cat([mattes[i] for i in indices])


@lru_cache(maxsize=4096)
def _refuse_hidden_alpha(path: Path) -> None:
    """Check that a video has no alpha channel, which decoding to RGB would drop.

    Raises:
        ValueError: it has one.
    """
    import av

    with av.open(str(path)) as container:
        stream = main_stream(container)
        pixels = stream.codec_context.format
        # VP8 and VP9 keep alpha in a second stream of their own, which only this tag tells.
        tagged = "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))
    if tagged or (pixels is not None and any(component.is_alpha for component in pixels.components)):
        remedy = f"ffmpeg -i {path.name} -vf alphaextract NAME_pha.mp4"
        raise ValueError(f"{path}: a matte must be a grey video, this one has an alpha channel; write it out: {remedy}")
