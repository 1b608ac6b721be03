"""Cells of an invented experiment, as `experiments.cell` would leave them on disk."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from experiments import evaluate
from experiments.logging.cell_logger import CellLogger
from experiments.records.cell_record import CellRecord, write_config, write_table
from experiments.records.experiment import Experiment
from lightning_modules.objectives.interface import Objective

STRATA = ("static", "pan", "handheld", "dynamic", "cut", "light")


@pytest.fixture
def experiment() -> Experiment:
    return Experiment(
        "brm_ablation",
        question="Does restoring the background help?",
        claim="BRM gives better and more stable mattes.",
        source="MODNet-V, section 3.3",
        baseline={"model.brm": False},
        primary=["mad", "dtssd"],
        labels={"model.brm=true": "with BRM", "model.brm=false": "without BRM"},
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with `people` with alpha and `places`, three each: one for each part."""
    draw = np.random.default_rng(0)
    for folder, channels in (("people", 4), ("places", 3)):
        (tmp_path / folder).mkdir()
        for name in "abc":
            pixels = draw.integers(0, 256, (48, 48, channels), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    return tmp_path


@pytest.fixture
def testset(tmp_path: Path) -> Path:
    """One clip of two grey frames, each its own matte, in the official layout."""
    draw = np.random.default_rng(0)
    for t in range(2):
        pixels = draw.integers(0, 255, (40, 56), dtype=np.uint8)
        for layer in ("com", "pha", "fgr", "bgr"):
            folder = tmp_path / "set" / "static" / "0000" / layer
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels)
            (picture if layer == "pha" else picture.convert("RGB")).save(folder / f"{t:04d}.png")
    return tmp_path / "set"


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CellRecord]:
    """Runs `experiments.evaluate` in this process and gives the record that it leaves in a folder."""

    def run(output: Path, *overrides: str) -> CellRecord:
        monkeypatch.setattr(sys, "argv", ["evaluate", *overrides, f"output_dir={output}", "metrics=[mad]", "name=it"])
        GlobalHydra.instance().clear()
        assert evaluate.main() == 0
        return CellRecord.load(output / "evaluate" / "it")

    return run


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A multirun in this process ends without its report, which takes longer than all else that it does here."""
    monkeypatch.setattr("experiments.run.subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 0, ""))


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B as on a new machine; its client's process ends with the test, and no later one is told of it."""
    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()


@pytest.fixture
def make_cell(tmp_path: Path) -> Callable[..., CellRecord]:
    """Writes one complete cell whose error is `effect` times that of the arm without effect."""

    def make(
        arm: dict[str, Any],
        seed: int,
        effect: float = 1.0,
        strata: tuple[str, ...] = STRATA,
        clips: int = 4,
        frames: int = 24,
        media: bool = False,
        **fields: Any,
    ) -> CellRecord:
        name = ",".join(f"{key}={str(value).lower()}" for key, value in (arm | {"seed": seed}).items())
        record = CellRecord(
            folder=tmp_path / "outputs" / name,
            experiment="brm_ablation",
            cell=name,
            arm=arm,
            seed=seed,
            scale="tiny",
            config_hash="0123456789ab",
            command="python -m experiments.run +exp=brm_ablation",
            versions={"python": "3.11", "torch": "2.11"},
            git_commit="abc123 (dirty)",
            hardware={"processor": "some CPU", "cores": 2, "threads": 1, "gpu": ""},
            started=f"2026-01-01T00:0{seed}:00+00:00",
            finished=f"2026-01-01T00:1{seed}:00+00:00",
            durations={"train_seconds": 400.0, "test_seconds": 20.0},
            peak_memory_gib=1.5,
            cost={"parameters": 1_234_567, "gmacs_per_frame": 0.321, "milliseconds_per_frame": 8.5, "frame": "96×96"},
        )
        table = _table(seed, effect, strata, clips, frames)
        if arm.get("model.brm"):
            table["coverage"] = 1 - np.exp(-(table["frame"] + 1) / 5)
            table["background_psnr"] = 20 + 0.2 * table["frame"]
            table["flat_background_psnr"] = 18.5
        record.folder.mkdir(parents=True)
        write_config(record.folder / "config.yaml", {"model": {"brm": True}, "seed": seed})
        write_table(record.folder / "metrics.parquet", table)
        worse = [table.assign(mad=factor * table["mad"], method=method)
                 for method, factor in (("constant alpha", 30.0), ("untrained", 40.0))]  # fmt: skip
        write_table(record.folder / "baselines.parquet", pd.concat(worse))
        steps = np.arange(0, 400, 10)
        history = pd.DataFrame({"step": steps, "loss": 0.1 + np.exp(-steps / 90) + 0.01 * seed, "loss_detail": 0.2})
        history.to_csv(record.folder / "history_matting.csv", index=False)
        if media:
            _strips(record.folder / "media", strata, with_background=bool(arm.get("model.brm")))
        record.status = "complete"
        for field, value in fields.items():
            setattr(record, field, value)
        record.save()
        return record

    return make


