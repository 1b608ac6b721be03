"""A net on a stream at full speed: one call for every net, on CUDA replayed as a graph of all its kernels.

A frame alone keeps a GPU waiting for launches; a CUDA graph is launched as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.command.messages import reason
from experiments.inference.fast_nets import make_fast, weights_in_half
from lightning_modules.nets.interface import MattingNet, MattingOutput

# A call without arguments → what computes it anew from what then lies where its inputs lay, and its outputs, which
# that overwrites. Raises RuntimeError where that cannot be.
Capture = Callable[[Callable[[], Any], torch.device], tuple[Callable[[], None], Any]]

# Graphs that one function has at most, calls that came once among them; each holds the memory of a call for good.
GRAPHS = 4
# As many calls as PyTorch makes itself before it captures one.
_WARM_UP_CALLS = 3


class StreamedNet(MattingNet):
    """A net made ready for many frames: `matte` gives the mattes of the net, but for rounding, and no training heads.

    It owns a copy, in eval mode: norms folded into convolutions, channels last. On CUDA a call of which another of the
    same shapes came before is captured as a CUDA graph, with all that it takes and gives in fixed places, and replayed
    from then on: with a state and without, in chunks of each length, at each ratio. Under autocast to float16 weights
    and frames are themselves of that type, norms excepted, in place of casts; to bfloat16, whose eight bits would show
    in frames and states, it stays autocast. What cannot be done for a net is told in one line, and done the slower way;
    a call that the memory does not hold beside the graphs is made again without them.

    What is given and what comes out is the caller's: no later call overwrites it.
    """

    def __init__(self, net: MattingNet, capture: Capture | None = None, exact: bool = False) -> None:
        """Copy a net, on the device where it is to run.

        Args:
            net: any; it is left as it was.
            capture: how a call is captured; None for CUDA graphs on CUDA, and nothing elsewhere.
            exact: for figures: autocast to float16 stays autocast, and cuDNN takes for a graph the kernels that it
                takes without one, so that no matte depends on which calls came before.
        """
        super().__init__()
        self.net = copy.deepcopy(net).eval()
        self.net.skip_training_heads()
        make_fast(self.net)
        self.multiple, self.state_type = net.multiple, net.state_type
        self.needs_plate, self.needs_flow, self.needs_alpha = net.needs_plate, net.needs_flow, net.needs_alpha
        self.capture, self.exact = capture, exact
        self._calls: dict[torch.dtype | None, Captured] = {}
        self._stand_ins: list[Captured] = []  # the calls, and steps of nets that cannot be captured whole
        self.eval()

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """`matte` at the net's own ratio."""
        return self.matte(frames, state, background)

    @torch.inference_mode()
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
        """See `MattingNet.matte`; the precision is that of autocast around it. Gives no gradient."""
        capture = self.capture or (partial(cuda_graph, exact=self.exact) if frames.is_cuda else None)
        if capture is None:
            return self.net.matte(frames, state, background, flow, downsample_ratio, upsampler, true_alpha)
        # What a net makes no use of would have to be copied to its place all the same.
        plate = background if self.needs_plate else None
        motion, truth = flow if self.needs_flow else None, true_alpha if self.needs_alpha else None
        given = (frames, state, plate, motion, downsample_ratio, upsampler, truth)
        dtype = autocast_dtype([frames])
        if dtype not in self._calls:
            self._calls[dtype] = self._prepare(dtype, capture, given)
        call = self._calls[dtype]
        output: MattingOutput
        try:
            output = call(*given)
        except torch.OutOfMemoryError:
            if not any(any(each.graphs.values()) for each in self._stand_ins):
                raise
        else:
            return output
        # Not above, where the error still holds what the call had made.
        for each in self._stand_ins:
            each.let_go()
        output = call(*given)
        return output

    def restore_state(self, saved: Any) -> Any:
        """See `MattingNet.restore_state`."""
        return self.net.restore_state(saved)

    def _prepare(self, dtype: torch.dtype | None, capture: Capture, given: tuple[Any, ...]) -> Captured:
        """The net's `matte` at a precision, to be captured whole; by its steps where that cannot be."""
        net, call = self.net, partial(_matte, self.net, dtype)
        if dtype == torch.float16 and not self.exact:
            with torch.inference_mode(False):
                half = copy.deepcopy(net)
                weights_in_half(half)
            try:
                first = _matte_in_half(half, *given)
                _matte_in_half(half, given[0], first.state, *given[2:])
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError) as error:  # of parts that stay in float32, such as nets for optical flow
                tell(f"float16 by casts, as weights of that type do not do for this net: {reason(error, 120)}")
            else:
                net, call = half, partial(_matte_in_half, half)

        def captured(function: Callable[..., Any], **options: Any) -> Captured:
            self._stand_ins.append(Captured(function, capture, **options))
            return self._stand_ins[-1]

        def by_steps(error: RuntimeError) -> None:
            tell(f"the whole net is no CUDA graph, its steps at most: {reason(error, 120)}")
            if not net.is_compiled:
                net.compile_step(captured)

        return captured(call, otherwise=by_steps)


