"""ONNX files as data: the convolutions of their graph with their weights; nothing of it is run.

Exporters fold each norm into the convolution before it: what is left of both is one weight and one bias, and no name.
The order in which a graph computes its convolutions then tells which is which.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Convolution(NamedTuple):
    """One convolution of a graph.

    Attributes:
        name: of its weight in the file; it is the net's own where no norm was folded into it.
        weight: (C_out, C_in / groups, height, width).
        bias: (C_out,), or None.
        stride: by axis.
        dilation: by axis.
        groups: of channels.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def module(self) -> str:
        """Name of the module whose weight it is, if its weight has the net's own name."""
        return self.name.rpartition(".")[0]

    def is_like(self, layer: nn.Conv2d) -> bool:
        """Whether it computes what the layer does, but for the values."""
        ours = (layer.weight.shape, layer.stride, layer.dilation, layer.groups)
        return (self.weight.shape, self.stride, self.dilation, self.groups) == ours


def is_onnx(path: str | Path) -> bool:
    """Whether a file is one, by its name."""
    return Path(path).suffix.lower() == ".onnx"


def read_convolutions(path: Path) -> list[Convolution]:
    """The convolutions of a file in the order in which they are computed, one that is used several times once.

    Raises:
        ValueError: there is no such file, it is no ONNX file of a net or lacks the weights, or the package that reads
            it is not installed.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f'{path}: the package that reads ONNX is missing: pip install -e ".[onnx]"') from error
    try:
        graph = onnx.load_model(path, load_external_data=False).graph
        stored = {tensor.name: tensor for tensor in graph.initializer}
        found: dict[str, Convolution] = {}
        for node in graph.node:
            if node.op_type == "Conv" and node.input[1] not in found:
                values = [_values(stored[name]) for name in node.input[1:] if name]
                settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
                found[node.input[1]] = _convolution(node.input[1], values, settings)
    except Exception as error:  # anything: the bytes are another's
        raise ValueError(
            f"{path} cannot be read as an ONNX file with its weights; copy or download it again"
        ) from error
    if not found:
        raise ValueError(f"{path} cannot be read as an ONNX file of a net: it has no convolutions")
    return list(found.values())


def _values(stored: Any) -> Tensor:
    """A tensor of the file; one whose values lie in another file, which its path could name at will, is refused."""
    from onnx import TensorProto, numpy_helper

    if stored.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"the values of {stored.name} lie in another file")
    return torch.from_numpy(np.array(numpy_helper.to_array(stored)))


def _convolution(name: str, values: list[Tensor], settings: dict[str, Any]) -> Convolution:
    """A node's weight, bias if there is one, and attributes, those that are left out as ONNX has them."""
    weight, bias = values[0], values[1] if len(values) > 1 else None
    ones = (1,) * (weight.ndim - 2)
    stride, dilation = (tuple(settings.get(key, ones)) for key in ("strides", "dilations"))
    return Convolution(name, weight, bias, stride, dilation, settings.get("group", 1))


def place_convolutions(
    net: nn.Module, convolutions: list[Convolution], names: dict[str, str], without: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The state dict of a net whose convolutions are computed in the order in which its modules are listed.

    A folded norm becomes one that adds the bias and does nothing else.

    Args:
        net: what the tensors are for; it is not changed.
        convolutions: of the file, in order.
        names: module in the file → our module; a weight that has kept its name must be at its place.
        without: our modules that the file has not.

    Raises:
        ValueError: they are not the net's, in number, order or shape.
    """
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)}
    convs = {name: conv for name, conv in layers.items() if isinstance(conv, nn.Conv2d) and name not in without}
    if len(convs) != len(convolutions):
        raise ValueError(f"it has {len(convolutions)} convolutions, not {len(convs)}")
    followed_by = dict(pairwise(layers))
    weights: dict[str, Tensor] = {}
    for name, norm in layers.items():
        if isinstance(norm, nn.BatchNorm2d):
            ones = torch.ones(norm.num_features)
            weights |= {f"{name}.weight": ones, f"{name}.running_mean": 0 * ones}
            weights[f"{name}.running_var"] = (1 - norm.eps) * ones
    for (name, layer), given in zip(convs.items(), convolutions, strict=True):
        after = followed_by.get(name, name)
        # Ours has a bias of its own, or none and the norm's.
        owner = name if layer.bias is not None else after if isinstance(layers[after], nn.BatchNorm2d) else None
        assert isinstance(layer, nn.Conv2d)
        if not given.is_like(layer) or (given.bias is None) != (owner is None) or names.get(given.module, name) != name:
            raise ValueError(f"its {given.name} is not our {name}")
        weights[f"{name}.weight"] = given.weight
        if given.bias is not None:
            weights[f"{owner}.bias"] = given.bias
    return weights
