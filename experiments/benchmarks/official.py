"""A published module beside ours: the same weights, the same frames, the same run.

The module is built from the user's own clone of the paper's repository; nothing of it is kept here. Where a net is
published as an ONNX file, that file is run by onnxruntime beside our net with its weights.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from experiments.benchmarks.inputs import MovingPortrait, Size, Step, Stream
from experiments.benchmarks.nets import channels_last, make_step
from experiments.benchmarks.output import Columns
from experiments.benchmarks.timing import Times, interleave, load_average, ratio_interval, warm_up
from experiments.benchmarks.variants import make_variant, precision_context, wants_channels_last
from experiments.inference.onnx_nets import load_onnx
from lightning_modules.nets.blocks import crop, pad_to_multiple, resize
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import load_official
from lightning_modules.nets.onnx_files import is_onnx

COLUMNS: Columns = {
    "net": ("net", ""),
    "size": ("size", ""),
    "variant": ("ours", ""),
    "theirs_ms": ("official ms", ".1f"),
    "ours_ms": ("our ms", ".1f"),
    "p99_ratio": ("our p99 / median", ".2f"),
    "ratio": ("times faster", ".2f"),
    "ratio_low": ("from", ".2f"),
    "ratio_high": ("to", ".2f"),
    "cpu_ratio": ("in CPU time", ".2f"),
    "calls": ("calls", "d"),
    "refined": ("of the cells refined", ".1%"),
    "official_difference": ("largest difference: from official", ".1e"),
    "official_mean": ("mean", ".1e"),
    "fp32_difference": ("from our fp32 eager", ".1e"),
    "fp32_mean": ("mean", ".1e"),
    "compared": ("over frames", "d"),
    "load": ("load", ".1f"),
}
AT_RATIO_1 = "At ratio 1 RVM's file refines, its PyTorch code and ours do not: give another, as in 512x288@0.5."
_FRAMES = 3  # that are given in turn


class OfficialPair(NamedTuple):
    """One system twice, with the same weights, both in eval mode on the CPU.

    Attributes:
        module: theirs.
        step: one frame through theirs: (frame (1, 3, H, W) in [0, 1], state or None, plate (1, 3, H, W), ratio)
            → alpha (1, 1, H, W) in [0, 1] and the next state (None without memory). `plate` is the true
            background; `ratio` is RVM's downsample ratio and BackgroundMattingV2's backbone scale (which ours cuts
            to 1/2, see `MattingNet.matte`), 1 for nets that have neither.
        net: ours; it is run by its `matte` with the same plate and ratio.
        fixed_ratio: the only ratio at which the two do the same, None if they agree at any.
    """

    module: nn.Module
    step: Callable[[Tensor, Any, Tensor, float], tuple[Tensor, Any]]
    net: MattingNet
    fixed_ratio: float | None = None


def build_modnet(code: Path) -> OfficialPair:
    """MODNet from a clone of ZHKKKe/MODNet; it knows no ratio and needs sides that 32 divides."""
    module = import_official(code, "src.models.modnet").MODNet(backbone_pretrained=False)

    def step(frame: Tensor, state: Any, plate: Tensor, ratio: float) -> tuple[Tensor, Any]:
        alpha = module(pad_to_multiple(frame * 2 - 1, 32), True)[-1]
        return crop(alpha, (frame.shape[-2], frame.shape[-1])), None

    randomise(module, lambda pictures: step(pictures, None, pictures, 1.0))
    net = with_weights_of(module, "modnet")
    net.skip_training_heads()  # as theirs does
    return OfficialPair(module.eval(), step, net, fixed_ratio=1.0)


def build_rvm(code: Path, backbone: str = "mobilenetv3", refiner: str = "deep_guided_filter") -> OfficialPair:
    """RVM from a clone of PeterL1n/RobustVideoMatting."""
    module = import_official(code, "model").MattingNetwork(backbone, refiner)

    def step(frame: Tensor, state: Any, plate: Tensor, ratio: float) -> tuple[Tensor, Any]:
        _, alpha, *state = module(frame, *(state or [None] * 4), ratio)
        return alpha, state

    randomise(module, lambda pictures: step(pictures, None, pictures, 0.5))
    with torch.no_grad():
        module.project_mat.conv.weight[3] *= 0.1  # alpha between the clamps
        module.project_mat.conv.bias[3] += 0.5
    net = with_weights_of(module, "rvm", backbone=backbone, refiner=refiner)
    return OfficialPair(module.eval(), step, net)


def build_background_matting_v2(code: Path, backbone: str = "resnet50", **options: Any) -> OfficialPair:
    """BackgroundMattingV2 from a clone of PeterL1n/BackgroundMattingV2; its options have the same names as ours."""
    module = import_official(code, "model").MattingRefine(backbone, **options)
    pixels = module.refiner.sample_pixels

    def step(frame: Tensor, state: Any, plate: Tensor, ratio: float) -> tuple[Tensor, Any]:
        size = (frame.shape[-2], frame.shape[-1])
        module.backbone_scale = min(ratio, 0.5)
        module.refiner.sample_pixels = min(pixels, frame[0, 0].numel())  # theirs fails where the frame has fewer
        return crop(module(*(pad_to_multiple(each, 4) for each in (frame, plate)))[0], size), None

    randomise(module, lambda pictures: step(pictures, None, pictures.flip(0), 0.5))
    with torch.no_grad():
        for conv in (module.decoder.conv4, module.refiner.conv4):
            conv.weight[0] *= 0.1  # alpha between the clamps
            conv.bias[0] += 0.5
        # Every cell has an error, so that as many are refined as may be, and rounding does not choose others.
        module.decoder.conv4.weight[4] *= 0.01
        module.decoder.conv4.bias[4] += 0.5
    net = with_weights_of(module, "background_matting_v2", backbone=backbone, **options)
    return OfficialPair(module.eval(), step, net)


def build_onnx(path: Path, name: str, **options: Any) -> OfficialPair:
    """A net's published ONNX file, run by onnxruntime, and ours with the weights in it.

    RVM's file refines at ratio 1, too, where its PyTorch code and ours have nothing to refine.

    Raises:
        ValueError: onnxruntime is missing, or it is no published file of that net.
    """
    net, file = load_official(name, path, **options), load_onnx(path)

    def step(frame: Tensor, state: Any, plate: Tensor, ratio: float) -> tuple[Tensor, Any]:
        output = file.matte(frame[:, None], state, plate[:, None], downsample_ratio=ratio)
        return output.alpha[:, 0], output.state

    return OfficialPair(file, step, net)


# Name of a net → (path of a clone, options of the net as in `build_net`) → the pair.
OFFICIAL_NETS: dict[str, Callable[..., OfficialPair]] = {
    "modnet": build_modnet,
    "rvm": build_rvm,
    "background_matting_v2": build_background_matting_v2,
}


def import_official(code: Path, module: str) -> ModuleType:
    """The module of that dotted name from a clone; the path is searched for this import alone.

    Raises:
        ValueError: the clone has no such module.
    """
    package = module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]  # two of the repositories call their package `model`
    sys.path.insert(0, str(code.resolve()))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{code} is no clone of the official code: {error}") from error
    finally:
        sys.path.remove(str(code.resolve()))


@torch.no_grad()
def randomise(module: nn.Module, look: Callable[[Tensor], Any]) -> None:
    """Move all norms away from their start, so that a wrong or missing one shows in the output.

    Their statistics are then those of pictures of noise, as under trained weights: activations neither vanish, which
    makes a processor slow, nor blow up, which drives every cell's error to where none is refined.

    Args:
        module: theirs.
        look: runs it on four pictures (4, 3, 128, 128) in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.8, 1.2, generator=generator)
        norm.bias.uniform_(-0.2, 0.2, generator=generator)
    pictures = [resize(torch.rand(4, 3, cells, cells, generator=generator), (128, 128)) for cells in (2, 8, 32, 128)]
    was, momenta = module.training, [norm.momentum for norm in norms]
    module.train()
    for norm in norms:
        norm.momentum = 1.0  # the statistics are those of this one batch
    look(torch.stack(pictures).mean(0))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.running_var is not None
        norm.running_var.clamp_(min=1e-2)  # where four pictures are alike, as in pooled features
    module.train(was)


