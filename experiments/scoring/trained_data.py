"""The data of the run that left a checkpoint, on which the checkpoint is scored where the command line names none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.command.composing import CONFIGS
from experiments.command.quoting import in_quotes
from experiments.inference.saved_nets import check_beside_record
from experiments.scoring.sets import PROTOCOL


def trained_config(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config of the run that left the checkpoint; None if there is no such run, or the command line names data.

    Args:
        given: settings of the command line and their values. Data are named by their group (data=) or the folder of
            a test set; changes of some of their settings (data.root=, data.test_clips=) are made to the run's.

    Raises:
        ValueError: the config beside the checkpoint cannot be read, or was changed since the run.
    """
    file = Path(str(given.get("checkpoint"))).with_name("config.yaml")
    if given.get("checkpoint") is None or "data" in given or given.get("testset") not in (None, PROTOCOL):
        return None
    if not file.is_file():
        return None
    advice = "name the data: data=… or testset=…"
    check_beside_record(file)
    try:
        config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        group, scale = data_group(config), str(config["scale"]["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: cannot be read as the config of a run; restore it, or {advice}") from error
    for name, known in ((group, CONFIGS / "data"), (scale, CONFIGS / "scale")):
        if not (known / f"{name}.yaml").is_file():
            raise ValueError(f"{file}: there is no {known.name}={name} any more; {advice}")
    return config


def data_group(config: Mapping[str, Any]) -> str:
    """The group that the data of a run are of: it is called as its source of people."""
    source = config["data"]["source"]
    return str(source["name"] if "name" in source else source["test"]["name"])


def data_overrides(config: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """What a command line must say for its config to have the parts that the run's data have."""
    said = [f"data={data_group(config)}", *([] if "scale" in given else [f"scale={config['scale']['name']}"])]
    places = (name for name in _required(data_group(config)) if f"data.{name}" not in given)
    return said + [f"data.{name}={as_value(config['data'][name])}" for name in places]


def _required(group: str) -> list[str]:
    """Settings of a data group that have no default."""
    settings = yaml.safe_load((CONFIGS / "data" / f"{group}.yaml").read_text(encoding="utf-8"))
    return [name for name, value in settings.items() if value == "???"]


def as_value(value: Any) -> str:
    r"""A value as Hydra's grammar takes it, whatever characters it has.

    >>> as_value("my people/it's"), as_value(["a", "b"])
    ("'my people/it\\'s'", "['a','b']")
    """
    return f"[{','.join(map(as_value, value))}]" if isinstance(value, list) else in_quotes(str(value))


def take_data(config: DictConfig, trained: Mapping[str, Any], given: Collection[str]) -> None:
    """Set `config.data` to the run's, but for what the command line gives, and for what follows from that."""
    given = set(given)
    if "test_strata" in given:
        given.add("data.test_strata")
    if config.testset == PROTOCOL:  # which sets how many people and rooms are made by code
        given |= {"data.test_clips", "data.test_clip_length"}
    if any(each.partition(".")[0] == "scale" for each in given):
        given |= {f"scale.{name}" for name in config.scale}
    texts: Any = OmegaConf.to_container(config.data, resolve=False)
    given |= {f"data.{name}" for name, text in texts.items() if _refers_to(text, given)}
    with open_dict(config):
        _fill(config.data, trained["data"], "data", given)


def _fill(node: DictConfig, values: Mapping[str, Any], place: str, given: set[str]) -> None:
    texts: Any = OmegaConf.to_container(node, resolve=False)
    for name in [name for name in texts if name not in values and f"{place}.{name}" not in given]:
        del node[name]
    for name, value in values.items():
        text, where = texts.get(name), f"{place}.{name}"
        if name == "cache_dir" or where in given or _refers_to(text, given):
            continue
        if isinstance(value, dict) and isinstance(text, dict):
            _fill(node[name], value, where, given)
        else:
            node[name] = value


def _refers_to(text: Any, settings: set[str]) -> bool:
    """Whether a value is a reference to one of some settings."""
    return isinstance(text, str) and text.startswith("${") and text[2:-1] in settings
