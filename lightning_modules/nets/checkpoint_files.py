"""Files of published weights: the tensors in them, and their names changed to ours; nothing in a file is run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Training checkpoints keep their best score, a number of NumPy 1 or 2, beside the weights.
_NUMPY_SCALAR: Any = np._core.multiarray.scalar  # type: ignore[attr-defined]
_NUMPY_NUMBER = [_NUMPY_SCALAR, (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType]


def read_tensors(path: Path, inside: str = "") -> dict[str, Tensor]:
    """All tensors of a TorchScript file or a saved state dict, on the CPU; the dict may be in another as `inside`.

    Raises:
        ValueError: there is no such file, or it is no state dict.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return dict(torch.jit.load(path, map_location="cpu").state_dict())
    with torch.serialization.safe_globals(_NUMPY_NUMBER):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if inside and isinstance(loaded, dict):
        loaded = loaded.get(inside, loaded)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"{path} is no state dict: expected a dict of tensors")
    return loaded


def rename_modules(tensors: dict[str, Tensor], names: dict[str, str], path: str | Path) -> dict[str, Tensor]:
    """`tensors` under our names.

    Args:
        tensors: by their names in the file, MODULE.TENSOR.
        names: module in the file → our module; tensors in a module keep their names.
        path: of the file, for the message.

    Raises:
        ValueError: the file holds a module that `names` does not know.
    """
    modules = {key: key.rpartition(".")[0] for key in tensors}
    if unknown := [key for key, module in modules.items() if module not in names]:
        raise ValueError(f"{path} holds {listed(unknown)} unknown to this model")
    return {f"{names[module]}.{key.rpartition('.')[2]}": tensors[key] for key, module in modules.items()}


def listed(keys: list[str]) -> str:
    """The first three, and how many more.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
