"""Published checkpoints → our nets, by a table of module names per model."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet


class Official(NamedTuple):
    """How the checkpoint of one published model is read.

    Attributes:
        names: gives official module name → our module name; tensors in a module keep their names.
        aliases: (prefix, twin): tensors saved a second time under `prefix`; they must equal the twin's.
        training_only: our modules that exported files leave out; without them the net is set to
            `inference=True`.
    """

    names: Callable[[], dict[str, str]]
    aliases: tuple[str, str] | None = None
    training_only: tuple[str, ...] = ()


def load_official(name: str, path: str | Path, **options: Any) -> MattingNet:
    """The net `name` with published weights, in eval mode on the CPU.

    Args:
        name: a key of `OFFICIAL`.
        path: a state dict saved by torch.save, or a TorchScript file.
        options: for `build_net`.

    Raises:
        ValueError: no such model or file, or tensors in it are unknown, missing or of another shape.
    """
    if name not in OFFICIAL:
        raise ValueError(f"no official weights are known for {name!r}; there are: {', '.join(sorted(OFFICIAL))}")
    official = OFFICIAL[name]
    tensors = {key.removeprefix("module."): value for key, value in _read(Path(path)).items()}
    if official.aliases is not None:
        tensors = _without_aliases(tensors, *official.aliases, path)
    net = build_net(name, **options)
    weights = _rename(tensors, official.names(), path)
    expected = net.state_dict()
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    if missing and all(key.startswith(official.training_only) for key in missing) and official.training_only:
        net.inference = True  # type: ignore[assignment]
        missing = []
    if missing:
        raise ValueError(f"{path} is no complete {name} checkpoint: {_some(missing)} missing")
    if unknown := [key for key in weights if key not in expected]:
        raise ValueError(f"{path} does not fit this {name}: it has {_some(unknown)} that the net has not")
    if wrong := [key for key in weights if weights[key].shape != expected[key].shape]:
        raise ValueError(f"{path} does not fit this {name}: {_some(wrong)} of another shape (other options?)")
    net.load_state_dict(weights, strict=False)
    return net.eval()


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a TorchScript file or a saved state dict, on the CPU."""
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return dict(torch.jit.load(path, map_location="cpu").state_dict())
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"{path} is no state dict: expected a dict of tensors")
    return loaded


def _without_aliases(tensors: dict[str, Tensor], prefix: str, twin: str, path: str | Path) -> dict[str, Tensor]:
    aliases = {key: twin + key.removeprefix(prefix) for key in tensors if key.startswith(prefix)}
    differ = [key for key, other in aliases.items() if other not in tensors or not tensors[key].equal(tensors[other])]
    if differ:
        warnings.warn(f"{path}: {_some(differ)} unequal to the same under {twin!r}, which is taken", stacklevel=3)
    return {key: value for key, value in tensors.items() if key not in aliases}


def _rename(tensors: dict[str, Tensor], names: dict[str, str], path: str | Path) -> dict[str, Tensor]:
    modules = {key: key.rpartition(".")[0] for key in tensors}
    if unknown := [key for key, module in modules.items() if module not in names]:
        raise ValueError(f"{path} holds {_some(unknown)} unknown to this model")
    return {f"{names[module]}.{key.rpartition('.')[2]}": tensors[key] for key, module in modules.items()}


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _modnet_names() -> dict[str, str]:
    names = {f"backbone.model.features.{i}.{j}": f"backbone.features.{i}.{j}" for i in (0, 18) for j in (0, 1)}
    for layer in range(1, 18):
        ours = ("0.0", "0.1", "1", "2") if layer == 1 else ("0.0", "0.1", "1.0", "1.1", "2", "3")
        # Every third of theirs is a ReLU6, which ours holds inside.
        theirs = (i for i in range(8) if i % 3 != 2)
        for index, name in zip(theirs, ours, strict=False):
            names[f"backbone.model.features.{layer}.conv.{index}"] = f"backbone.features.{layer}.conv.{name}"
    blocks = {
        "lr_branch.conv_lr16x": "semantic.conv_lr16",
        "lr_branch.conv_lr8x": "semantic.conv_lr8",
        "hr_branch.tohr_enc2x": "detail.to_e2",
        "hr_branch.conv_enc2x": "detail.conv_e2",
        "hr_branch.tohr_enc4x": "detail.to_e4",
        "hr_branch.conv_enc4x": "detail.conv_e4",
        **{f"hr_branch.conv_hr4x.{i}": f"detail.conv_hr4.{i}" for i in range(3)},
        **{f"hr_branch.conv_hr2x.{i}": f"detail.conv_hr2.{i}" for i in range(4)},
        "hr_branch.conv_hr.0": "detail.predict.conv",
        "f_branch.conv_lr4x": "fusion.conv_lr4",
        "f_branch.conv_f2x": "fusion.conv_f2",
        "f_branch.conv_f.0": "fusion.conv_f",
    }
    for official, ours_block in blocks.items():
        names[f"{official}.layers.0"] = f"{ours_block}.conv"
        names[f"{official}.layers.1.bnorm"] = f"{ours_block}.norm.batch_norm"
    return names | {
        "lr_branch.se_block.fc.0": "semantic.gate.squeeze",
        "lr_branch.se_block.fc.2": "semantic.gate.excite",
        "lr_branch.conv_lr.layers.0": "semantic.head",
        "hr_branch.conv_hr.1.layers.0": "detail.predict.head",
        "f_branch.conv_f.1.layers.0": "fusion.head",
    }


OFFICIAL: dict[str, Official] = {
    "modnet": Official(
        names=_modnet_names,
        aliases=("lr_branch.backbone.", "backbone."),
        training_only=("semantic.head.", "detail.predict."),
    ),
}
