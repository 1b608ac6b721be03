"""Size and speed of the nets, and what patch refinement saves.

    python -m experiments.benchmark nets          parameters, GMACs and milliseconds per frame of every net
    python -m experiments.benchmark prm           patch refinement at 1080 × 1920 and 2160 × 3840
    python -m experiments.benchmark prm --checkpoint outputs/prm_grid/CELL/model.pt

Times are medians of repeated runs in this process; they hold for this machine alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from datamodules.sources.procedural import ProceduralPeople
from experiments.command import ends_with_one_line
from experiments.evaluation import measure_cost
from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.modnet_v import MODNetV
from lightning_modules.nets.prm import PatchRefinement

FRAMES = ((1080, 1920), (2160, 3840))
WORKING_SIZE = 512


def main(arguments: list[str]) -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=("nets", "prm"))
    parser.add_argument("--size", type=int, nargs=2, default=(288, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--checkpoint", type=Path, help="model.pt of a trained modnet_v; else flaws are the true ones")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device}, {options.threads} CPU threads, torch {torch.__version__}\n")
    with torch.inference_mode():
        if options.what == "nets":
            benchmark_nets(tuple(options.size), device)
        else:
            benchmark_prm(options.checkpoint, device)
    return 0


def benchmark_nets(size: tuple[int, int], device: torch.device) -> None:
    """Print a Markdown row for each net, batch 1, state carried from frame to frame."""
    rows = []
    for name in track(NETS, "nets", transient=True, disable=not sys.stdout.isatty()):
        net = build_net(name).to(device).eval()
        cost = measure_cost(net, torch.rand(1, 1, 3, *size, device=device))
        size_and_macs = f"{cost['parameters']:,} | {cost['gmacs_per_frame']:.2f}"
        rows.append(f"| {name} | {size_and_macs} | {cost['milliseconds_per_frame']:.1f} |")
    print(f"| net | parameters | GMACs | ms per frame at {size[0]} × {size[1]} |\n| --- | ---: | ---: | ---: |")
    print("\n".join(rows))


def benchmark_prm(checkpoint: Path | None, device: torch.device) -> None:
    """Print a Markdown row for each frame size: what is refined, what it costs against refining all."""
    net = _load(checkpoint) if checkpoint else MODNetV()
    prm = net.prm
    if prm is None:
        raise SystemExit(f"{checkpoint}: this net has no patch refinement (model.prm=false)")
    net.to(device).eval()
    rows = []
    for height, width in track(FRAMES, "frames", transient=True, disable=not sys.stdout.isatty()):
        frame, alpha = (each.to(device) for each in portrait(height, width))
        small = F.interpolate(alpha, (WORKING_SIZE, WORKING_SIZE * width // height), mode="area")
        coarse = F.interpolate(small, (height, width), mode="bilinear")
        channels = prm.refiner.conv_feature.in_channels
        feature = torch.rand(1, channels, small.shape[-2] // 2, small.shape[-1] // 2, device=device)
        k = prm.num_patches(height, width)
        flaw = prm.flaw_logits(small, (height, width)).sigmoid() if checkpoint else prm.flaw_target(coarse, alpha)
        selection, everything = flaw[:, 0] > prm.xi, torch.ones(1, k, k, dtype=torch.bool, device=device)
        selected, full = (
            milliseconds(partial(prm.refine, frame, coarse, feature, chosen), device)
            for chosen in (selection, everything)
        )
        share, pixels = float(selection.float().mean()), int(prm.selected_pixels(selection, height, width).sum())
        seam = seam_difference(prm, frame, coarse, feature)
        rows.append(
            f"| {height} × {width} | {k} | {share:.1%} | {pixels:,} | {selected:.0f} | {full:.0f} | "
            f"{full / selected:.1f} × | {seam:.1e} |"
        )
    source = "predicted" if checkpoint else "true"
    print(f"| frame | k | patches above ξ = {prm.xi} ({source}) | pixels refined | ms | ms for all | saving | seam |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(rows))


def portrait(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A procedural person in the middle of a frame: (1, 3, H, W) on grey and true alpha (1, 1, H, W), in [0, 1]."""
    side = min(height, 1024)
    clip = ProceduralPeople(num_clips=1, num_frames=1, size=side, part="test").read(0, [0])
    layers = torch.cat((clip.fgr, clip.pha), dim=1).float() / 255
    layers = F.interpolate(layers, (height, height), mode="bilinear")
    left = (width - height) // 2
    layers = F.pad(layers, (left, width - height - left, 0, 0))
    colour, alpha = layers[:, :3], layers[:, 3:]
    return colour * alpha + 0.5 * (1 - alpha), alpha


def seam_difference(prm: PatchRefinement, frame: Tensor, alpha: Tensor, feature: Tensor) -> float:
    """Largest difference between refining all patches one by one and the whole frame at once.

    The last layer starts at zero; here it gets weights, so that there is something to differ.
    """
    head = prm.refiner.head
    weight = head.weight.clone()
    if not weight.any():
        torch.nn.init.normal_(head.weight, std=0.05, generator=torch.Generator(weight.device).manual_seed(0))
    k, whole = prm.k, torch.ones(1, 1, 1, dtype=torch.bool, device=frame.device)
    patches = prm.refine(frame, alpha, feature, prm.select(torch.ones(1, 1, 16, 16, device=frame.device)))
    prm.k = 1
    at_once = prm.refine(frame, alpha, feature, whole)
    prm.k = k
    head.weight.copy_(weight)
    return float((patches - at_once).abs().max())


def milliseconds(work: Callable[[], object], device: torch.device, repetitions: int = 5) -> float:
    """Median time of `work` after one run to warm up."""
    times = []
    for _ in range(repetitions + 1):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return 1e3 * sorted(times[1:])[repetitions // 2]


def _load(path: Path) -> MODNetV:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    options = dict(saved["model"])
    net = build_net(options.pop("name"), **options)
    if not isinstance(net, MODNetV):
        raise SystemExit(f"{path}: not a modnet_v")
    net.load_state_dict(saved["state_dict"])
    return net


if __name__ == "__main__":
    ends_with_one_line(partial(main, sys.argv[1:]))
