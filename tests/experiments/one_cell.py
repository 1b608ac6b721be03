"""One cell of `brm_ablation` through the real command, for tests of several processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from experiments.cells.work import run_cell
from experiments.records.cell_record import CellRecord
from experiments.run import run_cells

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

    def words(self, folder: Path, *overrides: str) -> list[str]:
        outputs, cache = folder / "outputs", folder.parent / "cache"
        places = [f"output_dir={outputs}", f"results_dir={folder}/results", f"data.cache_dir={cache}"]
        return [*SETTINGS, *self.settings, *overrides, *places]

    def command(self, folder: Path, *overrides: str) -> list[str]:
        return [sys.executable, "-m", "experiments.run", *self.words(folder, *overrides)]

    def run(self, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = self.command(folder, *overrides)
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def run_here(self, folder: Path, *overrides: str) -> int:
        """The exit status of the same command and its cell, both in this process."""
        words = self.words(folder, *overrides)
        with pytest.MonkeyPatch.context() as patch:
            for kind in ("spawn_cell", "ForkedCell"):
                patch.setattr(f"experiments.cells.launchers.{kind}", EndedCell)
            patch.setattr(sys, "argv", ["run", *words])
            GlobalHydra.instance().clear()
            return run_cells(words, [])

    def cell_of(self, folder: Path) -> Path:
        return next((folder / "outputs" / "brm_ablation").glob("*/config.yaml")).parent


class EndedCell:
    """Stands for a cell's process: its work is done in this one, which has imported everything."""

    def __init__(self, config: Path, *_: object, **__: object) -> None:
        self.status = run_cell(yaml.safe_load(config.read_text()), CellRecord.load(config.parent))

    def poll(self) -> int:
        return self.status

    def wait(self) -> int:
        return self.status
