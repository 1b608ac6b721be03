"""What patch refinement (PRM) saves: a procedural portrait refined where it has flaws, and everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmarks.inputs import portrait
from experiments.benchmarks.output import Columns
from experiments.benchmarks.timing import interleave, ratio_interval
from experiments.inference.saved_nets import load_net
from lightning_modules.nets import build_net
from lightning_modules.nets.prm import PatchRefinement

FRAMES = ((1080, 1920), (2160, 3840))
WORKING_SIZE = 512
COLUMNS: Columns = {
    "frame": ("frame", ""),
    "k": ("k", "d"),
    "refined_share": ("patches above ξ", ".1%"),
    "pixels": ("pixels refined", ",d"),
    "ms": ("ms", ".0f"),
    "ms_for_all": ("ms for all", ".0f"),
    "saving": ("saving ×", ".1f"),
    "seam": ("seam", ".1e"),
}


def load_prm(checkpoint: Path | None) -> PatchRefinement:
    """The patch refinement of a saved modnet_v, or a fresh one.

    Raises:
        ValueError: the file is no modnet_v, or that net has no patch refinement.
    """
    net = build_net("modnet_v") if checkpoint is None else load_net(checkpoint, "modnet_v")[0]
    prm = dict(net.named_children()).get("prm")
    if prm is None:
        raise ValueError(f"{checkpoint}: this net has no patch refinement (model.prm=false)")
    assert isinstance(prm, PatchRefinement)
    return prm.eval()


def benchmark_prm(
    prm: PatchRefinement, device: torch.device, predicted: bool, progress: Callable[[str], None], rounds: int = 5
) -> Iterator[pd.DataFrame]:
    """One row a frame size: what is refined, what it costs against refining all, and whether patches leave seams.

    Args:
        prm: in eval mode.
        device: where.
        predicted: select patches by the net's own flaw map (of trained weights), else by the true flaws.
        progress: called after each frame size.
        rounds: that are timed.
    """
    prm.to(device)
    for height, width in FRAMES:
        with torch.inference_mode():
            yield pd.DataFrame([_measure(prm, height, width, device, predicted, rounds)])
        progress("patch refinement")


def _measure(
    prm: PatchRefinement, height: int, width: int, device: torch.device, predicted: bool, rounds: int
) -> dict[str, object]:
    colour, alpha = (each.to(device) for each in portrait(height, width))
    frame = colour + 0.5 * (1 - alpha)
    small = F.interpolate(alpha, (WORKING_SIZE, WORKING_SIZE * width // height), mode="area")
    coarse = F.interpolate(small, (height, width), mode="bilinear")
    channels = prm.refiner.conv_feature.in_channels
    generator = torch.Generator().manual_seed(0)
    feature = torch.rand(1, channels, small.shape[-2] // 2, small.shape[-1] // 2, generator=generator).to(device)
    k = prm.num_patches(height, width)
    flaw = prm.flaw_logits(small, (height, width)).sigmoid() if predicted else prm.flaw_target(coarse, alpha)
    selection, everything = flaw[:, 0] > prm.xi, torch.ones(1, k, k, dtype=torch.bool, device=device)
    works = [partial(prm.refine, frame, coarse, feature, chosen) for chosen in (selection, everything)]
    for work in works:
        work()
    selected, full = interleave(works, device, seconds=0, min_rounds=rounds)
    return {
        "frame": f"{height} × {width}",
        "k": k,
        "refined_share": float(selection.float().mean()),
        "pixels": int(prm.selected_pixels(selection, height, width).sum()),
        "ms": selected.median,
        "ms_for_all": full.median,
        "saving": ratio_interval(full.wall, selected.wall)[0],
        "seam": seam_difference(prm, frame, coarse, feature),
    }


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
