"""Which process of a cell this one is, by the variables that torchrun, srun and Lightning set."""

from pathlib import Path

import pytest

from experiments.training import processes
from experiments.training.processes import CELLS_AT_ONCE, count_gpus, leads, num_loading, num_processes
from tests.experiments.training.composed import settings_of, trainer_of

ONE = trainer_of()
FOUR = trainer_of("trainer.devices=2", "trainer.num_nodes=2")


def test_each_device_of_each_node_has_a_process() -> None:
    assert (num_processes(ONE), num_processes(FOUR)) == (1, 4)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),  # Lightning's own further processes
        ({"NODE_RANK": "1"}, False),  # the same command on a second node
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun on a second node
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, True),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, True),  # tasks with a cell each; Lightning starts the rest
    ],
)
def test_one_process_of_a_cell_leads(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert leads(FOUR) is expected
    assert leads(ONE)  # a cell on one device is its process's own, whatever its number


def test_loading_processes_follow_from_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.training.processes.cores", lambda: 16)
    monkeypatch.delenv(CELLS_AT_ONCE, raising=False)
    auto, two = trainer_of("trainer.num_workers=auto"), trainer_of("trainer.num_workers=auto", "trainer.devices=2")
    assert [num_loading(each) for each in (ONE, trainer_of("trainer.num_workers=5"), auto, two)] == [0, 5, 12, 7]
    monkeypatch.setenv(CELLS_AT_ONCE, "4")
    assert num_loading(auto) == 3
    monkeypatch.setenv(CELLS_AT_ONCE, "40")
    assert num_loading(auto) == 1


@pytest.mark.parametrize(
    ("cpus", "gib", "gpus", "gpu_gib", "words", "expected"),
    [
        (2, 24, 0, 0, ["scale=tiny"], 2),
        (10, 64, 0, 0, ["scale=tiny"], 10),
        (4, 8, 0, 0, ["scale=tiny"], 2),  # of 3 GiB
        (4, 1, 0, 0, ["scale=tiny"], 1),
        (16, 128, 1, 139, ["scale=tiny"], 4),
        (16, 128, 1, 139, ["scale=small"], 3),  # of 22 GiB, and as much again
        (16, 128, 1, 24, ["scale=small"], 1),
        (16, 8, 1, 139, ["scale=tiny"], 2),  # of the machine's memory
        (16, 64, 0, 0, ["scale=tiny", "trainer.threads=4"], 4),
        (16, 128, 8, 139, ["scale=tiny"], 8),  # two cores for each GPU
        (16, 128, 1, 0, ["scale=tiny"], 1),
        (16, 128, 1, 139, ["scale=tiny", "trainer.devices=2"], 1),
    ],
)
def test_as_many_cells_at_once_as_cores_and_memory_or_gpus_carry(
    monkeypatch: pytest.MonkeyPatch, cpus: int, gib: float, gpus: int, gpu_gib: float, words: list[str], expected: int
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: cpus)
    monkeypatch.setattr(processes, "memory_of_machine", lambda: gib * 2**30)
    monkeypatch.setattr(processes, "memory_of_gpus", lambda: gpu_gib * 2**30)
    assert processes.cells_at_once(settings_of(*words), gpus) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["143771, Default, Disabled", "81559, Default, [N/A]"], 81559),
        (["81559, Exclusive_Process, Disabled"], 0),
        (["81559, Default, Enabled"], 0),
        (["[N/A], Default, Disabled"], 0),
        ([], 0),
    ],
)
def test_the_fullest_gpu_that_several_may_share_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], expected: int
) -> None:
    query = tmp_path / "nvidia-smi"
    query.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines), encoding="utf-8")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert processes.memory_of_gpus() == expected * 2**20


def test_visible_devices_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count in (("0,2,5", 3), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus() == count
