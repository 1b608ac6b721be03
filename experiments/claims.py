"""The ledger of published claims: each, the experiment that tests it, and what the reports that exist say of it.

    python -m experiments.claims                    from the reports under results/ and results/reference/
    python -m experiments.claims results_dir=DIR    from those under DIR

It writes RESULTS_DIR/claims.html, claims.md and claims.csv and trains nothing. A claim that is "not run" names the
command that runs it; one that is "not testable here" says what it needs. Parameters and multiply-adds are counted on
the spot.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from datamodules.files.writing import write_file
from experiments.command.errors import ends_with_one_line
from experiments.reporting.ledger import Entry, disagreements_table, ledger, ledger_table
from experiments.reporting.pages import render
from experiments.statistics.verdicts import Finding


def main() -> int:
    """Write the ledger and print it in short."""
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(__doc__)
        return 0
    if wrong := [word for word in words if not word.startswith("results_dir=")]:
        raise ValueError(f"{wrong[0]} is not understood; only results_dir=FOLDER is (see --help)")
    results = Path(words[-1].partition("=")[2] if words else "results").expanduser()
    if not results.is_dir():
        raise ValueError(f"results_dir={results}: there is no such folder; name that of the reports")
    entries = ledger(results)
    table = ledger_table(entries)
    content = {"summary": _summary(entries), "tables": [table, disagreements_table()]}
    write_file(results / "claims.html", render("claims.html.j2", content).encode())
    write_file(results / "claims.md", render("claims.md.j2", content).encode())
    write_file(results / "claims.csv", _csv(entries).encode())
    for entry in entries:
        print(f"{entry.finding:20} {entry.claim.text} ({entry.claim.where})")
        if entry.finding is Finding.NOT_RUN or entry.evidence:
            print(f"{'':20} {entry.claim.test if entry.finding is Finding.NOT_RUN else entry.evidence}")
    print(f"\n{_summary(entries)}\nledger    {results / 'claims.html'}")
    return 0


def _summary(entries: list[Entry]) -> str:
    counts = Counter(entry.finding for entry in entries)
    told = ", ".join(f"{counts[finding]} {finding}" for finding in Finding if counts[finding])
    return f"{len(entries)} published claims: {told}."


def _csv(entries: list[Entry]) -> str:
    rows = [
        {"claim": each.claim.name, "paper": each.claim.paper, "place": each.claim.place, "text": each.claim.text,
         "published": each.claim.published, "tested_by": each.claim.tested_by, "finding": each.finding.value,
         "evidence": each.evidence, "needs": each.claim.replication, "experiment": each.claim.experiment,
         "command": each.claim.test}
        for each in entries
    ]  # fmt: skip
    return pd.DataFrame(rows).to_csv(index=False)


if __name__ == "__main__":
    ends_with_one_line(main)
