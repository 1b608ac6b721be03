"""The ledger of published claims: what each says, what here tests it, and what the reports that exist say of it.

The claims stand in `claims.yaml`. Their findings are read from `scores.csv` of the reports and named with scale,
report, seeds and people: a run on small frames of people made by code is no replication of a paper's table.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from experiments.reporting.arms import arm_text
from experiments.reporting.averages import METRICS
from experiments.reporting.formatting import Table, number, percent, with_interval
from experiments.statistics.bootstrap import Estimate
from experiments.statistics.verdicts import FEWEST_SEEDS, Finding, Verdict

EXPERIMENTS = Path(__file__).parents[1] / "configs" / "exp"
SCALES = ("tiny", "small", "paper")  # by how much they tell; smoke tells nothing
RELATIVE = ("relative", "relative_low", "relative_high")
Row = dict[str, str]  # of `scores.csv`
Expectation = Literal["better", "worse", "same", "not_better"]
# The verdicts that bear out what a claim expects.
BORNE_OUT_BY: dict[Expectation, tuple[Verdict, ...]] = {
    "better": (Verdict.BETTER,),
    "worse": (Verdict.WORSE,),
    "same": (Verdict.SAME,),
    "not_better": (Verdict.SAME, Verdict.WORSE),
}


@dataclass(frozen=True)
class Contrast:
    """An arm against the baseline of its experiment, and what the claim expects of it.

    Attributes:
        arm: as `scores.csv` names it.
        metric: its key.
        expect: of the arm; of one whose state is emptied, of the emptied one. "not_better" where an arm is given more
            than the claim says is needed.
        stratum: the condition of the clips, "all" for all.
        state: "emptied" compares the arm with itself, its state emptied before each frame.
    """

    arm: str
    metric: str
    expect: Expectation
    stratum: str = "all"
    state: Literal["", "emptied"] = ""

    def asked(self, baseline: str) -> str:
        """What is compared with what, in which metric and condition, and what is to come out."""
        against = "with its state emptied against itself" if self.state else f"against {baseline}"
        place = "" if self.stratum == "all" else f" ({self.stratum})"
        return f"{self.arm} {against}, {METRICS[self.metric].label}{place}, {self.expect.replace('_', ' ')}"


@dataclass(frozen=True)
class Count:
    """A number that is counted on the spot: `net` alone, or divided by that of `over`.

    Attributes:
        of: parameters, or billions of multiply-adds of one frame (convolutions and matrix products).
        net: its name for `build_net`.
        options: for `build_net`.
        frame: height and width, of multiply-adds.
        downsample_ratio: of the frame.
        over: another net and its options.
        value: as published.
        within: how far the count may be from it.
        at_most: the published bound, in place of a value.
    """

    of: Literal["parameters", "gmacs"]
    net: str
    options: dict[str, Any] | None = None
    frame: tuple[int, int] | None = None
    downsample_ratio: float | None = None
    over: dict[str, Any] | None = None
    value: float | None = None
    within: float = 0.0
    at_most: float | None = None

    @property
    def asked(self) -> str:
        """What is counted, and what is to come out."""
        what = "parameters" if self.of == "parameters" else "billions of multiply-adds"
        over = f" over those of {_net_text(**self.over)}" if self.over else ""
        bound = f"{self.value:,} ± {self.within:,}" if self.at_most is None else f"at most {self.at_most}"
        return f"{what} of {_net_text(self.net, self.options)}{over}, {bound.replace(',', ' ')}"


@dataclass(frozen=True)
class Claim:
    """A published claim: `contrasts` of an experiment, a `count`, or why it is `untestable` here.

    Reports of other `weights` than those named, if any are, say nothing of it.
    """

    name: str
    paper: str
    place: str
    text: str
    published: str
    needs: str = ""
    experiment: str = ""
    weights: Sequence[str] = ()
    contrasts: tuple[Contrast, ...] = ()
    count: Count | None = None
    untestable: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.contrasts, self.count, self.untestable))) != 1:
            raise ValueError(f"claim {self.name}: give it contrasts, a count or why it is untestable, one of them")

    @property
    def where(self) -> str:
        """The paper, without its number, and the place in it."""
        return f"{_short(self.paper)}, {self.place}"

    @property
    def tested_by(self) -> str:
        """What is compared or counted, and what is to come out; "" of what cannot be tested here."""
        if self.count:
            return self.count.asked
        return "; ".join(contrast.asked(_baseline(self.experiment)) for contrast in self.contrasts)

    @property
    def replication(self) -> str:
        """The data, weights, machine and scale of a replication."""
        return "none: it is counted" if self.count else self.needs

    @property
    def test(self) -> str:
        """The command that tests it."""
        if self.count:
            return "python -m experiments.claims"
        return self.command or f"python -m experiments.run +exp={self.experiment}"


@dataclass(frozen=True)
class Entry:
    """A claim with its finding, and the figures and conditions behind it."""

    claim: Claim
    finding: Finding
    evidence: str


@cache
def published() -> tuple[Claim, ...]:
    """All claims of `claims.yaml`."""
    content = _content()
    return tuple(_claim(name, **settings) for name, settings in content["claims"].items())


def papers() -> dict[str, str]:
    """What the papers are called, by key."""
    return dict(_content()["papers"])


def _short(paper: str) -> str:
    return papers()[paper].partition(" (")[0]


@cache
def _content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))
    return found


def _claim(
    name: str, contrasts: Sequence[dict[str, Any]] = (), count: dict[str, Any] | None = None, **rest: Any
) -> Claim:
    frame = {"frame": tuple(count["frame"])} if count and "frame" in count else {}
    return Claim(
        name, contrasts=tuple(Contrast(**each) for each in contrasts), count=Count(**count | frame) if count else None,
        **rest,
    )  # fmt: skip


@cache
def _baseline(experiment: str) -> str:
    content = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text(encoding="utf-8"))
    return arm_text(content["experiment"]["baseline"])


def _net_text(net: str, options: dict[str, Any] | None = None) -> str:
    return f"{net} ({arm_text(options)})" if options else net


def disagreements_table() -> Table:
    """Figures on which publications disagree."""
    rows = [[each["what"], each["one"], each["other"], each["here"]] for each in _content()["disagreements"]]
    return Table("Where publications disagree", ["Figure", "One", "Another", "Here"], rows, text_columns=4)


def ledger(results: Path) -> list[Entry]:
    """Every claim and what is known of it.

    Args:
        results: the folder of reports, EXPERIMENT/SCALE/scores.csv; where an experiment has none, the committed one
            under `reference/` is read.
    """
    found = []
    for claim in published():
        if claim.untestable:
            found.append(Entry(claim, Finding.UNTESTABLE, claim.untestable))
        elif claim.count:
            found.append(_counted(claim, claim.count))
        else:
            found.append(_from_reports(claim, results))
    return found


def of_experiment(name: str, scores: Path) -> list[Entry]:
    """The claims that an experiment tests, by its `scores.csv`."""
    claims = [claim for claim in published() if claim.experiment == name]
    rows = _read(scores) if claims else []
    return [_tested(claim, rows) for claim in claims]


def claims_sentence(entries: Sequence[Entry]) -> str:
    """What an experiment found of the claims that it tests, in a sentence; "" where it tests none."""
    by_finding: dict[str, list[str]] = {}
    for each in entries:
        by_finding.setdefault(each.finding, []).append(each.claim.text.rstrip("."))
    told = "; ".join(f"{finding}: {', '.join(texts)}" for finding, texts in by_finding.items())
    return f"Published claims, on these data and at this scale: {told}." if told else ""


def _from_reports(claim: Claim, results: Path) -> Entry:
    for scale in reversed(SCALES):
        for folder in (results, results / "reference"):
            # Of the default data and settings first, then with others: SCALE,OVERRIDES.
            for path in sorted((folder / claim.experiment).glob(f"{scale}*/scores.csv")):
                if path.parent.name.partition(",")[0] == scale:
                    entry = _tested(claim, _read(path))
                    if claim.weights and entry.finding is Finding.NOT_RUN:
                        continue  # of other weights
                    return Entry(claim, entry.finding, f"{entry.evidence} (scale={scale}, {path.parent})")
    return Entry(claim, Finding.NOT_RUN, "")


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tested(claim: Claim, rows: Sequence[Row]) -> Entry:
    known = [row for row in rows if not claim.weights or row.get("weights") in claim.weights]
    by_key = {(row["arm"], row["metric"], row["stratum"]): row for row in known}
    findings, told = [], []
    for contrast in claim.contrasts:
        row = by_key.get((contrast.arm, contrast.metric, contrast.stratum))
        if row is None:
            findings.append(Finding.NOT_RUN)
            continue
        findings.append(_finding(contrast, row))
        told.append(_told(contrast, row))
        nets = "one net" if _of_one_net(row) else f"{row['seeds']} seeds"
        seeds = f"{nets} × {row['foregrounds']} people"
    if not told:
        return Entry(claim, Finding.NOT_RUN, "")
    return Entry(claim, _together(findings), f"{'; '.join(told)}; {seeds}")


def _told(contrast: Contrast, row: Row) -> str:
    metric, change = METRICS[contrast.metric], _change(contrast, row)
    place = "" if contrast.stratum == "all" else f" ({contrast.stratum})"
    if contrast.state:
        return f"{metric.label}{place} {with_interval(change)} {metric.unit} with its state emptied"
    return f"{metric.label}{place} {percent(change)}"


def _together(findings: Sequence[Finding]) -> Finding:
    """One finding of the parts of a claim.

    >>> _together([Finding.SUPPORTED, Finding.NOT_SHOWN])
    <Finding.IN_PART: 'supported in part'>
    """
    for alone in (Finding.CONTRADICTED, Finding.TOO_FEW, Finding.NOT_RUN):
        if alone in findings:
            return alone
    if len(set(findings)) == 1:
        return findings[0]
    return Finding.IN_PART


def _change(contrast: Contrast, row: Row) -> Estimate:
    """The relative change of the arm against its baseline, or the difference that emptying its state makes."""
    keys = [f"{contrast.state}_{end}" for end in ("difference", "low", "high")]
    return Estimate(*(_float(row.get(key, "")) for key in (keys if contrast.state else RELATIVE)))


def _float(text: str) -> float:
    return float(text) if text else float("nan")


def _finding(contrast: Contrast, row: Row) -> Finding:
    seeds = int(float((row["seeds"] if contrast.state else row.get("paired_seeds")) or 0))
    if seeds < FEWEST_SEEDS and not _of_one_net(row):
        return Finding.TOO_FEW
    found = _verdict(contrast, row)
    if found == Verdict.NOT_SHOWN:
        return Finding.NOT_SHOWN
    if found not in (Verdict.BETTER, Verdict.WORSE, Verdict.SAME):
        return Finding.NOT_RUN  # not measured, or in the words of an older report
    return Finding.SUPPORTED if found in BORNE_OUT_BY[contrast.expect] else Finding.CONTRADICTED


def _verdict(contrast: Contrast, row: Row) -> str:
    if contrast.state:
        return _of_state(contrast, row)
    if Verdict.SAME in BORNE_OUT_BY[contrast.expect] and row.get("equivalent") == "True":
        return Verdict.SAME  # however surely it differs: by less than 2 %
    return row.get("verdict", "")


def _of_one_net(row: Row) -> bool:
    """Whether the arm and what it is compared with are one net, run in two ways; a report of before does not say."""
    return row.get("same_weights") == "True" and row.get("paired_seeds") == "1"


def _of_state(contrast: Contrast, row: Row) -> Verdict:
    """What emptying the state does to an arm, by its interval."""
    change = _change(contrast, row)
    if math.isnan(change.low):
        return Verdict.NOT_TESTABLE
    if not (change.low > 0 or change.high < 0):
        return Verdict.NOT_SHOWN
    return Verdict.BETTER if (change.value > 0) == METRICS[contrast.metric].higher_is_better else Verdict.WORSE


def _counted(claim: Claim, count: Count) -> Entry:
    found = _number_of(count, {"name": count.net} | (count.options or {}))
    if count.over:
        found /= _number_of(count, {"name": count.over["net"]} | count.over.get("options", {}))
    if count.at_most is not None:
        holds = found <= count.at_most
    else:
        holds = count.value is not None and abs(found - count.value) <= count.within
    unit = "" if count.over else " G" if count.of == "gmacs" else " parameters"
    text = number(found, 2 if count.over or count.of == "gmacs" else 0)
    return Entry(claim, Finding.SUPPORTED if holds else Finding.CONTRADICTED, f"counted: {text}{unit}")


def _number_of(count: Count, model: dict[str, Any]) -> float:
    import torch  # here: a report needs neither torch nor nets

    from lightning_modules.nets import build_net

    if count.of == "parameters":
        with torch.device("meta"):
            return float(sum(parameter.numel() for parameter in build_net(**model).parameters()))
    from experiments.benchmarks.cost import count_gmacs

    assert count.frame is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a net that refines where it expects errors must expect some
        net = build_net(**model).eval()
        net.skip_training_heads()
        return count_gmacs(net, torch.rand(1, 1, 3, *count.frame), count.downsample_ratio)


def ledger_table(entries: Sequence[Entry]) -> Table:
    """All claims, paper by paper."""
    rows = [
        [_short(each.claim.paper), each.claim.place, each.claim.text, each.claim.published, each.claim.tested_by,
         each.finding.value, each.evidence, each.claim.replication, each.claim.test]
        for each in entries
    ]  # fmt: skip
    columns = ["Paper", "Where", "Claim", "Published", "Tested by", "Finding", "By", "A replication needs", "Command"]
    note = "A finding holds for the scale and the people that are named beside it, and replicates no table of a paper. "
    note += "It follows the verdict of the experiment's report, with its correction for many tests; of a state that is "
    note += f"emptied, the 95 % interval. Below {FEWEST_SEEDS} seeds there is none. Counted numbers are compared "
    note += "with the published ones to their last digit, multiply-adds to 2 %, for tools differ in what they count."
    return Table("Claims", columns, rows, note, text_columns=len(columns))
