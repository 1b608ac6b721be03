"""The training loop that all models share; it knows none of them by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from datamodules.batch import MattingBatch
from lightning_modules.metrics import MAD, MSE, DtSSD
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective, Rate
from lightning_modules.ranks import mean_over_ranks


class NonFiniteLossError(ValueError):
    """The loss became NaN or infinite; the message says at which step and on which clips."""


@dataclass
class Recipe:
    """How one stage is trained: objective, optimiser, schedule. Steps are the Trainer's `max_steps`.

    Attributes:
        objective: what is minimised.
        optimizer: its name.
        learning_rate: after warm-up; one, or one for each part of the net (`Objective.parameter_groups`).
        momentum: of SGD, or beta1 of Adam.
        weight_decay: as the optimiser defines it.
        schedule: "step" multiplies by `gamma` at each milestone; "cosine" falls to zero; "onecycle" rises along a
            cosine from a 25th during `warmup`, then falls along one to a 250,000th (PyTorch's OneCycleLR).
        milestones: as shares of the stage's steps (epoch 15 of 30 is 0.5).
        gamma: factor at each milestone.
        warmup: share of the stage's steps with linearly rising rate.
        seed: of all random choices in the objective.
    """

    objective: Objective
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Rate = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["step", "cosine", "onecycle"] = "step"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adam", "adamw"):
            raise ValueError(f"optimizer must be sgd, adam or adamw, got {self.optimizer!r}")
        if self.schedule not in ("step", "cosine", "onecycle"):
            raise ValueError(f"schedule must be step, cosine or onecycle, got {self.schedule!r}")
        rates = self.learning_rate.values() if isinstance(self.learning_rate, Mapping) else [self.learning_rate]
        if not all(_lies(rate, 0, math.inf) for rate in rates):
            raise ValueError(f"learning_rate must be a number from 0 on, or one a part, got {self.learning_rate!r}")
        limits = {"momentum": 1.0, "weight_decay": math.inf, "gamma": math.inf, "warmup": 1.0}
        for name, high in limits.items():
            if not _lies(value := getattr(self, name), 0, high):
                raise ValueError(f"{name} must be a number from 0 to {high:g}, got {value!r}")
        if not isinstance(self.milestones, list | tuple) or not all(_lies(each, 0, 1) for each in self.milestones):
            raise ValueError(f"milestones must be a list of shares of the steps, 0 to 1, got {self.milestones!r}")

    def make_optimizer(self, net: MattingNet) -> torch.optim.Optimizer:
        """The optimiser over the objective's parameter groups, which updates all of them at once (fused)."""
        groups = self.objective.parameter_groups(net, self.learning_rate)
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)
        else:
            adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer]
            betas = (self.momentum, 0.999)
            optimizer = adam(groups, betas=betas, weight_decay=self.weight_decay, fused=True)
        # Of fp16: a fused step could unscale gradients by itself, but they must be so before they are clipped.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return optimizer

    def rate(self, step: int, num_steps: int) -> float:
        """Factor on the learning rate at a step.

        >>> recipe = Recipe(Objective(), milestones=(0.5,), warmup=0.2)
        >>> [round(recipe.rate(step, 10), 2) for step in range(10)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1]
        """
        if self.schedule == "onecycle":
            top = self.warmup * num_steps - 1
            if step < top:
                return _along_cosine(1 / 25, 1, step / top)
            return _along_cosine(1, 1 / 250_000, min(1, (step - top) / max(num_steps - 1 - top, 1)))
        done = step / max(num_steps, 1)
        rising = min(1.0, (step + 1) / max(1.0, self.warmup * num_steps))
        if self.schedule == "cosine":
            return rising * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return rising * self.gamma ** sum(done >= milestone for milestone in self.milestones)


def _along_cosine(first: float, last: float, done: float) -> float:
    """Value at a share `done` of the way."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def _lies(value: Any, low: float, high: float) -> bool:
    """Whether a setting is a finite number between two bounds."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and low <= value <= high


class MattingModule(pl.LightningModule):
    """Trains and validates any net by any recipe.

    Args:
        net: the net, plain torch.
        recipe: objective, optimiser and schedule of one stage.
    """

    def __init__(self, net: MattingNet, recipe: Recipe) -> None:
        super().__init__()
        self.net = net
        self.recipe = recipe
        self.objective = recipe.objective
        self.val_metrics = MetricCollection({"mad": MAD(), "mse": MSE(), "dtssd": DtSSD()}, prefix="val/")

    def setup(self, stage: str) -> None:
        """Only what the objective trains asks for gradients; several processes could not agree on the rest."""
        if stage == "fit":
            groups = self.objective.parameter_groups(self.net, self.recipe.learning_rate)
            trained = {id(parameter) for group in groups for parameter in group["params"]}
            for parameter in self.parameters():
                parameter.requires_grad_(id(parameter) in trained)

    def training_step(self, batch: MattingBatch, batch_idx: int) -> dict[str, Any]:
        """One step of the objective; its random choices depend on (seed, batch_idx) alone.

        Losses are means over all processes, which therefore also end together when one is not finite.

        Returns:
            "loss", and under "terms" the value of each term as a number, for callbacks.
        """
        self.objective.before_step(self.net, self.global_step)
        terms = self.terms(batch, batch_idx)
        values = mean_over_ranks(torch.stack([value.float() for value in terms.values()]))
        means = dict(zip(terms, values.tolist(), strict=True))  # the one time that the step waits for its device
        if not math.isfinite(means["loss"]):
            bad = ", ".join(name for name, value in means.items() if not math.isfinite(value))
            clips = "of another process" if torch.isfinite(terms["loss"]) else ", ".join(batch.clip)
            raise NonFiniteLossError(
                f"the loss became {means['loss']} at step {self.global_step} (terms: {bad}; "
                f"clips: {clips}); lower recipe.stages.*.learning_rate or check the data"
            )
        self.log("loss", means["loss"], prog_bar=True, logger=False, batch_size=len(batch))
        return {"loss": terms["loss"], "terms": means}

    def terms(self, batch: MattingBatch, batch_idx: int) -> dict[str, Tensor]:
        """The objective's terms for batch number `batch_idx` of the stage."""
        generator = torch.Generator().manual_seed((self.recipe.seed * 1_000_003 + batch_idx) & 0x7FFFFFFF)
        # Of dropout, the one layer that draws by itself. `torch.manual_seed` keeps the stack of each call, for every
        # kind of device that is not there: a hundredth of a step.
        torch.default_generator.manual_seed(generator.initial_seed())
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(generator.initial_seed())
        terms: dict[str, Tensor] = self.objective(self.net, batch, generator)
        return terms

    def validation_step(self, batch: MattingBatch, batch_idx: int) -> None:
        """Scores whole clips from an empty state."""
        alpha = self.net.matte(batch.frames, background=batch.background, flow=batch.flow, true_alpha=batch.alpha).alpha
        if not alpha.isfinite().all():
            raise NonFiniteLossError(
                f"validation at step {self.global_step}: the matte has values that are not numbers "
                f"(clips: {', '.join(batch.clip)}); lower recipe.stages.*.learning_rate or check the data"
            )
        self.val_metrics.update(alpha.float().clamp(0, 1), batch.alpha)
        self.log_dict(self.val_metrics, logger=False, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser with its rate set at every step."""
        optimizer = self.recipe.make_optimizer(self.net)
        # Not `estimated_stepping_batches` if it can be helped: it opens the training data before a checkpoint's
        # step is restored, so that a resumed run would begin with the first batch again.
        num_steps = self.trainer.max_steps
        if num_steps < 0:
            num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.recipe.rate(step, num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
