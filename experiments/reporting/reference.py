"""A report's scores beside those that are committed under `results/reference/`."""

from __future__ import annotations

import csv
from pathlib import Path


def against_reference(report: Path) -> str:
    """Whether the scores of a report are the committed ones of the same experiment, as a line; "" if none are.

    Compared are the primary metrics of every arm and seed that both have, to the six digits that are written.

    Args:
        report: RESULTS_DIR/EXPERIMENT/SCALE; the reference is RESULTS_DIR/reference/EXPERIMENT/SCALE.
    """
    reference = report.parent.parent / "reference" / report.parent.name / report.name
    if not (reference / "scores.csv").is_file():
        return ""
    here, there = (_scores(folder / "scores.csv") for folder in (report, reference))
    shared = here.keys() & there.keys()
    if not shared:
        return f"no arm and seed of {reference} is in this report"
    apart = {key: abs(here[key] / there[key] - 1) for key in sorted(shared) if here[key] != there[key]}
    if not apart:
        return f"all {len(shared)} scores that both have are those of {reference}"
    worst = max(apart, key=lambda key: apart[key])
    arm, metric, seed = worst
    return (
        f"{len(apart)} of {len(shared)} scores differ from {reference}, most by {apart[worst]:.2g} of it: {metric} of "
        f"{arm}, seed {seed}, is {here[worst]:g} here and {there[worst]:g} there"
    )


def _scores(path: Path) -> dict[tuple[str, str, str], float]:
    """The mean over all clips by label, metric and seed."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["primary"] == "True" and row["stratum"] == "all"]
    seeds = ((row, *each.split(":")) for row in rows for each in row["by_seed"].split())
    return {(row["label"], row["metric"], seed): float(value) for row, seed, value in seeds}
