"""The thin class under every metric: it keeps the figure of each frame and gives their scaled mean."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lightning_modules.metrics.frames import Rounding, check_choice, check_range, quantise
from lightning_modules.metrics.scales import scale_of


class FrameMean(Metric):
    """Mean over frames of a per-frame figure, exactly rounded: order, batches and processes leave it as it is.

    Args:
        scale: factor on the mean: a paper's ("rvm", "bgmv2", "cmn", …) or a number; 1 gives the raw figure.
        quantise: None scores what it is given; "round" or "truncate" scores it as read back from 8-bit files
            (the truth is always rounded).
        convention: names options of the metric that change its figures.

    Raises:
        ValueError: no such paper or rounding.
    """

    higher_is_better = False
    full_state_update = False
    quantity = ""

    def __init__(
        self, scale: float | str = "rvm", quantise: Rounding | None = None, convention: str = "", **options: Any
    ) -> None:
        super().__init__(**options)
        check_choice("quantise", quantise, (None, "round", "truncate"))
        self.scale = scale_of(self.quantity, scale)
        self.quantise = quantise
        # One name each: a MetricCollection would merge metrics whose equally named states agree on the first batch.
        self.state_name = "_".join(filter(None, ("frames", self.quantity, convention, quantise)))
        self.add_state(self.state_name, [], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)

    def as_stored(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and truth as this metric scores them."""
        if self.quantise is None:
            return pred, target
        check_range(self.quantity, pred=pred, target=target)  # 8-bit codes would hide it
        return quantise(pred, self.quantise), quantise(target, "round")

    def add(self, values: Tensor) -> None:
        """Keep raw figures (B, T); NaN, a frame on which there is nothing to measure, is left out.

        No other frame gives NaN: the figures' functions refuse pixels that are not numbers.
        """
        getattr(self, self.state_name).append(values[~values.isnan()].double())

    def compute(self) -> Tensor:
        """Scaled mean over all frames kept, float64; NaN when there are none."""
        kept = getattr(self, self.state_name)
        values = dim_zero_cat(kept) if len(kept) else torch.zeros(0, device=self.device)
        mean = math.fsum(values.tolist()) / len(values) if len(values) else math.nan
        return torch.tensor(self.scale * mean, dtype=torch.float64, device=values.device)
