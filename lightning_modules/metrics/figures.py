"""What the figures of a matte are called and how tables print them; without importing torch."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.metrics.scales import SCALES


@dataclass(frozen=True)
class MetricInfo:
    """How a table prints a figure: `scale` times the raw value, in `unit`."""

    label: str
    unit: str
    scale: float
    higher_is_better: bool = False


def _info(quantity: str, label: str, unit: str) -> MetricInfo:
    return MetricInfo(label, unit, SCALES["rvm"][quantity], quantity == "iou")


# Keys are the columns of metrics.parquet; the factors are those of RVM's tables, which know no flow.
METRICS: dict[str, MetricInfo] = {
    "mad": _info("mad", "MAD", "× 10⁻³"),
    "mse": _info("mse", "MSE", "× 10⁻³"),
    "sad": _info("sad", "SAD", "× 10³"),
    "grad": _info("grad", "Grad", "× 10³"),
    "grad_nonorm": _info("grad", "Grad, not stretched", "× 10³"),
    "conn": _info("conn", "Conn", "× 10³"),
    "dtssd": _info("dtssd", "dtSSD", "× 10⁻²"),
    "fgr_mse": _info("fgr_mse", "Foreground MSE", "× 10⁻³"),
    "fgr_mad": _info("fgr_mad", "Foreground MAD", "× 10⁻³"),
    "iou": _info("iou", "IoU", "%"),
    "epe": MetricInfo("End-point error", "pixels", 1.0),
}
FOREGROUND_METRICS = ("fgr_mse", "fgr_mad")
FLOW_METRICS = ("epe",)
DTSSD_LATER = "dtssd_later"  # dtSSD without the zero of frame 0; a figure of a set, not of a frame


def shown_scale(name: str) -> float:
    """Factor from a raw figure to the papers' one."""
    return METRICS["dtssd" if name == DTSSD_LATER else name].scale
