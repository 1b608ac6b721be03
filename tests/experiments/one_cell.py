"""One cell of `brm_ablation` through the real command, for tests of several processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# One clip of each condition, and no more to train on than two.
FEW = (
    *("scale.test_clips=1", "scale.test_frames=2", "scale.val_clips=2"),
    *("scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4"),
)
SETTINGS = ("+exp=brm_ablation", "hydra.mode=RUN", "scale=smoke", "logger=none", *FEW)


@dataclass(frozen=True)
class OneCell:
    """What it is trained with; each call names the folder that all it writes lies in, but for the cache beside that."""

    settings: tuple[str, ...]

    def command(self, folder: Path, *overrides: str) -> list[str]:
        outputs, cache = folder / "outputs", folder.parent / "cache"
        places = [f"output_dir={outputs}", f"results_dir={folder}/results", f"data.cache_dir={cache}"]
        return [sys.executable, "-m", "experiments.run", *SETTINGS, *self.settings, *overrides, *places]

    def run(self, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = self.command(folder, *overrides)
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def cell_of(self, folder: Path) -> Path:
        return next((folder / "outputs" / "brm_ablation").iterdir())


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes fills by `make`; the others wait for it and only read it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder
