"""Arms that are no better than a matte that no net made."""

from __future__ import annotations

from experiments.reporting.formatting import number
from experiments.reporting.matrix import Matrix, reference_means, seed_means


def floor_warnings(matrix: Matrix) -> list[str]:
    """A line for each arm that does not beat each method under the arms of a table, in the first primary metric.

    Beside it stand the other primary metrics in which it does not beat those methods either: a matte that does not move
    has little dtSSD, which is no merit that an arm below it in error lacks.
    """
    warnings, metrics = [], [metric for metric in matrix.primary if not metric.higher_is_better]
    for arm in matrix.arms:
        told, weak = list[str](), set(reference_means(matrix))
        for metric in (metric for metric in metrics if arm.has(metric)):
            mean, found = float(seed_means(matrix, arm, metric).mean()), reference_means(matrix)
            floors = {method: float(of[metric.key].mean()) for method, of in found.items() if metric.key in of}
            unbeaten = {method: value for method, value in floors.items() if method in weak and not mean < value}
            weak = weak if told else set(unbeaten)
            shown = ", ".join(f"{method} {number(value)}" for method, value in unbeaten.items())
            told += [f"{metric.label} {number(mean)} ({shown})"] if unbeaten else []
        if told:
            warnings.append(f"Warning: {arm.label} is no better than what no net made: {'; '.join(told)}.")
    return warnings
