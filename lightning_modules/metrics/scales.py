"""What each paper multiplies its figures with before it prints them."""

from __future__ import annotations

import math

_LARGE_IMAGES = {"sad": 1e-3, "mad": 1e3, "mse": 1e3, "dtssd": 1e2, "fgr_mse": 1e3, "fgr_mad": 1e3}

# Figures that a paper does not print have the factor of the ones it was compared with.
SCALES: dict[str, dict[str, float]] = {
    "rvm": {**_LARGE_IMAGES, "grad": 1e-3, "conn": 1e-3, "iou": 1e2},
    "bgmv2": {**_LARGE_IMAGES, "grad": 1.0, "conn": 1.0},
    "cmn": {**_LARGE_IMAGES, "grad": 1e-3, "conn": 1e-3},
    "modnet": {"mad": 1.0, "mse": 1.0},
    "modnet_v": {"mad": 1e4, "mse": 1e4},
}


def scale_of(quantity: str, scale: str | float) -> float:
    """The factor that a paper has for a quantity; a number stands for itself.

    Raises:
        ValueError: no such paper, or it does not print this quantity.
    >>> scale_of("mad", "modnet_v")
    10000.0
    """
    if isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale < math.inf:
        return float(scale)
    if not isinstance(scale, str) or quantity not in SCALES.get(scale, {}):
        papers = [paper for paper, factors in SCALES.items() if quantity in factors]
        raise ValueError(f"scale of {quantity} must be a number above 0 or one of {papers}, got {scale!r}")
    return SCALES[scale][quantity]
