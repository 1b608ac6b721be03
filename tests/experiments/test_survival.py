"""A cell that is cut off in any way goes on, and ends with the bits of an undisturbed one; real processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.slow
SETTINGS = [
    *("+exp=brm_ablation", "hydra.mode=RUN", "model.brm=true", "scale=smoke", "logger=none"),
    *("scale.steps=24", "trainer.checkpoint_every=5", "trainer.validate_every=10"),
]


def command(folder: Path, *overrides: str) -> list[str]:
    places = [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={folder.parent}/cache"]
    return [sys.executable, "-m", "experiments.run", *SETTINGS, *overrides, *places]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *overrides), capture_output=True, text=True, timeout=300, check=False)


def cell(folder: Path) -> Path:
    return next((folder / "outputs" / "brm_ablation").iterdir())


def wait_for(pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.01)


def assert_same_end(one: Path, other: Path) -> None:
    one, other = cell(one), cell(other)
    pd.testing.assert_frame_equal(
        pd.read_parquet(one / "metrics.parquet"), pd.read_parquet(other / "metrics.parquet"), check_exact=True
    )
    assert (one / "history_matting.csv").read_text() == (other / "history_matting.csv").read_text()
    ours, theirs = (torch.load(folder / "model.pt", weights_only=True)["state_dict"] for folder in (one, other))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def killed(process: subprocess.Popen[bytes], folder: Path) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(folder.glob("outputs/*/*/checkpoints/matting.ckpt"))


def asked_to_end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()  # the command alone, as a scheduler does; it asks its cell
    assert process.wait(60) == 130
    saved = next(folder.glob("outputs/*/*/checkpoints/matting.ckpt"))
    state = torch.load(saved, weights_only=True)
    assert state["global_step"] % 5, "a checkpoint is written at the step where the end was asked for"


def torn(process: subprocess.Popen[bytes], folder: Path) -> None:
    wait_for("outputs/*/*/checkpoints/matting.before.ckpt", folder)
    killed(process, folder)
    newest = next(folder.glob("outputs/*/*/checkpoints/matting.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-3000])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival") / "whole"
    result = run(folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_a_cut_off_cell_goes_on_and_ends_with_the_same_bits(whole: Path) -> None:
    cuts: tuple[Callable[[subprocess.Popen[bytes], Path], None], ...] = (killed, asked_to_end, torn)
    for cut in cuts:  # in one test: a process of pytest makes `whole` once
        folder = whole.parent / cut.__name__
        process = subprocess.Popen(command(folder), start_new_session=True)
        wait_for("outputs/*/*/checkpoints/matting.ckpt", folder)
        cut(process, folder)
        assert json.loads((cell(folder) / "record.json").read_text())["status"] == "running"
        assert not (cell(folder) / "model.pt").exists()
        again = run(folder)
        assert again.returncode == 0, (cut.__name__, again.stderr)
        assert ("is damaged" in again.stdout) is (cut is torn)
        assert_same_end(whole, folder)


def in_small_disk(megabytes: float, folder: Path, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with its outputs on a file system of that size, copied to `folder` afterwards."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs namespaces (Linux)")
    (folder / "outputs").mkdir(parents=True)
    script = (
        f"mount -t tmpfs -o size={int(megabytes * 1024)}k{options} tmpfs {folder}/outputs && "
        f'"$@"; status=$?; mkdir {folder}/kept; cp -r {folder}/outputs {folder}/kept; exit $status'
    )
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *command(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_full_disk_ends_the_cell_with_one_line_and_loses_nothing(whole: Path) -> None:
    for megabytes in (1.5, 11.0):  # not one checkpoint; not two
        folder = whole.parent / f"disk-{megabytes}"
        result = in_small_disk(megabytes, folder)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "No space left on device" in result.stderr
        kept = cell(folder / "kept")
        assert json.loads((kept / "record.json").read_text())["status"] == "failed"
        assert len(list(kept.glob("checkpoints/*.ckpt"))) == (0 if megabytes < 2 else 1)
        assert not list(kept.glob("checkpoints/*.tmp"))
        assert run(folder / "kept").returncode == 0  # with more room
        assert_same_end(whole, folder / "kept")


def test_a_read_only_folder_is_told_in_one_line(tmp_path: Path) -> None:
    result = in_small_disk(2.0, tmp_path, options=",ro")
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Read-only file system" in result.stderr
