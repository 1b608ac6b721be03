"""Files of published weights: the tensors in them, and their names changed to ours; nothing in a file is run."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_modules.nets.torchscript_files import UnreadableError, read_torchscript

# Training checkpoints keep their best score, a number of NumPy 1 or 2, beside the weights.
_NUMPY_SCALAR: Any = np._core.multiarray.scalar  # type: ignore[attr-defined]
_NUMPY_NUMBER = [_NUMPY_SCALAR, (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType]


def read_tensors(path: Path, inside: str = "") -> dict[str, Tensor]:
    """All tensors of a TorchScript file or a saved state dict, on the CPU; the dict may be in another as `inside`.

    Raises:
        ValueError: as `read_checkpoint`, or it holds no state dict.
    """
    loaded = read_checkpoint(path)
    if inside and isinstance(loaded, dict):
        loaded = loaded.get(inside, loaded)
    if other := no_state_dict(loaded):
        raise ValueError(f"{path} is no state dict: {other}; give a dict of tensors by name, saved by torch.save")
    return loaded


def read_checkpoint(path: Path) -> Any:
    """What torch.save wrote, or the tensors of a TorchScript file by name; on the CPU, every byte checked.

    Raises:
        ValueError: there is no such file, it is damaged or of another kind, or it would run code.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        return _load(path)
    except Exception as error:  # anything: the bytes are another's
        raise ValueError(f"{path} cannot be read as a checkpoint: {_what_is_wrong(path, error)}") from error


def _load(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch.load does not look at the checksums
                raise UnreadableError(f"{damaged} in it is damaged; copy or download the file again")
            files = archive.namelist()
            roots = [name.rpartition("/")[0] for name in files if re.fullmatch(r"[^/]+/data\.pkl", name)]
            if len(roots) != 1:
                listing = f"of {listed(files)}" if files else "without files"
                raise UnreadableError(f"it is a zip {listing}, and none of torch.save or torch.jit.save")
            if f"{roots[0]}/constants.pkl" in files:
                return read_torchscript(archive, roots[0])
    with torch.serialization.safe_globals(_NUMPY_NUMBER), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how old the file is
        return torch.load(path, map_location="cpu", weights_only=True)


def _what_is_wrong(path: Path, error: Exception) -> str:
    """Why a file could not be read and what to do, in a line; readers tell it in their own words, if at all."""
    if isinstance(error, UnreadableError):
        return str(error)
    if asked := re.search(r"Unsupported (?:global|class)[^:]*:? (?:GLOBAL )?([\w.]+)", str(error)):
        return f"it asks for {asked[1]}, which is not run; save its state_dict() alone"
    with path.open("rb") as file:
        head = file.read(512)
    kind = next((kind for start, kind in _KINDS.items() if head.lstrip().lower().startswith(start)), "")
    if not kind and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        kind = "it is text" if head else "it is empty"
    kind = kind or "it is damaged, or no file of torch.save or torch.jit.save"
    return f"{kind}; give a state dict (.pth) or a TorchScript file"


_KINDS = {
    b"version https://git-lfs": "it is a Git LFS pointer and not the file itself, which git lfs pull gets",
    b"<": "it is a web page and not the file, so the download went wrong",
    b"pk": "its archive is torn, so that copying or downloading it did not end",
}


def no_state_dict(loaded: Any) -> str:
    """What is found in place of a dict of tensors by name; "" if it is one."""
    if not isinstance(loaded, dict):
        return f"it holds one object of type {type(loaded).__name__}"
    if not loaded:
        return "it is an empty dict"
    if others := [key for key in loaded if not isinstance(key, str)]:
        return f"its key {others[0]!r} is no name"
    others = [key for key, value in loaded.items() if not isinstance(value, Tensor)]
    return f"its {others[0]!r} is of type {type(loaded[others[0]]).__name__}" if others else ""


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
