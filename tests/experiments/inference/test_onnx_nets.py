"""ONNX files as nets: what their inputs and outputs are, states and plates, what cannot be told."""

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from experiments.inference.onnx_nets import OnnxNet, Port, Ports, load_onnx

PICTURE, MATTE = ("b", 3, "h", "w"), ("b", 1, "h", "w")


def write(path: Path, inputs: dict[str, tuple], outputs: dict[str, tuple], nodes: list) -> Path:
    """An ONNX file of a few nodes."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "net", *values)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def mean_of(name: str, output: str) -> onnx.NodeProto:
    return helper.make_node("ReduceMean", [name], [output], axes=[1], keepdims=1)


@pytest.fixture
def remembering(tmp_path: Path) -> Path:
    """Alpha is half of the mean of the colours and half of the last alpha, which starts as one zero."""
    nodes = [
        mean_of("src", "grey"),
        helper.make_node("Add", ["grey", "r1i"], ["both"]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["both", "half"], ["pha"]),
        helper.make_node("Identity", ["pha"], ["r1o"]),
    ]
    state = ("b1", "c1", "h1", "w1")
    return write(tmp_path / "net.onnx", {"src": PICTURE, "r1i": state}, {"pha": MATTE, "r1o": state}, nodes)


def test_a_state_is_carried_from_frame_to_frame_and_chunk_to_chunk(remembering) -> None:
    net, frames = load_onnx(remembering), torch.rand(2, 3, 3, 40, 50)
    whole = net(frames)
    expected = torch.zeros(2, 1, 40, 50)
    for t in range(3):
        expected = (frames[:, t].mean(1, keepdim=True) + expected) / 2
    torch.testing.assert_close(whole.alpha[:, -1], expected)
    assert whole.foreground is None
    first = net(frames[:, :1])
    torch.testing.assert_close(net(frames[:, 1:], first.state).alpha, whole.alpha[:, 1:])


@pytest.mark.parametrize(
    ("inputs", "outputs", "found"),
    [
        (
            "src r1i r2i downsample_ratio",
            "fgr pha r1o r2o",
            Ports("src", "pha", None, "fgr", "downsample_ratio", {"r1i": "r1o", "r2i": "r2o"}),
        ),
        ("src bgr", "pha fgr", Ports("src", "pha", "bgr", "fgr")),
        ("input", "output", Ports("input", "output")),
        ("frame hidden_in", "alpha hidden_out", Ports("frame", "alpha", states={"hidden_in": "hidden_out"})),
        ("image state", "new_state matte", Ports("image", "matte", states={"state": "new_state"})),
    ],
)
def test_inputs_and_outputs_are_told_by_their_names(inputs, outputs, found) -> None:
    shapes = {"downsample_ratio": (1,), "pha": MATTE, "fgr": PICTURE}
    ports = [
        [Port(name, shapes.get(name, ("b", "c", "h", "w"))) for name in side.split()] for side in (inputs, outputs)
    ]
    assert Ports.recognise(*ports, {}) == found


@pytest.mark.parametrize(
    ("inputs", "outputs", "told", "message"),
    [
        ("a b", "pha", {}, "which is its image? a or b: give onnx_options.image=NAME"),
        ("src", "one two", {}, "which is its alpha? one or two: give onnx_options.alpha=NAME"),
        ("src odd", "pha", {}, "what is its input odd?"),
        ("src", "pha", {"alpha": "matte"}, "it has no output matte; its outputs are pha"),
        ("src", "pha", {"matte": "pha"}, "onnx_options has no matte; it has image, alpha"),
        ("src h", "pha h2", {"states": "h"}, "onnx_options.states must be {INPUT: OUTPUT}, got 'h'"),
    ],
)
def test_what_cannot_be_told_is_asked_for(inputs, outputs, told, message) -> None:
    ports = [[Port(name, ("b", "c", "h", "w")) for name in side.split()] for side in (inputs, outputs)]
    with pytest.raises(ValueError, match=re.escape(message)):
        Ports.recognise(*ports, told)


def test_told_names_mean_deviation_and_multiple_are_used(tmp_path) -> None:
    nodes = [mean_of("a", "x"), helper.make_node("Shape", ["a"], ["sides"]), helper.make_node("Identity", ["b"], ["y"])]
    path = write(tmp_path / "net.onnx", {"a": PICTURE, "b": PICTURE}, {"x": MATTE, "y": PICTURE}, nodes)
    net = load_onnx(
        path, {"image": "a", "background": "b", "alpha": "x", "mean": 0.5, "deviation": [2, 2, 2], "multiple": 32}
    )
    frames, plate = 0.5 + torch.rand(1, 2, 3, 40, 50) / 2, torch.rand(1, 1, 3, 40, 50)
    output = net(frames, background=plate)
    torch.testing.assert_close(output.alpha, (frames.mean(2, keepdim=True) - 0.5) / 2)
    torch.testing.assert_close(output.foreground, ((plate - 0.5) / 2).clamp(0, 1).expand(-1, 2, -1, -1, -1))
    with pytest.raises(ValueError, match=r"needs a plate \(b\)"):
        net(frames)


def test_a_ratio_is_given_to_a_file_that_asks_for_it(tmp_path) -> None:
    nodes = [mean_of("src", "grey"), helper.make_node("Mul", ["grey", "downsample_ratio"], ["pha"])]
    path = write(tmp_path / "net.onnx", {"src": PICTURE, "downsample_ratio": (1,)}, {"pha": MATTE}, nodes)
    net, frames = load_onnx(path), torch.rand(1, 1, 3, 40, 50)
    for output in (net(frames, downsample_ratio=0.5), net.matte(frames, downsample_ratio=0.5)):
        torch.testing.assert_close(output.alpha, frames.mean(2, keepdim=True) / 2)
    torch.testing.assert_close(net(frames).alpha, frames.mean(2, keepdim=True))


def test_what_cannot_be_opened_or_run_is_told_in_one_line(tmp_path, remembering) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="cannot be opened as an ONNX file"):
        load_onnx(tmp_path / "bad.onnx")
    net = load_onnx(remembering)
    assert isinstance(net, OnnxNet)
    with pytest.raises(ValueError, match=r"cannot be run on src \[1, 3, 40, 50\], r1i \[1, 1, 7, 7\]"):
        net(torch.rand(1, 1, 3, 40, 50), (np.zeros((1, 1, 7, 7)),))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="give precision=32"):
        net(torch.rand(1, 1, 3, 40, 50))


def test_without_onnxruntime_a_line_names_the_extra(remembering, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install -e \"\.\[onnx\]\""):
        load_onnx(remembering)
