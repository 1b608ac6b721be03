"""A net in an ONNX file in the command that scores a net, and in the benchmark's list of nets."""

from pathlib import Path

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from experiments.benchmarks.subjects import parse_subject
from experiments.inference.onnx_nets import OnnxNet


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """A file whose alpha is the mean of the colours; its output's name says nothing."""
    shapes = {"src": ("b", 3, "h", "w"), "anything": ("b", 1, "h", "w")}
    frame, matte = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    node = helper.make_node("ReduceMean", ["src"], ["anything"], axes=[1], keepdims=1)
    graph = helper.make_graph([node], "grey", [frame], [matte])
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "grey.onnx"
    )
    return tmp_path / "grey.onnx"


def test_it_is_scored_like_any_net_and_its_record_says_what_it_was(grey, testset, evaluated, tmp_path) -> None:
    record = evaluated(tmp_path / "out", f"onnx={grey}", f"testset={testset}")
    assert record.arm == {"model": "onnx", "checkpoint": "grey", "options": "default"}
    assert record.metrics["mad"] == pytest.approx(0, abs=1e-3)
    assert record.cost.keys() == {"milliseconds_per_frame", "frame"}
    config = yaml.safe_load((record.folder / "config.yaml").read_text())
    assert config["model"]["alpha"] == "anything"
    assert len(config["checkpoint_sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=rvm",), "says which net it is and where it lies; leave model= out"),
        (("refiner=bilinear",), "refiner cannot be set, the file holds one net"),
        (("onnx_options.alpha=pha",), "it has no output pha; its outputs are anything"),
        (("precision=bf16-mixed",), "give precision=32"),
    ],
)
def test_what_does_not_go_with_it_is_told(words, message, grey, testset, evaluated, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(tmp_path / "out", f"onnx={grey}", f"testset={testset}", *words)


def test_the_benchmark_takes_it_by_name(grey) -> None:
    subject = parse_subject(f"onnx={grey}")
    assert isinstance(subject.build(), OnnxNet)
    assert subject.paper_parameters is None
    with pytest.raises(ValueError, match="there is no file"):
        parse_subject("onnx=none.onnx")
