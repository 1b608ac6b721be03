"""A net on a stream: captured when a call comes again, replayed from fixed places, states carried, nothing shared.

On a CPU a stand-in for the capture overwrites its outputs as a CUDA graph does; the last tests need a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from experiments.benchmarks.inputs import MovingPortrait
from experiments.inference import streamed_nets
from experiments.inference.streamed_nets import GRAPHS, Captured, StreamedNet, cuda_graph, refuse_host_reads
from experiments.inference.streaming import Streaming, run_frames
from lightning_modules.nets import NETS, build_net, interface
from lightning_modules.nets.interface import MattingNet, MattingOutput
from tests.lightning_modules.nets.small import SMALL

CPU = torch.device("cpu")
# What a net cannot be captured whole for, on a CPU; on CUDA BackgroundMattingV2's sampling can.
WAITING = {
    "modnet_flow": ({"width": 0.25, "hidden": 8}, "lift_fresh"),
    "modnet_v": ({"width": 0.25, "hidden": 8, "working_size": 64, "prm_k": 4}, "_local_scalar_dense"),
    "background_matting_v2": ({"backbone": "mobilenetv2", "width": 0.25, "refine_mode": "thresholding"}, "nonzero"),
}


class Tape:
    """Stands in for CUDA graphs: a replay computes anew from the places of the inputs, into those of the outputs."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, call: Callable[[], Any], device: torch.device) -> tuple[Callable[[], None], Any]:
        self.captures += 1
        outputs = pytree.tree_map_only(Tensor, lambda each: each.clone(memory_format=torch.contiguous_format), call())

        def replay() -> None:
            self.replays += 1
            for place, value in zip(tensors(outputs), tensors(call()), strict=True):
                place.copy_(value)

        for each in tensors(outputs):
            each.fill_(torch.nan)  # a capture computes nothing
        return replay, outputs


def tensors(nested: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(nested) if isinstance(leaf, Tensor))


