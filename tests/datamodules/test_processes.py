"""Processes that load and render."""

import multiprocessing
import platform
from concurrent.futures import ProcessPoolExecutor

import pytest

from datamodules import processes
from datamodules.processes import cores, keep_memory, worker_context


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server")
def test_a_process_finds_imported_what_it_needs() -> None:
    with ProcessPoolExecutor(1, worker_context()) as pool:
        assert pool.submit(eval, "{'torch', 'datamodules.samples'} <= set(__import__('sys').modules)").result()


@pytest.mark.parametrize(("quota", "expected"), [("", 8), ("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_control_groups_share_of_the_cores_counts(monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr(processes, "control_group", {"cpu.max": quota}.get)
    assert cores() == expected


def _faults_of_large_blocks(keep: bool) -> int:
    import resource

    import numpy as np

    if keep:
        keep_memory()
    np.ones(2**23)  # 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_process_that_keeps_memory_does_not_fetch_large_blocks_anew() -> None:
    found = []
    for keep in (False, True):
        with ProcessPoolExecutor(1, worker_context()) as pool:
            found.append(pool.submit(_faults_of_large_blocks, keep).result())
    assert found[1] < found[0] / 8
