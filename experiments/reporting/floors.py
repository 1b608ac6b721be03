"""Arms that are no better than a matte that no net made."""

from __future__ import annotations

from experiments.reporting.averages import METRICS
from experiments.reporting.formatting import number
from experiments.reporting.matrix import Matrix, reference_means, seed_means


def floor_warnings(matrix: Matrix) -> list[str]:
    """A line for each arm whose mean MAD is not below one of the methods under the arms of the first table."""
    mad = METRICS["mad"]
    floors = {method: float(found["mad"].mean()) for method, found in reference_means(matrix).items() if "mad" in found}
    warnings = []
    for arm in (arm for arm in matrix.arms if arm.has(mad)):
        mean = float(seed_means(matrix, arm, mad).mean())
        unbeaten = [f"{method} ({number(value)})" for method, value in floors.items() if not mean < value]
        if unbeaten:
            told = f"{arm.label}, {mad.label} {number(mean)}, is no better than what no net made"
            warnings.append(f"Warning: {told}: {', '.join(unbeaten)}.")
    return warnings