class Adder(MattingNet):
    """Alpha is the mean of the frames that were seen so far."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        self.calls += 1
        means = frames.mean(dim=(2, 3, 4), keepdim=True) * self.weight
        total, count = (means.new_zeros(1), means.new_zeros(1)) if state is None else state
        alphas = []
        for mean in means.unbind(1):
            total, count = total + mean, count + 1
            alphas.append(total / count)
        alpha = torch.stack(alphas, dim=1).expand(-1, -1, 1, *frames.shape[-2:])
        return MattingOutput(alpha, state=(total, count), aux={"mean": means})


def clip(seed: int, num_frames: int = 7, size: tuple[int, int] = (32, 40)) -> Tensor:
    return torch.rand(1, num_frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def matted(
    net: MattingNet, frames: Tensor, chunk: int = 1, precision: str = "32", plate: Any = None, ratio: Any = None
) -> list[Tensor]:
    how, state, alphas = Streaming(precision=precision, downsample_ratio=ratio), None, list[Tensor]()
    for some in frames.split(chunk, dim=1):
        output = run_frames(net, some, state, plate, how)
        state = output.state
        alphas.append(output.alpha)
    return alphas


def whole(alphas: list[Tensor]) -> Tensor:
    return torch.cat(alphas, dim=1)


def test_a_call_is_captured_when_it_comes_again_and_from_then_on_only_replayed() -> None:
    tape, net = Tape(), Adder().eval()
    streamed = StreamedNet(net, tape)
    assert torch.equal(whole(matted(streamed, clip(0))), whole(matted(net, clip(0))))
    # The first frame and the second run as they are; with a state the third is captured.
    assert (tape.captures, tape.replays) == (1, 5)
    matted(streamed, clip(1))
    assert (tape.captures, tape.replays) == (2, 5 + 7)


def test_a_new_clip_after_another_starts_fresh() -> None:
    streamed = StreamedNet(Adder(), Tape())
    for seed in (0, 1, 2, 1):
        assert torch.equal(whole(matted(streamed, clip(seed))), whole(matted(Adder(), clip(seed))))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_a_clip_in_chunks_is_the_whole_clip_and_a_shorter_last_one_is_not_captured(chunk: int) -> None:
    tape = Tape()
    streamed = StreamedNet(Adder(), tape)
    torch.testing.assert_close(whole(matted(streamed, clip(0), chunk)), whole(matted(Adder(), clip(0), 7)))
    assert tape.captures == (1 if chunk in (1, 2) else 0)


def test_frames_of_another_size_are_captured_anew_and_old_graphs_are_given_up() -> None:
    tape = Tape()
    streamed = StreamedNet(Adder(), tape)
    for side in (32, 48, 32):
        frames = clip(0, size=(side, side))
        assert torch.equal(whole(matted(streamed, frames)), whole(matted(Adder(), frames)))
    assert tape.captures == 3  # with a state for each size; the first frame of the second clip of one
    for side in range(40, 80, 8):
        matted(streamed, clip(0, size=(side, side)))
    (captured,) = streamed._calls.values()
    assert len(captured.graphs) == GRAPHS


def test_clips_of_other_lengths_leave_the_graphs_of_their_common_chunks() -> None:
    tape = Tape()
    streamed = StreamedNet(Adder(), tape)
    for num_frames in (9, 10, 11, 9, 10, 11):
        frames = clip(num_frames, num_frames)
        torch.testing.assert_close(whole(matted(streamed, frames, 4)), whole(matted(Adder(), frames, num_frames)))
    assert tape.captures == 2  # a whole chunk with a state and without


def test_what_came_once_is_given_up_before_any_graph() -> None:
    tape = Tape()
    double = Captured(lambda x: 2 * x, tape)
    for length in (1, 1, *range(2, 4 * GRAPHS), 1):
        double(torch.ones(length))
    assert (tape.captures, tape.replays, len(double.graphs)) == (1, 2, GRAPHS)


def test_the_graph_that_was_not_used_for_longest_is_given_up_first() -> None:
    tape = Tape()
    double = Captured(lambda x: 2 * x, tape)
    for length in (*range(1, GRAPHS + 1), 1, GRAPHS + 1, 1):
        for _ in range(2):
            assert torch.equal(double(torch.ones(length)), torch.full((length,), 2.0))
    assert tape.captures == GRAPHS + 1
    double(torch.ones(2))
    assert sum(graph is None for graph in double.graphs.values()) == 1  # the second was given up, and comes anew


def test_what_the_caller_keeps_or_changes_is_its_own() -> None:
    streamed, frames, how = StreamedNet(Adder(), Tape()), clip(0), Streaming()
    state, kept = None, []
    for t in range(7):
        given = frames[:, t : t + 1].clone()
        output = streamed.matte(given, state)
        given.fill_(torch.nan)
        kept.append(output)
        state = output.state
    expected = matted(Adder(), frames)
    assert torch.equal(whole([output.alpha for output in kept]), whole(expected))
    assert torch.equal(whole([output.aux["mean"] for output in kept]), frames.mean(dim=(2, 3, 4), keepdim=True))
    # A state that was kept goes on from where it was.
    again = run_frames(streamed, frames[:, 3:4], kept[2].state, None, how)
    assert torch.equal(again.alpha, expected[3])


def test_the_net_itself_is_left_as_it_was_and_what_it_does_not_need_is_not_copied() -> None:
    net = build_net("rvm", **SMALL["rvm"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    streamed = StreamedNet(net, Tape())
    plate, flow = torch.rand(1, 1, 3, 64, 64), torch.zeros(1, 1, 2, 64, 64)
    for _ in range(3):
        streamed.matte(torch.rand(1, 1, 3, 64, 64), None, plate, flow)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    (graph,) = next(iter(streamed._calls.values())).graphs.values()
    assert graph is not None
    assert [tuple(each.shape) for each in tensors(graph.inputs)] == [(1, 1, 3, 64, 64)]


class Reader(Adder):
    """Looks at a value of the frames; its step does not."""

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        assert bool((frames.sum() > 0).item())
        return MattingOutput(self.run_step(frames[:, 0])[:, None])

    def step(self, frame: Tensor) -> Tensor:
        return frame.mean(dim=1, keepdim=True) * self.weight


def careful(tape: Tape) -> Any:
    """Refuses what a CUDA graph cannot hold."""

    def capture(call: Callable[[], Any], device: torch.device) -> Any:
        refuse_host_reads(call, device)
        return tape(call, device)

    return capture


def test_a_net_that_reads_values_is_captured_by_steps_and_one_line_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape()
    streamed = StreamedNet(Reader(), careful(tape))
    assert torch.equal(whole(matted(streamed, clip(0))), whole(matted(Reader(), clip(0))))
    assert tape.captures == 1
    assert tape.replays == 7 - 2  # the frame at which it is refused runs its step for the first time outside
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("stream    the whole net is no CUDA graph, its steps at most: aten._local_scalar_dense")


def test_where_nothing_can_be_captured_a_net_runs_as_it_is_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(call: Callable[[], Any], device: torch.device) -> Any:
        raise RuntimeError("no graphs\nhere")

    streamed = StreamedNet(Reader(), refuse)
    for _ in range(2):
        assert torch.equal(whole(matted(streamed, clip(0))), whole(matted(Reader(), clip(0))))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["no graphs here"] * 2
    assert "step is no CUDA graph" in lines[1]


@pytest.mark.parametrize("hidden", [False, True])
def test_where_memory_does_not_hold_a_capture_a_net_runs_as_it_is(
    hidden: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tape, emptied, attempts = Tape(), [], []

    def too_large(call: Callable[[], Any], device: torch.device) -> Any:
        attempts.append(device)
        if len(attempts) == 1:
            return tape(call, device)
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            if hidden:  # what ends a capture that broke off may fail too
                raise RuntimeError("operation failed due to a previous error during capture")

    streamed = StreamedNet(Adder(), too_large)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(list(streamed._stand_ins[0].graphs)))
    for seed in (0, 1, 2):
        assert torch.equal(whole(matted(streamed, clip(seed))), whole(matted(Adder(), clip(seed))))
    assert (len(attempts), len(streamed._stand_ins), emptied) == (2, 1, [[]])  # neither again nor by steps
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "stream    without CUDA graphs from here on: the memory does not hold them"


@pytest.mark.parametrize("kind", [Adder, Reader])
def test_a_last_chunk_that_memory_does_not_hold_beside_the_graphs_is_run_without_them(kind: type[Adder]) -> None:
    class Tight(kind):  # type: ignore[misc, valid-type]
        def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
            if frames.shape[1] < 3 and (always or any(any(each.graphs.values()) for each in streamed._stand_ins)):
                failures.append(frames.shape)
                raise torch.OutOfMemoryError("CUDA out of memory")
            output: MattingOutput = super().forward(frames, state)
            return output

    tape, failures, always = Tape(), list[Any](), False
    streamed = StreamedNet(Tight(), careful(tape))
    for num_frames in (10, 11):
        frames = clip(0, num_frames)
        torch.testing.assert_close(whole(matted(streamed, frames, 3)), whole(matted(kind(), frames, 3)))
    assert len(failures) == tape.captures == 2  # and the clip after it has graphs again
    always = True
    with pytest.raises(torch.OutOfMemoryError):
        matted(streamed, clip(0, 10), 3)
    assert len(failures) == 4  # retried once, without graphs
    with pytest.raises(torch.OutOfMemoryError):
        matted(streamed, clip(0, 1))
    assert len(failures) == 5  # nothing was held


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0.5],
        lambda x: x.index_put((x > 0.5,), torch.zeros(())),
        lambda x: x * x.new_tensor([1.0]),
        lambda x: x.masked_select(x > 0.5),
    ],
)
def test_what_waits_for_values_is_found(read: Callable[[Tensor], object]) -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="waits for the device"):
        refuse_host_reads(lambda: read(torch.rand(4)), CPU)


def test_indices_masks_and_numbers_do_not_wait() -> None:
    x, places = torch.rand(4), torch.arange(2)
    with torch.inference_mode():
        refuse_host_reads(lambda: torch.where(x > 0.5, x, 1.0)[places].masked_fill(x[:2] > 0.1, 2.0), CPU)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door of nets looks at values on a CPU alone."""
    monkeypatch.setattr(interface, "check_pictures", lambda *arguments: None)


