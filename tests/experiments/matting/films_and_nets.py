"""A net with a memory on disk, a film with sound, and all settings of the command with their defaults."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.command.composing import CONFIGS
from experiments.inference.saved_nets import save_net
from experiments.matting.job import Job
from experiments.matting.request import make_job
from lightning_modules.nets import build_net
from tests.datamodules.films import write_film

BASE = Fraction(1, 12800)
TIMES = [0, 500, 1100, 1300, 2300, 2900, 3000, 4100, 5000, 5600]
SMALL = {"width": 0.25, "hidden": 8, "working_size": 64}


def write_files(root: Path) -> Path:
    """film.mp4, with sound and at uneven times, and model.pt."""
    write_film(root / "film.mp4", TIMES, BASE, sound="aac")
    net = build_net("modnet_v", **SMALL)
    net.reset_parameters(3)
    with torch.no_grad():  # a fresh net sees little background and does not look at its memory
        net.get_parameter("semantic.head.bias").fill_(-2)
        net.get_parameter("brm.fuse_norm.weight").fill_(1)
    save_net(root / "model.pt", net, {"name": "modnet_v", **SMALL, "pretrained": False})
    return root


class Planner:
    """Makes jobs of settings, as the command makes them of its words."""

    def __init__(self, files: Path) -> None:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            self.defaults: dict[str, Any] = OmegaConf.to_container(compose("matte"))  # type: ignore[assignment]
        self.files = files

    def job(self, output: Path, model: str | None = "modnet_v", **settings: Any) -> Job:
        """On the film with that net, where the settings do not say another."""
        usual = {"input": self.files / "film.mp4", "checkpoint": self.files / "model.pt", "threads": 1}
        return make_job(
            {**self.defaults, **usual, "model": model and {"name": model}, "output": output, **settings}, []
        )

    def run(self, output: Path, again: bool = False, **settings: Any) -> bool:
        """Whether all of it is done."""
        return self.job(output, **settings).run(again)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def planner(files: Path) -> Planner:
    return Planner(files)
