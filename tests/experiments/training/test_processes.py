"""Which process of a cell this one is, by the variables that torchrun, srun and Lightning set."""

import pytest

from experiments.training.processes import count_gpus, leads, num_processes

ONE = {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}
FOUR = {"devices": 2, "num_nodes": 2, "accelerator": "cpu"}


def test_processes_are_counted_from_every_way_to_name_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    counts = {"auto": 3, -1: 3, 2: 2}
    assert {devices: num_processes(ONE | {"devices": devices, "accelerator": "gpu"}) for devices in counts} == counts
    assert num_processes(ONE | {"devices": [0, 2], "accelerator": "gpu"}) == 2
    assert num_processes(ONE | {"devices": "auto"}) == 1
    assert num_processes(FOUR) == 4


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


def test_visible_devices_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count in (("0,2,5", 3), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus() == count
