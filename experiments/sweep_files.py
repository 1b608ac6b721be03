"""W&B sweep files read without W&B: their points, and the command of each.

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

Point = dict[str, Any]
METHODS = ("grid", "random", "bayes")
DRAWS: dict[str, Callable[[random.Random, dict[str, Any]], float]] = {
    "uniform": lambda draw, of: draw.uniform(of["min"], of["max"]),
    "int_uniform": lambda draw, of: draw.randint(int(of["min"]), int(of["max"])),
    "q_uniform": lambda draw, of: round(draw.uniform(of["min"], of["max"]) / of.get("q", 1)) * of.get("q", 1),
    "log_uniform_values": lambda draw, of: math.exp(draw.uniform(math.log(of["min"]), math.log(of["max"]))),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as W&B reads it, but 1e-4 is a number, not a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


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
            axes = [_values(name, spec) for name, spec in self.parameters.items()]
            points = [dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*axes)]
            return points[: self.run_cap]
        if self.method == "random" and self.run_cap:
            draw = random.Random(seed)
            return [{name: self._draw(draw, name) for name in self.parameters} for _ in range(self.run_cap)]
        raise ValueError(f"{self.path}: a {self.method} sweep needs run_cap here, how many points to try")

    def _draw(self, draw: random.Random, name: str) -> Any:
        spec = self.parameters[name]
        if "value" in spec or "values" in spec:
            return draw.choices(_values(name, spec), spec.get("probabilities"))[0]
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


def read_sweep(path: Path) -> SweepFile:
    """The sweep file at `path`.

    Raises:
        ValueError: it is missing, no sweep file, or asks for what is not done here.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as a sweep file: {' '.join(str(error).split())}") from error
    missing = [
        key for key in ("method", "parameters", "command") if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise ValueError(f"{path} is no sweep file: it has no {', '.join(missing)}")
    if content["method"] not in METHODS:
        raise ValueError(f"{path}: method must be one of {', '.join(METHODS)}, got {content['method']!r}")
    if content["method"] == "bayes" and "name" not in content.get("metric", {}):
        raise ValueError(f"{path}: a bayes sweep needs metric: {{name: …, goal: minimize}}")
    for name, spec in content["parameters"].items():
        if not isinstance(spec, dict) or not ({"value", "values"} & spec.keys() or {"min", "max"} <= spec.keys()):
            raise ValueError(f"{path}: {name} needs value, values, or min and max (nested settings: dotted names)")
        if "value" not in spec and "values" not in spec:
            distribution(name, spec)
    return SweepFile(
        path=path,
        name=str(content.get("name", path.stem)),
        method=content["method"],
        parameters=content["parameters"],
        command=[str(word) for word in content["command"]],
        program=str(content.get("program", "")),
        metric=dict(content.get("metric", {})),
        run_cap=content.get("run_cap"),
    )


def _values(name: str, spec: dict[str, Any]) -> list[Any]:
    if "value" in spec:
        return [spec["value"]]
    if "values" not in spec:
        raise ValueError(f"{name}: a grid needs value or values")
    return list(spec["values"])


def distribution(name: str, spec: dict[str, Any]) -> str:
    """How a parameter with min and max is drawn; W&B's defaults: whole numbers evenly, others uniformly.

    >>> distribution("model.prm_k", {"min": 8, "max": 32})
    'int_uniform'

    Raises:
        ValueError: it is not known, or cannot draw from this range.
    """
    whole = isinstance(spec["min"], int) and isinstance(spec["max"], int)
    chosen = str(spec.get("distribution", "int_uniform" if whole else "uniform"))
    if chosen not in DRAWS:
        raise ValueError(f"{name}: distribution {chosen} is not known here; there are {', '.join(DRAWS)}")
    if chosen == "log_uniform_values" and spec["min"] <= 0:
        raise ValueError(f"{name}: {chosen} needs a min above 0, got {spec['min']}; or take distribution: uniform")
    if chosen == "int_uniform" and (spec["min"] % 1 or spec["max"] % 1):
        raise ValueError(f"{name}: {chosen} needs whole min and max; or take distribution: uniform")
    return chosen
