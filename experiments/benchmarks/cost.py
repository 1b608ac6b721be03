"""What a net costs: the few figures that every run record holds. `experiments.benchmark` measures more of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from datamodules.testset import TestClip
from experiments.benchmarks.inputs import Stream, no_motion
from experiments.benchmarks.roofline import count_demand
from experiments.benchmarks.timing import interleave
from experiments.inference.streaming import Streaming, run_frames
from lightning_modules.nets.interface import MattingNet, MattingOutput

_WARM_UP_CALLS = 3


@torch.inference_mode()
def measure_cost(
    net: MattingNet,
    frame: Tensor,
    repetitions: int = 20,
    run: Callable[[Tensor, Any], MattingOutput] | None = None,
) -> dict[str, Any]:
    """Parameters, GMACs (neither of a net in a file) and streaming milliseconds per frame, state carried.

    Args:
        net: any net; measured in eval mode on the device it is on.
        frame: (1, 1, 3, H, W) on that device.
        repetitions: timed frames after warm-up; the median counts.
        run: (frame, state) → output, where the net is not simply called with the frame as its background.
    MACs count convolutions and matrix products; resizing, norms and warping count as none. A net that needs the true
    flow is given one of zeros, one that needs the true alpha the frame's red.
    """
    net.eval()
    stream = _stream(net, frame, run)
    stream()
    macs = count_demand(stream).macs
    for _ in range(_WARM_UP_CALLS):
        stream()
    (times,) = interleave([stream], frame.device, seconds=0, min_rounds=repetitions)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return {
        # PyTorch does not see what is computed by a net that has none.
        **({"parameters": parameters, "gmacs_per_frame": macs / 1e9} if parameters else {}),
        "milliseconds_per_frame": times.median,
        "frame": f"{frame.shape[-2]}×{frame.shape[-1]}",
    }


def streaming_cost(net: MattingNet, clip: TestClip, how: Streaming, device: torch.device) -> dict[str, Any]:
    """`measure_cost` of a net, on `device`, as it is run over a test clip."""
    batch = clip.read(0, 1).to(device)
    plate = batch.background if how.plate != "none" and clip.has_background else None
    repetitions = 20 if batch.frames[0, 0, 0].numel() <= 512**2 or device.type == "cuda" else 3

    def run(frame: Tensor, state: Any) -> MattingOutput:
        return run_frames(net, frame, state, plate, how, batch.flow, batch.alpha)

    return measure_cost(net, batch.frames, repetitions, run)


@torch.inference_mode()
def count_gmacs(net: MattingNet, frame: Tensor, downsample_ratio: float | None = None) -> float:
    """Billions of multiply-adds of a frame (1, 1, 3, H, W) that is not the first of its clip."""

    def run(frame: Tensor, state: Any) -> MattingOutput:
        return net.matte(frame, state, frame, no_motion(frame), downsample_ratio, true_alpha=frame[:, :, :1])

    stream = _stream(net, frame, run)
    stream()
    return count_demand(stream).macs / 1e9


def _stream(net: MattingNet, frame: Tensor, run: Callable[[Tensor, Any], MattingOutput] | None) -> Stream:
    still = no_motion(frame)

    def step(frame: Tensor, state: Any) -> tuple[Tensor, Any]:
        output = net.matte(frame, state, frame, still, true_alpha=frame[:, :, :1]) if run is None else run(frame, state)
        return output.alpha, output.state

    return Stream(step, [frame])
