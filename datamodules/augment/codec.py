"""Compression of finished frames: through JPEG and H.264 and back, really encoded, on the CPU.

It takes about 1 ms of one core for a frame of 384 × 384 by JPEG, and 3 by H.264; 0.1 and 0.7 at 96 × 96.
Where workers composite, they compress too; with `device_compositing` the training process does, while the device
waits, and the frames go to the CPU and back.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.video import REPEATABLE

NO_JPEG = 0
NO_H264 = -1


def compress(frames: Tensor, jpeg_quality: Tensor, h264_crf: Tensor) -> Tensor:
    """Frames as they look after compression, JPEG first; a clip with neither keeps its very bits.

    Compressed clips are rounded to 8 bits before and after. On another device a frame may lie the other side of such
    a rounding, and then compress to pixels that differ by a few levels.

    Args:
        frames: (B, T, 3, H, W) float in [0, 1]; overwritten.
        jpeg_quality: (B,) 1 to 100, or `NO_JPEG`.
        h264_crf: (B,) 0 to 51, or `NO_H264`.

    Raises:
        ValueError: H.264 is asked for, and PyAV or its encoder is missing.
    """
    for n, (quality, crf) in enumerate(zip(jpeg_quality.tolist(), h264_crf.tolist(), strict=True)):
        if quality == NO_JPEG and crf == NO_H264:
            continue
        pixels = (frames[n] * 255).round().to(torch.uint8).cpu()
        if quality != NO_JPEG:
            pixels = through_jpeg(pixels, quality)
        if crf != NO_H264:
            pixels = through_h264(pixels, crf)
        frames[n] = pixels.to(frames.device).to(frames.dtype) / 255
    return frames


def through_jpeg(frames: Tensor, quality: int) -> Tensor:
    """Every frame by itself through JPEG with halved colour resolution (4:2:0, what cameras and browsers write).

    Args:
        frames: (T, 3, H, W) uint8, RGB.
        quality: 1 to 100, as in libjpeg.

    Returns:
        (T, 3, H, W) uint8.
    """
    import cv2

    decoded: list[Any] = []  # imdecode gives None for broken data, which these are not
    for image in frames.flip(1).permute(0, 2, 3, 1).contiguous().numpy():  # OpenCV takes BGR
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).flip(1)


def through_h264(frames: Tensor, crf: int) -> Tensor:
    """A clip through one H.264 stream (libx264 veryfast, yuv420p, no B-frames) that begins with its first frame.

    Odd sizes repeat their last row or column while they are encoded.

    Args:
        frames: (T, 3, H, W) uint8, RGB.
        crf: 0 (nearly lossless) to 51.

    Returns:
        (T, 3, H, W) uint8.

    Raises:
        ValueError: PyAV or its encoder is missing.
    """
    height, width = frames.shape[-2:]
    images = np.pad(frames.permute(0, 2, 3, 1).numpy(), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    av, encoder, decoder = _codecs(images.shape[1], images.shape[2], crf)
    packets = []
    for t, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = t
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    shown = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert len(shown) == len(frames)
    decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    return torch.from_numpy(decoded[:, :height, :width]).permute(0, 3, 1, 2)


def _codecs(height: int, width: int, crf: int) -> tuple[Any, Any, Any]:
    """The module `av`, an encoder and a decoder, of one thread each: the same stream on every machine of a kind."""
    try:
        import av

        encoder: Any = av.CodecContext.create("libx264", "w")
    except ImportError as error:
        raise ValueError("H.264 noise needs PyAV, which is not installed: pip install av, or h264_share=0") from error
    except ValueError as error:
        raise ValueError("H.264 noise needs a PyAV with libx264: pip install av, or h264_share=0") from error
    encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.options = {"crf": str(crf), "preset": "veryfast", "bf": "0", **REPEATABLE}
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    return av, encoder, decoder
