"""Cells as forks of a process that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from experiments.cells.forks import ForkedCell, prepare_forks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server"),
]

PARENT = """
import sys, time
from pathlib import Path
from experiments.cells.forks import ForkedCell
if __name__ == "__main__":
    with open(sys.argv[2], "ab") as log:
        cell = ForkedCell(Path(sys.argv[1]), 1, None, log, None)
    print(cell.pid, flush=True)
    time.sleep(600)
"""


def config(folder: Path) -> Path:
    """Of no cell: its work ends at once, with an error in its log."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"nothing": 1}), encoding="utf-8")
    return path


def test_a_fork_ends_as_the_command_would_and_writes_what_it_says_to_its_log(tmp_path: Path) -> None:
    assert prepare_forks()
    with (tmp_path / "log.txt").open("ab") as log:
        cell = ForkedCell(config(tmp_path), 1, None, log, None)
    assert cell.wait(120) == 1
    assert cell.poll() == 1
    assert "KeyError: 'recipe'" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_fork_can_be_waited_for_in_vain_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    os.mkfifo(path)  # nobody writes: its work waits
    with (tmp_path / "log.txt").open("ab") as log:
        cell = ForkedCell(path, 1, None, log, None)
    with pytest.raises(subprocess.TimeoutExpired):
        cell.wait(0.1)
    assert cell.poll() is None
    cell.kill()
    assert cell.wait(60) == -signal.SIGKILL


def test_a_fork_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    path, script = tmp_path / "config.yaml", tmp_path / "parent.py"
    os.mkfifo(path)
    script.write_text(PARENT, encoding="utf-8")
    words = [sys.executable, str(script), str(path), str(tmp_path / "log.txt")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
