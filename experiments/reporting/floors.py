"""Arms that are no better than a matte that no net made."""

from __future__ import annotations

from experiments.reporting.averages import METRICS
from experiments.reporting.formatting import number
from experiments.reporting.matrix import Matrix, reference_means, seed_means


def floor_warnings(matrix: Matrix) -> list[str]:
    """A line for each arm whose mean MAD is not below the lowest of the methods under the arms of the first table."""
    mad = METRICS["mad"]
    floors = {method: float(found["mad"].mean()) for method, found in reference_means(matrix).items() if "mad" in found}
    if not floors:
        return []
    best = min(floors, key=lambda method: floors[method])
    warnings = []
    for arm in (arm for arm in matrix.arms if arm.has(mad)):
        mean = float(seed_means(matrix, arm, mad).mean())
        if not mean < floors[best]:
            warnings.append(
                f"Warning: {mad.label} of {arm.label}, {number(mean)}, is not below the best floor, {best} "
                f"({number(floors[best])}): it shows nothing that needs a net."
            )
    return warnings
