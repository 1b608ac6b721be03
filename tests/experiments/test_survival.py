"""A cell that is cut off in any way goes on, and ends with the bits of an undisturbed one; real processes."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.records.cell_record import CellRecord
from experiments.training.stages import pick_device
from tests.campaigns.kills import cell_difference
from tests.experiments.one_cell import OneCell
from tests.made_once import made_once

pytestmark = pytest.mark.slow
# Validation right after a checkpoint is due: its scores must survive too.
CELL = OneCell(
    ("model.brm=true", "trunk=none", "scale.steps=36", "trainer.checkpoint_every=12", "trainer.validate_every=12")
)


def wait_for(pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.01)


def assert_same_end(one: Path, other: Path) -> None:
    assert cell_difference(CellRecord.load(CELL.cell_of(one)), CellRecord.load(CELL.cell_of(other))) == ""


def ask_to_end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()  # the command alone, as a scheduler does; it asks its cell
    assert process.wait(60) == 130
    saved = next(folder.glob("outputs/*/*/checkpoints/matting.ckpt"))
    state = torch.load(saved, weights_only=True)
    assert state["global_step"] % 12, "a checkpoint is written at the step where the end was asked for"


def kill_and_tear(process: subprocess.Popen[bytes], folder: Path) -> None:
    wait_for("outputs/*/*/checkpoints/matting.before.ckpt", folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    newest = next(folder.glob("outputs/*/*/checkpoints/matting.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-3000])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        assert CELL.run_here(folder) == 0

    return made_once(tmp_path_factory, "whole", make)


def test_a_cell_that_is_cut_off_twice_goes_on_and_ends_with_the_same_bits(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    cuts: tuple[Callable[[subprocess.Popen[bytes], Path], None], ...] = (ask_to_end, kill_and_tear)
    for cut in cuts:
        process = subprocess.Popen(CELL.command(folder), start_new_session=True)
        wait_for("outputs/*/*/checkpoints/matting.ckpt", folder)
        cut(process, folder)
        assert json.loads((CELL.cell_of(folder) / "record.json").read_text())["status"] == "running"
        assert not (CELL.cell_of(folder) / "model.pt").exists()
    (CELL.cell_of(folder) / ".metrics.parquet.k1ll3d.tmp").write_bytes(b"half")
    again = CELL.run(folder)
    assert again.returncode == 0, again.stderr
    assert not list(CELL.cell_of(folder).rglob("*.tmp"))
    assert "is damaged" in again.stdout
    assert_same_end(whole, folder)


def children(process: str) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_a_loading_process_that_dies_is_told_in_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "loader"
    process = subprocess.Popen(CELL.command(folder, "trainer.num_workers=1"), stderr=subprocess.PIPE, text=True)
    wait_for("outputs/*/*/checkpoints/matting.ckpt", folder)
    cell = (CELL.cell_of(folder) / "lock").read_text().split()[1]
    for server in children(cell):  # loaders are children of a fork server
        for loader in children(server):
            os.kill(int(loader), signal.SIGKILL)
    (line,) = process.communicate(timeout=120)[1].strip().splitlines()
    assert process.returncode == 1
    assert "DataLoader worker" in line
    assert json.loads((CELL.cell_of(folder) / "record.json").read_text())["status"] == "failed"


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="finds no CUDA device here; take cpu or auto"):
        pick_device("gpu")


def in_small_disk(megabytes: float, folder: Path, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with its outputs on a file system of that size; they come from `kept` in `folder`, and return."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs namespaces (Linux)")
    for name in ("outputs", "kept/outputs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    script = (
        f"mount -t tmpfs -o size={int(megabytes * 1024)}k{options} tmpfs {folder}/outputs && "
        f'cp -r {folder}/kept/outputs {folder}; "$@"; status=$?; cp -r {folder}/outputs {folder}/kept; exit $status'
    )
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *CELL.command(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_full_disk_ends_the_cell_with_one_line_and_loses_nothing(whole: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    result = in_small_disk(11.0, tmp_path)  # one checkpoint, not two
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "No space left on device" in result.stderr
    cell = CELL.cell_of(kept)
    assert json.loads((cell / "record.json").read_text())["status"] == "failed"
    assert len(list(cell.glob("checkpoints/*.ckpt"))) == 1
    assert not list(cell.glob("checkpoints/*.tmp"))
    assert CELL.run_here(kept) == 0  # with more room
    assert_same_end(whole, kept)


def test_a_read_only_folder_is_told_in_one_line(tmp_path: Path) -> None:
    result = in_small_disk(2.0, tmp_path, options=",ro")
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Read-only file system" in result.stderr
