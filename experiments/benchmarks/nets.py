"""Speed of every net by size, precision and mode: latency of a stream, throughput, memory, difference from float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.benchmarks.inputs import MovingPortrait, Size, Step, Stream, no_motion
from experiments.benchmarks.memory import peak_bytes
from experiments.benchmarks.output import Columns
from experiments.benchmarks.roofline import Ceilings, Demand, count_demand
from experiments.benchmarks.subjects import Subject
from experiments.benchmarks.timing import Times, WarmUp, interleave, load_average, time_call, warm_up
from experiments.benchmarks.variants import make_variant, precision_context, wants_channels_last
from experiments.command.messages import one_line
from lightning_modules.nets.interface import MattingNet

NET_COLUMNS: Columns = {
    "net": ("net", ""),
    "size": ("size@ratio", ""),
    "parameters": ("parameters", ",.0f"),
    "paper_millions": ("in the paper, M", ".3f"),
    "weights_mb": ("weights, MB", ".1f"),
    "gmacs": ("GMACs a frame", ".2f"),
    "moved_gb": ("GB moved a frame", ".2f"),
    "refined_share": ("frame refined", ".0%"),
}
SPEED_COLUMNS: Columns = {
    "net": ("net", ""),
    "size": ("size@ratio", ""),
    "precision": ("precision", ""),
    "mode": ("mode", ""),
    "median_ms": ("median ms", ".1f"),
    "p95_ms": ("p95", ".1f"),
    "p99_ms": ("p99", ".1f"),
    "p99_ratio": ("p99 / median", ".2f"),
    "fps": ("frames/s", ".1f"),
    "cpu_ms": ("CPU ms", ".1f"),
    "throughput_fps": ("in chunks, frames/s", ".1f"),
    "first_frame_ms": ("first frame ms", ".1f"),
    "start_s": ("start s", ".1f"),
    "peak_mb": ("peak MB", ".0f"),
    "max_difference": ("largest difference", ".1e"),
    "mad_difference": ("MAD difference ×1e3", ".3f"),
    "compute_share": ("of matmul rate", ".0%"),
    "bandwidth_share": ("of copy rate", ".0%"),
    "roofline_share": ("of roofline", ".0%"),
    "calls": ("calls", ".0f"),
    "settled": ("settled", ""),
    "load": ("load", ".1f"),
    "note": ("note", ""),
}
LEGEND = (
    "Latency: batch 1, one frame a call, state carried, frames and mattes on the device; the variants of a net and "
    "size take turns frame by frame. CPU ms: of all threads together. First frame: of a new clip, when all is "
    "compiled. Start: what the very first calls take longer (compiling, tracing, autotuning). Peak: weights and "
    "tensors held at once, without what a CUDA graph keeps for itself. Differences: of mattes from float32 in eager "
    "mode over one clip; with untrained weights they are far larger than with trained ones. Settled: whether the "
    "warm-up's last blocks of calls agreed within 2 %. Load: processes that wanted a core; above the number of cores, "
    "times are too long."
)
# Frames that a stream is given in turn: as many as hold about this many pixels, between 2 and 16.
_PIXELS_IN_TURN = 16 * 512**2
# Calls after which nothing is compiled any more: without a state, with one, and once again.
_FIRST_CALLS = 3


@dataclass
class Settings:
    """How nets are measured.

    Attributes:
        device: where.
        precisions: keys of `PRECISIONS`.
        modes: keys of `MODES`.
        seconds: of timing for each combination; half as much for its warm-up.
        clip_frames: over which mattes are compared with those of float32 in eager mode.
        chunk: frames a call in the throughput measurement.
        batch: clips a call there.
    """

    device: torch.device
    precisions: Sequence[str]
    modes: Sequence[str]
    seconds: float
    clip_frames: int
    chunk: int = 4
    batch: int = 1


@dataclass
class Variant:
    """One combination while it is measured: the row of its table, and how a frame goes through it."""

    precision: str
    mode: str
    row: dict[str, Any]
    step: Step
    stream: Stream
    start_ms: float
    warm: WarmUp = field(default_factory=lambda: WarmUp(0, False))


def benchmark_nets(
    subjects: Sequence[Subject],
    sizes: Sequence[Size],
    settings: Settings,
    ceilings: Ceilings,
    progress: Callable[[str], None],
) -> Iterator[pd.DataFrame]:
    """A table per net and size, as they are finished; one row a precision and mode.

    A row that could not be measured has its reason in `note` and no times.
    """
    for subject, size in product(subjects, sizes):
        with torch.inference_mode():
            yield pd.DataFrame(_measure(subject, size, settings, ceilings, progress))
        torch._dynamo.reset()  # its limit of compiled variants is one for all sizes


def count_steps(subjects: Sequence[Subject], sizes: Sequence[Any], settings: Settings) -> int:
    """How often `benchmark_nets` calls its `progress`."""
    return len(subjects) * len(sizes) * (len(settings.precisions) * len(settings.modes) + len(_STAGES))


_STAGES = ("start", "timing", "throughput", "differences")


def _measure(
    subject: Subject, size: Size, settings: Settings, ceilings: Ceilings, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    progress(f"{subject.label} {size}: start")
    net = subject.build().to(settings.device)
    clip = MovingPortrait(size.height, size.width, settings.device)
    in_turn = min(16, max(2, _PIXELS_IN_TURN // (size.height * size.width)))
    frames = [clip.frame(t)[:, None] for t in range(in_turn)]
    plate = clip.plate[:, None]
    common = {"net": subject.label, "name": subject.name, "size": str(size), **describe_net(net, subject)}
    rows, variants = [], []
    for precision, mode in product(settings.precisions, settings.modes):
        progress(f"{subject.label} {size}: {precision} {mode}")
        row = common | {"precision": precision, "mode": mode, "note": ""}
        rows.append(row)
        try:
            variants.append(_prepare(net, size.ratio, plate, frames, row, settings.device))
        except (RuntimeError, TypeError, ValueError) as error:  # of compilers, tracers, full memories, ONNX files
            row["note"] = f"{type(error).__name__}: {one_line(error)}"[:200]
    progress(f"{subject.label} {size}: timing")
    for variant, times in zip(variants, _time(variants, settings), strict=True):
        _fill_times(variant, times)
        _fill_first_frame(variant, times.median, settings.device)
        given = variant.stream.state  # kept: the call would free it
        variant.row["peak_mb"] = peak_bytes(variant.stream, settings.device) / 1e6 + variant.row["weights_mb"]
        del given
    progress(f"{subject.label} {size}: throughput")
    _fill_throughput(variants, frames, settings)
    progress(f"{subject.label} {size}: differences")
    reference = make_step(net, plate, size.ratio, "fp32")
    _fill_differences(reference, variants, clip, settings.clip_frames)
    if common["parameters"]:  # of a net that has none PyTorch does not see what is computed
        _fill_demand(net, variants, size.ratio, plate, frames, ceilings)
    return rows


def describe_net(net: MattingNet, subject: Subject) -> dict[str, Any]:
    """Parameters, those of the paper (in millions), and megabytes; a net in a file has no parameters."""
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()) or None,
        "paper_millions": subject.paper_parameters,
        "weights_mb": net.num_bytes / 1e6,
    }


def make_step(net: MattingNet, plate: Tensor, ratio: float, precision: str) -> Step:
    """Frames (B, T, 3, H, W) through a net at a ratio and precision, with its plate (1, 1, 3, H, W)."""

    def step(frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        background = plate.expand(len(frames), -1, -1, -1, -1)
        with precision_context(precision, frames.device):
            output = net.matte(frames, state, background, no_motion(frames), ratio)
        return output.alpha, output.state

    return step


def _prepare(
    net: MattingNet, ratio: float, plate: Tensor, frames: Sequence[Tensor], row: dict[str, Any], device: torch.device
) -> Variant:
    """The variant that a row names, after its first calls: here it compiles, or fails to."""
    variant = make_variant(net, row["mode"])
    step = make_step(variant, plate, ratio, row["precision"])
    if wants_channels_last(row["mode"]):
        frames = [channels_last(some) for some in frames]
    stream = Stream(step, frames)
    start_ms = sum(time_call(stream, device)[0] for _ in range(_FIRST_CALLS))
    return Variant(row["precision"], row["mode"], row, step, stream, start_ms)


def channels_last(frames: Tensor) -> Tensor:
    """Frames (B, T, C, H, W) with channels last in memory."""
    # By permuting: views of a channels-last tensor get odd strides along sides of 1, which slow oneDNN down 8 times.
    return frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _time(variants: Sequence[Variant], settings: Settings) -> list[Times]:
    for variant in variants:
        variant.warm = warm_up(variant.stream, settings.device, settings.seconds / 2)
    return interleave(
        [variant.stream for variant in variants], settings.device, settings.seconds * max(1, len(variants))
    )


def _fill_times(variant: Variant, times: Times) -> None:
    variant.row |= {
        "warm_up_calls": variant.warm.calls,
        "settled": variant.warm.settled,
        "calls": len(times.wall),
        "median_ms": times.median,
        "p95_ms": times.quantile(0.95),
        "p99_ms": times.quantile(0.99),
        "p99_ratio": times.quantile(0.99) / times.median,
        "worst_ms": times.quantile(1),
        "best_ms": times.quantile(0),
        "cpu_ms": times.median_cpu,
        "fps": 1000 / times.median,
        "start_s": max(0.0, variant.start_ms - _FIRST_CALLS * times.median) / 1e3,
        "load": load_average(),
    }


def _fill_first_frame(variant: Variant, median_ms: float, device: torch.device) -> None:
    """The first frame of a clip, when all is compiled: the state has to be made."""
    firsts = []
    for _ in range(3 if median_ms > 100 else 9):
        variant.stream.state = None
        firsts.append(time_call(variant.stream, device)[0])
        variant.stream()
    variant.row["first_frame_ms"] = sorted(firsts)[len(firsts) // 2]


def _fill_throughput(variants: Sequence[Variant], frames: Sequence[Tensor], settings: Settings) -> None:
    """Frames per second of all clips together, in chunks; within a call nothing waits for the device."""
    turns = [frames[t % len(frames)] for t in range(settings.chunk)]
    chunk = torch.cat(turns, dim=1).expand(settings.batch, -1, -1, -1, -1)
    streams = []
    for variant in variants:
        given = channels_last(chunk) if wants_channels_last(variant.mode) else chunk.contiguous()
        streams.append(Stream(variant.step, [given]))
        streams[-1]()
    every = interleave(streams, settings.device, settings.seconds * len(variants) / 4)
    for variant, times in zip(variants, every, strict=True):
        variant.row["throughput_fps"] = 1000 * settings.chunk * settings.batch / times.median


def _fill_differences(reference: Step, variants: Sequence[Variant], clip: MovingPortrait, num_frames: int) -> None:
    """Mattes against float32 in eager mode over one clip: largest, mean (MAD × 1e3) and its change (dtSSD × 1e2)."""
    states: list[Any] = [None] * (len(variants) + 1)
    before: list[Tensor | None] = [None] * len(variants)
    largest, mean, change = ([0.0] * len(variants) for _ in range(3))
    for t in range(num_frames):
        frame = clip.frame(t)[:, None]
        true, states[-1] = reference(frame, states[-1])
        for i, variant in enumerate(variants):
            alpha, states[i] = variant.step(frame, states[i])
            error = alpha.float() - true.float()
            largest[i] = max(largest[i], float(error.abs().max()))
            mean[i] += float(error.abs().mean()) / num_frames
            last = before[i]
            if last is not None:
                change[i] += float((error - last).square().mean().sqrt()) / (num_frames - 1)
            before[i] = error
    for variant, most, mad, dtssd in zip(variants, largest, mean, change, strict=True):
        variant.row |= {"max_difference": most, "mad_difference": 1e3 * mad, "dtssd_difference": 1e2 * dtssd}


def _fill_demand(
    net: MattingNet,
    variants: Sequence[Variant],
    ratio: float,
    plate: Tensor,
    frames: Sequence[Tensor],
    ceilings: Ceilings,
) -> None:
    """What a frame asks for at each precision, and which share of the measured ceilings each variant reaches."""
    demands: dict[str, Demand] = {}
    for variant in variants:
        precision, row = variant.precision, variant.row
        if precision not in demands:
            stream = Stream(make_step(net, plate, ratio, precision), frames)
            stream()
            demands[precision] = count_demand(stream)
        demand, seconds = demands[precision], row["median_ms"] / 1e3
        row |= {
            "gmacs": demand.macs / 1e9,
            "moved_gb": demand.bytes / 1e9,
            "compute_share": 2 * demand.macs / seconds / ceilings.flops_per_second[precision],
            "bandwidth_share": demand.bytes / seconds / ceilings.bytes_per_second,
            "roofline_share": ceilings.bound_ms(demand, precision) / row["median_ms"],
        }
    _fill_refined_share(net, variants, ratio, plate, frames[0])


def _fill_refined_share(
    net: MattingNet, variants: Sequence[Variant], ratio: float, plate: Tensor, frame: Tensor
) -> None:
    """How much of the frame a net refines whose cost depends on the content; NaN for others."""
    share = net.matte(frame, None, plate, no_motion(frame), ratio).aux.get("refined_share")
    for variant in variants:
        variant.row["refined_share"] = float("nan") if share is None else float(share.float().mean())
