from lightning_modules.metrics.error import MAD, MSE
from lightning_modules.metrics.temporal import DtSSD

__all__ = ["MAD", "MSE", "DtSSD"]
