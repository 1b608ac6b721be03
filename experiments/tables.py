"""The tables of a report, as text that HTML, Markdown and LaTeX print alike, and `scores.csv`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.analysis import Analysis
from experiments.matrix import Arm, Matrix, Metric, arm_text, reference_means, scores, seed_means
from experiments.records import CellRecord
from experiments.statistics import SEED_COVERAGE, Comparison, Estimate, settling

LONG_TABLE = 20


@dataclass(frozen=True)
class Table:
    """Cells of text with a heading and a note; the first `text_columns` columns are words, the others figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    text_columns: int = 1

    @property
    def is_long(self) -> bool:
        """Whether a page shows it folded."""
        return len(self.rows) > LONG_TABLE

    def to_latex(self, label: str) -> str:
        """A `booktabs` table."""
        align = "l" * self.text_columns + "r" * (len(self.columns) - self.text_columns)
        frame = pd.DataFrame(self.rows, columns=self.columns)
        text = frame.to_latex(index=False, escape=True, caption=_latex(self.title), label=label, column_format=align)
        for sign, command in LATEX_SIGNS.items():
            text = text.replace(sign, command)
        return text


# What pdfLaTeX does not know as a character.
LATEX_SIGNS = {"−": "$-$", "±": "$\\pm$", "×": "$\\times$", "⁻²": "$^{-2}$", "⁻³": "$^{-3}$", "³": "$^{3}$",
               "ξ": "$\\xi$", "α": "$\\alpha$", "∞": "$\\infty$", "—": "---"}  # fmt: skip


def _latex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A figure with a true minus sign; "NaN" for NaN, "—" for what was not measured.

    >>> number(-0.5), number(0.5, signed=True)
    ('−0.50', '+0.50')
    """
    if value is None:
        return "—"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞"
    return f"{value:{'+' if signed else ''},.{decimals}f}".replace("-", "−").replace(",", " ")


def decimals_for(values: Iterable[float]) -> int:
    """Decimals that show two digits of the largest of `values`: two at least, four at most."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if largest == 0 else min(4, max(2, 1 - math.floor(math.log10(largest))))


def with_interval(estimate: Estimate, signed: bool = True) -> str:
    """A figure and its interval: "−0.42 [−0.50, −0.31]"; without one the figure alone."""
    decimals = decimals_for(estimate)
    text = number(estimate.value, decimals, signed)
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return text
    return f"{text} [{number(estimate.low, decimals, signed)}, {number(estimate.high, decimals, signed)}]"


def percent(estimate: Estimate) -> str:
    """A relative change and its interval in per cent: "−3.1 % [−4.0, −2.2]"."""
    if math.isnan(estimate.value):
        return "—"
    text = f"{number(100 * estimate.value, 1, True)} %"
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return text
    return f"{text} [{number(100 * estimate.low, 1, True)}, {number(100 * estimate.high, 1, True)}]"


