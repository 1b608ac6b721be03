"""`cells.json` of a report: settings, data, code and machine of each of its cells, for tools and for `compare`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.command.messages import reason
from experiments.records.cell_record import CellRecord
from experiments.records.checksums import read_json
from experiments.records.fingerprints import part_of_data
from experiments.reporting.arms import arm_text, value_text
from experiments.training.settings import effective

NAME = "cells.json"


@dataclass(frozen=True)
class CellFacts:
    """What a complete cell was made with.

    Attributes:
        arm: as `scores.csv` names it.
        settings: those that its numbers depend on, "recipe.stages.matting.steps" → "360".
        world: "commit", versions by package, hardware, fingerprints of "training data" and "test data".
    """

    arm: str
    seed: int
    settings: dict[str, str]
    world: dict[str, str]


def facts_of(cells: Iterable[CellRecord]) -> list[CellFacts]:
    """The facts of cells; one whose config cannot be read has no settings."""
    found = []
    for cell in cells:
        try:
            settings = flattened(effective(cell.read_config()))
        except ValueError:
            settings = {}
        data = {f"{part} data": part_of_data(cell.data, part) for part in ("training", "test")}
        world = {"commit": cell.git_commit, **cell.versions, **cell.hardware, **data}
        facts = {name: value_text(value) for name, value in world.items() if value not in ("", None)}
        found.append(CellFacts(arm_text(cell.arm), cell.seed, settings, facts))
    return found


def cells_json(facts: Sequence[CellFacts]) -> bytes:
    """The file's content: what all cells share stands once."""
    shared = {name: _shared([getattr(each, name) for each in facts]) for name in ("settings", "world")}
    own = [
        asdict(each)
        | {
            name: {key: value for key, value in getattr(each, name).items() if key not in common}
            for name, common in shared.items()
        }
        for each in facts
    ]
    return (json.dumps({"shared": shared, "cells": own}, indent=1, ensure_ascii=False) + "\n").encode()


def read_facts(report: Path) -> list[CellFacts] | None:
    """The facts beside a report; None where it is of a version that kept none.

    Raises:
        ValueError: the file is damaged.
    """
    path = report / NAME
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        shared = content["shared"]
        return [
            CellFacts(
                str(each["arm"]),
                int(each["seed"]),
                {**shared["settings"], **each["settings"]},
                {**shared["world"], **each["world"]},
            )
            for each in content["cells"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}); build the report again") from error


def _shared(all_of_them: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The entries that every mapping has."""
    if not all_of_them:
        return {}
    first, *others = all_of_them
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in others)}


def flattened(settings: Any, name: str = "") -> dict[str, str]:
    """Every single setting as text, by its dotted name.

    >>> flattened({"model": {"brm": True, "widths": [1, 2]}})
    {'model.brm': 'true', 'model.widths': '[1, 2]'}
    """
    if isinstance(settings, Mapping) and (settings or not name):
        found: dict[str, str] = {}
        for key, value in settings.items():
            found |= flattened(value, f"{name}.{key}".lstrip("."))
        return found
    return {name: value_text(settings)}
