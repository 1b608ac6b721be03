"""All figures of a clip at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.metrics.table import METRICS, OPTIONAL
from lightning_modules.metrics.temporal import LastFrames


@torch.no_grad()
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
    given: dict[str, Any] = {
        "pred": pred,
        "target": target,
        "foreground": foreground,
        "true_foreground": true_foreground,
        "flow": flow,
        "true_flow": true_flow,
        "trimap": trimap,
        "previous": previous,
    }
    lacking = {name for name, value in given.items() if value is None and name not in OPTIONAL}
    names = [name for name in METRICS if not lacking & set(METRICS[name].needs)] if metrics is None else metrics
    if unknown := sorted(set(names) - METRICS.keys()):
        raise ValueError(f"no metric is called {unknown}; there are {list(METRICS)}")
    values: dict[str, Tensor] = {}
    for name in names:
        metric = METRICS[name]
        if missing := [each for each in metric.needs if each in lacking]:
            raise ValueError(f"{name} needs {' and '.join(missing)}")
        if name not in values:
            found = metric.measure(*(given[each] for each in metric.needs))
            values |= found if isinstance(found, dict) else {name: found}
        if metric.first_frame == "undefined" and previous is None:
            values[name][:, :1] = torch.nan
    return {name: values[name] for name in names}
