"""Convolutional recurrences over the frames of a clip, which the recurrence experiment swaps.

Frames are folded time first, x (T·B, C, h, w), so that those of one time are neighbours in memory. The memory
(B, M, h, w) is that after the frame before; M is the unit's `memory_channels`. It keeps its own precision.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class ConvGRU(nn.Module):
    """Gated recurrent unit with convolutions: h ← (1 − z) h + z tanh(W (x, r h)); M = C.

    Source: RVM, Eq. 2, but z and 1 − z exchanged, as in the published weights.
    """

    def __init__(self, channels: int, in_channels: int | None = None, kernel_size: tuple[int, int] = (3, 3)) -> None:
        """C is `channels`, as many as x has unless told. `gates` gives r, then z; both convolutions see x, then h."""
        super().__init__()
        self.memory_channels = channels
        seen = channels + (channels if in_channels is None else in_channels)
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        self.gates = nn.Conv2d(seen, 2 * channels, kernel_size, padding=padding)
        self.candidate = nn.Conv2d(seen, channels, kernel_size, padding=padding)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (T·B, in_channels, h, w), memory (B, C, h, w) → h for each frame (T·B, C, h, w), the last memory."""
        outputs = []
        for frame in _by_time(x, memory):
            reset, update = torch.sigmoid(self.gates(_join(frame, memory))).to(memory.dtype).chunk(2, dim=1)
            candidate = torch.tanh(self.candidate(_join(frame, reset * memory)))
            memory = torch.lerp(memory, candidate.to(memory.dtype), update)
            outputs.append(memory.to(x.dtype))
        return torch.cat(outputs), memory


class ConvLSTM(nn.Module):
    """Long short-term memory with 3 × 3 convolutions; M = 2 C, the hidden state, then the cell.

    Source: Shi et al., NeurIPS 2015, without the peephole weights.
    """

    def __init__(self, channels: int) -> None:
        """C is `channels`. `gates` gives input, forget, output, candidate; it sees x, then the hidden state."""
        super().__init__()
        self.memory_channels = 2 * channels
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (T·B, C, h, w), memory (B, 2 C, h, w) → hidden for each frame (T·B, C, h, w), the last memory."""
        hidden, cell = memory.chunk(2, dim=1)
        outputs = []
        for frame in _by_time(x, memory):
            take, keep, show, candidate = self.gates(_join(frame, hidden)).to(memory.dtype).chunk(4, dim=1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(candidate)
            hidden = torch.sigmoid(show) * torch.tanh(cell)
            outputs.append(hidden.to(x.dtype))
        return torch.cat(outputs), torch.cat((hidden, cell), dim=1)


class SeparableConvGRU(nn.Module):
    """Two GRUs one after the other, the first with kernels of 1 × 5, the second of 5 × 1; one memory.

    Source: Context Motion Network, section 3, after RAFT.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        """C is `channels`."""
        super().__init__()
        self.horizontal = ConvGRU(channels, in_channels, (1, 5))
        self.vertical = ConvGRU(channels, in_channels, (5, 1))

    def forward(self, clip: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Clip (B, T, in_channels, h, w), memory (B, C, h, w) → h for each frame (B, T, C, h, w), the last memory."""
        outputs = []
        for frame in clip.unbind(dim=1):
            memory = self.horizontal(frame, memory)[1]
            memory = self.vertical(frame, memory)[1]
            outputs.append(memory.to(clip.dtype))
        return torch.stack(outputs, dim=1), memory


class Recurrence(NamedTuple):
    """A unit, and the share of a decoder stage's channels that pass through it."""

    unit: type[ConvGRU] | type[ConvLSTM]
    share: float


RECURRENCES: dict[str, Recurrence | None] = {
    "convgru": Recurrence(ConvGRU, 0.5),
    "convgru_full": Recurrence(ConvGRU, 1.0),
    "convlstm": Recurrence(ConvLSTM, 0.5),
    "none": None,
}


class RecurrentStage(nn.Module):
    """Sends the last channels of a map through a recurrence and leaves the others as they are.

    Source: RVM, section 3.2: half of the channels.
    """

    def __init__(self, channels: int, recurrence: str) -> None:
        """`recurrence` is a key of `RECURRENCES`; with "none" the map passes unchanged and there is no memory."""
        super().__init__()
        kind = RECURRENCES[recurrence]
        self.num_recurrent = 0 if kind is None else int(channels * kind.share)
        self.unit = None if kind is None else kind.unit(self.num_recurrent)

    @property
    def memory_channels(self) -> int:
        """M; 0 without memory."""
        return 0 if self.unit is None else self.unit.memory_channels

    def forward(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (T·B, channels, h, w), memory (B, M, h, w) → the same two."""
        if self.unit is None or memory is None:
            return x, None
        kept, moving = x.split((x.shape[1] - self.num_recurrent, self.num_recurrent), dim=1)
        moving, memory = self.unit(moving, memory)
        return torch.cat((kept, moving), dim=1), memory


def _by_time(x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
    """Maps (T·B, …) as T of them; one alone is not split, so that a graph of one frame serves every number of clips."""
    return (x,) if len(x) == len(memory) else x.split(len(memory))


def _join(frame: Tensor, memory: Tensor) -> Tensor:
    """What a gate sees: the frame's map, then the memory, in the precision of the map."""
    return torch.cat((frame, memory.to(frame.dtype)), dim=1)