@pytest.mark.slow
@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("precision", ["32", "16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("name", NETS)
def test_every_net_is_captured_whole_and_streams_its_own_mattes_over_two_clips(name: str, precision: str) -> None:
    net = build_net(name, **SMALL[name] | ({"refine_mode": "full"} if name == "background_matting_v2" else {}))
    net.reset_parameters(0)
    tape = Tape()
    streamed = StreamedNet(net.eval(), careful(tape))
    portrait = MovingPortrait(64, 64, CPU)
    for start in (0, 4):
        frames = torch.stack([portrait.frame(t) for t in range(start, start + 4)], dim=1)
        alphas, expected = (whole(matted(each, frames, plate=portrait.plate[:, None])) for each in (streamed, net))
        if precision == "32":
            torch.testing.assert_close(alphas, expected, atol=1e-3, rtol=0)
        halved = whole(matted(streamed, frames, precision=precision, plate=portrait.plate[:, None]))
        assert halved.dtype == torch.float32
        assert (halved - expected).abs().mean() < (0.02 if precision == "bf16-mixed" else 0.005)
    assert tape.replays > 0
    assert not any(captured.refused for captured in streamed._calls.values())


@pytest.mark.usefixtures("unread")
def test_rvm_is_captured_at_each_ratio_and_in_chunks() -> None:
    net = build_net("rvm", width=0.25, decoder_width=0.25).eval()
    net.reset_parameters(0)
    tape, frames = Tape(), clip(0, 6, (64, 80))
    streamed = StreamedNet(net, careful(tape))
    for ratio in (0.6, 0.5, 1.0):
        expected = whole(matted(net, frames, ratio=ratio))
        for chunk in (1, 2):
            found = whole(matted(streamed, frames, chunk, ratio=ratio))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert tape.captures == 6


@pytest.mark.slow
@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", WAITING)
def test_nets_that_wait_for_values_stream_their_mattes_by_steps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, why = WAITING[name]
    net = build_net(name, **options)
    net.reset_parameters(0)
    tape = Tape()
    streamed = StreamedNet(net.eval(), careful(tape))
    portrait = MovingPortrait(64, 96, CPU)
    frames = torch.stack([portrait.frame(t) for t in range(5)], dim=1)
    alphas, expected = (whole(matted(each, frames, plate=portrait.plate[:, None])) for each in (streamed, net))
    torch.testing.assert_close(alphas, expected, atol=1e-3, rtol=0)
    assert tape.replays > 0
    (line,) = capsys.readouterr().out.splitlines()
    assert why in line


def test_float16_is_of_weights_and_by_casts_where_these_do_not_do(capsys: pytest.CaptureFixture[str]) -> None:
    class Kind(Adder):
        def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
            kinds.append(self.weight.dtype)
            if refuses and frames.dtype == torch.float16:
                raise RuntimeError("expected Float")
            return super().forward(frames.float(), state)

    kinds: list[torch.dtype] = []
    refuses = False
    matted(StreamedNet(Kind(), Tape()), clip(0), precision="16-mixed")
    assert set(kinds) == {torch.float16}
    kinds, refuses = [], True
    assert torch.equal(
        whole(matted(StreamedNet(Kind(), Tape()), clip(0), precision="16-mixed")), whole(matted(Adder(), clip(0)))
    )
    assert set(kinds[1:]) == {torch.float32}
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "stream    float16 by casts, as weights of that type do not do for this net: expected Float"


@pytest.mark.parametrize("exact", [False, True])
def test_for_figures_a_net_computes_by_casts_and_keeps_its_kernels(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kind(Adder):
        def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
            kinds.append((self.weight.dtype, frames.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(frames.float(), state)

    class OnCuda(Tensor):
        is_cuda = True

    def graph(call: Callable[[], Any], device: torch.device, exact: bool) -> Any:
        captures.append(exact)
        return tape(call, device)

    tape, kinds, captures = Tape(), list[Any](), list[bool]()
    monkeypatch.setattr(streamed_nets, "cuda_graph", graph)
    streamed, frames = StreamedNet(Kind(), exact=exact), clip(0).as_subclass(OnCuda)
    alphas = whole(matted(streamed, frames, precision="16-mixed"))
    assert captures == [exact]
    assert set(kinds) == {(torch.float32, torch.float32, True) if exact else (torch.float16, torch.float16, False)}
    if exact:
        assert torch.equal(alphas, whole(matted(Adder(), clip(0))))


def test_on_a_cpu_a_net_is_made_fast_and_nothing_is_captured(capsys: pytest.CaptureFixture[str]) -> None:
    net = build_net("rvm", **SMALL["rvm"]).eval()
    streamed = StreamedNet(net)
    torch.testing.assert_close(whole(matted(streamed, clip(0))), whole(matted(net, clip(0))), atol=1e-4, rtol=0)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in streamed.modules())
    assert streamed._calls == {}
    assert capsys.readouterr().out == ""


def test_a_saved_state_and_what_a_net_needs_are_those_of_the_net() -> None:
    net = build_net("background_matting_v2", **SMALL["background_matting_v2"])
    streamed = StreamedNet(net)
    assert (streamed.needs_plate, streamed.needs_flow, streamed.multiple) == (True, False, 4)
    remembers = StreamedNet(build_net("modnet_v", **SMALL["modnet_v"]))
    output = remembers.matte(torch.rand(1, 1, 3, 64, 64))
    assert type(remembers.restore_state(list(output.state))) is type(output.state)


def test_a_function_is_captured_for_each_structure_and_constant_of_its_inputs() -> None:
    tape = Tape()
    double = Captured(lambda x, times, more: x * times + (0 if more is None else more["y"]), tape)
    x = torch.rand(3)
    for _ in range(3):
        assert torch.equal(double(x, 2, None), 2 * x)
        assert torch.equal(double(x, 3, None), 3 * x)
        assert torch.equal(double(x, 2, {"y": x}), 3 * x)
    assert (tape.captures, tape.replays) == (3, 6)


def test_a_function_is_captured_for_each_precision() -> None:
    tape = Tape()
    layer = nn.Linear(4, 4)
    run, x = Captured(layer, tape), torch.rand(2, 4)
    with torch.inference_mode():
        for _ in range(3):
            assert run(x).dtype == torch.float32
            with torch.autocast("cpu", torch.bfloat16):
                assert run(x).dtype == torch.bfloat16
    assert tape.captures == 2


class Devices:
    """Stands in for `torch.cuda` and notes what is asked of it; a capture may break off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, breaks: bool = False) -> None:
        self.notes, self.breaks = list[str](), breaks
        monkeypatch.setattr(streamed_nets, "_side_stream", lambda device: self)
        for name in ("device", "stream"):
            monkeypatch.setattr(torch.cuda, name, lambda given, name=name: self.inside(name))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)

    def wait_stream(self, other: Any) -> None:
        self.notes.append("wait")

    def replay(self) -> None:
        self.notes.append("replay")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        self.notes.append(f"{name} (")
        try:
            yield
        finally:
            self.notes.append(f"{name} )")

    @contextmanager
    def graph(self, graph: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert (graph, stream, capture_error_mode) == (self, self, "thread_local")
        with self.inside("graph"):
            yield
            if self.breaks:
                raise RuntimeError("operation not permitted")


@pytest.mark.parametrize("exact", [False, True])
def test_a_graph_is_captured_after_warm_up_on_a_stream_of_its_own(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch)

    def call() -> str:
        devices.notes.append(f"call {torch.backends.cudnn.benchmark}")
        return "outputs"

    replay, outputs = cuda_graph(call, torch.device("cuda", 0), exact)
    replay()
    assert outputs == "outputs"
    call_noted = f"call {not exact}"  # whether cuDNN searches for the fastest kernels
    warm, own = ["wait", "device (", "stream (", *[call_noted] * 4], ["graph (", call_noted, "graph )"]
    assert devices.notes == [*warm, *own, "stream )", "device )", "replay"]
    assert not torch.backends.cudnn.benchmark


def test_what_waits_is_refused_before_anything_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch)
    with pytest.raises(RuntimeError, match="waits for the device"):
        cuda_graph(lambda: torch.ones(2).sum().item(), torch.device("cuda", 0))
    assert devices.notes == ["wait", "device (", "stream (", "stream )", "device )"]
    assert not torch.backends.cudnn.benchmark


def test_a_capture_that_breaks_off_leaves_the_streams_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch, breaks=True)
    with pytest.raises(RuntimeError, match="not permitted"):
        cuda_graph(lambda: None, torch.device("cuda", 0))
    assert devices.notes[-3:] == ["graph )", "stream )", "device )"]
    assert not torch.backends.cudnn.benchmark


CUDA_NETS: dict[str, dict[str, Any]] = {name: {} for name in NETS} | {
    "modnet_flow": {"flow": "none"},
    "context_motion": {"flow": "none"},
    "deeplabv3": {"threshold": None},
    "lraspp": {"threshold": None},
    # Otherwise rounding chooses the cells that are refined.
    "background_matting_v2": {"refine_share": 1.0, "refine_prevent_oversampling": False},
}


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "mean"), [("32", 1e-4), ("16-mixed", 0.01), ("bf16-mixed", 0.05)])
@pytest.mark.parametrize("name", CUDA_NETS)
def test_gpu_every_net_streams_by_one_graph_what_it_gives_in_eager_mode(
    name: str, precision: str, mean: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    net = build_net(name, **CUDA_NETS[name])
    net.reset_parameters(0)
    streamed = StreamedNet(net.cuda().eval())
    portrait = MovingPortrait(288, 512, torch.device("cuda"))
    plate = portrait.plate[:, None]
    for start in (0, 6):
        frames = torch.stack([portrait.frame(t) for t in range(start, start + 6)], dim=1)
        expected = whole(matted(net, frames, plate=plate))
        for chunk in (1, 2):
            alphas = whole(matted(streamed, frames, chunk, precision, plate))
            assert alphas.isfinite().all()
            assert (alphas - expected).abs().mean() < mean
    captured = streamed._calls[{"32": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}[precision]]
    assert any(captured.graphs.values())
    assert capsys.readouterr().out == ""


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32", "16-mixed"])
@pytest.mark.parametrize(("size", "ratio"), [((1080, 1920), 0.25), ((2160, 3840), 0.125), ((1079, 1917), 0.3)])
def test_gpu_rvm_streams_by_one_graph_at_every_ratio(
    size: tuple[int, int], ratio: float, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = build_net("rvm")
    net.reset_parameters(0)
    streamed = StreamedNet(net.cuda().eval())
    portrait = MovingPortrait(*size, torch.device("cuda"))
    frames = torch.stack([portrait.frame(t) for t in range(6)], dim=1)
    expected = whole(matted(net, frames, ratio=ratio))
    for chunk in (1, 2, 1):
        alphas = whole(matted(streamed, frames, chunk, precision, ratio=ratio))
        assert (alphas - expected).abs().mean() < 0.01
    (captured,) = streamed._calls.values()
    assert any(captured.graphs.values())
    assert capsys.readouterr().out == ""


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32", "16-mixed"])
def test_gpu_exact_mattes_do_not_tell_which_calls_came_before(precision: str) -> None:
    net = build_net("rvm")
    net.reset_parameters(0)
    streamed = StreamedNet(net.cuda().eval(), exact=True)
    portrait = MovingPortrait(288, 512, torch.device("cuda"))
    frames = torch.stack([portrait.frame(t) for t in range(7)], dim=1)
    first, *others = (whole(matted(streamed, frames, 2, precision)) for _ in range(3))
    (captured,) = streamed._calls.values()
    assert any(captured.graphs.values())
    for other in others:
        assert torch.equal(other, first)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(1080, 1920), (1079, 1917)])
def test_gpu_sampled_cells_are_refined_by_one_graph(size: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    net = build_net("background_matting_v2")
    net.reset_parameters(0)
    streamed = StreamedNet(net.cuda().eval())
    portrait = MovingPortrait(*size, torch.device("cuda"))
    frames = torch.stack([portrait.frame(t) for t in range(5)], dim=1)
    alphas, expected = (whole(matted(each, frames, plate=portrait.plate[:, None])) for each in (streamed, net))
    assert (alphas - expected).abs().mean() < 1e-3
    assert any(streamed._calls[None].graphs.values())
    assert capsys.readouterr().out == ""


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), [(name, options) for name, (options, _) in WAITING.items()])
def test_gpu_nets_that_wait_for_values_stream_by_steps(
    name: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    net = build_net(name, **options)
    net.reset_parameters(0)
    streamed = StreamedNet(net.cuda().eval())
    portrait = MovingPortrait(128, 128, torch.device("cuda"))
    frames = torch.stack([portrait.frame(t) for t in range(5)], dim=1)
    alphas, expected = (whole(matted(each, frames, plate=portrait.plate[:, None])) for each in (streamed, net))
    torch.testing.assert_close(alphas, expected, atol=5e-3, rtol=0)
    assert "its steps at most" in capsys.readouterr().out


@pytest.mark.gpu
def test_gpu_a_capture_that_fails_midway_leaves_a_device_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    class Hidden(Adder):
        def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
            torch.cuda.synchronize()  # what no dispatcher sees
            return super().forward(frames, state)

    streamed, frames = StreamedNet(Hidden().cuda()), clip(0).cuda()
    before = torch.cuda.current_stream()
    assert torch.equal(whole(matted(streamed, frames)), whole(matted(Adder().cuda(), frames)))
    assert torch.cuda.current_stream() == before
    assert "no CUDA graph" in capsys.readouterr().out
    other = StreamedNet(Adder().cuda())
    assert torch.equal(whole(matted(other, frames)), whole(matted(Adder().cuda(), frames)))
    assert any(other._calls[None].graphs.values())
