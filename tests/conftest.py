"""One thread a test process, so that tests in parallel do not fight for cores and numbers do not vary."""

import gc
import os
import re
import subprocess
import sys

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.file_server import FileServer, running_server
from tests.made_once import made_once

torch.set_num_threads(1)
hypothesis.settings.register_profile("on busy machines", deadline=None)
hypothesis.settings.load_profile("on busy machines")
gc.disable()  # until all is imported and collected, of which nothing is garbage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # Not by keyword: a folder of that name has it too.
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    # Files with slow tests first, or at the end one process waits for the other; whole, as their tests share runs.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_order() -> None:
    torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands of docs/tour.md have been run as they stand, W&B offline: an ablation to its report, …"""

    def make(folder: Path) -> None:
        root = Path(__file__).parents[1]
        blocks = re.findall(r"```bash\n(.*?)```", (root / "docs/tour.md").read_text("utf-8"), flags=re.DOTALL)
        assert len(blocks) == 5
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        variables = os.environ | {"PYTHONPATH": str(root), "PATH": paths}
        script = "set -euo pipefail\n" + "\n".join(blocks)
        folder.mkdir()
        result = subprocess.run(["bash", "-c", script], cwd=folder, env=variables, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr

    return made_once(tmp_path_factory, "tour", make)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running
