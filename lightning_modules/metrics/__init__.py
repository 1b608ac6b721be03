from lightning_modules.metrics.background import BackgroundPSNR
from lightning_modules.metrics.connectivity import Conn
from lightning_modules.metrics.error import MAD, MSE, SAD
from lightning_modules.metrics.flow import EndPointError
from lightning_modules.metrics.foreground import ForegroundMAD, ForegroundMSE
from lightning_modules.metrics.gradient import Grad
from lightning_modules.metrics.overlap import IoU
from lightning_modules.metrics.temporal import DtSSD

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
