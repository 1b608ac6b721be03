"""A report's scores beside those that are committed under `results/reference/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


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
    shared = here.index.intersection(there.index)
    if shared.empty:
        return f"no arm and seed of {reference} is in this report"
    pairs = pd.DataFrame({"here": here[shared], "there": there[shared]})
    other = pairs[pairs["here"] != pairs["there"]]
    if other.empty:
        return f"all {len(pairs)} scores that both have are those of {reference}"
    apart = (other["here"] / other["there"] - 1).abs()
    arm, metric, seed = apart.idxmax()
    worst = other.loc[(arm, metric, seed)]
    return (
        f"{len(other)} of {len(pairs)} scores differ from {reference}, most by {apart.max():.2g} of it: {metric} of "
        f"{arm}, seed {seed}, is {worst['here']:g} here and {worst['there']:g} there"
    )


def _scores(path: Path) -> pd.Series:
    """The mean over all clips by label, metric and seed."""
    table = pd.read_csv(path, usecols=["label", "metric", "stratum", "primary", "by_seed"])
    table = table[table["primary"] & (table["stratum"] == "all")]
    return pd.Series({
        (row.label, row.metric, seed): float(value)
        for row in table.itertuples()
        for seed, _, value in (each.partition(":") for each in row.by_seed.split())
    })  # fmt: skip
