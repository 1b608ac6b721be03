"""The answer to an experiment's question in sentences made from its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from experiments.reporting.analysis import Analysis
from experiments.reporting.arms import Arm
from experiments.reporting.formatting import counted, number, percent, two_ends, with_interval
from experiments.reporting.matrix import Matrix, seed_means
from experiments.reporting.memory import EVERYWHERE, MOVING_PERSON, STILL_PERSON
from experiments.reporting.tables import smallest_text, verdict_text
from experiments.statistics.bootstrap import Estimate, can_resample
from experiments.statistics.comparisons import Comparison
from experiments.statistics.verdicts import FEWEST_PEOPLE, FEWEST_SEEDS, Verdict
from lightning_modules.metrics.table import Metric

MAX_ARMS_TOLD_ALONE, MAX_ARMS_RANKED = 3, 4
RESTORED, FLAT, SMALLEST_CHANGE_DB = "background_psnr", "flat_background_psnr", 0.1
SEEDS_FOR_A_CLAIM = 5
OF_TWO_SIGNS = (
    "the difference is that of the means, which clips with large errors rule; the relative change is the mean of the "
    "clips' own, in which all count alike."
)


def headline(matrix: Matrix, analysis: Analysis) -> tuple[list[str], list[str]]:
    """What the experiment found: the sentences that answer its question, then more of it and what limits it."""
    if not matrix.arms:
        return ["No cell is complete: there is no result yet."], []
    if not matrix.baselines:
        return [f"{counted(len(matrix.arms), 'arm')} complete, but not the baseline: no comparison can be made."], []
    arms = [arm for arm in matrix.others if any((arm.text, m.key) in analysis.comparisons for m in matrix.primary)]
    if not arms:
        shown = "; ".join(arm.label for arm in matrix.arms)
        return [f"Only {shown} can be shown: there is nothing to compare it with."], []
    if len(arms) <= MAX_ARMS_TOLD_ALONE:
        told = [sentence for arm in arms for sentence in _about_arm(matrix, analysis, arm)]
    else:
        told = [_ranking(matrix, metric) for metric in matrix.primary]
        told += [_about_metric(matrix, analysis, metric, arms) for metric in matrix.primary]
    # Then the verdict on an arm and its figures, or which arms are best in each of two metrics.
    return [*_about_bound(matrix, analysis, arms), *told[:2]], [*told[2:], *_limits(matrix, arms)]


def _about_arm(matrix: Matrix, analysis: Analysis, arm: Arm) -> list[str]:
    baseline = matrix.baseline_of(arm)
    assert baseline is not None
    by_phrase: dict[str, list[str]] = {}
    figures = []
    metrics = [metric for metric in matrix.primary if (arm.text, metric.key) in analysis.comparisons]
    for metric in metrics:
        found = analysis.comparisons[arm.text, metric.key]
        few = found.verdict is Verdict.FEW_SEEDS  # how many stands before it
        by_phrase.setdefault(found.verdict if few else verdict_text(found), []).append(_with_limits(found, metric))
        figures.append(f"{metric.label} {with_interval(found.difference)} {metric.unit}, {percent(found.relative)}")
    verdicts = "; ".join(f"{phrase} in {' and '.join(labels)}" for phrase, labels in by_phrase.items())
    first = f"{arm.label} against {baseline.label}, {_paired(matrix, arm)}: {verdicts}."
    told = [first, f"Differences with 95 % intervals: {'; '.join(figures)}."]
    compared = {metric: analysis.comparisons[arm.text, metric.key] for metric in metrics}
    if apart := [m.label for m, one in compared.items() if one.difference.value * one.relative.value < 0]:
        told.append(f"{' and '.join(apart)}: {OF_TWO_SIGNS}")
    known = matrix.clips.num_foregrounds >= FEWEST_PEOPLE and all(one.enough_seeds for one in compared.values())
    if len(matrix.clips.strata) == 1 or not known:
        return told
    strata = "; ".join(_about_strata(matrix, analysis, arm, metric) for metric in metrics)
    return [*told, f"By stratum: {strata}."]


def _paired(matrix: Matrix, arm: Arm) -> str:
    """What an arm and its baseline have in common: seeds, and the weights where these are the same."""
    seeds = counted(len(matrix.paired_seeds(arm)), "seed")
    if not matrix.same_weights(arm):
        return seeds
    return "the same weights" if _one_net(arm) else f"the same weights in each of {seeds}"


def _one_net(arm: Arm) -> bool:
    """Whether nothing but one file of weights was tested."""
    return len(set(arm.weights.values()) - {None}) == 1


def _about_bound(matrix: Matrix, analysis: Analysis, arms: list[Arm]) -> list[str]:
    """The share of what could be gained that each arm gains, where the experiment has an arm that shows it."""
    shown: dict[str, list[str]] = {}
    without: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        bound = matrix.bound_of(arm)
        if bound is None or bound is arm:
            continue
        shares = {metric: analysis.shares.get((arm.text, metric.key), {}) for metric in matrix.primary}
        if gains := _gains(shares, EVERYWHERE):
            kinds = {kind: _gains(shares, kind) for kind in (STILL_PERSON, MOVING_PERSON)}
            apart = [f"{kind}: {found}" for kind, found in kinds.items() if found and len(arms) <= MAX_ARMS_TOLD_ALONE]
            told = f"{arm.label} gains {gains}" + (f" ({'; '.join(apart)})" if apart else "")
            shown.setdefault(bound.label, []).append(told)
        if missing := [metric.label for metric, share in shares.items() if not share]:
            without.setdefault((bound.label, " and ".join(missing)), []).append(arm.label)
    return [f"Of what {bound} gains, {'; '.join(gains)}." for bound, gains in shown.items()] + [
        f"{bound} shows no clear gain in {metrics}: there is nothing that {' or '.join(labels)} could have a share of."
        for (bound, metrics), labels in without.items()
    ]


def _gains(shares: Mapping[Metric, Mapping[str, Estimate]], clips: str) -> str:
    """The shares on some of the clips, in words: "−1 % [−17, +12] in MAD and +3 % [−2, +9] in dtSSD"."""
    found = [(metric, share[clips]) for metric, share in shares.items() if clips in share]
    return " and ".join(f"{percent(share, decimals=0)} in {metric.label}" for metric, share in found)


def _with_limits(found: Comparison, metric: Metric) -> str:
    """The metric and, where no difference is shown, what is excluded and what would have been shown."""
    if found.verdict is not Verdict.NOT_SHOWN:
        return metric.label
    smallest = f"a true change of {smallest_text(found, metric)} would be shown by four of five such experiments"
    return f"{metric.label} ({_excluded(found, metric)}; {smallest})"


def _excluded(found: Comparison, metric: Metric) -> str:
    return f"changes beyond {two_ends(found.excluded, '%' if found.test.relative else metric.unit)} are excluded"


def _about_strata(matrix: Matrix, analysis: Analysis, arm: Arm, metric: Metric) -> str:
    by_verdict: dict[Verdict, list[str]] = {}
    for stratum in matrix.clips.strata:
        by_verdict.setdefault(analysis.strata[arm.text, metric.key, stratum].verdict, []).append(stratum)
    told = [f"{verdict} in {', '.join(by_verdict[verdict])}" for verdict in Verdict if verdict in by_verdict]
    if len(by_verdict) == 1:
        told = [f"{next(iter(by_verdict))} in every one"]
    return f"{metric.label} {', '.join(told)}"


def _about_metric(matrix: Matrix, analysis: Analysis, metric: Metric, arms: list[Arm]) -> str:
    by_verdict: dict[Verdict, list[str]] = {}
    for arm in arms:
        if found := analysis.comparisons.get((arm.text, metric.key)):
            text = f"{arm.label}: {_excluded(found, metric)}"
            text = text if found.verdict is Verdict.NOT_SHOWN else arm.label
            by_verdict.setdefault(found.verdict, []).append(text)
    told = [
        f"{len(labels)} {verdict} ({'; '.join(labels)})" for verdict in Verdict if (labels := by_verdict.get(verdict))
    ]
    return f"{metric.label} of {len(arms)} arms against {matrix.baseline_name}: {', '.join(told)}."


def _ranking(matrix: Matrix, metric: Metric) -> str:
    """Which arms score best, in order; whether they differ is not in it."""
    means = [(float(seed_means(matrix, arm, metric).mean()), arm.label) for arm in matrix.arms if arm.has(metric)]
    ranked = sorted([each for each in means if not math.isnan(each[0])], reverse=metric.higher_is_better)
    told = [f"{label} ({number(mean)})" for mean, label in ranked[:MAX_ARMS_RANKED]]
    return f"Best in {metric.heading}: {', then '.join(told) or 'none has a mean'}; of {len(matrix.arms)} arms."


def restored_backgrounds(matrix: Matrix) -> list[str]:
    """For each arm that restores the background how near that comes to the true one, from the first frame to the last.

    Mean of strata and seeds, in dB, beside what one colour, the best for each frame, would reach. A memory that fills
    makes it rise over a clip, one that drifts makes it fall.
    """
    told = []
    for arm in (arm for arm in matrix.arms if RESTORED in arm.frames):
        curve = arm.by_frame(RESTORED).dropna()
        if len(curve) > 1:
            first, last = float(curve.iloc[0]), float(curve.iloc[-1])
            moved = abs(last - first)
            floor = f"; one colour reaches {number(arm.by_frame(FLAT).mean(), 1)}" if FLAT in arm.frames else ""
            told.append(
                f"stays at {number(first, 1)} dB ({arm.label}{floor})"
                if moved < SMALLEST_CHANGE_DB
                else f"{'rises' if last > first else 'falls'} by {number(moved, 1)} dB, from {number(first, 1)} to "
                f"{number(last, 1)} ({arm.label}{floor})"
            )
    if not told:
        return []
    return [f"Over a clip the PSNR of the restored background {'; '.join(told[:MAX_ARMS_RANKED])}."]


def _limits(matrix: Matrix, arms: list[Arm]) -> list[str]:
    fewest = min(len(matrix.paired_seeds(arm)) for arm in arms)
    if not can_resample(fewest, matrix.clips):
        clips = "1 clip" if len(matrix.clips) == 1 else "1 clip in each stratum"
        return [f"1 seed and {clips}: no interval can be had, so nothing can be tested."]
    if all(matrix.same_weights(arm) for arm in arms):
        over = "people alone, and hold for this net" if all(map(_one_net, arms)) else "people and these nets"
        return [
            f"Every arm has the weights of what it is compared with, nothing is trained: the intervals are over {over}."
        ]
    if fewest == 1:
        return ["1 seed: nothing is said of training; the intervals are over clips only."]
    if fewest < FEWEST_SEEDS:
        return [f"{fewest} seeds: too few to say anything of training; from {FEWEST_SEEDS} on there are verdicts."]
    if fewest < SEEDS_FOR_A_CLAIM:
        return [
            f"{fewest} seeds are few: the intervals are as wide as Student's t asks for so few, and a claim asks for "
            f"{SEEDS_FOR_A_CLAIM}."
        ]
    return []
