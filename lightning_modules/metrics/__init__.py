"""The metrics as classes, imported when first asked for: tables of their figures are read without torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.metrics.background import BackgroundPSNR
    from lightning_modules.metrics.connectivity import Conn
    from lightning_modules.metrics.error import MAD, MSE, SAD
    from lightning_modules.metrics.flow import EndPointError
    from lightning_modules.metrics.foreground import ForegroundMAD, ForegroundMSE
    from lightning_modules.metrics.gradient import Grad
    from lightning_modules.metrics.overlap import IoU
    from lightning_modules.metrics.temporal import DtSSD

_MODULES = {
    **dict.fromkeys(("MAD", "MSE", "SAD"), "error"),
    **dict.fromkeys(("ForegroundMAD", "ForegroundMSE"), "foreground"),
    **{"BackgroundPSNR": "background", "Conn": "connectivity", "DtSSD": "temporal"},
    **{"EndPointError": "flow", "Grad": "gradient", "IoU": "overlap"},
}
__all__ = [
    "MAD",
    "MSE",
    "SAD",
    "BackgroundPSNR",
    "Conn",
    "DtSSD",
    "EndPointError",
    "ForegroundMAD",
    "ForegroundMSE",
    "Grad",
    "IoU",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
