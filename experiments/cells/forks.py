"""Cells as forks of a process that has imported all they need, once for all of them."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from datamodules.processes import preload, start_server, worker_context
from experiments.records.locks import LOCK_VARIABLE

_WORK = "experiments.cells.work"


def prepare_forks() -> bool:
    """Start the process that forks, which imports what a cell imports; False: this system has none."""
    preload(_WORK)
    return start_server()


class ForkedCell:
    """A cell's process with the ways of a `subprocess.Popen`; see `launch.spawn_cell`, whose arguments it takes.

    For a cell on the CPU, by itself: a fork of a process in which a device was looked for could not use it, and a cell
    of several processes starts the others as it was started.
    """

    def __init__(self, config: Path, threads: int, gpu: int | None, log: Any, lock: int | None) -> None:
        ends, self._alive = os.pipe()  # whose end the cell reads: it ends when this process is gone
        variables = {"OMP_NUM_THREADS": str(threads), "MATTING_PARENT_PIPE": "1"}
        given = (str(config), DupFd(log.fileno()), DupFd(ends), None if lock is None else DupFd(lock), variables)
        self._process = worker_context().Process(target=_work, args=given)  # type: ignore[attr-defined]
        try:
            self._process.start()
        finally:
            os.close(ends)
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit status, −N if signal N has ended it; None while it runs."""
        status: int | None = self._process.exitcode
        if status is not None and self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        return status

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status.

        Raises:
            subprocess.TimeoutExpired: it runs on after so many seconds.
        """
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("cell", timeout or 0.0)
        return status

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def _work(config: str, log: Any, parent: Any, lock: Any, variables: dict[str, str]) -> None:
    """What a fork does: as `python -m experiments.cell config`, with the log as output and the pipe as input."""
    from experiments.cells.work import main

    out = log.detach()
    for source, place in ((parent.detach(), 0), (out, 1), (out, 2)):
        os.dup2(source, place)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(variables)
    if lock is not None:
        os.environ[LOCK_VARIABLE] = str(lock.detach())
    sys.argv = ["experiments.cell", config]
    try:
        status = main()
    finally:
        atexit._run_exitfuncs()  # which forks leave out
    sys.exit(status)
