"""Which process of a cell this one is, by the variables that torchrun, srun and Lightning set."""

import pytest

from experiments.training.processes import CELLS_AT_ONCE, count_gpus, leads, num_loading, num_processes
from tests.experiments.training.composed import trainer_of

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


def test_visible_devices_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count in (("0,2,5", 3), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus() == count
