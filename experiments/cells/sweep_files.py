"""W&B sweep files: made from an experiment, and read without W&B: their points, and the command of each.

Grid, random and Bayes files as in https://docs.wandb.ai/guides/sweeps/sweep-config-keys, of their parameters
`value`, `values`, `min` and `max` with the distributions below.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.command.composing import CONFIGS, values_of
from experiments.command.messages import reason
from experiments.command.safety import check_names

Point = dict[str, Any]
METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
# What reading and parsing raise; PyYAML lets the errors of wrongly tagged values through.
UNREADABLE = (OSError, yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError)
DRAWS: dict[str, Callable[[random.Random, dict[str, Any]], float]] = {
    "uniform": lambda draw, of: draw.uniform(of["min"], of["max"]),
    "int_uniform": lambda draw, of: draw.randint(of["min"], of["max"]),
    "q_uniform": lambda draw, of: round(draw.uniform(of["min"], of["max"]) / of.get("q", 1)) * of.get("q", 1),
    "log_uniform_values": lambda draw, of: math.exp(draw.uniform(math.log(of["min"]), math.log(of["max"]))),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as W&B reads it, but 1e-4 is a number, not a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


GRID = """\
# {question}
# Every cell of +exp={name}; made from it by: python -m experiments.sweep sweeps/{name}.yaml --make
name: {name}
project: portrait-matting-lab
program: experiments/run.py
method: grid
metric:
  name: val/mad
  goal: minimize
parameters:
{parameters}command:
  - ${{env}}
  - ${{interpreter}}
  - -m
  - experiments.run
  - +exp={name}
  - hydra.mode=RUN
  - ${{args_no_hyphens}}
"""


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Attributes:
        path: where it lies.
        name: of the sweep, the group of its runs.
        method: "grid", "random" or "bayes".
        parameters: dotted setting → how its values are given.
        command: words and macros of the command line.
        program: what `${program}` stands for.
        metric: "name" and "goal" of a Bayes sweep, else {}.
        run_cap: most points, None for all of a grid.
    """

    path: Path
    name: str
    method: str
    parameters: dict[str, dict[str, Any]]
    command: list[str]
    program: str
    metric: dict[str, str]
    run_cap: int | None

    def points(self, seed: int) -> list[Point]:
        """The points of a grid or a random sweep: in the file's order, the last parameter fastest.

        Raises:
            ValueError: a Bayes sweep has none before it runs; a random one needs run_cap.
        """
        if self.method == "grid":
            axes = [_values(spec) for spec in self.parameters.values()]
            points = [dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*axes)]
            return points[: self.run_cap]
        if self.method == "random" and self.run_cap:
            draw = random.Random(seed)
            return [{name: self._draw(draw, name) for name in self.parameters} for _ in range(self.run_cap)]
        raise ValueError(f"{self.path}: a {self.method} sweep needs run_cap here, how many points to try")

    def _draw(self, draw: random.Random, name: str) -> Any:
        spec = self.parameters[name]
        if "value" in spec or "values" in spec:
            return draw.choices(_values(spec), spec.get("probabilities"))[0]
        return DRAWS[distribution(name, spec)](draw, spec)

    def command_line(self, point: Point) -> list[str]:
        """The command of a point, as `wandb agent` would start it but with this Python.

        Raises:
            ValueError: a macro is unknown here, or a value cannot be written as an override.
        """
        for name, value in point.items():
            if value is None:
                raise ValueError(f"{self.path}: {name} has the value null, which arrives as the word None; quote it")
        overrides = [f"{name}={value}" for name, value in point.items()]
        macros = {
            "${env}": ["/usr/bin/env"],
            "${interpreter}": [sys.executable],
            "${program}": [self.program],
            "${args}": [f"--{override}" for override in overrides],
            "${args_no_hyphens}": overrides,
        }
        words: list[str] = []
        for word in self.command:
            filled = re.sub(r"\$\{envvar:(\w+)\}", lambda found: os.environ.get(found[1], found[1]), word)
            words += macros.get(word, [filled])
        if unknown := [word for word in words if word.startswith("${")]:
            raise ValueError(f"{self.path}: command: {unknown[0]} is not known here; there are {', '.join(macros)}")
        return words


def sweep_of(experiment: str) -> str:
    """The text of a grid sweep over the arms and seeds of an experiment.

    Raises:
        ValueError: there is no such experiment, or it has no axes.
    """
    path = CONFIGS / "exp" / f"{experiment}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        axes = content["hydra"]["sweeper"]["params"]
        return GRID.format(
            question=content["experiment"]["question"],
            name=experiment,
            parameters="".join(f"  {axis}:\n    values: {_flow(values_of(axes[axis]))}\n" for axis in axes),
        )
    except (LookupError, TypeError) as error:
        raise ValueError(f"{path} needs experiment.question, and axes in hydra.sweeper.params") from error
    except UNREADABLE as error:
        raise ValueError(f"no sweep can be made: {reason(error)}") from error


def _flow(values: list[Any]) -> str:
    """A list in one line of YAML."""
    return yaml.safe_dump(values, default_flow_style=True, width=math.inf).strip()


