"""How the processes of a cell meet, and what is said when memory is full."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from experiments.cells.work import train
from experiments.training.devices import MemoryExhaustedError, choose_plugins, choose_strategy, describe_step
from lightning_modules.objectives.interface import Objective
from lightning_modules.objectives.modnet_v import MODNetVObjective
from lightning_modules.synchronised_norms import SynchronisedNorms
from tests.experiments.training.composed import settings_of, stage_of, trainer_of

CPU = torch.device("cpu")
TWO = trainer_of("trainer.devices=2")


FEW = ["scale=smoke", "scale.steps=6", "trainer.checkpoint_every=2", "scale.val_clips=1"]
FEW += ["scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4"]


@pytest.mark.slow
def test_full_memory_is_told_with_what_to_change_and_training_goes_on_later(
    tmp_path: Path, fill_memory: Callable[..., Iterator[int]]
) -> None:
    # Batches that calibrate are calls of the objective too.
    settings = settings_of(
        "+exp=brm_ablation", "trunk=none", *FEW, "trainer.calibration_batches=0", f"data.cache_dir={tmp_path}/cache"
    )
    steps = fill_memory(MODNetVObjective, 4)
    with pytest.raises(MemoryExhaustedError) as raised:
        train(settings, "", tmp_path, None)
    told = str(raised.value)
    assert told.startswith("stage matting ran out of memory on cpu at step 4 (batch_size 2, ")
    assert "halve batch_size and double trainer.accumulate_grad_batches" in told
    assert "\n" not in told
    train(settings, "", tmp_path, None)  # memory is free again: from step 4 on
    assert next(steps) == 4 + 1 + 2
    assert (tmp_path / "checkpoints" / "matting.pt").is_file()


def test_a_strategy_that_gains_nothing_is_refused_with_the_reason() -> None:
    assert choose_strategy(TWO, Objective()) == "ddp"
    assert choose_strategy(replace(TWO, devices=1), Objective()) == "auto"
    objective = Objective()
    objective.idle_parameters = True
    assert choose_strategy(TWO, objective) == "ddp_find_unused_parameters_true"
    with pytest.raises(ValueError, match=r"must be auto or ddp, got 'fsdp': .* frames fill the memory"):
        choose_strategy(replace(TWO, strategy="fsdp"), Objective())


def test_processes_meet_through_who_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def environment(**trainer: Any) -> list[type]:
        plugins = choose_plugins(replace(TWO, **trainer), CPU)
        assert isinstance(plugins[-1], SynchronisedNorms)
        return [type(plugin) for plugin in plugins[:-1]]

    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert environment() == []  # Lightning finds out
    srun = {"NTASKS": "2", "STEP_NUM_TASKS": "2", "NTASKS_PER_NODE": "2", "PROCID": "1", "LOCALID": "1", "NODEID": "0"}
    for name, value in srun.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert environment() == [SLURMEnvironment]
    assert not choose_plugins(TWO, CPU)[0].auto_requeue  # type: ignore[union-attr]
    assert environment(devices=4) == [LightningEnvironment]  # one task that starts four
    assert environment(devices=1) == [LightningEnvironment]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # torchrun below SLURM
    assert environment() == []


def test_a_step_counts_the_clips_of_all_devices() -> None:
    step = describe_step(stage_of(batch_size=8, learning_rate=0.1), replace(TWO, accumulate_grad_batches=3))
    assert step == {
        "clips": 24, "devices": 2, "clips_per_device": 4, "accumulated_batches": 3, "learning_rate": 0.1,
    }  # fmt: skip


def test_a_step_counts_the_clips_of_every_pass() -> None:
    passes = {
        name: {"data": "matting", "batch_size": size, "size": 32} for name, size in (("matting", 4), ("images", 6))
    }
    stage = stage_of(passes=passes | {"none": None}, order=["matting", "images"])
    step = describe_step(stage, replace(TWO, accumulate_grad_batches=2))
    assert step["clips"] == {"matting": 8, "images": 12}
    assert step["clips_per_device"] == {"matting": 2, "images": 3}


def test_a_batch_that_the_devices_cannot_share_is_refused_before_any_training() -> None:
    with pytest.raises(ValueError, match=r"2 devices cannot share a batch of 1 clips; set batch_size of each stage"):
        describe_step(stage_of(batch_size=1), TWO)
