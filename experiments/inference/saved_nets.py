"""Nets on disk: ours, saved with the options that rebuild them, and the published ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datamodules.files.writing import write_file
from experiments.command.messages import reason
from experiments.records.cell_record import CellRecord
from lightning_modules.nets import all_options, build_net
from lightning_modules.nets.checkpoint_files import no_state_dict, read_checkpoint
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import load_official
from lightning_modules.nets.onnx_files import is_onnx
from lightning_modules.nets.published import published


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
    return None if saved is None else str(saved["model"]["name"])


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
    options = dict(saved["model"])
    if options.pop("name") != name:
        raise ValueError(f"{path} holds a {saved['model']['name']}, not a {name}; leave model= out")
    options |= {"pretrained": False, **changes}
    net = build_net(name, **options)
    try:
        net.load_parts(saved["state_dict"])
    except RuntimeError as error:
        changed = f" with {', '.join(f'{key}={value}' for key, value in changes.items())}" if changes else ""
        raise ValueError(f"{path} does not fit this {name}{changed}: {reason(error)}") from error
    return net.eval(), all_options(name, options)


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


def _read_ours(path: Path) -> dict[str, Any] | None:
    """Content of a file of `save_net`, as the record beside it tells of it; None for anything else."""
    saved = None if is_onnx(path) else read_checkpoint(path)
    if not (isinstance(saved, dict) and isinstance(saved.get("model"), dict) and "state_dict" in saved):
        return None
    options, weights = saved["model"], saved["state_dict"]
    named = isinstance(options.get("name"), str) and all(isinstance(each, str) for each in options)
    if not named or (other := no_state_dict(weights)):
        raise ValueError(f"{path} is no saved net: {other if named else 'its model has no name'}; train it again")
    check_beside_record(path)
    return saved
