"""Scoring a net on test clips: one row a clip and frame, and pictures of a few clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.batch import MattingBatch
from experiments.records import write_file
from lightning_modules.metrics.error import mad, mse
from lightning_modules.metrics.temporal import dtssd
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet import one_frame_delay

PANEL_FRAMES = 5


@torch.inference_mode()
def evaluate(
    net: MattingNet,
    batches: Iterable[MattingBatch],
    device: torch.device,
    decoder: nn.Module | None = None,
    media: Path | None = None,
    progress: Callable[[int], None] | None = None,
    smooth: bool = False,
) -> pd.DataFrame:
    """Score whole clips, each from an empty state.

    Args:
        net: in any mode; it is scored in eval mode and left in the mode it had.
        batches: test clips.
        device: where to compute.
        decoder: decodes restored background features to an image, for its PSNR and its picture.
        media: folder for strips of the first clip of each stratum, or None.
        progress: called with the number of clips done.
        smooth: MODNet's one-frame delay on the mattes before they are scored.

    Returns:
        Columns clip, scene, stratum, frame, mad, mse, dtssd (raw), and for nets that have them coverage
        (share of cells with restored background), background_psnr (dB, over those cells), refined_share.
    """
    was_training = net.training
    net.to(device).eval()
    rows: list[dict[str, Any]] = []
    pictured: set[str] = set()
    for batch in batches:
        batch = batch.to(device)
        output = net(batch.frames, background=batch.background)
        if smooth:
            output.alpha = one_frame_delay(output.alpha)
        restored = _restored_background(output, decoder)
        rows += _rows(batch, output, restored)
        if media is not None:
            for index in range(len(batch)):
                if batch.stratum[index] not in pictured:
                    pictured.add(batch.stratum[index])
                    _write_strips(media, batch, output, restored, index)
        if progress is not None:
            progress(len(batch))
    net.train(was_training)
    return pd.DataFrame(rows)


def evaluate_constant(batches: Iterable[MattingBatch], alpha: float) -> pd.DataFrame:
    """The same table for a matte that is `alpha` everywhere: what knowing nothing scores."""
    rows: list[dict[str, Any]] = []
    for batch in batches:
        rows += _rows(batch, MattingOutput(torch.full_like(batch.alpha, alpha)), None)
    return pd.DataFrame(rows)


def _rows(batch: MattingBatch, output: MattingOutput, restored: Tensor | None) -> list[dict[str, Any]]:
    alpha = output.alpha.float().clamp(0, 1)
    columns = {"mad": mad(alpha, batch.alpha), "mse": mse(alpha, batch.alpha), "dtssd": dtssd(alpha, batch.alpha)}
    mask = output.aux.get("background_mask")
    if mask is not None:
        columns["coverage"] = mask.float().mean(dim=(2, 3, 4))
        if restored is not None:
            truth = _area(batch.background, restored.shape[-2:])
            error = ((restored - truth).square() * mask).sum(dim=(2, 3, 4)) / (3 * mask.sum(dim=(2, 3, 4)))
            columns["background_psnr"] = -10 * error.clamp(min=1e-10).log10()
    if "refined_share" in output.aux:
        columns["refined_share"] = output.aux["refined_share"]
    values = {name: column.double().cpu().numpy() for name, column in columns.items()}
    num_clips, num_frames = batch.frames.shape[:2]
    return [
        {"clip": batch.clip[b], "scene": batch.scene[b], "stratum": batch.stratum[b], "frame": t}
        | {name: column[b, t] for name, column in values.items()}
        for b in range(num_clips)
        for t in range(num_frames)
    ]


def _restored_background(output: MattingOutput, decoder: nn.Module | None) -> Tensor | None:
    """(B, T, 3, h, w) in [0, 1], decoded from the state after each frame."""
    feature = output.aux.get("background_feature")
    if feature is None or decoder is None:
        return None
    decoder.to(feature.device).eval()
    decoded = decoder(feature.flatten(0, 1)).unflatten(0, feature.shape[:2])
    return ((decoded.float() + 1) / 2).clamp(0, 1)


def _area(clip: Tensor, size: Any) -> Tensor:
    return F.interpolate(clip.flatten(0, 1).float(), size, mode="area").unflatten(0, clip.shape[:2])


def _write_strips(media: Path, batch: MattingBatch, output: MattingOutput, restored: Tensor | None, index: int) -> None:
    num_frames = batch.frames.shape[1]
    shown = np.linspace(0, num_frames - 1, min(PANEL_FRAMES, num_frames)).round().astype(int).tolist()
    strips = {
        "frame": batch.frames[index],
        "alpha_true": batch.alpha[index],
        "alpha_pred": output.alpha[index].float(),
    }
    if "background_mask" in output.aux:
        strips["coverage"] = output.aux["background_mask"][index].float()
        strips["background_true"] = batch.background[index]
        if restored is not None:
            strips["background_restored"] = restored[index] * output.aux["background_mask"][index]
    stem = f"{batch.stratum[index]}__{batch.clip[index]}".replace("/", "-")
    for name, clip in strips.items():
        write_picture(media / f"{stem}__{name}.png", strip(clip[shown], batch.frames.shape[-2:]))


def strip(frames: Tensor, size: Any) -> Tensor:
    """Frames (T, C, h, w) in [0, 1] side by side at one size: (3, H, T·W)."""
    if frames.shape[-2:] != torch.Size(size):
        frames = F.interpolate(frames, size, mode="nearest")
    return frames.expand(-1, 3, -1, -1).permute(1, 2, 0, 3).flatten(2)


def write_picture(path: Path, picture: Tensor) -> None:
    """Write (3, H, W) in [0, 1] with 8 bits, in the format of the file's name (.png, .jpg), atomically."""
    import cv2

    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    _, data = cv2.imencode(path.suffix, pixels[..., ::-1])
    write_file(path, data.tobytes())


@torch.inference_mode()
def measure_cost(net: MattingNet, frame: Tensor, repetitions: int = 20) -> dict[str, Any]:
    """Parameters, GMACs and streaming milliseconds per frame, state carried.

    Args:
        net: any net; measured in eval mode on the device it is on.
        frame: (1, 1, 3, H, W) on that device.
        repetitions: timed frames after warm-up; the median counts.
    MACs count convolutions and matrix products; resizing, norms and warping count as none.
    """
    net.eval()
    state = net(frame, background=frame).state
    with FlopCounterMode(display=False) as counter:
        net(frame, state=state, background=frame)
    times = []
    for _ in range(repetitions + 3):
        begin = time.perf_counter()
        state = net(frame, state=state, background=frame).state
        if frame.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "gmacs_per_frame": counter.get_total_flops() / 2e9,
        "milliseconds_per_frame": 1e3 * float(np.median(times[3:])),
        "frame": f"{frame.shape[-2]}×{frame.shape[-1]}",
    }
