"""Any matting net in an ONNX file as a net of ours: onnxruntime computes, frame by frame, its states carried on."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from experiments.command.messages import reason
from lightning_modules.nets.blocks import crop, pad_to_multiple
from lightning_modules.nets.interface import MattingNet, MattingOutput

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_PLATE, _FRAME = (
    re.compile(r"^(bgr?|background|plate|trimap)$"),
    re.compile(r"^(src|source|frames?|images?|img|input|x)$"),
)
_ALPHA, _FOREGROUND = re.compile(r"^(pha|alphas?|mattes?|masks?|output)$"), re.compile(r"^(fgr?|foreground)$")
_RATIO = re.compile(r"ratio|scale")
# What tells a state's output from its input: r1i and r1o, hidden_in and hidden_out, state and new_state.
_DIRECTION = re.compile(
    r"^(new|next|prev|previous|past|present)[._]|[._](in|out|i|o|input|output|new|next|prev)$|(?<=\d)[io]$"
)


class Port(NamedTuple):
    """An input or output of a file.

    Attributes:
        name: of the tensor.
        shape: a number where the file fixes a side, else the name of the side or None.
        dtype: None where it holds no floating-point numbers.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: Any = np.float32


@dataclass(frozen=True)
class Ports:
    """Which input and output of a file is what, by their names; and how its pictures are to be given.

    Attributes:
        image: the frames, (B, 3, H, W).
        alpha: the matte, (B, 1, H, W).
        background: the plate, (B, 3, H, W), if it takes one.
        foreground: (B, 3, H, W), if it gives one.
        ratio: side that the net works on / side of the frame, a number, if it is asked.
        states: input → output that it is given at the next frame.
        mean: subtracted from frames and plate in [0, 1], for nets that do not normalise them by themselves.
        deviation: what they are divided by then.
        multiple: of the sides that it needs; frames are padded to it and mattes cut.
    """

    image: str = ""
    alpha: str = ""
    background: str | None = None
    foreground: str | None = None
    ratio: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    mean: float | Sequence[float] = 0.0
    deviation: float | Sequence[float] = 1.0
    multiple: int = 1

    @classmethod
    def recognise(cls, inputs: Sequence[Port], outputs: Sequence[Port], told: Mapping[str, Any]) -> Self:
        """Tell them by names and shapes, but for those that are told.

        Args:
            inputs: of the file.
            outputs: of the file.
            told: attributes of this class; those that are None are not told.

        Raises:
            ValueError: it cannot be told what some are, or what is told is not there; the line names the setting.
        """
        told = {name: value for name, value in told.items() if value is not None}
        if unknown := sorted(told.keys() - {each.name for each in fields(cls)}):
            raise ValueError(
                f"onnx_options has no {', '.join(unknown)}; it has {', '.join(each.name for each in fields(cls))}"
            )
        _check_told(told, inputs, outputs)
        states = told.get("states", _pairs(inputs, outputs))
        takes = [each for each in inputs if each.name not in states]
        gives = [each for each in outputs if each.name not in states.values()]
        found: dict[str, Any] = {"states": dict(states)}
        found["ratio"] = _one("ratio", [each for each in takes if _holds_number(each)], told, optional=True)
        found["background"] = _one(
            "background", [each for each in takes if _is_called(_PLATE, each)], told, optional=True
        )
        found["foreground"] = _one("foreground", _pictures(gives, 3, _FOREGROUND), told, optional=True)
        others = [each for each in takes if each.name not in (found["ratio"], found["background"])]
        found["image"] = _one("image", _pictures(others, 3, _FRAME), told)
        rest = [each for each in gives if each.name != found["foreground"]]
        found["alpha"] = _one("alpha", _pictures(rest, 1, _ALPHA), told)
        known = {*states, *(found[name] for name in ("image", "ratio", "background"))}
        if strangers := [each.name for each in inputs if each.name not in known]:
            raise ValueError(
                f"what is its input {', '.join(strangers)}? onnx_options.states={{INPUT: OUTPUT}} pairs states"
            )
        return cls(**{**found, **told})


