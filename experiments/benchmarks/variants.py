"""The ways in which a net can be run: precisions and modes, each applied to a copy of the net."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from experiments.inference.fast_nets import fold_batch_norms, weights_channels_last
from experiments.inference.streamed_nets import StreamedNet, signature
from lightning_modules.nets.interface import MattingNet

# What convolutions and matrix products compute in; all but the first two under autocast, weights kept in float32 (but
# see `StreamedNet`).
PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def runnable_precisions(device: torch.device) -> list[str]:
    """Precisions that the device computes natively; others run too, but slowly, and say nothing about it."""
    if device.type == "cuda":
        return (
            ["fp32", "tf32", "bf16", "fp16"] if torch.cuda.get_device_capability(device) >= (8, 0) else ["fp32", "fp16"]
        )
    if device.type == "cpu":
        return ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]
    return ["fp32", "fp16"]


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies in bfloat16 (AVX-512 BF16 or AMX)."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag, bool)() for flag in flags)


@contextmanager
def precision_context(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, nets compute in this precision; TF32 is on for "tf32" alone."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    dtype = PRECISIONS[precision]
    try:
        # No cache: it holds casts only inside one context, and a traced graph must see each of them.
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def make_variant(net: MattingNet, mode: str) -> MattingNet:
    """A copy of the net prepared for a mode of `MODES`, in eval mode; what it compiles is compiled at its first call.

    Raises:
        ValueError: no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"no mode is called {mode!r}; there are: {', '.join(MODES)}")
    variant = copy.deepcopy(net).eval()
    for prepare in MODES[mode]:
        variant = prepare(variant) or variant
    return variant


def compile_net(net: MattingNet) -> None:
    """`torch.compile` on the step of one frame."""
    net.compile_step()


def trace_net(net: MattingNet) -> None:
    """TorchScript: the step is traced once for each structure and shape of its inputs, and frozen."""
    net.compile_step(Traced)


# What prepares a net: in place, or by another that stands for it.
MODES: dict[str, tuple[Callable[[MattingNet], MattingNet | None], ...]] = {
    "eager": (),
    "channels_last": (weights_channels_last,),
    "fused": (fold_batch_norms,),
    "streamed": (StreamedNet,),
    "compiled": (compile_net,),
    "torchscript": (trace_net,),
    "fastest": (compile_net, StreamedNet),
}


def default_modes(device: torch.device) -> list[str]:
    """What is measured unless it is told: on a CPU nothing that compiles, which takes half a minute each."""
    return ["eager", "channels_last", *(["streamed", "fastest"] if device.type == "cuda" else [])]


def wants_channels_last(mode: str) -> bool:
    """Whether frames come with channels last too, as from a decoder; other modes take them as PyTorch makes them."""
    return mode == "channels_last"


class Traced:
    """Stands in for a function such as `MattingNet.step`: a frozen TorchScript graph per structure and shape of inputs.

    Tracing and not scripting: steps take and give nested tuples, and what is not a tensor in them is constant.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.graphs: dict[Any, tuple[Any, list[Any], Any]] = {}

    def __call__(self, *inputs: Any) -> Any:
        """What the function gives."""
        leaves, structure = pytree.tree_flatten(inputs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = (structure, *map(signature, leaves))
        if key not in self.graphs:
            self.graphs[key] = self._trace(leaves, structure, tensors)
        graph, constants, out_structure = self.graphs[key]
        given = iter(graph(*tensors))
        outputs = [next(given) if constant is _TENSOR else constant for constant in constants]
        return pytree.tree_unflatten(outputs, out_structure)

    def _trace(self, leaves: list[Any], structure: Any, tensors: list[Tensor]) -> tuple[Any, list[Any], Any]:
        found: list[Any] = []

        def step(*given: Tensor) -> tuple[Tensor, ...]:
            values = iter(given)
            inputs = pytree.tree_unflatten(
                [next(values) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
            )
            outputs, out_structure = pytree.tree_flatten(self.function(*inputs))
            found[:] = [[_TENSOR if isinstance(x, Tensor) else x for x in outputs], out_structure]
            return tuple(x for x in outputs if isinstance(x, Tensor))

        module = _Holder(step, [leaf for leaf in leaves if isinstance(leaf, nn.Module)]).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes become constants, as they should; and TorchScript is deprecated
            graph = torch.jit.freeze(torch.jit.trace(module, tuple(tensors), check_trace=False))
        return graph, found[0], found[1]


_TENSOR = object()  # marks the place of a tensor among outputs that are constants


class _Holder(nn.Module):
    """Holds the nets among the inputs, so that the tracer sees their weights as parameters."""

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], nets: list[nn.Module]) -> None:
        super().__init__()
        self.run, self.nets = function, nn.ModuleList(nets)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.run(*tensors)