def with_weights_of(module: nn.Module, name: str, **options: Any) -> MattingNet:
    """Our net with the weights of the official module, by the way of a checkpoint file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(module.state_dict(), path)
        return load_official(name, path, **options)


def benchmark_official(
    name: str,
    options: dict[str, Any],
    code: Path,
    sizes: Sequence[Size],
    variants: Sequence[tuple[str, str]],
    device: torch.device,
    seconds: float,
    progress: Callable[[str], None],
    compared: int = _FRAMES,
) -> Iterator[pd.DataFrame]:
    """The official module in float32 and eager mode beside variants of ours: a table per size, a row a variant.

    All take turns frame by frame. The ratio is the median over rounds of official time / our time in the same
    round, with its 95 % bootstrap interval.

    Args:
        name: of `OFFICIAL_NETS`.
        options: of the net, on both sides.
        code: a clone of the paper's repository, or a published ONNX file.
        sizes: of the frames.
        variants: of ours, (precision, mode).
        device: where.
        seconds: of timing for each work and size; half as much for its warm-up.
        progress: called after each size.
        compared: frames of a clip over which mattes are compared, each side with the states that it gave itself.

    Raises:
        ValueError: no such pair, or `code` is no clone of that system and no such file.
    """
    if is_onnx(code):
        pair = build_onnx(code, name, **options)
    elif name in OFFICIAL_NETS:
        pair = OFFICIAL_NETS[name](code, **options)
    else:
        raise ValueError(f"no official code is known for {name!r}; there is some for {', '.join(OFFICIAL_NETS)}")
    pair.module.to(device)
    pair.net.to(device)
    label = ":".join([name, *(f"{key}={value}" for key, value in options.items())])
    for size in sizes:
        with torch.inference_mode():
            yield _measure(pair, size, variants, device, seconds, compared).assign(net=label)
        progress(f"{size} done")
        torch._dynamo.reset()


def _measure(
    pair: OfficialPair,
    size: Size,
    variants: Sequence[tuple[str, str]],
    device: torch.device,
    seconds: float,
    compared: int,
) -> pd.DataFrame:
    ratio = size.ratio if pair.fixed_ratio is None else pair.fixed_ratio
    clip = MovingPortrait(size.height, size.width, device)
    frames = [clip.frame(t)[:, None] for t in range(_FRAMES)]

    def official_step(frame: Tensor, state: Any) -> tuple[Tensor, Any]:
        with precision_context("fp32", device):
            alpha, state = pair.step(frame[:, 0], state, clip.plate, ratio)
        return alpha[:, None], state

    def step_of(precision: str, mode: str) -> Step:
        step = make_step(make_variant(pair.net, mode), clip.plate[:, None], ratio, precision)
        return (lambda frame, state: step(channels_last(frame), state)) if wants_channels_last(mode) else step

    steps = [step_of(*variant) for variant in variants]
    differences = _differences(steps, (official_step, step_of("fp32", "eager")), clip, compared)
    works = [Stream(step, frames) for step in (official_step, *steps)]
    for work in works:
        warm_up(work, device, seconds / 2)
    theirs, *ours = interleave(works, device, seconds * len(works))
    aux = pair.net.matte(frames[0], None, clip.plate[:, None], downsample_ratio=ratio).aux
    refined = float(aux["refined_share"].mean()) if "refined_share" in aux else float("nan")
    rows = []
    for (precision, mode), times, found in zip(variants, ours, differences, strict=True):
        row = {"size": str(size._replace(ratio=ratio)), "variant": f"{precision} {mode}", "compared": compared}
        rows.append(row | _compare(theirs, times) | found | {"refined": refined})
    return pd.DataFrame(rows)


def _differences(
    steps: Sequence[Step], references: tuple[Step, Step], clip: MovingPortrait, num_frames: int
) -> list[dict[str, float]]:
    """Of the mattes of each step from those of the official code and of our float32: the largest and the mean."""
    runs = [*references, *steps]
    states: list[Any] = [None] * len(runs)
    found: list[dict[str, float]] = [defaultdict(float) for _ in steps]
    for t in range(num_frames):
        frame = clip.frame(t)[:, None]
        mattes = []
        for k, run in enumerate(runs):
            alpha, states[k] = run(frame, states[k])
            mattes.append(alpha.float().clone())  # a compiled step may use its memory again
        for told, alpha in zip(found, mattes[2:], strict=True):
            for name, other in zip(("official", "fp32"), mattes[:2], strict=True):
                away = (alpha - other).abs()
                largest = torch.tensor(told[f"{name}_difference"]).maximum(away.max().cpu())  # NaN stays NaN
                told[f"{name}_difference"] = largest.item()
                told[f"{name}_mean"] += away.mean().item() / num_frames
    return found


def _compare(theirs: Times, ours: Times) -> dict[str, float]:
    ratio, low, high = ratio_interval(theirs.wall, ours.wall)
    return {
        "theirs_ms": theirs.median,
        "ours_ms": ours.median,
        "p99_ratio": ours.quantile(0.99) / ours.median,
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "cpu_ratio": ratio_interval(theirs.cpu, ours.cpu)[0],
        "calls": len(ours.wall),
        "load": load_average(),
    }
