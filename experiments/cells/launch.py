"""Starting cells as child processes, several at once, and showing how far each is."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from experiments.records.cell_record import CellRecord, last_words
from experiments.records.locks import LOCK_VARIABLE
from experiments.records.progress import read_progress
from lightning_modules.metrics.table import METRICS, PRIMARY

BUSY = 75  # exit status of a cell: another process works on it


class Process(Protocol):
    """What is asked of a cell's process: as of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Its exit status, or None."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; raises subprocess.TimeoutExpired."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


@dataclass
class Running:
    """A cell whose process runs."""

    cell: str
    folder: Path
    process: Process
    slot: int
    task: TaskID
    begin: float
    read: int  # bytes of its log


class CellPool:
    """Runs at most `workers` cells at once, each in its own process with its own log file.

    A cell that fails does not stop the others. When this process dies, however it dies, its cells end too
    and go on from their last checkpoint at the next start.
    """

    def __init__(self, workers: int, gpus: int, first_gpu: int = 0, bars: bool = True) -> None:
        """Begin with no cell; of `gpus` devices, or none, the first cell gets `first_gpu` modulo their number."""
        self.workers, self.gpus, self.first_gpu = workers, gpus, first_gpu
        self.forks = False  # whether cells are forks of one process that has imported what they need
        self.running: list[Running] = []
        self.failed: dict[str, str] = {}  # cell → why
        self.busy: list[str] = []
        self.console = Console(highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(max_width=40, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            console=self.console,
            disable=not (bars and self.console.is_terminal),
        )
        self.whole: TaskID | None = None  # the bar of all cells, where their number is known
        self.told: set[str] = set()  # kinds of warnings, and cells that others work on
        self.took: list[float] = []  # seconds of the cells that are complete

    def expect(self, cells: int) -> None:
        """Show a bar of all the cells that will come, with the time to go."""
        self.whole = self.progress.add_task("all cells", total=cells, note="")

    def count(self) -> None:
        """Count a cell that has ended, or need not be started."""
        if self.whole is not None:
            self.progress.advance(self.whole)

    def start(self, cell: str, folder: Path, spawn: Callable[[int | None, object], Process]) -> None:
        """Start what works on a cell as soon as a place is free; `spawn` gets a GPU, or None, and the log file."""
        self.wait_for_place()
        slot = min(set(range(self.workers)) - {item.slot for item in self.running})
        with (folder / "log.txt").open("ab") as log:
            read = log.tell()
            process = spawn((self.first_gpu + slot) % self.gpus if self.gpus else None, log)
        self.progress.start()
        self.say(f"start     {cell}")
        task = self.progress.add_task(cell, total=None, note="starting")
        self.running.append(Running(cell, folder, process, slot, task, time.monotonic(), read))

    def wait_for_place(self) -> None:
        """Wait until fewer cells run than there are workers."""
        while len(self.running) >= self.workers:
            self.wait()

    def finish(self) -> dict[str, str]:
        """Wait for all cells; those that failed, and why."""
        while self.running:
            self.wait()
        self.progress.stop()
        return self.failed

    def stop(self) -> None:
        """End all cells; each writes a checkpoint first if it is given the time."""
        end([item.process for item in self.running])
        self.progress.stop()

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self.progress.console.print(line, markup=False, soft_wrap=True)

    def say_busy(self, cell: str) -> None:
        """Keep the name of a cell that another process works on, and tell it once."""
        self.busy.append(cell)
        if cell not in self.told:
            self.told.add(cell)
            self.say(f"busy      {cell}: another process works on it")

    def wait(self) -> None:
        """Look once, after a moment, how far the cells are and which have ended."""
        time.sleep(0.2)
        for item in list(self.running):
            self._show(item)
            status = item.process.poll()
            self._say_warnings(item)
            if status is None:
                continue
            self.running.remove(item)
            self.progress.remove_task(item.task)
            self.count()
            if status == 0:
                self.took.append(time.monotonic() - item.begin)
                self.say(f"complete  {item.cell}{what_it_scored(item.folder)}")
            elif status == BUSY:
                self.say_busy(item.cell)
            else:
                self.failed[item.cell] = why_ended(item.folder, status)
                self.say(f"FAILED    {item.cell}: {self.failed[item.cell]}")
        self._show_whole()

    def _show_whole(self) -> None:
        if self.whole is None:
            return
        task = next(task for task in self.progress.tasks if task.id == self.whole)
        note = f"{task.completed:.0f}/{task.total:.0f}"
        if self.took and self.running:
            each, now = statistics.fmean(self.took), time.monotonic()
            begun = sum(max(0.0, each - (now - item.begin)) for item in self.running)
            left = begun + each * max(0.0, (task.remaining or 0.0) - len(self.running))
            note += f", {left / 60 / self.workers:.0f} min to go"
        self.progress.update(self.whole, note=note)

    def _say_warnings(self, item: Running) -> None:
        """Tell what a cell warns of in its log, as of a server that it does not reach; of many cells the first one."""
        with (item.folder / "log.txt").open("rb") as log:
            log.seek(item.read)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # more of it is to come
                item.read += len(line)
                text = line.decode(errors="replace").strip()
                kind = text.partition("(")[0]
                if text.startswith("warning: ") and kind not in self.told:
                    self.told.add(kind)
                    self.say(f"warning   {item.cell}: {text.removeprefix('warning: ')}")

    def _show(self, item: Running) -> None:
        if progress := read_progress(item.folder):
            self.progress.update(item.task, completed=progress.done, total=progress.total, note=str(progress))


def spawn_cell(config: Path, threads: int, gpu: int | None, log: object, lock: int | None) -> subprocess.Popen[bytes]:
    """Start `python -m experiments.cell` with the cell's lock; it ends when the pipe to its standard input closes."""
    command = [sys.executable, "-m", "experiments.cell", str(config)]
    return spawn(command, gpu, log, lock, OMP_NUM_THREADS=str(threads))


def spawn(
    command: list[str], gpu: int | None, log: object, lock: int | None, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a command that sees one GPU, or all, and ends when the pipe to its standard input closes.

    Args:
        command: its words.
        gpu: its number; None for all.
        log: the file that takes its output; None for that of this process.
        lock: of `lock_cell`, which the command then shares; None for none.
        variables: of its environment.
    """
    environment = os.environ | {
        **variables,
        "MATTING_PARENT_PIPE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible != [""] else str(gpu)
    if log is not None:
        environment["PYTHONIOENCODING"] = "utf-8"  # whatever the terminal's
    if lock is not None:
        environment[LOCK_VARIABLE] = str(lock)
    return subprocess.Popen(  # type: ignore[call-overload]
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        pass_fds=() if lock is None else (lock,),
    )


def end_with_parent() -> None:
    """End this process when the one that started it is gone, if that one asked for it (MATTING_PARENT_PIPE)."""

    def watch() -> None:
        # Not through sys.stdin: its lock would be held when the interpreter shuts down.
        while os.read(0, 1):
            pass
        os._exit(143)

    if os.environ.get("MATTING_PARENT_PIPE"):
        threading.Thread(target=watch, daemon=True).start()


def end(processes: Sequence[Process], patience: float = 30.0) -> None:
    """Ask processes to end, and kill those that do not within `patience` seconds."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def what_it_scored(folder: Path) -> str:
    """The main scores of a complete cell's record in the report's units, ": MAD 71.18, dtSSD 12.49", or ""."""
    try:
        scores = CellRecord.load(folder).metrics
    except ValueError:
        return ""
    shown = [f"{METRICS[name].label} {scores[name]:.2f}" for name in PRIMARY if scores.get(name) is not None]
    return f": {', '.join(shown)}" if shown else ""


def why_ended(folder: Path, status: int) -> str:
    """Why a cell ended: the error in its record, the signal that ended it, or its last words."""
    log = folder / "log.txt"
    try:
        record = CellRecord.load(folder)
    except ValueError:
        record = CellRecord(folder)
    if status < 0 and record.status != "failed":  # else it was stopped after it had told
        hint = "the system sends it when memory is full; " if status == -signal.SIGKILL else ""
        return f"ended by signal {-status}; the same command resumes it ({hint}log: {log})"
    return f"{record.error or last_words(folder) or f'exit status {status}'} (log: {log})"
