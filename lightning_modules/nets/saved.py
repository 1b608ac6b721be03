"""Our own checkpoints, `model.pt` of a run: weights with the options that rebuild their net."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_modules.nets.build import build_net
from lightning_modules.nets.checkpoint_files import no_state_dict, read_checkpoint
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.onnx_files import is_onnx


class SavedNet(NamedTuple):
    """What a file of ours holds; the options are those of `build_net`."""

    name: str
    options: dict[str, Any]
    weights: dict[str, Tensor]


def load_net(path: str | Path, **changes: Any) -> MattingNet:
    """The net that a run of this project left, in eval mode on the CPU.

    Args:
        path: of its `model.pt`, outputs/EXPERIMENT/CELL/model.pt.
        changes: options of `build_net` that are to be others. What they leave out of the net is not loaded.

    Raises:
        ValueError: the file is missing, damaged or none of ours, or its weights do not fit the changed options.
    """
    path = Path(path)
    saved = read_saved(path)
    if saved is None:
        raise ValueError(f"{path} is no net of this project; published weights are read by load_official(name, path)")
    return build_saved(saved, path, **changes)


def read_saved(path: Path) -> SavedNet | None:
    """The content of a file of ours; None for any other checkpoint.

    Raises:
        ValueError: the file is missing, damaged, or ours without what it needs.
    """
    saved = None if is_onnx(path) else read_checkpoint(path)
    if not (isinstance(saved, dict) and isinstance(saved.get("model"), dict) and "state_dict" in saved):
        return None
    options, weights = dict(saved["model"]), saved["state_dict"]
    named = isinstance(options.get("name"), str) and all(isinstance(each, str) for each in options)
    if not named or (other := no_state_dict(weights)):
        raise ValueError(f"{path} is no saved net: {other if named else 'its model has no name'}; train it again")
    return SavedNet(options.pop("name"), options, weights)


def build_saved(saved: SavedNet, path: Path, **changes: Any) -> MattingNet:
    """`load_net` of what was read from `path`."""
    fresh = {"pretrained": False} if "pretrained" in saved.options else {}
    net = build_net(saved.name, **saved.options | fresh | changes)
    try:
        net.load_parts(saved.weights)
    except RuntimeError as error:
        changed = f" with {', '.join(f'{key}={value}' for key, value in changes.items())}" if changes else ""
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} does not fit this {saved.name}{changed}: {told}") from error
    return net.eval()