def _check_told(told: Mapping[str, Any], inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raise ValueError where a told name is none of the file's."""
    states = told.get("states", {})
    if not isinstance(states, Mapping):
        raise ValueError(f"onnx_options.states must be {{INPUT: OUTPUT}}, got {states!r}")
    sides = (
        ("input", inputs, [*(told.get(name) for name in ("image", "background", "ratio")), *states]),
        ("output", outputs, [*(told.get(name) for name in ("alpha", "foreground")), *states.values()]),
    )
    for side, ports, names in sides:
        have = [each.name for each in ports]
        if wrong := [str(name) for name in names if name is not None and name not in have]:
            raise ValueError(f"onnx_options: it has no {side} {', '.join(wrong)}; its {side}s are {', '.join(have)}")


def _pairs(inputs: Iterable[Port], outputs: Iterable[Port]) -> dict[str, str]:
    """States: inputs and outputs whose names differ in nothing but the direction; never what is known otherwise.

    >>> src, r1i, pha, r1o = (Port(name, ("b", "c", "h", "w")) for name in ("src", "r1i", "pha", "r1o"))
    >>> _pairs([src, r1i], [pha, r1o])
    {'r1i': 'r1o'}
    """
    gives = {_DIRECTION.sub("", each.name.lower()): each.name for each in outputs if not _is_picture(each)}
    takes = [each for each in inputs if not _is_picture(each) and not _holds_number(each)]
    pairs = {each.name: gives.get(_DIRECTION.sub("", each.name.lower())) for each in takes}
    return {name: partner for name, partner in pairs.items() if partner is not None}


def _is_called(pattern: re.Pattern[str], port: Port) -> bool:
    return bool(pattern.search(port.name.lower()))


def _is_picture(port: Port) -> bool:
    return any(_is_called(pattern, port) for pattern in (_FRAME, _PLATE, _ALPHA, _FOREGROUND))


def _holds_number(port: Port) -> bool:
    return len(port.shape) == 0 or (len(port.shape) == 1 and _is_called(_RATIO, port))


def _pictures(ports: Iterable[Port], channels: int, pattern: re.Pattern[str]) -> list[Port]:
    """Those that may be pictures of so many channels: the ones that are called so, else all."""
    fitting = [
        each
        for each in ports
        if len(each.shape) == 4 and not (isinstance(each.shape[1], int) and each.shape[1] != channels)
    ]
    return [each for each in fitting if _is_called(pattern, each)] or fitting


def _one(role: str, candidates: Sequence[Port], told: Mapping[str, Any], optional: bool = False) -> str | None:
    """The name of the one candidate; of none only where it may be missing.

    Raises:
        ValueError: there are several, or none and it is needed.
    """
    if role in told:
        return str(told[role])
    if optional and role == "foreground":
        # Named, or told from the matte by its fixed three channels.
        candidates = [each for each in candidates if _is_called(_FOREGROUND, each) or each.shape[1] == 3]
    if len(candidates) == 1:
        return candidates[0].name
    if not candidates and optional:
        return None
    which = " or ".join(each.name for each in candidates) or "none has its shape"
    raise ValueError(f"which is its {role}? {which}: give onnx_options.{role}=NAME")


class OnnxNet(MattingNet):
    """A net in a file, called like one of ours; on the CPU, without gradient.

    `state` is a tuple of tensors, one for each state of the file. It begins with zeros of the sides that the file
    fixes, and of 1 where it fixes none, as in RVM's files.
    """

    multiple = 1
    state_type = tuple

    def __init__(self, path: Path, session: Any, inputs: Sequence[Port], ports: Ports) -> None:
        """Take an open file; see `load_onnx`."""
        super().__init__()
        self.path, self.session, self.ports = path, session, ports
        self.needs_plate = ports.background is not None
        self.inputs = {each.name: each for each in inputs}
        self.outputs = [name for name in (ports.alpha, ports.foreground, *ports.states.values()) if name is not None]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)  # nothing of it ever changes

    @property
    def num_bytes(self) -> int:
        """Size of the ONNX file, which holds the weights."""
        return self.path.stat().st_size

    def forward(
        self, frames: Tensor, state: Any = None, background: Tensor | None = None, downsample_ratio: float = 1.0
    ) -> MattingOutput:
        """Matte a clip (B, T, 3, H, W) frame by frame; see `MattingNet.forward`.

        Args:
            frames, state, background: see there.
            downsample_ratio: side that the net works on / side of the frame, in (0, 1], for files that ask it.

        Raises:
            ValueError: wrong shapes, no plate where the file takes one, or what onnxruntime says.
        """
        self.check_inputs(frames, state, background)
        if torch.is_autocast_enabled(frames.device.type):
            raise ValueError(f"{self.path} computes in the precision that it was written in: give precision=32")
        plate_name, size = self.ports.background, (frames.shape[-2], frames.shape[-1])
        if plate_name is not None and background is None:
            raise ValueError(f"{self.path} needs a plate ({plate_name}): give background=, (B, 1 or T, 3, H, W)")
        mattes: list[list[Tensor]] = []
        for t in range(frames.shape[1]):
            given = {self.ports.image: self._prepared(frames[:, t])}
            if plate_name is not None and background is not None:
                given[plate_name] = self._prepared(background[:, min(t, background.shape[1] - 1)])
            if self.ports.ratio is not None:
                given[self.ports.ratio] = np.full(self._start_shape(self.ports.ratio), downsample_ratio)
            states = [np.zeros(self._start_shape(name)) for name in self.ports.states] if state is None else state
            given |= {name: np.asarray(each) for name, each in zip(self.ports.states, states, strict=True)}
            found = self._run(given)
            count = len(self.outputs) - len(self.ports.states)
            mattes.append([crop(torch.from_numpy(each).to(frames), size) for each in found[:count]])
            state = tuple(map(torch.from_numpy, found[count:]))
            if mattes[-1][0].shape[-2:] != size:
                raise ValueError(f"{self.path}: its {self.ports.alpha} is not of the frames' size but {found[0].shape}")
        alpha, *foreground = (torch.stack(parts, dim=1) for parts in zip(*mattes, strict=True))
        return MattingOutput(alpha.clamp(0, 1), foreground[0].clamp(0, 1) if foreground else None, state or None)

    def at_ratio(self, ratio: float, frames: Tensor, upsampler: str, **given: Any) -> MattingOutput:
        """See `MattingNet.at_ratio`; a file that asks the ratio reduces frames by itself."""
        if self.ports.ratio is None:
            return super().at_ratio(ratio, frames, upsampler, **given)
        output: MattingOutput = self(frames, downsample_ratio=ratio, **given)
        return output

    def _prepared(self, pictures: Tensor) -> np.ndarray:
        """Pictures (B, 3, H, W) in [0, 1] as the file wants them."""
        mean, deviation = (pictures.new_tensor(x).view(-1, 1, 1) for x in (self.ports.mean, self.ports.deviation))
        normalised: np.ndarray = ((pad_to_multiple(pictures, self.ports.multiple) - mean) / deviation).cpu().numpy()
        return normalised

    def _start_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) and side > 0 else 1 for side in self.inputs[name].shape]

    def _run(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in the order of `outputs`."""
        typed = {name: each.astype(self.inputs[name].dtype, copy=False) for name, each in given.items()}
        try:
            found: list[np.ndarray] = self.session.run(self.outputs, typed)
        except Exception as error:  # onnxruntime's own classes derive from nothing else
            shapes = ", ".join(f"{name} {list(each.shape)}" for name, each in typed.items())
            raise ValueError(f"{self.path} cannot be run on {shapes}: {reason(error)}") from error
        return found


def load_onnx(path: Path, told: Mapping[str, Any] | None = None) -> OnnxNet:
    """The net in a file.

    Args:
        path: of the file. Nothing but ONNX's own operators is run, and nothing beside the file is read for it.
        told: attributes of `Ports` that the file does not say by itself.

    Raises:
        ValueError: there is no such file, onnxruntime is missing or cannot open it, or it cannot be told which of its
            inputs and outputs is what; the line names the setting that tells it.
    """
    session = open_session(path)
    inputs, outputs = ([_port(each) for each in side] for side in (session.get_inputs(), session.get_outputs()))
    try:
        ports = Ports.recognise(inputs, outputs, told or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return OnnxNet(path, session, inputs, ports)


def open_session(path: Path) -> Any:
    """What onnxruntime computes a file with, on as many CPU threads as PyTorch.

    Raises:
        ValueError: there is no such file, onnxruntime is missing, or it cannot open the file.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f'{path}: onnxruntime is missing: pip install -e ".[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what stops it is raised
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes derive from nothing else
        raise ValueError(f"{path} cannot be opened as an ONNX file: {reason(error)}") from error


def _port(node: Any) -> Port:
    return Port(node.name, tuple(node.shape), _TYPES.get(node.type))
