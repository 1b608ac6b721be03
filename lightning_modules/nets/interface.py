"""The one interface of all matting nets: frames in, alpha and state out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class MattingOutput:
    """What a net gives for a clip or a chunk of one.

    Attributes:
        alpha: (B, T, 1, H, W) in [0, 1], the size of the frames.
        foreground: (B, T, 3, H, W) in [0, 1], or None for a net that predicts none.
        state: what the next chunk of the same clip is started with; None for a net without memory.
        aux: named extras of one net (semantic, detail, flaw_map, …); each net's docstring lists its own. Of all nets
            alike: `flow` (B, T, 2, h, w), the backward flow that was used, in pixels of h × w; tests score it.
    """

    alpha: Tensor
    foreground: Tensor | None = None
    state: Any = None
    aux: dict[str, Any] = field(default_factory=dict)


class MattingNet(nn.Module):
    """Base of all nets: the call, how weights start, and what `torch.compile` compiles.

    A net computes one frame in `step`; `forward` runs it over the clip. A new clip starts with
    `state=None`. In eval mode a clip gives the same result whole and in chunks with the state
    carried over. Each net normalises its own input and pads to the size it needs.

    Attributes:
        multiple: frames up to the net's working size need no padding if this divides their sides.
        needs_flow: the call wants the true flow too, `flow=` (B, T, 2, H, W): bounds that no estimate can pass.
    """

    multiple: int = 32
    needs_flow: bool = False
    _compiled_step: Callable[..., Any] | None = None

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """Matte a clip.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1]; H, W ≥ 32.
            state: `MattingOutput.state` of the chunk before, or None at the start of a clip.
            background: (B, 1 or T, 3, H, W) in [0, 1], for nets that take a background plate.

        Raises:
            ValueError: frames are not (B, T, 3, H, W) or smaller than 32 pixels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def step(self, *inputs: Any) -> Any:
        """One frame (or a folded batch of frames) through the net; the unit that is compiled."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def run_step(self, *inputs: Any) -> Any:
        """`step`, compiled if `compile_step` was called."""
        if self._compiled_step is None:
            return self.step(*inputs)
        return self._compiled_step(self, *inputs)

    def compile_step(self, **options: Any) -> None:
        """Compile `step` with `torch.compile(**options)`.

        The step and not the clip: one graph serves every clip length, and names in the state dict stay.
        """
        # The plain function of the class, so that a deep copy of the net does not run the original's weights.
        self._compiled_step = torch.compile(type(self).step, **options)

    def initialise(self, module: nn.Module) -> None:
        """Set the start weights of one leaf module, as the paper of this net does."""
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()

    def load_pretrained(self) -> None:
        """Take weights that others published (downloads them once); by default ImageNet's for the encoder."""
        encoder: Any = self.get_submodule("backbone")
        encoder.load_imagenet()

    def reset_parameters(self, seed: int) -> None:
        """Draw all start weights anew, each module's from `(seed, its name)` alone.

        Two variants of a net (with and without a part) so start from the same weights wherever they
        share a module of the same name and shape: their comparison is paired.
        """
        with torch.random.fork_rng(devices=[]):
            for name, module in self.named_modules():
                if next(module.parameters(recurse=False), None) is not None:
                    torch.manual_seed(_mix(seed, name))
                    self.initialise(module)


def _mix(seed: int, name: str) -> int:
    """FNV-1a over seed and name: the same on every machine, unlike `hash`."""
    value = 0xCBF29CE484222325
    for byte in f"{seed}/{name}".encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value >> 1


def check_frames(frames: Tensor) -> None:
    """Raise ValueError unless `frames` is (B, T, 3, H, W) with H, W ≥ 32."""
    if frames.ndim != 5 or frames.shape[2] != 3 or frames.shape[1] < 1:
        raise ValueError(f"frames must be (B, T, 3, H, W), got {tuple(frames.shape)}")
    if min(frames.shape[-2:]) < 32:
        raise ValueError(f"frames must be at least 32 pixels high and wide, got {tuple(frames.shape[-2:])}")
