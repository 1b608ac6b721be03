"""A command's config as Hydra composes it, and what is refused before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from experiments.command.errors import BAD_INPUT
from experiments.command.quoting import quote_texts
from experiments.command.safety import refuse_secrets

CONFIGS = Path(__file__).parents[1] / "configs"


def run_hydra(job: Callable[[DictConfig], None], config_name: str = "config") -> list[Exception]:
    """Run `job` on the config of the command line, once for each point of a multirun; what bad input it met.

    Errors are kept and not raised: Hydra would print a line of its own, and stop a multirun at the first.
    """
    errors: list[Exception] = []
    quote_texts()

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    def main(config: DictConfig) -> None:
        try:
            refuse_missing_settings(config)
            refuse_secret_settings(config)
            job(config)
        except ValueError as error:
            errors.append(named_as_given(error, config))
        except BAD_INPUT as error:
            errors.append(error)

    main()
    return errors


def named_as_given(error: ValueError, config: DictConfig) -> ValueError:
    """The same error, which also names the setting that a refused one takes its value from.

    >>> config = OmegaConf.create({"scale": {"steps": -5}, "recipe": {"steps": "${scale.steps}"}})
    >>> named_as_given(ValueError("recipe.steps must be a whole number from 1 on, got -5"), config)
    ValueError('recipe.steps, which is scale.steps, must be a whole number from 1 on, got -5')
    """
    refused, _, complaint = str(error).partition(" ")
    keys, value = [refused], _unresolved(config, refused)
    while isinstance(value, str) and (reference := re.fullmatch(r"\$\{([\w.]+)\}", value)):
        keys.append(reference[1])
        value = _unresolved(config, reference[1])
    return error if len(keys) == 1 else ValueError(f"{refused}, which is {keys[-1]}, {complaint}")


def _unresolved(config: DictConfig, key: str) -> Any:
    """What the config has at a dotted key, references as they are written; None where there is nothing."""
    node: Any = OmegaConf.to_container(config)
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def refuse_missing_settings(config: DictConfig) -> None:
    """Check that every setting that has no default is given.

    Raises:
        ValueError: some are not.
    """
    if missing := _missing(OmegaConf.to_container(config)):
        settings = " ".join(f"{key}=…" for key in missing)
        raise ValueError(f"{' and '.join(missing)} must be given: add {settings} to the command (see --help, README)")


def _missing(node: Any, key: str = "") -> list[str]:
    """Keys of a tree whose values are "???"."""
    if isinstance(node, dict):
        return [each for name, child in node.items() for each in _missing(child, f"{key}.{name}".lstrip("."))]
    if isinstance(node, list):
        return [each for k, child in enumerate(node) for each in _missing(child, f"{key}[{k}]")]
    return [key] if node == "???" else []


def refuse_secret_settings(config: DictConfig) -> None:
    """Check the config of a command line, and the command line itself, before either is written anywhere.

    Raises:
        ValueError: a setting is a secret.
    """
    given = HydraConfig.get().overrides
    refuse_secrets(OmegaConf.to_container(config, resolve=True), [*given.task, *given.hydra])  # type: ignore[arg-type]


def swept(arguments: Sequence[str]) -> list[str]:
    """Settings to which the command line gives several values.

    >>> swept(["+exp=brm_ablation", "seed=0,1", "model.width=1.0"])
    ['seed']
    """
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def values_of(axis: Any) -> list[Any]:
    """The values of an axis of `hydra.sweeper.params`.

    >>> values_of("true,false,oracle"), values_of("range(0,3)"), values_of(0.5)
    ([True, False, 'oracle'], [0, 1, 2], [0.5])
    """
    (override,) = OverridesParser.create().parse_overrides([f"axis={axis}"])
    texts = override.sweep_string_iterator() if override.is_sweep_override() else [str(axis)]
    return [yaml.safe_load(text) for text in texts]


def given_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings that the command line gives, by name."""
    overrides = [each for each in arguments if "=" in each and not each.startswith("-")]
    return {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(overrides)}
