"""Nets written as files of other runtimes: ONNX, and the programs of `torch.export`; and called again from there."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.command.messages import reason
from experiments.inference.onnx_nets import open_session
from lightning_modules.nets.blocks import scale
from lightning_modules.nets.frame_graphs import FrameGraph

# The first with GridSample is 16; 17 is what onnxruntime reads from 1.12 on.
OPSET = 17
# Of the frames that a graph is traced with: two clips and odd sides, so that nothing is taken for a constant.
_CLIPS, _SIZE = 2, (97, 151)
_RATIO = 0.5

Call = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def write_onnx(path: Path, graph: FrameGraph, told: Mapping[str, str]) -> None:
    """Write a net as an ONNX file for any number and size of frames.

    Args:
        path: of the file, which is written in place.
        graph: of the net.
        told: metadata by name.

    Raises:
        ValueError: the package `onnx` is missing, or ONNX lacks something that the net computes.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError('the package that writes ONNX is missing: pip install -e ".[onnx]"') from error
    if graph.beyond_onnx:
        raise ValueError(f"ONNX cannot hold this net: {graph.beyond_onnx}, for which it has no operators")
    example = dict(zip(graph.inputs, example_inputs(graph), strict=True))
    pictures = [name for name in (*graph.inputs, *graph.outputs) if name in ("src", "bgr", "fgr", "pha")]
    axes = {name: {0: "batch", 2: "height", 3: "width"} for name in pictures}
    for name in graph.state_inputs:
        # Sides of its own for each state, since the first frame's are 1.
        axes |= {each: {k: f"{each}_{k}" for k in range(example[name].ndim)} for each in (name, f"{name[:-1]}o")}
    # Traced: a graph of torch.export asserts sizes, so no state could have sides of 1, and takes ten times as long.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is taken for constant shows when the file is called at several sizes
        try:
            torch.onnx.export(
                graph,
                tuple(example.values()),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_axes=axes,
            )
        except Exception as error:  # whatever a tracer breaks on
            raise ValueError(f"ONNX cannot hold this net: {reason(error)}") from error
    model = onnx.load_model(path)
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save_model(model, path)


def write_program(path: Path, graph: FrameGraph, told: Mapping[str, str]) -> None:
    """Write a net as a program of `torch.export` for any number and size of frames; arguments as for `write_onnx`.

    RVM takes the reduced frame in place of the ratio, as the size of a graph's tensors cannot come from its inputs'
    values.

    Raises:
        ValueError: torch.export cannot follow what the net computes.
    """
    example = tuple(example_inputs(graph, reduced=True))
    # Of every tensor but what is fixed, the channels; a matrix has no size.
    any_size = tuple(dict.fromkeys((0, 2, 3) if each.ndim == 4 else (0,), torch.export.Dim.AUTO) for each in example)
    buffer = io.BytesIO()
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph,
                example,
                dynamic_shapes=(any_size,),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        torch.export.save(program, buffer, extra_files={"metadata.json": json.dumps(dict(told))})
    except Exception as error:  # whatever a graph breaks on
        raise ValueError(f"torch.export cannot hold this net: {reason(error)}") from error
    path.write_bytes(buffer.getvalue())


def example_inputs(graph: FrameGraph, reduced: bool = False) -> list[Tensor]:
    """Inputs of the frame after the first, in the order of `graph.inputs`."""
    src, bgr = torch.rand(2, _CLIPS, 3, *_SIZE)
    with torch.no_grad():
        states = states_of(graph.of_net(src, bgr if graph.has_plate else None, ratio=_RATIO).state)
    ratio = [scale(src, _RATIO) if reduced else torch.tensor([_RATIO])] if graph.has_ratio else []
    return [src, *[bgr] * graph.has_plate, *states, *ratio]


def states_of(state: Any) -> list[Tensor]:
    """A net's state as a list, without what it has not."""
    return [each for each in state or () if each is not None]


def read_onnx(path: Path) -> Call:
    """An ONNX file as a function of named tensors; states begin with sides of 1."""
    session = open_session(path)
    outputs = [each.name for each in session.get_outputs()]

    def call(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(outputs, {name: each.numpy() for name, each in given.items()})
        return {name: torch.from_numpy(each) for name, each in zip(outputs, found, strict=True)}

    return call


def read_program(path: Path, outputs: Sequence[str]) -> Call:
    """A program of `torch.export` as a function of named tensors, in the order in which they are given.

    Raises:
        ValueError: it cannot be read again, or later, it cannot be called; some graphs are written all the same.
    """
    try:
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()
    except Exception as error:
        raise ValueError(f"torch.export cannot read again what it wrote: {reason(error)}") from None

    def call(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            return dict(zip(outputs, module(*given.values()), strict=True))
        except Exception as error:
            sizes = ", ".join(f"{name} {list(each.shape)}" for name, each in given.items())
            raise ValueError(f"the program cannot be called on {sizes}: {reason(error)}") from None

    return call
