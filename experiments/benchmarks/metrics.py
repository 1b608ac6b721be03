"""Our metrics beside those of RVM's evaluation scripts: the same frames and threads, in the same run.

The scripts come from the user's own clone; nothing of them is kept here.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from experiments.benchmarks.inputs import portrait
from experiments.benchmarks.timing import Times, interleave, load_average, ratio_interval
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.table import METRICS

Frames = dict[str, NDArray[np.float32]]
# Name of ours → class of the scripts. Foreground errors are the same two over the coloured pixels alone.
_CLASSES = {"mad": "MAD", "mse": "MSE", "grad": "GRAD", "conn": "CONN", "dtssd": "DTSSD",
            "fgr_mse": "MSE", "fgr_mad": "MAD"}  # fmt: skip
# The high-resolution script has these on tensors; its filters are slower on a CPU, by far.
_ALSO_HIGH_RESOLUTION = ("mad", "mse", "dtssd")


def benchmark_metrics(
    code: Path, sizes: list[tuple[int, int]], threads: int, seconds: float = 6.0, num_frames: int = 6
) -> pd.DataFrame:
    """Milliseconds a frame of every metric, theirs and ours, and of all together.

    Both get the same float32 arrays of 8-bit frames, already in memory; ours turns them into tensors on the clock.
    Where both of RVM's scripts have a metric, the faster one counts, `peer` says which.

    Args:
        code: a clone of RobustVideoMatting.
        sizes: (height, width) of frames.
        threads: for all of both.
        seconds: for each metric, theirs and ours in turns.
        num_frames: of a clip.

    Returns:
        A row a size, kind of frames and metric: ours_ms, theirs_ms (medians), ratio (median of the rounds) with
        its 95 % interval, calm_ratio (of the tenths of the calls that were fastest, for a busy machine), cpu_ratio
        (of medians of CPU time, all threads together), and the largest difference in units of the papers, absolute
        and relative.

    Raises:
        ValueError: there are no such scripts.
    """
    import cv2

    low, high = (_load_script(code / "evaluation" / f"{name}.py") for name in ("evaluate_lr", "evaluate_hr"))
    threads_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        rows = []
        for height, width in sizes:
            for kind, make in (("portrait", portrait_frames), ("random field", random_frames)):
                clip = make(num_frames, height, width)
                for names in [*([name] for name in _CLASSES), list(_CLASSES)]:
                    timed = _compare(names, clip, low, high, seconds)
                    rows.append({"size": f"{width}x{height}", "threads": threads, "frames": kind} | timed)
        return pd.DataFrame(rows)
    finally:
        torch.set_num_threads(threads_before[0])
        cv2.setNumThreads(threads_before[1])


def portrait_frames(num_frames: int, height: int, width: int) -> Frames:
    """A person with hair that moves over the frame, and a noisy prediction of it: (T, H, W) and (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    colour, alpha = portrait(height, width)
    still = torch.cat((colour, alpha), 1)[0].permute(1, 2, 0).numpy()
    true = np.stack([np.roll(still, 3 * t, axis=1) for t in range(num_frames)])
    edge = 0.02 + 0.2 * (true[..., 3:] * (1 - true[..., 3:]) > 0)
    pred = true + edge * rng.standard_normal(true.shape, dtype=np.float32) * (rng.random(true.shape) < 0.5)
    pred[..., 3] *= (true[..., 3] > 0) | (rng.random(pred.shape[:3]) < 0.01)
    return _frames(pred, true)


def random_frames(num_frames: int, height: int, width: int) -> Frames:
    """Every pixel by itself: thousands of components, which is the worst case."""
    rng = np.random.default_rng(0)
    pred, true = rng.random((2, num_frames, height, width, 4), dtype=np.float32)
    return _frames(pred, true)


def _frames(pred: NDArray[Any], true: NDArray[Any]) -> Frames:
    """Read from 8-bit files: alpha and colour of both."""
    stored = [(np.clip(layers, 0, 1) * 255).round().astype(np.float32) / 255 for layers in (pred, true)]
    names = (("pred", "pred_colour"), ("true", "true_colour"))
    return {
        name: np.ascontiguousarray(part)
        for pair, layers in zip(names, stored, strict=True)
        for name, part in zip(pair, (layers[..., 3], layers[..., :3]), strict=True)
    }


def _compare(names: list[str], clip: Frames, low: ModuleType, high: ModuleType, seconds: float) -> dict[str, Any]:
    works: dict[str, Callable[[], Any]] = {"ours": lambda: _ours(names, clip), "LR": _theirs(names, clip, low)}
    if names[0] in _ALSO_HIGH_RESOLUTION and len(names) == 1:
        tensors = {name: torch.from_numpy(array) for name, array in clip.items()}
        works["HR"] = _theirs(names, tensors, high)
    figures = {name: np.asarray(work()) for name, work in works.items()}  # the first call compiles
    measured = interleave(list(works.values()), torch.device("cpu"), seconds, min_rounds=5)
    times: dict[str, Times] = dict(zip(works, measured, strict=True))
    peer = min((name for name in works if name != "ours"), key=lambda name: times[name].median)
    ratio, ratio_low, ratio_high = ratio_interval(times[peer].wall, times["ours"].wall)
    difference = np.abs(figures["LR"] - figures["ours"])
    num_frames = len(clip["pred"])
    return {
        "metric": names[0] if len(names) == 1 else "all together",
        "ours_ms": times["ours"].median / num_frames,
        "theirs_ms": times[peer].median / num_frames,
        "ratio": ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "calm_ratio": times[peer].quantile(0.1) / times["ours"].quantile(0.1),
        "cpu_ratio": times[peer].median_cpu / times["ours"].median_cpu,
        "peer": peer,
        "difference": float(np.nanmax(difference)),
        "relative_difference": float(np.nanmax(difference / np.abs(figures["LR"]).clip(1e-12))),
        "rounds": len(times["ours"].wall),
        "load": load_average(),
    }


def _ours(names: list[str], clip: Frames) -> list[NDArray[np.float64]]:
    """Figures of frames 1 … T−1 in the papers' units: what both sides define alike."""
    alphas = [torch.from_numpy(clip[name])[None, :, None] for name in ("pred", "true")]
    colours = [torch.from_numpy(clip[name])[None].permute(0, 1, 4, 2, 3) for name in ("pred_colour", "true_colour")]
    scores = score_frames(*alphas, foreground=colours[0], true_foreground=colours[1], metrics=names)
    return [METRICS[name].scale * values[0, 1:].numpy() for name, values in scores.items()]


def _theirs(names: list[str], clip: dict[str, Any], script: ModuleType) -> Callable[[], list[NDArray[np.float64]]]:
    """The script's metrics frame by frame, as the script calls them."""
    metrics = {name: getattr(script, f"Metric{_CLASSES[name]}")() for name in names}

    def frame_figure(name: str, t: int) -> float:
        pred, true = clip["pred"], clip["true"]
        if name == "dtssd":
            return float(metrics[name](pred[t], pred[t - 1], true[t], true[t - 1])) if t else 0.0
        if name.startswith("fgr"):
            coloured = true[t] > 0
            return float(metrics[name](clip["pred_colour"][t][coloured], clip["true_colour"][t][coloured]))
        return float(metrics[name](pred[t], true[t]))

    def work() -> list[NDArray[np.float64]]:
        return [np.array([frame_figure(name, t) for t in range(len(clip["pred"]))])[1:] for name in names]

    return work


def _load_script(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{path} is no evaluation script: --code must be a clone of RobustVideoMatting")
    if not hasattr(np, "int"):  # which NumPy has dropped
        setattr(np, "int", int)  # noqa: B010
    spec = importlib.util.spec_from_file_location(f"rvm_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    # Imported for what is not measured: tables, and the high-resolution script's gradients.
    with patch.dict(sys.modules, {name: ModuleType(name) for name in ("kornia", "xlsxwriter")}):
        spec.loader.exec_module(script)
    return script
