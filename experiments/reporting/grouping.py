"""Records that no experiment's file describes, sorted into comparisons: one for each test set."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.records.cell_record import CellRecord
from experiments.records.experiment import Experiment
from experiments.records.identity import short_name
from experiments.reporting.arms import value_text


def experiments_of(
    name: str, cells: Sequence[CellRecord], baseline: str = ""
) -> dict[str, tuple[Experiment, list[CellRecord]]]:
    """A description and its records for each test set (study, scale and data) among `cells`, by its report's name.

    Args:
        name: of the experiments.
        cells: records of evaluations.
        baseline: name of the record that the others are compared with, "" for the first complete one of each set.

    Raises:
        ValueError: no record is called so.
    """
    arms = {cell.cell or cell.folder.name: cell.arm for cell in cells}
    if baseline and baseline not in arms:
        raise ValueError(f"baseline={baseline}: no record is called so; there are {', '.join(sorted(arms))}")
    keys = dict.fromkeys(key for arm in arms.values() for key in arm if "." not in key)  # those keep their names
    unsaid = {("options", "default"): "", ("checkpoint", "none"): "no checkpoint"}
    labels = {
        f"{key}={value_text(arm[key])}": unsaid.get((key, value_text(arm[key])), value_text(arm[key]))
        for key in keys
        for arm in arms.values()
        if key in arm
    }
    found = {}
    for place, group in _by_test_set(cells).items():
        first = next((cell.arm for cell in group if cell.status == "complete"), {})
        arm = arms[baseline] if baseline else first
        found[place] = (Experiment(name, baseline=arm, labels=labels), group)
    return found


def _by_test_set(cells: Sequence[CellRecord]) -> dict[str, list[CellRecord]]:
    """Records of one study, scale and data; data are in the name where there are several."""
    groups: dict[str, dict[str, list[CellRecord]]] = {}
    for cell in cells:
        place = ",".join(filter(None, [short_name(cell.scale), short_name(cell.study)]))
        data = short_name(str(cell.data.get("fingerprint", "unknown")))
        groups.setdefault(place or "all", {}).setdefault(data, []).append(cell)
    return {
        place if len(by_data) == 1 else f"{place},data={data}": group
        for place, by_data in groups.items()
        for data, group in by_data.items()
    }
