"""The tables of a report's figures, as text, and `scores.csv`."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pandas as pd

from experiments.reporting.analysis import SETTLES, Analysis
from experiments.reporting.arms import Arm, arm_label, arm_text, scores
from experiments.reporting.averages import METRICS, Order, averages_of
from experiments.reporting.curves import settling
from experiments.reporting.formatting import (
    Table,
    decimals_for,
    mean_and_spread,
    number,
    p_text,
    percent,
    two_ends,
    with_interval,
)
from experiments.reporting.matrix import Matrix, reference_means, seed_means
from experiments.reporting.memory import REPLACED
from experiments.statistics.comparisons import Comparison
from experiments.statistics.verdicts import FEWEST_PEOPLE, Verdict
from lightning_modules.metrics.table import Metric

ORDERS = {"strata": "Mean of strata", "by_frame": "By frame index (RVM)", "clip_mean": "Mean of clips",
          "frame_pool": "All frames"}  # fmt: skip


def scores_table(matrix: Matrix, main: bool = True) -> Table:
    """Mean over seeds ± standard deviation between them, of each arm and of the trivial methods.

    Args:
        main: the metrics of the first table; else the others.
    """
    metrics = [metric for metric in matrix.metrics if (metric in matrix.main_metrics) == main]
    title = "Scores" if main else "Further scores"
    if not metrics:
        return Table(title, [], [])
    rows = []
    for arm in matrix.arms:
        label = f"{arm.label} (baseline)" if matrix.is_baseline(arm) else arm.label
        figures = [mean_and_spread(seed_means(matrix, arm, m)) if arm.has(m) else "—" for m in metrics]
        rows.append([label, str(len(arm.seeds)), *figures])
    rows += [[label, "0", *(["failed"] * len(metrics))] for label in _failed_arms(matrix)]
    references = reference_means(matrix)
    for method, found in references.items():
        figures = [number(float(found[m.key].mean())) if m.key in found else "—" for m in metrics]
        rows.append([method, "—", *figures])
    better = [metric.label for metric in metrics if metric.higher_is_better]
    note = "Mean over seeds ± standard deviation between seeds; lower is better"
    note += f", but of {' and '.join(better)} higher." if better else "."
    for metric in (metric for metric in metrics if metric.first_frame == "zero"):
        note += f" {metric.label} counts frame 0 as 0, as published; beside it without that frame."
    if references:
        note += " The last rows are floors, which learned nothing. The "
        note += "difference to the first plate is 1 where the frame differs from the background of the clip's first "
        note += "frame by more than 0.05, mean of the colours and of 5 × 5 pixels. The first true matte and plate "
        note += "are given to no net. An arm that does not beat one of these is named in a warning."
        note += " The untrained net is one draw of its start weights." if "untrained" in references else ""
    columns = ["Arm", "Seeds", *(metric.heading for metric in metrics)]
    return Table(title, columns, rows, note)


def primary_table(matrix: Matrix) -> Table:
    """The primary metrics of the arms alone, for a terminal."""
    rows = []
    for arm in matrix.arms:
        figures = [mean_and_spread(seed_means(matrix, arm, m)) if arm.has(m) else "—" for m in matrix.primary]
        rows.append([arm.label, *figures])
    return Table("Scores", ["", *(metric.heading for metric in matrix.primary)], rows)


def _failed_arms(matrix: Matrix) -> list[str]:
    """Labels of arms of which no cell is complete but one has failed."""
    shown = {arm.text for arm in matrix.arms}
    labels = matrix.experiment.labels
    failed = [cell.arm for cell, _ in matrix.unused if cell.status == "failed" and cell.arm]
    return list(dict.fromkeys(arm_label(arm, labels) for arm in failed if arm_text(arm) not in shown))


def seeds_table(matrix: Matrix) -> Table:
    """Every seed's own value."""
    seeds = sorted({seed for arm in matrix.arms for seed in arm.seeds})
    rows = []
    for arm in matrix.arms:
        for metric in (metric for metric in matrix.main_metrics if arm.has(metric)):
            values = dict(zip(arm.seeds, seed_means(matrix, arm, metric), strict=True))
            cells = [number(float(values[seed])) if seed in values else "—" for seed in seeds]
            rows.append([arm.label, metric.label, *cells])
    return Table("Each seed", ["Arm", "Metric", *(f"seed {seed}" for seed in seeds)], rows, text_columns=2)


def differences_table(matrix: Matrix, analysis: Analysis) -> Table:
    """Every arm against its baseline, paired by seed and clip."""
    columns = ["Arm", "Metric", "Verdict", "Difference [95 %]", "Relative change [95 %]", "Smallest shown (80 %)", "p",
               "Adjusted p", "Seeds"]  # fmt: skip
    rows = [
        [
            arm.label,
            metric.label,
            verdict_text(found),
            with_interval(found.difference),
            percent(found.relative),
            smallest_text(found, metric),
            p_text(found.p_value),
            _adjusted(found, metric in matrix.primary),
            str(found.num_seeds),
        ]
        for arm, metric, found in compared(matrix, analysis)
        if metric in matrix.main_metrics
    ]
    primary = " and ".join(metric.label for metric in matrix.primary)
    note = f"Arm minus {matrix.baseline_name} on the same seeds and clips; of errors, below 0 is better. "
    note += f"Declared before the runs: {primary}; p is adjusted within them by Holm. Other metrics are exploratory: "
    note += "their adjusted p, marked (BH), is by Benjamini and Hochberg over all of them. The verdict follows the "
    note += (
        "adjusted p alone, at 0.05. p is of the relative change (of the difference where a score is 0) by Student's "
    )
    note += "t, with the standard error and the degrees of freedom of its interval, which know people and training. "
    note += "Smallest shown: a true change that four of five such experiments would show. The difference is that of "
    note += "the means, which clips with large errors rule; the relative change is the (geometric) mean of the clips' "
    note += "own, in which all count alike: they may differ in sign."
    return Table("Differences to the baseline", columns, rows, note, text_columns=3)


def _adjusted(found: Comparison, declared: bool) -> str:
    p = math.nan if found.adjusted_p is None else found.adjusted_p
    return p_text(p) if declared or math.isnan(p) else f"{p_text(p)} (BH)"


def smallest_text(found: Comparison, metric: Metric) -> str:
    """The smallest fall and rise that the design shows: "−14 / +17 %"; "—" where nothing is known of it."""
    if not all(map(math.isfinite, found.smallest_effect)):
        return "—"
    return two_ends(found.smallest_effect, "%" if found.test.relative else metric.unit, " / ")


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
    if found.verdict is Verdict.FEW_SEEDS:
        return f"{found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}: {found.verdict}"
    if found.verdict in (Verdict.BETTER, Verdict.WORSE) and found.equivalent:
        return f"{found.verdict}, by less than 2 %"
    return found.verdict.value


def comparisons_table(matrix: Matrix, analysis: Analysis) -> Table:
    """Every quantity of every comparison, and the interquartile means of all arms."""
    columns = ["Metric", "Arm", "Mean", "Baseline", "Difference [95 %]", "Error from seeds", "Error from clips",
               "Relative change [95 %]", "Relative change [90 %]", "Same within ±2 %", "Interquartile mean [95 %]",
               "Effect size", "Cliff's δ", "P(improvement) [95 %]", "Better on foregrounds", "p",
               "Adjusted p"]  # fmt: skip
    rows = []
    for metric in sorted(matrix.metrics, key=lambda metric: metric not in matrix.primary):
        for arm in (arm for arm in matrix.arms if arm.has(metric)):
            middle = with_interval(analysis.interquartile[arm.text, metric.key], signed=False)
            found = analysis.comparisons.get((arm.text, metric.key))
            if found is None:
                mean = number(float(seed_means(matrix, arm, metric).mean()))
                rows.append([metric.label, arm.label, mean, *["—"] * 7, middle, *["—"] * 6])
                continue
            errors = (found.spread.seeds, found.spread.clips) if found.spread else (math.nan, math.nan)
            decimals = decimals_for(found.difference)
            rows.append([
                metric.label, arm.label, number(found.arm), number(found.baseline), with_interval(found.difference),
                *("—" if math.isnan(error) else number(error, decimals) for error in errors), percent(found.relative),
                percent(found.relative_90), _equivalence(found), middle, number(found.effect_size, 2, True),
                number(found.cliffs_delta, 2, True), with_interval(found.probability, signed=False),
                f"{found.foregrounds_better} of {found.num_foregrounds}", p_text(found.p_value),
                _adjusted(found, metric in matrix.primary),
            ])  # fmt: skip
    note = "Errors are standard errors of the difference: from training (seeds) and from the choice of clips. "
    note += "Same within ±2 %: the 90 % interval of the relative change lies within. Effect size: mean over standard "
    note += "deviation of the foregrounds' differences; it and Cliff's δ are below 0 where the arm's scores are lower. "
    note += "P(improvement): share of (seed, seed, clip) triples in which the arm is better, ties half."
    return Table("Every figure of the comparisons", columns, rows, note, text_columns=2)


