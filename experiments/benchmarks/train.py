"""Where a training step's time goes: data, compositing, forward, backward, optimiser, averaging; and its operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules.batch import MattingBatch, SegmentationBatch, num_bytes
from datamodules.copied_ahead import CopiedAhead
from experiments.benchmarks.output import Columns
from experiments.benchmarks.timing import synchronise
from experiments.command.composing import CONFIGS, refuse_missing_settings
from experiments.command.quoting import quoted
from experiments.training.averaging import move_average, tensors_of
from experiments.training.checks import check_parts
from experiments.training.data import make_data
from experiments.training.nets import make_net
from experiments.training.settings import Settings, Stage
from experiments.training.stages import make_objective, make_recipe, prepare_net
from lightning_modules.module import Recipe
from lightning_modules.nets.interface import MattingNet

PRECISIONS = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
STEP = ("forward", "backward", "optimiser", "averaging")
PARTS = ("loading", "copying", "compositing", *STEP)
COLUMNS: Columns = {
    "stage": ("stage", ""),
    "precision": ("precision", ""),
    "frames": ("frames a clip", ".1f"),
    **{part: (f"{part} ms", ".1f") for part in PARTS},
    "step": ("step ms", ".1f"),
    **{f"{part}_operations": (f"{part} operations", ",.0f") for part in STEP},
    "waiting": ("waits for data", ".1%"),
    "busy": ("GPU busy", ".1%"),
    "kernels": ("kernels", ",.0f"),
    "clips_per_second": ("clips/s", ".1f"),
    "megabytes": ("MB a batch", ".1f"),
    "memory_gib": ("peak GiB", ".2f"),
}
LEGEND = (
    "Parts are timed one after the other, the device awaited after each, clipping with the optimiser; `step` is a step "
    "of the running loop, where they overlap, with its data; operations: what a step dispatches, views left out, each "
    "a kernel's launch or more; waits for data: the share of that loop in which the next batch is not there yet; GPU "
    "busy: its kernels' time over that of a step without data; MB a batch: what travels to the device, of the first."
)


def compose_cell(overrides: Sequence[str]) -> Settings:
    """The settings of one cell.

    Raises:
        ValueError: a setting is missing, or none that a step can be timed with.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", overrides=[quoted(word) for word in overrides])
    refuse_missing_settings(composed)
    settings = Settings.of(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
    check_parts(settings)
    if settings.trainer.precision not in ("32-true", *PRECISIONS):
        raise ValueError(
            f"trainer.precision must be one of 32-true, {', '.join(PRECISIONS)} to be timed, "
            f"got {settings.trainer.precision!r}"
        )
    return settings


def benchmark_train(
    settings: Settings, device: torch.device, steps: int, progress: Callable[[str], None]
) -> Iterator[pd.DataFrame]:
    """One row a stage of the cell's recipe.

    Args:
        settings: of a cell.
        device: where.
        steps: that are timed, of each kind; the clips that they need are rendered first.
        progress: called after each stage.
    """
    make_data(settings, None).prepare_data(parts=("train",))
    for name, stage in settings.stages.items():
        yield pd.DataFrame([_measure(settings, name, stage, device, steps)])
        progress(name)


def _measure(settings: Settings, name: str, stage: Stage, device: torch.device, steps: int) -> dict[str, Any]:
    torch.manual_seed(settings.seed)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    net = make_net(settings.model, settings.seed).to(device).train()
    prepare_net(net, settings.trainer)
    recipe = make_recipe(stage, make_objective(stage, net, settings.seed), settings.seed)
    recipe.objective.to(device).train()
    data = make_data(settings, replace(stage, steps=2 * steps + 2), name)
    loop = _Loop(net, recipe, stage, data, device, str(settings.trainer.precision))
    batches = iter(data.train_dataloader())
    loop.step(loop.composited(loop.copied(first := next(batches))))
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    kept: list[Any] = []
    whole: list[float] = []
    computing: list[float] = []
    for _ in range(steps):
        with _timed(times["loading"], device):
            batch = next(batches)
        with _timed(times["copying"], device):
            batch = loop.copied(batch)
        with _timed(times["compositing"], device):
            batch = loop.composited(batch)
        loop.step(batch, lambda part: _timed(times[part], device))
        kept = [*kept, batch][-4:]
    frames = [_frames(batch) for batch in kept]
    ahead = iter(CopiedAhead(batches, device))
    loop.step(loop.composited(next(ahead)))
    waiting = 0.0
    with _timed(whole, device):
        for _ in range(steps):
            begin = time.perf_counter()
            batch = next(ahead)
            waiting += 1e3 * (time.perf_counter() - begin)
            loop.step(loop.composited(batch))
    with _timed(computing, device):
        for batch in kept:
            loop.step(batch)
    step, alone = whole[0] / steps, computing[0] / len(kept)
    busy, kernels = _kernels(loop, kept, device)
    counts = {part: _Count() for part in STEP}
    for batch in kept:
        loop.step(batch, counts.__getitem__)
    return {
        "stage": name,
        "precision": settings.trainer.precision,
        "frames": sum(frames) / len(frames),
        **{part: _mean(values) for part, values in times.items()},
        "step": step,
        **{f"{part}_operations": count.operations / len(kept) for part, count in counts.items()},
        "waiting": waiting / whole[0],
        "busy": None if busy is None else busy / alone,
        "kernels": kernels,
        "clips_per_second": next(iter(stage.passes.values())).batch_size * 1e3 / step,
        "megabytes": num_bytes(first) / 1e6,
        "memory_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }


class _Loop:
    """The parts of a training step, as Lightning's loop calls them."""

    def __init__(
        self,
        net: MattingNet,
        recipe: Recipe,
        stage: Stage,
        data: LightningDataModule,
        device: torch.device,
        precision: str,
    ) -> None:
        self.net, self.recipe, self.stage, self.data, self.device = net, recipe, stage, data, device
        self.autocast = PRECISIONS.get(precision)
        self.optimizer = recipe.make_optimizer(net)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.averaged = tensors_of(net, recipe.objective)
        self.average = [each.clone() for each in self.averaged]

    def copied(self, batch: Any) -> Any:
        return self.data.transfer_batch_to_device(batch, self.device, 0)

    def composited(self, batch: Any) -> Any:
        return self.data.on_after_batch_transfer(batch, 0)

    def step(self, batch: Any, within: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> None:
        """One step, each part of `STEP` within a context of its name."""
        with within("forward"), torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            loss = self.recipe.objective(self.net, batch, torch.Generator().manual_seed(0))["loss"]
        with within("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with within("optimiser"):
            if self.stage.gradient_clip_value is not None:
                clip_grad_value_(self.trained, self.stage.gradient_clip_value)
            elif self.stage.gradient_clip_norm is not None:
                clip_grad_norm_(self.trained, self.stage.gradient_clip_norm)
            self.optimizer.step()
        with within("averaging"):
            if self.stage.average_decay is not None:
                move_average(self.average, self.averaged, self.stage.average_decay)


class _Count(TorchDispatchMode):
    """Counts operations that compute something."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


@contextmanager
def _timed(times: list[float], device: torch.device) -> Iterator[None]:
    """Add the milliseconds of what is done within, the device's too."""
    synchronise(device)
    start = time.perf_counter()
    yield
    synchronise(device)
    times.append(1e3 * (time.perf_counter() - start))


def _kernels(loop: _Loop, batches: list[Any], device: torch.device) -> tuple[float | None, float | None]:
    """Milliseconds that the GPU works in a step, and its kernels; None on a CPU."""
    if device.type != "cuda":
        return None, None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for batch in batches:
            loop.step(batch)
        synchronise(device)
    events = [event for event in profiled.key_averages() if event.device_type.name == "CUDA"]
    total = sum(event.self_device_time_total for event in events) / 1e3
    return total / len(batches), sum(event.count for event in events) / len(batches)


def _frames(batch: MattingBatch | SegmentationBatch) -> int:
    return (batch.frames if isinstance(batch, MattingBatch) else batch.images).shape[1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