def _matte(net: MattingNet, dtype: torch.dtype | None, frames: Tensor, *given: Any) -> MattingOutput:
    # No cache: it would hold casts that a graph takes for its own after they are gone.
    with torch.autocast(frames.device.type, dtype, enabled=dtype is not None, cache_enabled=False):
        return net.matte(frames, *given)


def _matte_in_half(net: MattingNet, frames: Tensor, state: Any, plate: Tensor | None, *given: Any) -> MattingOutput:
    return _matte(net, None, frames.half(), state, None if plate is None else plate.half(), *given)


def tell(text: str) -> None:
    """Print how a stream is run where that is not the fastest way."""
    print(f"stream    {text}", flush=True)


class Graph(NamedTuple):
    """A captured call: where its inputs and outputs lie (constants among them), and what computes it anew."""

    inputs: list[Any]
    replay: Callable[[], None]
    outputs: list[Any]
    structure: Any

    def __call__(self, given: Iterable[Any]) -> Any:
        """What the call gives for other inputs, in memory of its own."""
        for place, value in zip(self.inputs, given, strict=True):
            if isinstance(value, Tensor):
                place.copy_(value)
        self.replay()
        copies = [each.clone() if isinstance(each, Tensor) else each for each in self.outputs]
        return pytree.tree_unflatten(copies, self.structure)