def p_text(value: float) -> str:
    """A p-value with three decimals, "< 0.001" below that."""
    if math.isnan(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _mean_and_spread(values: np.ndarray) -> str:
    text = number(float(values.mean()))
    return f"{text} ± {number(float(values.std(ddof=1)))}" if len(values) > 1 else text


def _heading(metric: Metric) -> str:
    return f"{metric.label} ({metric.unit})"


def scores_table(matrix: Matrix) -> Table:
    """Mean over seeds ± standard deviation between them, of each arm and of the trivial methods."""
    rows = []
    for arm in matrix.arms:
        label = f"{arm.label} (baseline)" if matrix.is_baseline(arm) else arm.label
        figures = [_mean_and_spread(seed_means(matrix, arm, metric)) for metric in matrix.metrics]
        rows.append([label, str(len(arm.seeds)), *figures])
    references = reference_means(matrix)
    for method, found in references.items():
        figures = [_mean_and_spread(found[m.key]) if m.key in found else "—" for m in matrix.metrics]
        rows.append([method, "—", *figures])
    note = (
        "Mean over seeds ± standard deviation between seeds; lower is better. dtSSD counts frame 0 as 0, as published."
    )
    if references:
        note += " The last rows know nothing of the task: mean ± standard deviation over all cells."
    return Table("Scores", ["Arm", "Seeds", *map(_heading, matrix.metrics)], rows, note)


def seeds_table(matrix: Matrix) -> Table:
    """Every seed's own value."""
    seeds = sorted({seed for arm in matrix.arms for seed in arm.seeds})
    rows = []
    for arm in matrix.arms:
        for metric in matrix.metrics:
            values = dict(zip(arm.seeds, seed_means(matrix, arm, metric), strict=True))
            cells = [number(float(values[seed])) if seed in values else "—" for seed in seeds]
            rows.append([arm.label, metric.label, *cells])
    return Table("Each seed", ["Arm", "Metric", *(f"seed {seed}" for seed in seeds)], rows, text_columns=2)


def differences_table(matrix: Matrix, analysis: Analysis) -> Table:
    """Every arm against its baseline, paired by seed and clip."""
    columns = ["Arm", "Metric", "Verdict", "Difference [95 %]", "Relative change [95 %]", "P(improvement)", "p",
               "p (Holm)", "Seeds"]  # fmt: skip
    rows = []
    for arm, metric, found in compared(matrix, analysis):
        adjusted = analysis.adjusted.get((arm.text, metric.key), math.nan)
        rows.append([
            arm.label, metric.label, verdict_text(found), with_interval(found.difference), percent(found.relative),
            number(found.probability), p_text(found.p_value), p_text(adjusted), str(found.num_seeds),
        ])  # fmt: skip
    primary = " and ".join(metric.label for metric in matrix.primary)
    note = f"Arm minus {matrix.baseline_name} on the same seeds and clips; below 0 the arm is better. "
    note += f"Declared before the runs: {primary}; p is adjusted within them, other metrics are exploratory. "
    note += "The verdict follows the 95 % interval. The p-value flips signs of whole foregrounds: with n of them it "
    note += "cannot be below 2/2ⁿ, and it does not know the noise of training, which the interval does."
    return Table("Differences to the baseline", columns, rows, note, text_columns=3)


def compared(matrix: Matrix, analysis: Analysis) -> list[tuple[Arm, Metric, Comparison]]:
    """All comparisons in the order of the tables: primary metrics first."""
    metrics = sorted(matrix.metrics, key=lambda metric: metric not in matrix.primary)
    return [
        (arm, metric, analysis.comparisons[arm.text, metric.key])
        for metric in metrics
        for arm in matrix.others
        if (arm.text, metric.key) in analysis.comparisons
    ]


def verdict_text(found: Comparison) -> str:
    """The verdict in a few words, with what it rests on where that is little."""
    if found.equivalent and found.verdict == "not distinguishable":
        return "the same within ±2 %"
    text = found.verdict
    if found.verdict in ("helps", "hurts") and found.equivalent:
        text += ", by less than 2 %"
    return text


def robust_table(matrix: Matrix, analysis: Analysis) -> Table:
    """Interquartile means and effect sizes."""
    rows = []
    for metric in matrix.metrics:
        for arm in matrix.arms:
            middle = analysis.interquartile.get((arm.text, metric.key))
            found = analysis.comparisons.get((arm.text, metric.key))
            if middle is None:
                continue
            row = [arm.label, metric.label, with_interval(middle, signed=False)]
            if found is None:
                rows.append([*row, "—", "—", "—"])
                continue
            better = f"{found.foregrounds_better} of {found.num_foregrounds}"
            rows.append([*row, number(found.effect_size, 2, True), number(found.cliffs_delta, 2, True), better])
    columns = ["Arm", "Metric", "Interquartile mean [95 %]", "Effect size", "Cliff's δ", "Better on foregrounds"]
    note = "Effect size: mean over standard deviation of the foregrounds' differences. Below 0 the arm is better. "
    note += "Intervals of interquartile means are not stretched for few seeds: below 5 they are too narrow."
    return Table("Robust figures", columns, rows, note, text_columns=2)


def strata_table(matrix: Matrix, analysis: Analysis) -> Table:
    """Every arm against its baseline, by condition of the test clips."""
    columns = ["Stratum", "Arm", "Metric", "Verdict", "Difference [95 %]", "Relative change [95 %]",
               "Here ÷ elsewhere [95 %]", "Baseline", "Arm"]  # fmt: skip
    rows = []
    for stratum in matrix.clips.strata:
        for arm in matrix.others:
            for metric in matrix.primary:
                found = analysis.strata.get((arm.text, metric.key, stratum))
                if found is not None:
                    contrast = analysis.interactions[arm.text, metric.key].get(stratum)
                    rows.append([
                        stratum, arm.label, metric.label, verdict_text(found),
                        with_interval(found.difference), percent(found.relative),
                        with_interval(contrast, signed=False) if contrast else "—",
                        *_stratum_means(matrix, arm, metric, stratum),
                    ])  # fmt: skip
    note = "Here ÷ elsewhere: arm over baseline in this stratum, divided by the same in the other strata; if its "
    note += (
        "interval leaves 1 out, the effect depends on the stratum. Nothing here is adjusted for the number of strata."
    )
    return Table("By stratum", columns, rows, note, text_columns=4)


def _stratum_means(matrix: Matrix, arm: Arm, metric: Metric, stratum: str) -> list[str]:
    seeds, inside = matrix.paired_seeds(arm), matrix.clips.stratum == stratum
    both = [one for one in (matrix.baseline_of(arm), arm) if one]
    return [number(float(scores(one, metric, seeds)[:, inside].mean())) for one in both]


def settling_table(matrix: Matrix, analysis: Analysis) -> Table:
    """How MAD starts and where it settles."""
    rows = []
    for arm in matrix.arms:
        curve = analysis.curves[arm.text, "mad"][:, 0]
        found = settling(curve)
        first = "never" if math.isnan(found.frame) else str(int(found.frame))
        ratio = number(found.start / found.plateau) if found.plateau > 0 else "—"
        rows.append([arm.label, number(found.start), number(found.plateau), ratio, first])
    columns = ["Arm", "MAD at frame 0", "Plateau", "Start ÷ plateau", "First frame within 5 %"]
    note = "Plateau: mean from frame 15 on, or over the second half of clips shorter than 30 frames."
    return Table("Over time", columns, rows, note)


def cost_table(matrix: Matrix) -> Table:
    """What each arm costs: median over its cells, the peak of memory."""
    rows = []
    for arm in matrix.arms:
        figures = [_median(cell.cost.get(key) for cell in arm.cells)
                   for key in ("parameters", "gmacs_per_frame", "milliseconds_per_frame")]  # fmt: skip
        seconds = _median(cell.durations.get("train_seconds") for cell in arm.cells)
        memory = [cell.peak_memory_gib for cell in arm.cells if cell.peak_memory_gib is not None]
        rows.append([
            arm.label, number(figures[0], 0), number(figures[1], 3), number(figures[2], 2),
            number(None if seconds is None else seconds / 60, 1), number(max(memory, default=None), 2),
        ])  # fmt: skip
    frames = sorted({str(cell.cost["frame"]) for arm in matrix.arms for cell in arm.cells if "frame" in cell.cost})
    note = f"Per frame of {', '.join(frames)} pixels, one at a time, state carried. " if frames else ""
    note += "Times of cells that ran side by side on one machine share it: compare them with care."
    columns = ["Arm", "Parameters", "GMACs per frame", "ms per frame", "Training (min)", "Peak memory (GiB)"]
    return Table("Cost", columns, rows, note)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def cells_table(matrix: Matrix) -> Table:
    """Every cell whose figures are in the report."""
    rows = []
    for cell in (cell for arm in matrix.arms for cell in arm.cells):
        minutes = number(sum(cell.durations.values()) / 60, 1)
        rows.append([cell.cell, cell.config_hash, cell.git_commit, cell.started, minutes])
    return Table("Cells", ["Cell", "Config", "Commit", "Started", "Minutes"], rows, text_columns=4)


def unused_table(matrix: Matrix) -> Table:
    """Cells that are not in the figures."""
    rows = [[cell.cell or cell.folder.name, cell.status, reason] for cell, reason in matrix.unused]
    return Table("Cells that are not in the figures", ["Cell", "Status", "Why"], rows, text_columns=3)


def how_measured(matrix: Matrix, analysis: Analysis) -> list[tuple[str, str]]:
    """Everything that a reader needs to judge or repeat the figures: (what, how)."""
    used = [cell for arm in matrix.arms for cell in arm.cells]
    every = used + [cell for cell, _ in matrix.unused]
    facts = [
        ("Scoring", "float (mattes straight from the model, not rounded to 8 bits), whole frame"),
        ("Units", "MAD and MSE × 10⁻³, dtSSD × 10⁻²; lower is better"),
        ("Averaging", "frame → mean of the clip → mean of the stratum → mean of strata, in float64"),
    ]
    if matrix.arms:
        clips, frames = matrix.clips, matrix.arms[0].frames["frame"].nunique()
        size = f"{len(clips)} clips of {clips.num_foregrounds} foregrounds in {len(clips.strata)} strata"
        facts.append(("Test set", f"{size}, at most {frames} frames a clip"))
        facts.append((
            "Intervals",
            f"95 %, percentile bootstrap of paired differences, {analysis.resamples} resamples, generator seed "
            f"{analysis.seed}: seeds whole, then foregrounds, then clips of each foreground, within strata. "
            + _coverage(),
        ))  # fmt: skip
        facts.append(("Family", f"{len(analysis.adjusted)} tests (arms × primary metrics), Holm"))
        facts.append(("Arms run", f"{len(matrix.arms)}; every one is in the tables, the last step of each is scored"))
    facts.append(("Command", _distinct(cell.command for cell in used) or _distinct(cell.command for cell in every)))
    facts.append(("Versions", _distinct(_pairs(cell.versions) for cell in every)))
    facts.append(("Commit", _distinct(cell.git_commit for cell in every)))
    facts.append(("Hardware", _distinct(_pairs(cell.hardware) for cell in every)))
    facts.append(("Time", f"{total_minutes(every):.1f} minutes of training and testing, all cells added"))
    return [(what, how or "not recorded") for what, how in facts]


def _coverage() -> str:
    shares = ", ".join(f"{share:.0%} with {seeds}" for seeds, share in SEED_COVERAGE.items()).replace("%", " %")
    return (
        "The spread of few seeds is stretched to that of Student's t; where noise of training dominates, simulated "
        f"intervals hold the truth in {shares} seeds"
    )


def total_minutes(cells: Iterable[CellRecord]) -> float:
    """Training and testing time of all cells together."""
    return sum(sum(cell.durations.values()) for cell in cells) / 60


def _pairs(items: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in items.items() if value != "")


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def scores_frame(matrix: Matrix, analysis: Analysis) -> pd.DataFrame:
    """`scores.csv`: one row an arm, metric and stratum ("all" first), everything in it as plain numbers."""
    rows = []
    for arm in matrix.arms:
        for metric in matrix.metrics:
            for stratum in ["all", *(matrix.clips.strata)]:
                rows.append(_scores_row(matrix, analysis, arm, metric, stratum))
    return pd.DataFrame(rows)


def _scores_row(matrix: Matrix, analysis: Analysis, arm: Arm, metric: Metric, stratum: str) -> dict[str, object]:
    inside = np.ones(len(matrix.clips), bool) if stratum == "all" else matrix.clips.stratum == stratum
    clips = matrix.clips.take(inside)
    by_seed = scores(arm, metric)[:, inside] @ clips.weights
    row: dict[str, object] = {
        "arm": arm.text, "label": arm.label, "metric": metric.key, "stratum": stratum,
        "primary": metric in matrix.primary, "baseline": matrix.is_baseline(arm), "seeds": len(arm.seeds),
        "clips": len(clips), "foregrounds": clips.num_foregrounds, "mean": by_seed.mean(),
        "seed_std": by_seed.std(ddof=1) if len(by_seed) > 1 else math.nan,
        "by_seed": " ".join(f"{seed}:{value:.6g}" for seed, value in zip(arm.seeds, by_seed, strict=True)),
    }  # fmt: skip
    key = (arm.text, metric.key)
    found = analysis.comparisons.get(key) if stratum == "all" else analysis.strata.get((*key, stratum))
    if found is not None:
        row |= {
            "against": arm_text(arm.settings | matrix.baseline_settings),
            "paired_seeds": found.num_seeds, "difference": found.difference.value,
            "difference_low": found.difference.low, "difference_high": found.difference.high,
            "relative": found.relative.value, "relative_low": found.relative.low, "relative_high": found.relative.high,
            "probability_of_improvement": found.probability, "effect_size": found.effect_size,
            "cliffs_delta": found.cliffs_delta, "foregrounds_better": found.foregrounds_better, "p": found.p_value,
            "p_holm": analysis.adjusted.get(key, math.nan) if stratum == "all" else math.nan,
            "equivalent": found.equivalent, "verdict": found.verdict,
        }  # fmt: skip
    return row