def _equivalence(found: Comparison) -> str:
    if not np.isfinite(found.relative_90).all():
        return "—"
    return "yes" if found.equivalent else "not shown"


def orders_table(matrix: Matrix) -> Table:
    """The same frames averaged in the orders that papers use."""
    rows, metrics, apart = [], matrix.main_metrics, 1 + max(seed for arm in matrix.arms for seed in arm.seeds)
    # Of all arms at once, which takes a fraction of the time: seeds of different arms become different ones.
    frames = [arm.frames.assign(seed=arm.frames["seed"] + place * apart) for place, arm in enumerate(matrix.arms)]
    found = averages_of(pd.concat(frames, ignore_index=True), metrics)
    for metric in metrics:
        for place, arm in enumerate(matrix.arms):
            if arm.has(metric):
                means = found[metric.key].loc[[seed + place * apart for seed in arm.seeds]].mean(skipna=False)
                rows.append([metric.label, arm.label, *(number(float(means[order])) for order in get_args(Order))])
    note = "All other tables use the first. The second is the order of RVM's scripts (at most 700 frames a clip); "
    note += "with clips of one length it equals the plain mean over all frames."
    columns = ["Metric", "Arm", *(ORDERS[order] for order in get_args(Order))]
    return Table("Averaging orders", columns, rows, note, text_columns=2)


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
                        stratum, arm.label, metric.label, _verdict_of_condition(found),
                        with_interval(found.difference), percent(found.relative),
                        with_interval(contrast, signed=False) if contrast else "—",
                        *_stratum_means(matrix, arm, metric, stratum),
                    ])  # fmt: skip
    note = "Here ÷ elsewhere: arm over baseline in this stratum, divided by the same in the other strata; if its "
    note += (
        "interval leaves 1 out, the effect depends on the stratum. Strata are exploratory: each verdict follows its p "
        "adjusted by Benjamini and Hochberg over all rows."
    )
    return Table("By stratum", columns, rows, note, text_columns=4)


def _verdict_of_condition(found: Comparison) -> str:
    few = found.num_foregrounds < FEWEST_PEOPLE
    return f"{found.num_foregrounds} people: nothing is said of one condition" if few else verdict_text(found)


def _stratum_means(matrix: Matrix, arm: Arm, metric: Metric, stratum: str) -> list[str]:
    seeds, inside = matrix.paired_seeds(arm), matrix.clips.stratum == stratum
    both = [one for one in (matrix.baseline_of(arm), arm) if one]
    return [number(float(scores(one, metric, seeds)[:, inside].mean())) for one in both]


def flow_table(matrix: Matrix) -> Table:
    """Error of the flow beside that of the mattes, by condition of the test clips; no rows where no flow was scored."""
    epe = METRICS["epe"]
    metrics = [epe, *(metric for metric in matrix.primary if metric is not epe)]
    rows = []
    for stratum in matrix.clips.strata if epe in matrix.metrics else ():
        inside = matrix.clips.stratum == stratum
        for arm in matrix.arms:
            means = [scores(arm, metric)[:, inside].mean(axis=1) if arm.has(metric) else None for metric in metrics]
            rows.append([stratum, arm.label, *("—" if mean is None else mean_and_spread(mean) for mean in means)])
    note = "End-point error: how far from its true place the flow that the net used points to, mean of all pixels; "
    note += "where no flow is used that is how far things move. Mean over seeds ± standard deviation between seeds."
    columns = ["Stratum", "Arm", *(metric.heading for metric in metrics)]
    return Table("Flow and mattes by stratum", columns, rows, note, text_columns=2)


