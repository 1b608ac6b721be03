"""The one interface of all matting nets: frames in, alpha and state out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.nets.reduction import UPSAMPLERS, enlarged, reduced
from lightning_modules.nets.warp import resize_flow
from lightning_modules.options import check_choice


@dataclass
class MattingOutput:
    """What a net gives for a clip or a chunk of one.

    Attributes:
        alpha: (B, T, 1, H, W) in [0, 1], the size of the frames; of the weights' type, under autocast too.
        foreground: (B, T, 3, H, W) in [0, 1], or None for a net that predicts none.
        state: what the next chunk of the same clip is started with; None for a net without memory.
        aux: named extras of one net (semantic, detail, flaw_map, …); each net's docstring lists its own. Of all nets
            alike: `flow` (B, T, 2, h, w), the backward flow that was used, in pixels of h × w; tests score it.
    """

    alpha: Tensor
    foreground: Tensor | None = None
    state: Any = None
    aux: dict[str, Any] = field(default_factory=dict)


# So that torch.export, and whatever maps over nested tensors, sees the tensors in it.
torch.export.register_dataclass(MattingOutput, serialized_type_name="lightning_modules.nets.interface.MattingOutput")


class MattingNet(nn.Module):
    """Base of all nets: the call, how weights start, and what `torch.compile` compiles.

    A net computes one frame in `step`; `forward` runs it over the clip. Whoever does not know which net it is calls
    `matte`. A new clip starts with `state=None`. In eval mode a clip gives the same result whole and in chunks with
    the state carried over. Each net normalises its own input and pads to the size it needs.

    Attributes:
        multiple: frames up to the net's working size need no padding if this divides their sides.
        needs_plate: the call wants `background`.
        needs_flow: the call wants the true flow too, `flow=` (B, T, 2, H, W): bounds that no estimate can pass.
        needs_alpha: the call wants the true alpha too, `alpha=` (B, T, 1, H, W): a diagnosis, no matting net.
        state_type: what `MattingOutput.state` of this net is, where it has one.
    """

    multiple: int = 32
    needs_plate: bool = False
    needs_flow: bool = False
    needs_alpha: bool = False
    state_type: type | tuple[type, ...] = object
    _compiled_step: Callable[..., Any] | None = None

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """Matte a clip.

        Args:
            frames: (B, T, 3, H, W), RGB in [0, 1]; H, W ≥ 32.
            state: `MattingOutput.state` of the chunk before, or None at the start of a clip.
            background: (B, 1 or T, 3, H, W) in [0, 1], for nets that take a background plate.

        Raises:
            ValueError: see `check_inputs`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def matte(
        self,
        frames: Tensor,
        state: Any = None,
        background: Tensor | None = None,
        flow: Tensor | None = None,
        downsample_ratio: float | None = None,
        upsampler: str = "fast_guided_filter",
        true_alpha: Tensor | None = None,
    ) -> MattingOutput:
        """The call that is the same for all nets: `forward` with what this net needs, from reduced frames if so asked.

        Args:
            frames: (B, T, 3, H, W) in [0, 1].
            state: of the chunk before, matted at the same ratio; None at the start of a clip.
            background: (B, 1 or T, 3, H, W) in [0, 1], for nets that take a plate.
            flow: (B, T, 2, H, W), pixels, the true flow, for nets that need it; others are not given it.
            downsample_ratio: side that the net works on / side of the frame, in (0, 1]; see `at_ratio`. None leaves
                the frames, and the net's own ratio, alone.
            upsampler: how mattes are enlarged where the net does not do it: "fast_guided_filter", along the edges of
                the frame, or "bilinear".
            true_alpha: (B, T, 1, H, W) in [0, 1], for nets that need it; others are not given it.

        Returns:
            alpha and foreground of the size of the frames; state and `aux` as the net gives them.

        Raises:
            ValueError: ratio or upsampler is none of these, or the net needs the true flow and is given none; and see
                `check_inputs`.
        """
        if self.needs_flow and flow is None:
            raise ValueError(
                "this net is given the true flow, which these clips do not know: set data.flow=true and test it with "
                "testset=null"
            )
        given = {"state": state, "background": background}
        given |= ({"flow": flow} if self.needs_flow else {}) | ({"alpha": true_alpha} if self.needs_alpha else {})
        if downsample_ratio is None:
            output: MattingOutput = self(frames, **given)
            return output
        if not 0 < downsample_ratio <= 1:
            raise ValueError(f"downsample_ratio must be above 0 and at most 1, got {downsample_ratio}")
        check_choice("upsampler", upsampler, UPSAMPLERS)
        return self.at_ratio(downsample_ratio, frames, upsampler, **given)

    def at_ratio(self, ratio: float, frames: Tensor, upsampler: str, **given: Any) -> MattingOutput:
        """`matte` with a ratio: the net is given small frames, and its alpha and foreground are enlarged.

        A net that reduces frames by itself has its own way. `given` are the other arguments of `forward`.
        """
        output: MattingOutput
        if ratio == 1:
            output = self(frames, **given)
            return output
        size = (max(32, round(frames.shape[-2] * ratio)), max(32, round(frames.shape[-1] * ratio)))
        small = reduced(frames, size)
        for name in ("background", "alpha"):
            if given.get(name) is not None:
                given[name] = reduced(given[name], size)
        if "flow" in given:
            given["flow"] = resize_flow(given["flow"], size)
        output = self(small, **given)
        output.alpha = enlarged(output.alpha, small, frames, upsampler)
        if output.foreground is not None:
            output.foreground = enlarged(output.foreground, small, frames, upsampler)
        return output

    def check_inputs(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> None:
        """The door of every `forward`: what it is called with fits the contract.

        The range is looked at on a CPU alone: a GPU would have to be waited for, and a graph that is traced or
        compiled cannot look.

        Raises:
            ValueError: frames are not (B, T, 3, H, W) with H, W ≥ 32 or the background not (B, 1 or T, 3, H, W), or
                either is of another type or on another device than the weights or, on a CPU, not in [0, 1]; or the
                state is another net's.
        """
        check_pictures("frames", frames, "(B, T, 3, H, W)")
        if min(frames.shape[-2:]) < 32:
            raise ValueError(f"frames must be at least 32 pixels high and wide, got {tuple(frames.shape[-2:])}")
        weight = next(self.parameters(), frames)
        check_like_weights("frames", frames, weight)
        if background is not None:
            check_pictures("background", background, "(B, 1 or T, 3, H, W)")
            expected = [(len(frames), length, *frames.shape[2:]) for length in (1, frames.shape[1])]
            if tuple(background.shape) not in expected:
                raise ValueError(
                    f"background must be {expected[0]} or {expected[1]} for frames {tuple(frames.shape)}, "
                    f"got {tuple(background.shape)}"
                )
            check_like_weights("background", background, weight)
        if state is not None and not isinstance(state, self.state_type):
            raise ValueError(
                f"the state is none of {type(self).__name__}'s but a {type(state).__name__}: give the state of its "
                "output for the chunk before, or None at the start of a clip"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU for a net that has none, such as an ONNX file."""
        return next((each.device for each in self.parameters()), torch.device("cpu"))

    @property
    def num_bytes(self) -> int:
        """Of weights and buffers."""
        return sum(each.numel() * each.element_size() for each in (*self.parameters(), *self.buffers()))

    def restore_state(self, saved: Any) -> Any:
        """A state that was kept as plain tensors in a tuple or list, as this net knows it, where its weights are."""
        if isinstance(saved, tuple | list):
            moved = [each.to(self.device) if isinstance(each, Tensor) else each for each in saved]
            kind = self.state_type
            return kind(*moved) if isinstance(kind, type) and hasattr(kind, "_fields") else tuple(moved)
        return saved.to(self.device) if isinstance(saved, Tensor) else saved

    def step(self, *inputs: Any) -> Any:
        """One frame (or a folded batch of frames) through the net; the unit that is compiled."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def run_step(self, *inputs: Any) -> Any:
        """`step`, compiled if `compile_step` was called."""
        if self._compiled_step is None:
            return self.step(*inputs)
        return self._compiled_step(self, *inputs)

    @property
    def is_compiled(self) -> bool:
        """Whether `compile_step` was called."""
        return self._compiled_step is not None

    def compile_step(self, compiler: Callable[..., Callable[..., Any]] = torch.compile, **options: Any) -> None:
        """Compile `step`: the one door for all that compiles, traces or captures a net.

        The step and not the clip: one graph serves every clip length, and names in the state dict stay.

        Args:
            compiler: (function, **options) → a function of the same arguments, of which the net may be the first.
            options: of the compiler.
        """
        # The plain function of the class, so that a deep copy of the net does not run the original's weights.
        self._compiled_step = compiler(type(self).step, **options)

    def skip_training_heads(self) -> None:
        """Leave out what only training needs, for good; mattes stay."""

    def initialise(self, module: nn.Module) -> None:
        """Set the start weights of one leaf module, as the paper of this net does."""
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()

    def load_pretrained(self) -> None:
        """Take weights that others published (downloads them once); by default ImageNet's for the encoder."""
        encoder: Any = self.get_submodule("backbone")
        encoder.load_imagenet()

    def load_parts(self, weights: Mapping[str, Tensor]) -> None:
        """`load_state_dict` without the parts, by their first names, that options left out of this net."""
        parts = {key.partition(".")[0] for key in self.state_dict()}
        self.load_state_dict({key: value for key, value in weights.items() if key.partition(".")[0] in parts})

    def reset_parameters(self, seed: int) -> None:
        """Draw all start weights anew, each module's from `(seed, its name)` alone.

        Two variants of a net (with and without a part) so start from the same weights wherever they
        share a module of the same name and shape: their comparison is paired.
        """
        with torch.random.fork_rng(devices=[]):
            for name, module in self.named_modules():
                if next(module.parameters(recurse=False), None) is not None:
                    torch.default_generator.manual_seed(_mix(seed, name))
                    self.initialise(module)


def _mix(seed: int, name: str) -> int:
    """FNV-1a over seed and name: the same on every machine, unlike `hash`."""
    value = 0xCBF29CE484222325
    for byte in f"{seed}/{name}".encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value >> 1


# As much as eight bits of bfloat16 round.
_TOLERANCE = 0.01


def check_pictures(name: str, pictures: Any, shape: str) -> None:
    """Raise ValueError unless `pictures` are a floating-point tensor of 5 dimensions, 3 colours, in [0, 1]."""
    if not isinstance(pictures, Tensor):
        raise ValueError(f"{name} must be a tensor {shape}, got a {type(pictures).__name__}")
    if pictures.ndim != 5 or pictures.shape[2] != 3 or 0 in pictures.shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(pictures.shape)}")
    if not pictures.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers in [0, 1], got {pictures.dtype}: divide by 255")
    # Subclasses stand for tensors without values.
    if pictures.device.type != "cpu" or type(pictures) is not Tensor or _is_traced():
        return
    low, high = (extreme.item() for extreme in pictures.detach().aminmax())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # also where one is NaN
        raise ValueError(f"{name} must lie in [0, 1], got values from {low:g} to {high:g}")


def check_like_weights(name: str, given: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless a tensor has the type and the device of the net's weights; autocast casts by itself."""
    if given.device != weight.device:
        raise ValueError(f"{name} are on {given.device}, the net is on {weight.device}: move one of them")
    casts = torch.is_autocast_enabled(given.device.type) and torch.float64 not in (given.dtype, weight.dtype)
    if given.dtype != weight.dtype and not casts:
        raise ValueError(f"{name} are {given.dtype}, the net's weights {weight.dtype}: convert one of them")


def _is_traced() -> bool:
    return torch.jit.is_tracing() or torch.compiler.is_compiling()