@pytest.fixture
def only_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, and without the scores of the trivial methods."""
    monkeypatch.setattr("experiments.reporting.report._images", lambda *_: [])
    monkeypatch.setattr("experiments.reporting.tables.reference_means", lambda _: {})


class _Told(CellLogger):
    """Keeps what it is told of an earlier process."""

    def log_earlier(self, rows: Iterable[Mapping[str, float]]) -> None:
        self.rows = list(rows)


@pytest.fixture
def told(tmp_path: Path) -> CellLogger:
    return _Told(CSVLogger(tmp_path))


@pytest.fixture
def fill_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Iterator[int]]:
    """Has an objective run out of memory at one of its calls; gives the counter of its calls from there on."""

    def fill(objective: type[Objective], call: int) -> Iterator[int]:
        forward, calls = objective.forward, itertools.count()

        def exhausted(*arguments: Any) -> dict[str, torch.Tensor]:
            if next(calls) == call:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(*arguments)

        monkeypatch.setattr(objective, "forward", exhausted)
        return calls

    return fill


def _table(seed: int, effect: float, strata: tuple[str, ...], clips: int, frames: int) -> pd.DataFrame:
    """The clips' difficulty is the same for all cells; the seed and the cell's own noise multiply it."""
    shared, own = np.random.default_rng(7), np.random.default_rng([seed, round(1000 * effect)])
    model = np.exp(0.05 * np.random.default_rng(seed).normal())
    rows = []
    for place, stratum in enumerate(strata):
        for clip in range(clips):
            level = 0.01 * (1 + place) * np.exp(0.4 * shared.normal())
            level *= model * effect * np.exp(0.02 * own.normal())
            for frame in range(frames):
                value = level * (1 + np.exp(-frame / 4)) * np.exp(0.05 * own.normal())
                dtssd = 0.8 * value if frame else 0.0
                rows.append((f"person_{clip}", f"scene_{place}{clip}", stratum, frame, value, value / 2, dtssd))
    return pd.DataFrame(rows, columns=["clip", "scene", "stratum", "frame", "mad", "mse", "dtssd"])


def _strips(folder: Path, strata: tuple[str, ...], with_background: bool) -> None:
    folder.mkdir()
    y, x = np.mgrid[:96, : 5 * 96]
    person = ((x % 96 - 48) ** 2 / 500 + (y - 60) ** 2 / 1200 < 1).astype(float)
    scene = np.stack([x / 480, y / 96, 0.5 + 0.5 * np.sin(x / 7) * np.cos(y / 9)], axis=-1)
    grey = np.repeat(person[..., None], 3, axis=-1)
    strips = {"frame": grey * [0.9, 0.7, 0.6] + (1 - grey) * scene, "alpha_true": grey, "alpha_pred": 0.9 * grey}
    if with_background:
        strips |= {"background_true": scene, "background_restored": scene * (1 - grey), "coverage": 1 - grey}
    for stratum in strata:
        for name, pixels in strips.items():
            Image.fromarray((255 * pixels).round().astype(np.uint8)).save(folder / f"{stratum}__person_0__{name}.png")
