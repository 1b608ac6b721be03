"""Processes that load and render."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from datamodules.processes import worker_context


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server")
def test_a_process_finds_imported_what_it_needs() -> None:
    with ProcessPoolExecutor(1, worker_context()) as pool:
        assert pool.submit(eval, "{'torch', 'datamodules.samples'} <= set(__import__('sys').modules)").result()