def read_sweep(path: Path) -> SweepFile:
    """The sweep file at `path`.

    Raises:
        ValueError: it is missing, no sweep file, or asks for what is not done here; the message names file and key.
    """
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as a sweep file: {reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no sweep file: it must be a mapping, key: value, got {_shown(content)}")
    if missing := [key for key in ("method", "parameters", "command") if key not in content]:
        raise ValueError(f"{path} is no sweep file: it has no {', '.join(missing)}")
    try:
        _check_keys(content)
        check_names({"name": str(content.get("name", path.stem))})
        parameters = {name: _checked(name, spec, content["method"]) for name, spec in content["parameters"].items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return SweepFile(
        path=path,
        name=str(content.get("name", path.stem)),
        method=content["method"],
        parameters=parameters,
        command=[str(word) for word in content["command"]],
        program=str(content.get("program", "")),
        metric=dict(content.get("metric", {})),
        run_cap=content.get("run_cap"),
    )


def _check_keys(content: dict[str, Any]) -> None:
    """All keys of the file but what its parameters say."""
    metric = content.get("metric", {})
    known: dict[str, tuple[bool, str]] = {
        "method": (content["method"] in METHODS, f"one of {', '.join(METHODS)}"),
        "parameters": (
            _is_filled(content["parameters"], dict) and all(isinstance(name, str) for name in content["parameters"]),
            "a mapping, setting: {values: […]}",
        ),
        "command": (
            _is_filled(content["command"], list) and all(_is_word(word) for word in content["command"]),
            "a list of words",
        ),
        "metric": (isinstance(metric, dict), "a mapping, {name: …, goal: minimize}"),
        "name": (_is_word(content.get("name", "")), "a text"),
        "program": (isinstance(content.get("program", ""), str), "a text"),
        "run_cap": (_is_number(content.get("run_cap", 1), int) and content.get("run_cap", 1) >= 1, "1 or more points"),
    }
    for key, (holds, expected) in known.items():
        if not holds:
            raise ValueError(f"{key} must be {expected}, got {_shown(content[key])}")
    if content["method"] == "bayes" and not metric.get("name"):
        raise ValueError("a bayes sweep needs metric: {name: …, goal: minimize}")
    for key, allowed in (("name", None), ("goal", GOALS)):
        if key in metric and (not isinstance(metric[key], str) or (allowed and metric[key] not in allowed)):
            expected = " or ".join(allowed) if allowed else "a text like val/mad"
            raise ValueError(f"metric: {key} must be {expected}, got {_shown(metric[key])}")


def _checked(name: str, spec: Any, method: str) -> dict[str, Any]:
    """How the values of one parameter are given, its bounds as numbers."""
    if not isinstance(spec, dict) or not ({"value", "values"} & spec.keys() or {"min", "max"} <= spec.keys()):
        raise ValueError(f"{name} needs value, values, or min and max (nested settings: dotted names)")
    if "value" in spec or "values" in spec:
        return _checked_values(name, spec)
    spec = spec | {key: _number(name, key, spec[key]) for key in ("min", "max", "q") if key in spec}
    if spec["min"] > spec["max"]:
        raise ValueError(f"{name}: min must be at most max, got {spec['min']} and {spec['max']}")
    if spec.get("q", 1) <= 0:
        raise ValueError(f"{name}: q, the step, must be above 0, got {spec['q']}")
    chosen = distribution(name, spec)
    if chosen == "int_uniform":
        if spec["min"] % 1 or spec["max"] % 1:
            raise ValueError(f"{name}: min and max of int_uniform must be whole, got {spec['min']} and {spec['max']}")
        spec |= {key: int(spec[key]) for key in ("min", "max")}
    if chosen == "log_uniform_values" and spec["min"] <= 0:
        raise ValueError(f"{name}: min of log_uniform_values must be above 0, got {spec['min']} (else take uniform)")
    if method == "grid":
        raise ValueError(f"{name}: a grid needs value or values")
    return spec


def _checked_values(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    if "values" in spec and not _is_filled(spec["values"], list):
        raise ValueError(f"{name}: values must be a list with a value or more, got {_shown(spec['values'])}")
    shares = spec.get("probabilities")
    if shares is not None:
        right = isinstance(shares, list) and all(_is_number(share) and 0 <= share < math.inf for share in shares)
        if not right or len(shares) != len(_values(spec)) or not sum(shares) > 0:
            raise ValueError(f"{name}: probabilities must be a list, a number for each value, got {_shown(shares)}")
    return spec


def _number(name: str, key: str, value: Any) -> float:
    """A finite number; text that is one counts too."""
    try:
        number = value if _is_number(value) else float(value) if isinstance(value, str) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {key} must be a number, got {_shown(value)}")
    return number


def _is_number(value: Any, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_filled(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and bool(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def _shown(value: Any) -> str:
    """As YAML's user wrote it, in short."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _values(spec: dict[str, Any]) -> list[Any]:
    return [spec["value"]] if "value" in spec else list(spec["values"])


def distribution(name: str, spec: dict[str, Any]) -> str:
    """How a parameter with min and max is drawn; W&B's defaults: whole numbers evenly, others uniformly.

    >>> distribution("model.prm_k", {"min": 8, "max": 32})
    'int_uniform'

    Raises:
        ValueError: it is not known.
    """
    whole = isinstance(spec["min"], int) and isinstance(spec["max"], int)
    chosen = str(spec.get("distribution", "int_uniform" if whole else "uniform"))
    if chosen not in DRAWS:
        raise ValueError(f"{name}: distribution {chosen} is not known here; there are {', '.join(DRAWS)}")
    return chosen