class Captured:
    """Stands in for a function such as `MattingNet.step`: a graph for each structure and shape of its inputs.

    Inputs are nested; what is not a tensor in them is constant. A call is captured when it comes for the second time:
    of what comes once, as a shorter last chunk, a graph would not pay. Of too many, what came once goes first, then the
    graph that was not used for longest.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        capture: Capture,
        otherwise: Callable[[RuntimeError], None] | None = None,
    ) -> None:
        """Capture nothing yet.

        Args:
            function: gives the same for the same inputs and changes none of them.
            capture: how; see `Capture`.
            otherwise: is called once, with the reason, when a call cannot be captured, in place of a line that says it;
                all are then run as they are. Not where only the memory is too small: a line says so.
        """
        self.function, self.capture = function, capture
        self.otherwise = otherwise or (lambda error: tell(f"a step is no CUDA graph: {reason(error, 120)}"))
        self.graphs: dict[Any, Graph | None] = {}
        self.refused = False

    def __call__(self, *inputs: Any) -> Any:
        """What the function gives, in memory of its own."""
        if self.refused:
            return self.function(*inputs)
        leaves, structure = pytree.tree_flatten(inputs)
        key = (autocast_dtype(leaves), structure, *map(signature, leaves))
        # Looked up once: the device waits for it.
        graph = self.graphs.get(key) or self._captured(key, leaves, structure)
        if graph is None:
            return self.function(*inputs)
        output = graph(leaves)
        self.graphs[key] = self.graphs.pop(key)  # to the end: in the order of their use
        return output

    def let_go(self) -> None:
        """Give the memory of all graphs back."""
        self.graphs.clear()
        torch.cuda.empty_cache()

    def _captured(self, key: Any, leaves: list[Any], structure: Any) -> Graph | None:
        """The graph of a call that comes for the second time, None of others and where there is none."""
        if key not in self.graphs:
            if len(self.graphs) == GRAPHS:
                once = (each for each, graph in self.graphs.items() if graph is None)
                del self.graphs[next(once, next(iter(self.graphs)))]
            self.graphs[key] = None
            return None
        try:
            graph = self.graphs[key] = self._graph(leaves, structure)
        except RuntimeError as error:
            self.refused, full = True, _out_of_memory(error)
            if not full:
                self.graphs.clear()
                self.otherwise(error)
        else:
            return graph
        if full:  # not above, where the error still holds what the capture had made
            self.let_go()
            tell("without CUDA graphs from here on: the memory does not hold them")
        return None

    def _graph(self, leaves: list[Any], structure: Any) -> Graph:
        inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))

        def call() -> Any:
            return self.function(*pytree.tree_unflatten(inputs, structure))

        replay, outputs = self.capture(call, device)
        return Graph(inputs, replay, *pytree.tree_flatten(outputs))


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is of full memory, or came while one was handled, as at the end of a capture that it broke."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error is not None


def autocast_dtype(leaves: Iterable[Any]) -> torch.dtype | None:
    """What autocast casts to where the first tensor among these is; None without autocast."""
    kind = next(leaf.device.type for leaf in leaves if isinstance(leaf, Tensor))
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def signature(leaf: Any) -> Any:
    """What of an input a graph depends on."""
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.dtype, leaf.device
    return id(leaf) if isinstance(leaf, nn.Module) else repr(leaf)


def cuda_graph(call: Callable[[], Any], device: torch.device, exact: bool = False) -> tuple[Callable[[], None], Any]:
    """Capture a call as a CUDA graph, of the kernels that it has without one (`exact`) or of faster; see `Capture`."""
    side, current = _side_stream(device), torch.cuda.current_stream(device)
    side.wait_stream(current)
    # Around all: a capture that fails leaves its own stream the current one.
    with torch.cuda.device(device), torch.cuda.stream(side), nullcontext() if exact else _fastest_kernels():
        # Before anything is captured: a capture that fails midway leaves the allocator of memory in disorder.
        refuse_host_reads(call, device)
        for _ in range(_WARM_UP_CALLS):
            call()
        graph = torch.cuda.CUDAGraph()
        # Other threads go on: they decode, paint and encode.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = call()
    return graph.replay, outputs


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """Inside, cuDNN tries its kernels for each shape and keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where all graphs of a device are captured; libraries keep memory for each stream that they have seen."""
    return torch.cuda.Stream(device)


def refuse_host_reads(call: Callable[[], Any], device: torch.device) -> None:
    """Make a call that must not wait for values of a device, nor bring any there.

    Raises:
        RuntimeError: it does; no graph can hold it.
    """
    # In inference mode functions made of others are not taken apart; what is compiled would hide what it does.
    with torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"), _NoHostReads(device):
        call()


class _NoHostReads(TorchDispatchMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.kind = device.type

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._waits(func, args, result):
            raise RuntimeError(f"{func} waits for the device")
        return result

    def _waits(self, func: Any, args: Any, result: Any) -> bool:
        name = func.overloadpacket.__name__
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
        if name == "lift_fresh":  # made of Python's numbers
            return bool(result.device.type == self.kind)
        if name in ("_to_copy", "copy_"):
            given = args[0] if name == "_to_copy" else args[1]
            return bool(given.device.type != result.device.type)
        return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
