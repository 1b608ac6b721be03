"""The table of all metrics: what each measures, needs and means, and how it is printed. Names alone need no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from lightning_modules.metrics.scales import SCALES

_RVM = SCALES["rvm"]  # the factors of the tables are RVM's, which know no flow
_ALPHAS = ("pred", "target", "trimap")
_COLOURS = ("foreground", "true_foreground", "target", "trimap")
OPTIONAL = ("trimap", "previous")  # what a metric takes where it is there


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        key: its name everywhere.
        label: what tables call it.
        unit: the factor of the shown figure, as the papers print it, or its unit.
        scale: factor from the raw figure to the shown one.
        function: FILE.NAME in this folder: arguments as `needs` has them → (B, T) float64, raw, NaN where a frame has
            nothing to measure; or those of several metrics by key, if they share work.
        needs: arguments of `score_frames`, in order.
        convention: what a reader must know to compare it, "" for nothing.
        first_frame: of a clip: it is "measured", counts as "zero" by convention, or is "undefined" and in no mean.
        column: of `metrics.parquet`, by default the key. A metric with another one's column is a second reading of it.
        higher_is_better: the direction.
        always: every record holds it.
        in_main_table: it stands in the first table of a report; all stand in the detailed ones.
        widest: pixels of the widest frames on which it is measured if nobody asks for it.
    """

    key: str
    label: str
    unit: str
    scale: float
    function: str
    needs: tuple[str, ...] = _ALPHAS
    convention: str = ""
    first_frame: Literal["measured", "zero", "undefined"] = "measured"
    column: str = ""
    higher_is_better: bool = False
    always: bool = False
    in_main_table: bool = False
    widest: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.key)

    @property
    def derived(self) -> bool:
        """Whether it is a second reading of another one's column."""
        return self.column != self.key

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def measure(self, *inputs: Any) -> Any:
        """What its function gives."""
        file, _, name = self.function.partition(".")
        function: Callable[..., Any] = getattr(import_module(f"lightning_modules.metrics.{file}"), name)
        return function(*inputs)


_ROWS = (
    Metric("mad", "MAD", "× 10⁻³", _RVM["mad"], "error.errors", always=True, in_main_table=True),
    Metric("mse", "MSE", "× 10⁻³", _RVM["mse"], "error.errors", always=True, in_main_table=True),
    Metric("sad", "SAD", "× 10³", _RVM["sad"], "error.errors"),
    Metric(
        "grad", "Grad", "× 10³", _RVM["grad"], "gradient.gradient_errors", in_main_table=True,
        convention="Grad: both mattes stretched to 0…1 frame by frame, as RVM's low-resolution script and BGMv2 do",
    ),
    Metric(
        "grad_nonorm", "Grad, not stretched", "× 10³", _RVM["grad"], "gradient.gradient_errors",
        convention="Grad, not stretched: as RVM's high-resolution script does",
    ),
    Metric(
        "conn", "Conn", "× 10³", _RVM["conn"], "connectivity.conn", in_main_table=True,
        widest=1280,  # it labels every frame ten times, and the papers leave it out at HD
    ),
    Metric(
        "dtssd", "dtSSD", "× 10⁻²", _RVM["dtssd"], "temporal.dtssd", (*_ALPHAS, "previous"), first_frame="zero",
        always=True, in_main_table=True, convention="dtSSD: frame 0 counts as 0, as published",
    ),
    Metric(
        "dtssd_later", "dtSSD without frame 0", "× 10⁻²", _RVM["dtssd"], "temporal.dtssd", (*_ALPHAS, "previous"),
        first_frame="undefined", column="dtssd", in_main_table=True,
    ),
    Metric(
        "fgr_mse", "Foreground MSE", "× 10⁻³", _RVM["fgr_mse"], "foreground.foreground_errors", _COLOURS,
        in_main_table=True, convention="FG MSE: over pixels with true alpha above 0, all channels",
    ),
    Metric("fgr_mad", "Foreground MAD", "× 10⁻³", _RVM["fgr_mad"], "foreground.foreground_errors", _COLOURS),
    Metric("iou", "IoU", "%", _RVM["iou"], "overlap.iou", higher_is_better=True),
    Metric(
        "epe", "End-point error", "pixels", 1.0, "flow.end_point_error", ("flow", "true_flow"),
        first_frame="undefined", in_main_table=True,
        convention="End-point error: of the flow that the net used, over the whole frame; frame 0 has none",
    ),
)  # fmt: skip

FIGURES: dict[str, Metric] = {row.key: row for row in _ROWS}
METRICS: dict[str, Metric] = {row.key: row for row in _ROWS if not row.derived}
"""Those that are measured frame by frame: the columns of `metrics.parquet`, in order."""
ALWAYS = tuple(key for key, row in METRICS.items() if row.always)
PRIMARY = ("mad", "dtssd")
"""What is compared unless an experiment says otherwise; cheap to measure."""
