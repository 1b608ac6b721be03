"""A file of a net called beside the net itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.inference.exported_files import Call, states_of
from lightning_modules.nets.blocks import scale
from lightning_modules.nets.frame_graphs import FrameGraph

# Clips, height, width and ratio at which a file is compared with its net: one is a square, the last odd.
SIZES = ((1, 96, 160, 0.5), (2, 128, 128, 0.4), (1, 101, 131, 0.6))
NUM_FRAMES = 5
# Of a value in [0, 1]; and the share of values that may be further apart, where a threshold falls the other way.
TOLERANCE, SHARE = 1e-3, 1e-3


class Difference(NamedTuple):
    """Of a file from its net at one size, over all frames: the largest, and the share of values above TOLERANCE."""

    largest: float
    share: float


def check(call: Call, graph: FrameGraph, by_ratio: bool) -> None:
    """Compare a file with its net over frames at SIZES, each with the states that it gave itself, and tell it.

    Raises:
        ValueError: it differs by more than is allowed.
    """
    for clips, height, width, ratio in SIZES:
        size = f"{clips} × {height} × {width}" + (f" at ratio {ratio}" if graph.has_ratio else "")
        try:
            found = difference(call, graph, clips, (height, width), ratio, by_ratio)
        except Exception as error:  # whatever its runtime raises
            raise ValueError(f"the file cannot be run on frames of {size}; it is not kept") from error
        print(f"check     {size}, {NUM_FRAMES} frames: largest difference {found.largest:.1e}", end="")
        print(f", {found.share:.2%} above {TOLERANCE}" if found.share else "", flush=True)
        if not found.share <= SHARE:
            raise ValueError(
                f"the file is not kept: on frames of {size} {found.share:.2%} of its values differ from the net's by "
                f"more than {TOLERANCE}, {SHARE:.1%} may"
            )


@torch.no_grad()
def difference(
    call: Call, graph: FrameGraph, clips: int, size: tuple[int, int], ratio: float, by_ratio: bool
) -> Difference:
    """Of a file from its net over the frames of some clips.

    Args:
        call: the file.
        graph: the net.
        clips: B.
        size: (height, width).
        ratio: for nets that have one.
        by_ratio: whether the file takes the ratio itself and states of ones at first, not the reduced frame and zeros
            of the right size.
    """
    draw = torch.Generator().manual_seed(0)
    plate = torch.rand(clips, 3, *size, generator=draw)
    state: Any = None
    carried: Sequence[Tensor] | None = None
    largest, beyond, count = 0.0, 0, 0
    for _ in range(NUM_FRAMES):
        # A square of noise before the plate: nets see edges and a background that stays.
        frame = plate.clone()
        frame[..., size[0] // 4 :, size[1] // 4 : -size[1] // 4] = torch.rand(clips, 3, 1, 1, generator=draw)
        output = graph.of_net(frame, plate if graph.has_plate else None, state, ratio)
        state = output.state
        if carried is None:
            empty = (torch.zeros_like(each) for each in states_of(state))
            carried = [each.new_zeros((1,) * each.ndim) if by_ratio else each for each in empty]
        last = [torch.tensor([ratio]) if by_ratio else scale(frame, ratio)] if graph.has_ratio else []
        given = dict(zip(graph.inputs, [frame, *[plate] * graph.has_plate, *carried, *last], strict=True))
        found = call(given)
        carried = [found[name] for name in graph.state_outputs]
        expected = {"pha": output.alpha, "fgr": output.foreground}
        for name in ("pha", "fgr"):
            if (of_net := expected[name]) is not None:
                away = (found[name] - of_net[:, 0]).abs().nan_to_num(nan=1.0)
                largest = max(largest, away.max().item())
                beyond, count = beyond + int((away > TOLERANCE).sum()), count + away.numel()
    return Difference(largest, beyond / count)
