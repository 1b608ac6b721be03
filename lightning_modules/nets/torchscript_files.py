"""TorchScript archives as data: their tensors under the names of `state_dict()`; none of their code is run.

`torch.jit.load` would run each `__setstate__` that an archive brings along, and that may write files. An archive is a
zip: `data.pkl` holds the tree of modules, `data/KEY` the bytes of each storage, and the text under `code/` tells which
attributes of a class are its parameters and buffers.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
# What wraps a value that is no weight; the value itself stands in for it.
WRAPPERS = {
    *(("torch.jit._pickle", f"build_{kind}list") for kind in ("int", "bool", "double", "tensor")),
    *(("torch.jit._pickle", "restore_type_tag"), ("torch", "device"), ("builtins", "complex")),
}
MOST_TENSORS = 100_000  # modules that hold each other many times over would give names without end


class UnreadableError(Exception):
    """An archive whose tensors cannot be told without running its code; says why."""


class ModuleClass(NamedTuple):
    """What the code of an archive tells of one class of modules.

    Attributes:
        saved: attributes that are its parameters and buffers.
        restores_itself: whether code of its own, which is not run, makes the attributes from what is stored.
    """

    saved: frozenset[str]
    restores_itself: bool


class ScriptObject:
    """Any object of the archive: its class's name and the attributes that are stored of it."""

    type_name = ""
    attributes: Any = None

    def __init__(self, *values: Any) -> None:
        """Members of an enumeration are made of a value, which nobody asks for."""

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


def read_torchscript(archive: zipfile.ZipFile, root: str) -> dict[str, Tensor]:
    """All parameters and buffers of the archive whose files lie in its folder `root`, on the CPU.

    Raises:
        UnreadableError: a module restores itself by code, or a tensor is of a kind that is not known here.
        Exception: any other, if the archive is damaged.
    """
    classes = _module_classes(archive, root)
    module = _Reader(archive, root).load()
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors_of(module, classes, "", ()):
        tensors[name] = tensor
        if len(tensors) > MOST_TENSORS:
            raise UnreadableError(f"it has more than {MOST_TENSORS} tensors")
    return tensors


def _tensors_of(
    module: Any, classes: dict[str, ModuleClass], prefix: str, above: tuple[Any, ...]
) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a module and those in it; no others: only these are in its `state_dict()`."""
    if not isinstance(module, ScriptObject) or module.type_name not in classes:
        return
    kind = classes[module.type_name]
    if kind.restores_itself:
        raise UnreadableError(f"its {module.type_name} restores itself by code (__setstate__), which is not run")
    if any(module is each for each in above):
        raise UnreadableError(f"its {prefix[:-1]} holds itself")
    for name, value in module.attributes.items():
        if name in kind.saved and isinstance(value, Tensor):
            yield prefix + name, value
    for name, value in module.attributes.items():
        yield from _tensors_of(value, classes, f"{prefix}{name}.", (*above, module))


def _module_classes(archive: zipfile.ZipFile, root: str) -> dict[str, ModuleClass]:
    """The modules' classes by name, as the text of the archive's code declares them."""
    found = {}
    for file in archive.namelist():
        if not (file.startswith(f"{root}/code/") and file.endswith(".py")):
            continue
        place = file.removeprefix(f"{root}/code/").removesuffix(".py").replace("/", ".")
        _, *parts = re.split(r"^class ", archive.read(file).decode(), flags=re.MULTILINE)
        for part in parts:
            if head := re.match(r"(\w+)\(Module\):", part):
                found[f"{place}.{head[1]}"] = _module_class(part)
    return found


def _module_class(text: str) -> ModuleClass:
    declared = dict(re.findall(r"^  __(parameters|buffers)__ = \[(.*)\]", text, re.MULTILINE))
    saved = re.findall(r'"([^"]+)"', " ".join(declared.values()))
    if "buffers" not in declared:  # before PyTorch 1.7 each tensor that is no parameter was a buffer
        saved += re.findall(r"^  (\w+) : Tensor$", text, re.MULTILINE)
    return ModuleClass(frozenset(saved), "\n  def __setstate__(" in text)


class _Reader(pickle.Unpickler):
    """Reads `data.pkl` by a closed table: what is not in it is refused, and nothing is imported.

    The functions of the table are methods: a pickle can set attributes of what it is given, and methods take none.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root
        byteorder = f"{root}/byteorder"
        self.swapped = byteorder in archive.namelist() and archive.read(byteorder).strip() == b"big"
        self.storages: dict[str, Tensor] = {}
        self.classes: dict[str, type[ScriptObject]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a class or function."""
        if module == "__torch__" or module.startswith("__torch__."):
            full = f"{module}.{name}"
            return self.classes.setdefault(full, type("ScriptObject", (ScriptObject,), {"type_name": full}))
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in WRAPPERS:
            return self._unwrapped
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise UnreadableError(f"it asks for {module}.{name}, which is not run")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """(elements,) values of a storage."""
        _, dtype, key, _, count = pid
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            if len(data) != count * dtype.itemsize:
                raise UnreadableError(f"data/{key} has {len(data)} bytes, not {count} × {dtype.itemsize}")
            values = torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)
            if self.swapped and count:
                values.untyped_storage().byteswap(dtype)
            self.storages[key] = values
        return self.storages[key]

    def _unwrapped(self, value: Any, *_: Any) -> Any:
        return value

    def _tensor(
        self, values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *more: Any
    ) -> Tensor:
        if any(more[2:]):
            raise UnreadableError("it has a tensor that is stored negated or conjugated")
        return values.as_strided(size, stride, offset)  # refuses what lies outside the storage
