"""What is committed under `results/reference/`: the scores beside a report's own, the cost for who has no cell yet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.reporting.cells_file import CellFacts, read_facts


@dataclass(frozen=True)
class Reference:
    """What a committed report tells of an experiment before it is run here.

    Attributes:
        place: of the report.
        machine: that it was run on.
        settings: of every cell, as `flattened` gives them.
        minutes: of training and testing, by cell.
        memory_gib: of the cell that needed most; None where it was not measured.
        smallest: change of each primary metric that four of five such experiments show, as shares: fall and rise by
            metric and arm.
    """

    place: Path
    machine: str
    settings: list[dict[str, str]]
    minutes: dict[str, float]
    memory_gib: float | None
    smallest: dict[str, dict[str, tuple[float, float]]]

    @classmethod
    def of(cls, report: Path) -> Reference | None:
        """That of the experiment and scale of a report; None without one that tells of its cells.

        Raises:
            ValueError: a file of it is damaged.
        """
        place = reference_of(report)
        facts = read_facts(place)
        if not facts:
            return None
        try:
            return cls._read(place, facts)
        except KeyError as error:
            raise ValueError(f"{place}: its report has no column {error}; write it again") from None

    @classmethod
    def _read(cls, place: Path, facts: Sequence[CellFacts]) -> Reference:
        page = (place / "report.md").read_text(encoding="utf-8")
        memory = [_number(row["Peak memory (GiB)"]) for row in _table(page, "Cost") if row["Peak memory (GiB)"] != "—"]
        with (place / "scores.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["primary"] == "True" and row["smallest_fall"]]
        smallest: dict[str, dict[str, tuple[float, float]]] = {}
        for row in (row for row in rows if row["stratum"] == "all"):
            ends = float(row["smallest_fall"]), float(row["smallest_rise"])
            smallest.setdefault(row["metric"], {})[row["arm"]] = ends
        return cls(
            place,
            "; ".join(dict.fromkeys(map(_machine, facts))),
            [each.settings for each in facts],
            {row["Cell"]: _number(row["Minutes"]) for row in _table(page, "Cells")},
            max(memory, default=None),
            smallest,
        )


def _machine(facts: CellFacts) -> str:
    parts = {"gpu": "{}", "processor": "{}", "cores": "{} cores"}
    return ", ".join(text.format(facts.world[name]) for name, text in parts.items() if name in facts.world)


def reference_of(report: Path) -> Path:
    """RESULTS_DIR/reference/EXPERIMENT/SCALE of a report, which is RESULTS_DIR/EXPERIMENT/SCALE."""
    return report.parent.parent / "reference" / report.parent.name / report.name


def against_reference(report: Path) -> str:
    """Whether the scores of a report are the committed ones of the same experiment, as a line; "" if none are.

    Compared are the primary metrics of every arm and seed that both have, to the six digits that are written.

    Args:
        report: its folder.
    """
    reference = reference_of(report)
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


def _table(page: str, title: str) -> list[dict[str, str]]:
    """The rows of a table of a report in Markdown, by its columns."""
    _, _, after = page.partition(f"\n## {title}\n")
    lines = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("|")]
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] or [[], []]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _number(text: str) -> float:
    """What `formatting.number` has written."""
    return float(text.replace(" ", ""))
