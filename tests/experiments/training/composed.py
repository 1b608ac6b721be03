"""Settings of cells as the command line composes them."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.command.composing import CONFIGS
from experiments.training.settings import Settings, Stage, Trainer


def config_of(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", overrides=["trainer.accelerator=cpu", *overrides])
    return OmegaConf.to_container(composed, resolve=True)  # type: ignore[return-value]


def settings_of(*overrides: str) -> Settings:
    return Settings.of(config_of(*overrides))


def trainer_of(*overrides: str) -> Trainer:
    return settings_of(*overrides).trainer


def stage_of(**changes: Any) -> Stage:
    """MODNet's, but for some settings."""
    stage = config_of("scale=smoke", "model=modnet", "recipe=modnet")["recipe"]["stages"]["matting"]
    return Stage.of("stage", {name: value for name, value in (stage | changes).items() if value is not ...})