def settling_table(matrix: Matrix, analysis: Analysis) -> Table:
    """How errors start and where they settle."""
    rows = []
    for metric in SETTLES:
        for arm in (arm for arm in matrix.arms if (arm.text, metric.key) in analysis.curves):
            found = settling(analysis.curves[arm.text, metric.key][:, 0])
            first = "never" if math.isnan(found.frame) else str(int(found.frame))
            ratio = number(found.start / found.plateau) if found.plateau > 0 else "—"
            rows.append([metric.label, arm.label, number(found.start), number(found.plateau), ratio, first])
    columns = ["Metric", "Arm", "Start", "Plateau", "Start ÷ plateau", "First frame within 5 %"]
    note = "Start: the first frame, of dtSSD frame 1. Plateau: mean from frame 15 on, or over the second half of "
    note += "clips shorter than 30 frames."
    return Table("Over time", columns, rows, note, text_columns=2)


def scores_frame(matrix: Matrix, analysis: Analysis) -> pd.DataFrame:
    """`scores.csv`: one row an arm, metric and stratum ("all" first), everything in it as plain numbers."""
    rows = []
    for arm in matrix.arms:
        for metric in (metric for metric in matrix.metrics if arm.has(metric)):
            for stratum in ["all", *(matrix.clips.strata)]:
                rows.append(_scores_row(matrix, analysis, arm, metric, stratum))
    return pd.DataFrame(rows).assign(resamples=analysis.resamples, bootstrap_seed=analysis.seed)


def _scores_row(matrix: Matrix, analysis: Analysis, arm: Arm, metric: Metric, stratum: str) -> dict[str, object]:
    inside = np.ones(len(matrix.clips), bool) if stratum == "all" else matrix.clips.stratum == stratum
    clips = matrix.clips.take(inside)
    by_seed = scores(arm, metric)[:, inside] @ clips.weights
    row: dict[str, object] = {
        "arm": arm.text, "label": arm.label, "metric": metric.key, "stratum": stratum,
        "primary": metric in matrix.primary, "baseline": matrix.is_baseline(arm), "seeds": len(arm.seeds),
        "weights": arm.tested, "clips": len(clips), "foregrounds": clips.num_foregrounds, "mean": by_seed.mean(),
        "seed_std": by_seed.std(ddof=1) if len(by_seed) > 1 else math.nan,
        "by_seed": " ".join(f"{seed}:{value:.6g}" for seed, value in zip(arm.seeds, by_seed, strict=True)),
    }  # fmt: skip
    key = (arm.text, metric.key)
    found = analysis.comparisons.get(key) if stratum == "all" else analysis.strata.get((*key, stratum))
    if found is not None:
        declared = stratum == "all" and metric in matrix.primary
        row |= {
            "against": arm_text({**arm.settings, **matrix.experiment.baseline}),
            "paired_seeds": found.num_seeds, "same_weights": found.same_weights, "difference": found.difference.value,
            "difference_low": found.difference.low, "difference_high": found.difference.high,
            "relative": found.relative.value, "relative_low": found.relative.low, "relative_high": found.relative.high,
            "probability_of_improvement": found.probability.value, "probability_low": found.probability.low,
            "probability_high": found.probability.high, "effect_size": found.effect_size,
            "cliffs_delta": found.cliffs_delta, "foregrounds_better": found.foregrounds_better, "p": found.p_value,
            "p_holm": found.adjusted_p if declared else math.nan,
            "p_bh": math.nan if declared else found.adjusted_p,
            "smallest_fall": found.smallest_effect[0], "smallest_rise": found.smallest_effect[1],
            "equivalent": found.equivalent, "verdict": found.verdict.value,
        }  # fmt: skip
    for replaced in REPLACED:
        if effect := analysis.states.get((arm.text, replaced, metric.key, stratum)):
            ends = zip(("difference", "low", "high"), effect.difference, strict=True)
            row |= {f"{replaced}_{name}": value for name, value in ends}
    if stratum == "all":
        middle = analysis.interquartile[key]
        row |= {"interquartile_mean": middle.value, "interquartile_low": middle.low, "interquartile_high": middle.high}
    return row
