"""All figures of a clip at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.metrics.connectivity import conn
from lightning_modules.metrics.error import errors
from lightning_modules.metrics.figures import FLOW_METRICS, FOREGROUND_METRICS, METRICS
from lightning_modules.metrics.flow import end_point_error
from lightning_modules.metrics.foreground import foreground_errors
from lightning_modules.metrics.gradient import gradient_errors
from lightning_modules.metrics.overlap import iou
from lightning_modules.metrics.temporal import LastFrames, dtssd


def score_frames(
    pred: Tensor,
    target: Tensor,
    *,
    foreground: Tensor | None = None,
    true_foreground: Tensor | None = None,
    flow: Tensor | None = None,
    true_flow: Tensor | None = None,
    trimap: Tensor | None = None,
    previous: LastFrames | None = None,
    metrics: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Raw figures of each frame, by RVM's definitions; metrics that share work do it once.

    Args:
        pred: (B, T, 1, H, W) in [0, 1], or uint8 codes.
        target: the same shape and range.
        foreground: (B, T, 3, H, W) predicted colour, or None.
        true_foreground: the same shape, or None.
        flow: (B, T, 2, H, W) estimated by the net, pixels, from each frame to the one before, or None.
        true_flow: the same shape, or None. What both say of the frame where a clip begins is not scored.
        trimap: (B, T, 1, H, W); limits every figure but those of the flow to its unknown pixels (see `mad`).
        previous: last frames of pred and target of the chunk before, (B, 1, 1, H, W) each; None where clips begin.
        metrics: keys of `METRICS`; None for all that the inputs allow.

    Returns:
        (B, T) float64 by name in the order asked for; NaN for a frame where a figure is undefined.

    Raises:
        ValueError: shapes do not fit, a metric has no such name, or lacks the foreground or flow that it measures.
    """
    names = _measurable((foreground, true_foreground), (flow, true_flow)) if metrics is None else metrics
    wanted = set(names)
    if not wanted <= METRICS.keys():
        raise ValueError(f"no metric is called {sorted(wanted - METRICS.keys())}; there are {list(METRICS)}")
    values: dict[str, Tensor] = {}
    if wanted & {"mad", "mse", "sad"}:
        values |= errors(pred, target, trimap)
    if wanted & {"grad", "grad_nonorm"}:
        values |= gradient_errors(pred, target, trimap)
    if "conn" in wanted:
        values["conn"] = conn(pred, target, trimap)
    if "dtssd" in wanted:
        values["dtssd"] = dtssd(pred, target, trimap, previous)
    if wanted & set(FOREGROUND_METRICS):
        if foreground is None or true_foreground is None:
            raise ValueError("foreground metrics need foreground and true_foreground")
        values |= foreground_errors(foreground, true_foreground, target, trimap)
    if "iou" in wanted:
        values["iou"] = iou(pred, target, trimap)
    if "epe" in wanted:
        values["epe"] = _flow_error(flow, true_flow, starts=previous is None)
    return {name: values[name] for name in names}


def _measurable(colours: Sequence[Tensor | None], flows: Sequence[Tensor | None]) -> list[str]:
    """Metrics whose inputs, a prediction and its truth, are all there."""
    lacking = set[str]()
    for inputs, names in ((colours, FOREGROUND_METRICS), (flows, FLOW_METRICS)):
        if any(each is None for each in inputs):
            lacking.update(names)
    return [name for name in METRICS if name not in lacking]


def _flow_error(flow: Tensor | None, true_flow: Tensor | None, starts: bool) -> Tensor:
    """End-point error; NaN in the first frame where the clip `starts`, as nothing was before it."""
    if flow is None or true_flow is None:
        raise ValueError("flow metrics need flow and true_flow")
    error = end_point_error(flow, true_flow)
    error[:, : int(starts)] = torch.nan
    return error
