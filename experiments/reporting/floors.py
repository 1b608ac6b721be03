"""Arms that are no better than a matte that no net made."""

from __future__ import annotations

from experiments.reporting.formatting import number
from experiments.reporting.matrix import Matrix, reference_means, seed_means


def floor_warnings(matrix: Matrix) -> list[str]:
    """A line for each arm that does not beat each method under the arms of a table, in the primary metrics."""
    warnings = []
    for arm in matrix.arms:
        told = []
        for metric in (metric for metric in matrix.primary if arm.has(metric) and not metric.higher_is_better):
            mean, found = float(seed_means(matrix, arm, metric).mean()), reference_means(matrix)
            floors = {method: float(of[metric.key].mean()) for method, of in found.items() if metric.key in of}
            unbeaten = [f"{method} {number(value)}" for method, value in floors.items() if not mean < value]
            told += [f"{metric.label} {number(mean)} ({', '.join(unbeaten)})"] if unbeaten else []
        if told:
            warnings.append(f"Warning: {arm.label} is no better than what no net made: {'; '.join(told)}.")
    return warnings
