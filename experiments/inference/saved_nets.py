"""Nets on disk: ours, saved with the options that rebuild them, and the published ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datamodules.files.writing import write_file
from experiments.records.cell_record import CellRecord
from lightning_modules.nets import all_options
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import load_official
from lightning_modules.nets.published import published
from lightning_modules.nets.saved import SavedNet, build_saved, read_saved


def save_net(path: Path, net: MattingNet, model: dict[str, Any]) -> None:
    """Write weights with the options that rebuild their net; readable with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save({"model": dict(model), "state_dict": net.state_dict()}, buffer)
    write_file(path, buffer.getvalue())


def saved_name(path: Path) -> str | None:
    """Which net a file of `save_net` holds; None for any other checkpoint, which does not say it.

    Raises:
        ValueError: there is no such file, or it cannot be read as a checkpoint.
    """
    saved = _read_ours(path)
    return None if saved is None else saved.name


def named_by_file(given: Mapping[str, Any]) -> list[str]:
    """`model=NAME` where the command line leaves it out and its checkpoint, one of ours, or its weights say it.

    Raises:
        ValueError: weights or an ONNX file are given beside another net or file, or no weights have that name.
    """
    for complete in ("weights", "onnx"):
        others = [name for name in ("model", "checkpoint", "weights", "onnx") if name != complete]
        if given.get(complete) is not None and (
            others := [f"{each}=" for each in others if given.get(each) is not None]
        ):
            raise ValueError(
                f"{complete}={given[complete]} says which net it is and where it lies; leave {' and '.join(others)} out"
            )
    if given.get("weights") is not None:
        return [f"model={published(str(given['weights'])).net}"]
    if "model" in given or given.get("checkpoint") is None:
        return []
    name = saved_name(Path(str(given["checkpoint"])))
    return [] if name is None else [f"model={name}"]


def load_net(path: Path, name: str, **changes: Any) -> tuple[MattingNet, dict[str, Any]]:
    """A net with saved weights, in eval mode on the CPU, and all options that it was built with.

    Args:
        path: a file of `save_net`, whose options hold, or an official checkpoint, which has the published ones.
        name: of the net.
        changes: options that are to be others. What they leave out of the net is not loaded.

    Raises:
        ValueError: the file is missing, damaged or of another net, or the weights do not fit the options.
    """
    saved = _read_ours(path)
    if saved is None:
        return load_official(name, path, **changes), all_options(name, changes)
    if saved.name != name:
        raise ValueError(f"{path} holds a {saved.name}, not a {name}; leave model= out")
    net = build_saved(saved, path, **changes)
    return net, all_options(name, saved.options | {"pretrained": False} | changes)


def check_beside_record(path: Path) -> None:
    """Make sure that a file is as the record in its folder tells; nothing where there is none, as after a move.

    Raises:
        ValueError: it was damaged or changed.
    """
    try:
        record = CellRecord.load(path.parent)
    except ValueError:
        return
    record.checked(path.name)


def _read_ours(path: Path) -> SavedNet | None:
    """Content of a file of `save_net`, as the record beside it tells of it; None for anything else."""
    saved = read_saved(path)
    if saved is not None:
        check_beside_record(path)
    return saved
