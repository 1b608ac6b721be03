"""Pictures from files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.files.writing import write_file

# By what is in the file, whatever its name says.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
# Pillow's kinds of pixels → those with 8 bits a channel that hold the same.
MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB",
         "RGBA": "RGBA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}  # fmt: skip
ORIENTATION = 0x0112  # EXIF's tag
TURNED = range(2, 9)  # its values for pictures that are stored turned or mirrored
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
# What Pillow raises for damaged files, besides OSError; none says which file.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error,
          OverflowError, MemoryError, Image.DecompressionBombError)  # fmt: skip


def read_image(path: Path, with_alpha: bool = False, turned: bool = True) -> Tensor:
    """A picture (3, H, W) uint8, RGB, turned as its EXIF tag says or not; with_alpha gives (4, H, W), RGBA.

    Raises:
        ValueError: see `read_pixels`; or there is no alpha channel although one is asked for, or it hides nothing.
    """
    pixels = read_pixels(path, turned)
    has_alpha = len(pixels) in (2, 4)
    colours = pixels[: len(pixels) - has_alpha].expand(3, -1, -1)
    if not with_alpha:
        return colours.contiguous()
    if not has_alpha or bool((pixels[-1] == 255).all()):
        state = "its alpha channel is opaque everywhere" if has_alpha else "no alpha channel in it"
        raise ValueError(f"cannot read {path}: {state}; save as RGBA or add <stem>_pha.png")
    return torch.cat([colours, pixels[-1:]])


def read_pixels(path: Path, turned: bool = True) -> Tensor:
    """The channels of a picture (C, H, W) uint8 as they are in its file: grey, grey and alpha, RGB, or RGBA.

    Palettes are looked up, with their alpha; one colour called transparent (tRNS) is no alpha channel. CMYK becomes
    RGB, 16 bits are rounded to 8. `turned`: as the EXIF tag says.

    Raises:
        ValueError: the file is missing, is no picture or only half of one, holds several, or numbers that are
            no colours (32 bits, float).
    """
    if not path.exists():
        raise ValueError(f"cannot read {path}: no such file; check the path")
    try:
        data = path.read_bytes()
        with _opened(BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                _refuse_without_end(data)
            # The further pictures of a phone's JPEG (MPO) are previews and depth of the first.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise ValueError(f"it holds {image.n_frames} pictures, one is wanted")  # type: ignore[attr-defined]
            return channels_first(_eight_bits(image, turned))
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"cannot read {path}: not a picture; replace or remove the file") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or "damaged"
        raise ValueError(f"cannot read {path}: {reason}; replace or remove the file") from None


def channels_first(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures (…, H, W, C) as they are decoded → (…, C, H, W), plane after plane in memory of their own."""
    import cv2  # many times as fast at it as torch and numpy

    *_, height, width, channels = pictures.shape
    planes = np.empty((*pictures.shape[:-3], channels, height, width), pictures.dtype)
    if channels == 1:
        planes[...] = np.moveaxis(pictures, -1, -3)
        return torch.from_numpy(planes)
    for picture, into in zip(
        pictures.reshape(-1, height, width, channels), planes.reshape(-1, channels, height, width), strict=True
    ):
        cv2.split(picture, list(into))
    return torch.from_numpy(planes)


def write_png(path: Path, picture: Tensor) -> None:
    """Write (1, 3 or 4 channels, H, W) uint8, grey, RGB or RGBA; whole or not at all."""
    pixels = picture.permute(1, 2, 0).numpy()
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if len(picture) == 1 else np.ascontiguousarray(pixels)).save(
        buffer, "PNG", compress_level=1
    )
    write_file(path, buffer.getvalue())


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture that is turned as its EXIF tag says; only its head is read.

    Raises:
        ValueError: the file is missing or is no picture.
    """
    try:
        with path.open("rb") as file, _opened(file) as image:
            turned = image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except DAMAGE as error:
        raise ValueError(f"cannot read {path}: not a picture; replace or remove the file") from error


def refuse_other_size(file: Path, pixels: Tensor, first: Path, size: tuple[int, int]) -> None:
    """Check that a frame (C, H, W) has the size (height, width) of its clip's first.

    Raises:
        ValueError: it has not.
    """
    if (found := tuple(pixels.shape[-2:])) != size:
        sizes = f"{found[1]}×{found[0]} pixels, {first} has {size[1]}×{size[0]}"
        raise ValueError(f"{file}: {sizes}; all frames of a clip must have one size")


def _opened(file: BinaryIO) -> Image.Image:
    # From an open file: given a path, Pillow 13 maps turned RGBA TIFFs with height and width exchanged.
    Image.init()  # otherwise it knows only the commonest formats when it is given a list
    return Image.open(file, formats=FORMATS)


def _refuse_without_end(data: bytes) -> None:
    """Check that a JPEG has its end mark; libjpeg takes zeros in place of a lost half for grey pixels."""
    at = 2
    while data[at : at + 2] != b"\xff\xda" and at < len(data):  # segments of the head, up to the first scan
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if data[at] == 0xFF != data[at + 1] else 1
    if b"\xff\xd9" not in data[at:]:
        raise ValueError("its end is missing")


def _eight_bits(image: Image.Image, turned: bool) -> np.ndarray:
    """(H, W, C) uint8 of an opened picture."""
    orientation = image.getexif().get(ORIENTATION, 1)
    image.load()  # Pillow turns TIFF here, and others not
    if image.format == "TIFF" and not turned and orientation in TURNED:
        raise ValueError("a turned TIFF cannot be read unturned; save it without the orientation tag")
    # Of a TIFF; what is turned does not know it any more.
    bits = image.tag_v2.get(258, (16,)) if image.format == "TIFF" else (16,)  # type: ignore[attr-defined]
    if turned and orientation in TURNED:
        image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BITS:
        return _from_sixteen_bits(image, tuple(bits))
    if image.mode not in MODES:
        raise ValueError(f"its pixels are of kind {image.mode}; save it with 8 or 16 bits a channel")
    mode = MODES[image.mode]
    # Of a palette each entry has an alpha of its own; elsewhere one colour is called transparent, which is no channel.
    if image.mode == "P" and "transparency" in image.info:
        mode += "A"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _from_sixteen_bits(image: Image.Image, bits: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(image).astype(np.uint32)
    if bits != (16,):
        raise ValueError(f"it has {bits[0]} bits a channel; save it with 8 or 16")
    if 0 < values.max() < 128:
        return (values > 0).astype(np.uint8)[:, :, None]  # not nothing: masks of 0 and 1 are to be told from empty ones
    return ((values + 128) // 257).astype(np.uint8)[:, :, None]
