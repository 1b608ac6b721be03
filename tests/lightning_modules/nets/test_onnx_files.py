"""RVM's published ONNX files: their norms are folded into their convolutions, and they have no segmentation head."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import OFFICIAL, load_official

onnx = pytest.importorskip("onnx")

SMALL = {"width": 0.25, "decoder_width": 0.25}
# The order of the published graphs after the encoder; "norm" follows what it is folded into.
AFTER_ENCODER = [
    *("aspp.conv norm", "aspp.gate"),
    *("decoder.bottleneck.unit.gates", "decoder.bottleneck.unit.candidate"),
    *("decoder.stage3.conv.0 1", "decoder.stage3.recurrent.unit.gates", "decoder.stage3.recurrent.unit.candidate"),
    *("decoder.stage2.conv.0 1", "decoder.stage2.recurrent.unit.gates", "decoder.stage2.recurrent.unit.candidate"),
    *("decoder.stage1.conv.0 1", "decoder.stage1.recurrent.unit.gates", "decoder.stage1.recurrent.unit.candidate"),
    *("decoder.output.0 1", "decoder.output.3 4", "matting_head"),
    *("refiner.box", "refiner.box", "refiner.box", "refiner.box"),
    *("refiner.conv.0 1", "refiner.conv.3 4", "refiner.conv.6"),
]


def random_net(backbone: str) -> MattingNet:
    """A small RVM whose norms all do something."""
    net = build_net("rvm", backbone=backbone, **SMALL).eval()
    net.reset_parameters(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                *((norm.weight.data, 0.5, 1.5), (norm.bias.data, -0.5, 0.5)),
                *((norm.running_mean, -0.5, 0.5), (norm.running_var, 0.5, 1.5)),
            ):
                assert tensor is not None
                tensor.uniform_(low, high)
    net.get_parameter("matting_head.weight").data *= 0.05
    net.get_parameter("matting_head.bias").data[3] = 0.5  # alpha is then neither 0 nor 1 everywhere
    return net


def computed_order(encoder: nn.Module) -> list[str]:
    """Names of an encoder's convolutions as it computes them, each with that of the norm that it is folded with."""
    order: list[str] = []
    handles = []
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            handles.append(module.register_forward_hook(lambda *_, name=name: order.append(name)))
    encoder(torch.rand(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    layers = dict(encoder.named_modules())
    pairs = zip(order, [*order[1:], order[0]], strict=True)
    return [
        f"{name} {after}" if isinstance(layers[after], nn.BatchNorm2d) else name
        for name, after in pairs
        if isinstance(layers[name], nn.Conv2d)
    ]


def exported(net: MattingNet, path: Path, kept_names: bool = True, half: bool = False) -> Path:
    """An ONNX file of an RVM as the published ones are."""
    theirs = {ours: theirs for theirs, ours in OFFICIAL["rvm"].names().items()}
    rows = [(f"backbone.{row}").replace(" ", " backbone.") for row in computed_order(net.get_submodule("backbone"))]
    nodes, tensors, places = [], {}, dict[str, int]()
    for place, row in enumerate([*rows, *AFTER_ENCODER]):
        name, _, norm_name = row.partition(" ")
        if norm_name and not norm_name.startswith("backbone."):
            norm_name = f"{name.rpartition('.')[0]}.{norm_name}"
        layer = net.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        weight, bias, inputs = layer.weight, layer.bias, [f"{theirs[name]}.weight"]
        if norm_name or not kept_names:
            inputs = [str(1000 + places.setdefault(name, place))]
        if norm_name:
            norm = net.get_submodule(norm_name)
            assert isinstance(norm, nn.BatchNorm2d)
            statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
            weight, bias = fuse_conv_bn_weights(weight, bias, *statistics)  # type: ignore[arg-type]
        if bias is not None:
            inputs.append(f"{inputs[0]}.bias")
        for key, tensor in zip(inputs, (weight, bias), strict=False):
            assert isinstance(tensor, Tensor)
            values = tensor.detach().half() if half else tensor.detach()
            tensors[key] = onnx.numpy_helper.from_array(values.numpy(), key)
        settings = {"strides": layer.stride, "dilations": layer.dilation, "group": layer.groups}
        nodes.append(onnx.helper.make_node("Conv", [f"x{place}", *inputs], [f"x{place + 1}"], **settings))
        nodes.append(onnx.helper.make_node("Relu", [f"x{place + 1}"], [f"y{place + 1}"]))
    graph = onnx.helper.make_graph(nodes, "rvm", [], [], list(tensors.values()))
    onnx.save_model(onnx.helper.make_model(graph), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["mobilenetv3", "resnet50"])
def test_an_exported_net_gives_what_it_gave(backbone: str, tmp_path: Path) -> None:
    net = random_net(backbone)
    path = exported(net, tmp_path / "rvm.onnx")
    loaded = load_official("rvm", path, backbone=backbone, **SMALL)
    assert loaded.segmentation_head is None
    assert not loaded.training
    frames = torch.rand(1, 3, 3, 72, 100)
    for ratio in (1.0, 0.5):
        expected, given = net(frames, downsample_ratio=ratio), loaded(frames, downsample_ratio=ratio)
        assert expected.alpha.std() > 0
        torch.testing.assert_close(given.alpha, expected.alpha, atol=1e-4, rtol=0)
        torch.testing.assert_close(given.foreground, expected.foreground, atol=1e-4, rtol=0)
        for ours, theirs in zip(given.state, expected.state, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no segmentation head"):
        loaded(frames, segmentation_pass=True)


@torch.no_grad()
def test_it_loads_into_a_net_without_the_learned_refiner(tmp_path: Path) -> None:
    net = random_net("mobilenetv3")
    path = exported(net, tmp_path / "rvm.onnx")
    fast = load_official("rvm", path, refiner="fast_guided_filter", **SMALL)
    assert fast.refiner is None
    frames = torch.rand(1, 2, 3, 72, 100)
    torch.testing.assert_close(fast(frames).alpha, net(frames).alpha, atol=1e-4, rtol=0)


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    net = random_net("mobilenetv3")
    loaded = load_official("rvm", exported(net, tmp_path / "rvm.onnx", half=True), **SMALL)
    assert {each.dtype for each in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.matting_head.weight, net.matting_head.weight, atol=1e-3, rtol=0)


def test_other_options_are_refused_with_the_place(tmp_path: Path) -> None:
    path = exported(random_net("mobilenetv3"), tmp_path / "rvm.onnx")
    with pytest.raises(ValueError, match=r"rvm\.onnx does not fit this rvm: its 1000 is not our backbone\.features\.0"):
        load_official("rvm", path)
    with pytest.raises(ValueError, match="it has 82 convolutions, not 73"):
        load_official("rvm", path, backbone="resnet50", **SMALL)
    with pytest.raises(ValueError, match="no ONNX file of modnet is read"):
        load_official("modnet", path)


def test_a_weight_at_another_place_than_its_name_says_is_refused(tmp_path: Path) -> None:
    """The two are of one shape, so that nothing else could tell."""
    path = exported(random_net("mobilenetv3"), tmp_path / "rvm.onnx")
    model = onnx.load_model(path)
    first, second = (
        next(node for node in model.graph.node if f"features.{block}.block.2.fc1.weight" in "".join(node.input))
        for block in (5, 6)
    )
    first.input[1], second.input[1] = second.input[1], first.input[1]
    onnx.save_model(model, path)
    with pytest.raises(ValueError, match=r"features\.6\.block\.2\.fc1\.weight is not our .*features\.5\.block\.2\.fc1"):
        load_official("rvm", path, **SMALL)


def test_files_without_names_are_read_by_order_alone(tmp_path: Path) -> None:
    net = random_net("mobilenetv3")
    loaded = load_official("rvm", exported(net, tmp_path / "rvm.onnx", kept_names=False), **SMALL)
    assert torch.equal(loaded.matting_head.weight, net.matting_head.weight)


@pytest.mark.parametrize("content", [b"", b"not a model", b"<html></html>"])
def test_what_is_no_onnx_file_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rvm.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"rvm\.onnx cannot be read as an ONNX file"):
        load_official("rvm", tmp_path / "rvm.onnx")
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_official("rvm", tmp_path / "missing.onnx")


def test_values_in_another_file_are_not_looked_for(tmp_path: Path) -> None:
    path = exported(random_net("mobilenetv3"), tmp_path / "rvm.onnx")
    model = onnx.load_model(path)
    stored = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(stored, "../secret")
    stored.data_location = onnx.TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="cannot be read as an ONNX file with its weights") as caught:
        load_official("rvm", path, **SMALL)
    assert "lie in another file" in str(caught.value.__cause__)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rvm.onnx").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[onnx\]"'):
        load_official("rvm", tmp_path / "rvm.onnx")
