"""Published checkpoints → our nets, by a table of module names per model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.nets.background_matting import BACKBONES as BGM_BACKBONES
from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.nets.build import build_net
from lightning_modules.nets.checkpoint_files import listed, read_tensors, rename_modules
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.onnx_files import is_onnx, place_convolutions, read_convolutions
from lightning_modules.nets.rvm import BACKBONES as RVM_BACKBONES
from lightning_modules.nets.segmentation import BACKBONES as SEGMENTATION_BACKBONES


class Official(NamedTuple):
    """How the checkpoint of one published model is read.

    Attributes:
        names: gives official module name → our module name; tensors in a module keep their names.
        aliases: (prefix, twin): tensors saved a second time under `prefix`; they must equal the twin's.
        training_only: our modules that exported files leave out; without them the net is set to
            `inference=True`.
        optional: our modules that a variant of the net may lack; what the file has of them is then ignored.
        variants: options of the nets that were published.
        unneeded: our modules that no matte needs; where a file has none of one, the net is left without it.
        onnx: whether there is a published ONNX file of it, too; that one lacks all that is unneeded.
    """

    names: Callable[[], dict[str, str]]
    aliases: tuple[str, str] | None = None
    training_only: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    variants: tuple[dict[str, str], ...] = ({},)
    unneeded: tuple[str, ...] = ()
    onnx: bool = False


def load_official(name: str, path: str | Path, **options: Any) -> MattingNet:
    """The net `name` with published weights, in eval mode on the CPU.

    Args:
        name: a key of `OFFICIAL`.
        path: a state dict saved by torch.save, a TorchScript file, or RVM's ONNX file.
        options: for `build_net`.

    Raises:
        ValueError: no such model or file, or tensors in it are unknown, missing, of another shape or no weights; the
            message says which published net the file looks like.
    """
    if name not in OFFICIAL:
        raise ValueError(f"no official weights are known for {name!r}; there are: {', '.join(sorted(OFFICIAL))}")
    official = OFFICIAL[name]
    net = build_net(name, **options)
    if is_onnx(path):
        return _load_onnx(net, name, Path(path)).eval()
    tensors = {key.removeprefix("module."): value for key, value in read_tensors(Path(path)).items()}
    if official.aliases is not None:
        tensors = _without_aliases(tensors, *official.aliases, path)
    try:
        _load_weights(net, name, rename_modules(tensors, official.names(), path), path)
    except ValueError as error:
        raise ValueError(f"{error}; {_looks_like(tensors)}") from error
    return net.eval()


def _load_onnx(net: MattingNet, name: str, path: Path) -> MattingNet:
    """Put the convolutions of an ONNX file into the net, its norms being folded into them."""
    official = OFFICIAL[name]
    if not official.onnx:
        raise ValueError(f"{path}: no ONNX file of {name} is read; give a state dict (.pth) or a TorchScript file")
    names, convolutions = official.names(), read_convolutions(path)
    kept = {each.name: each.weight for each in convolutions if each.module in names}
    # A part that this net lacks comes last.
    absent = tuple(part for part in official.optional if not any(key.startswith(part) for key in net.state_dict()))
    convolutions = list(takewhile(lambda each: not names.get(each.module, "").startswith(absent), convolutions))
    try:
        weights = place_convolutions(net, convolutions, names, official.unneeded)
    except ValueError as error:
        raise ValueError(f"{path} does not fit this {name}: {error}; {_looks_like(kept)}") from error
    _load_weights(net, name, weights, path)
    return net


def _load_weights(net: MattingNet, name: str, weights: dict[str, Tensor], path: str | Path) -> None:
    """Put all of a file's tensors, under our names, into the net, and see that they are all of it."""
    official = OFFICIAL[name]
    _leave_out_absent(net, official.unneeded, weights)
    expected = net.state_dict()
    for prefix in official.optional:
        if not any(key.startswith(prefix) for key in expected):
            weights = {key: value for key, value in weights.items() if not key.startswith(prefix)}
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    if missing and all(key.startswith(official.training_only) for key in missing) and official.training_only:
        net.skip_training_heads()
        missing = []
    if missing:
        raise ValueError(f"{path} is no complete {name} checkpoint: {listed(missing)} missing")
    if unknown := [key for key in weights if key not in expected]:
        raise ValueError(f"{path} does not fit this {name}: it has {listed(unknown)} that the net has not")
    if wrong := [key for key in weights if weights[key].shape != expected[key].shape]:
        raise ValueError(f"{path} does not fit this {name}: {listed(wrong)} of another shape (other options?)")
    if wrong := [key for key, value in weights.items() if not _is_weight(value, expected[key])]:
        raise ValueError(f"{path} does not fit this {name}: {listed(wrong)} not all finite numbers")
    net.load_state_dict(weights, strict=False)


def _is_weight(value: Tensor, expected: Tensor) -> bool:
    """Whether a tensor of a file can be this one: finite numbers, whole where whole ones are expected."""
    if value.is_floating_point() != expected.is_floating_point() or value.is_complex():
        return False
    return bool(value.isfinite().all())


def _looks_like(tensors: dict[str, Tensor]) -> str:
    """Which published net most of a file's tensors are of, by name and shape, and what to do."""
    shares: dict[str, float] = {}
    for call, (names, shapes) in _layouts().items():
        ours = {
            f"{names.get(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value.shape
            for key, value in tensors.items()
        }
        fit = sum(shapes.get(key) == shape for key, shape in ours.items())
        shares[call] = fit / max(len(tensors), 1)
    call, share = max(shares.items(), key=lambda item: item[1])
    if share < 0.5:
        return f"it looks like none of the published {', '.join(OFFICIAL)}"
    return f"it looks like what load_official({call}) reads"


@cache
def _layouts() -> dict[str, tuple[dict[str, str], dict[str, torch.Size]]]:
    """Module names, and shapes under our names, of each published net, by the arguments that `load_official` takes."""
    layouts = {}
    for name, official in OFFICIAL.items():
        names = official.names()
        for options in official.variants:
            with torch.device("meta"):
                shapes = {key: value.shape for key, value in build_net(name, **options).state_dict().items()}
            call = ", ".join([repr(name), "path", *(f"{option}={value!r}" for option, value in options.items())])
            layouts[call] = names, shapes
    return layouts


def _leave_out_absent(net: MattingNet, modules: tuple[str, ...], weights: dict[str, Tensor]) -> None:
    for module in modules:
        if not any(key.startswith(f"{module}.") for key in weights):
            setattr(net, module, None)


def start_from_deeplabv3(net: MattingNet, path: str | Path) -> list[str]:
    """Encoder and ASPP of a BackgroundMattingV2 from a DeepLabV3 checkpoint, the start of its published training.

    Args:
        net: a `background_matting_v2`, changed in place.
        path: state dict of torchvision's DeepLabV3, or a training checkpoint of VainF/DeepLabV3Plus-Pytorch.

    Returns:
        Names of the tensors that were taken.

    Raises:
        ValueError: the net is another one, there is no such file, or its tensors do not fit.
    """
    if not isinstance(net, BackgroundMattingV2):
        raise ValueError(f"only background_matting_v2 starts from a DeepLabV3, not {type(net).__name__}")
    try:
        return net.load_deeplabv3(read_tensors(Path(path), inside="model_state"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _without_aliases(tensors: dict[str, Tensor], prefix: str, twin: str, path: str | Path) -> dict[str, Tensor]:
    aliases = {key: twin + key.removeprefix(prefix) for key in tensors if key.startswith(prefix)}
    differ = [key for key, other in aliases.items() if other not in tensors or not tensors[key].equal(tensors[other])]
    if differ:
        warnings.warn(f"{path}: {listed(differ)} unequal to the same under {twin!r}, which is taken", stacklevel=3)
    return {key: value for key, value in tensors.items() if key not in aliases}


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


@cache
def _rvm_names() -> dict[str, str]:
    with torch.device("meta"):
        backbones = [build_net("rvm", backbone=backbone).get_submodule("backbone") for backbone in RVM_BACKBONES]
    # The encoders' names are torchvision's on both sides.
    names = {f"backbone.{name}": f"backbone.{name}" for encoder in backbones for name, _ in encoder.named_modules()}
    for stage in (1, 2, 3):
        names[f"decoder.decode{stage}.conv.0"] = f"decoder.stage{stage}.conv.0"
        names[f"decoder.decode{stage}.conv.1"] = f"decoder.stage{stage}.conv.1"
        names[f"decoder.decode{stage}.gru.ih.0"] = f"decoder.stage{stage}.recurrent.unit.gates"
        names[f"decoder.decode{stage}.gru.hh.0"] = f"decoder.stage{stage}.recurrent.unit.candidate"
    return names | {
        "aspp.aspp1.0": "aspp.conv",
        "aspp.aspp1.1": "aspp.norm",
        "aspp.aspp2.1": "aspp.gate",
        "decoder.decode4.gru.ih.0": "decoder.bottleneck.unit.gates",
        "decoder.decode4.gru.hh.0": "decoder.bottleneck.unit.candidate",
        **{f"decoder.decode0.conv.{i}": f"decoder.output.{i}" for i in (0, 1, 3, 4)},
        "project_mat.conv": "matting_head",
        "project_seg.conv": "segmentation_head",
        "refiner.box_filter": "refiner.box",
        **{f"refiner.conv.{i}": f"refiner.conv.{i}" for i in (0, 1, 3, 4, 6)},
    }


@cache
def _background_matting_names() -> dict[str, str]:
    """All names are the same on both sides."""
    with torch.device("meta"):
        nets = [build_net("background_matting_v2", backbone=backbone) for backbone in BGM_BACKBONES]
    return {name: name for net in nets for name, _ in net.named_modules()}


def _torchvision_names(net: str, variants: tuple[dict[str, str], ...]) -> dict[str, str]:
    """Ours hold torchvision's model as it is, without the second head that only its training needs."""
    with torch.device("meta"):
        models = [build_net(net, **options).get_submodule("model") for options in variants]
    names = {name: f"model.{name}" for model in models for name, _ in model.named_modules()}
    return names | {f"aux_classifier.{layer}": f"model.aux_classifier.{layer}" for layer in (0, 1, 4)}


def _torchvision(net: str, variants: tuple[dict[str, str], ...] = ({},)) -> Official:
    names = partial(_torchvision_names, net, variants)
    return Official(names, optional=("model.aux_classifier.",), variants=variants)


OFFICIAL: dict[str, Official] = {
    "modnet": Official(
        names=_modnet_names,
        aliases=("lr_branch.backbone.", "backbone."),
        training_only=("semantic.head.", "detail.predict."),
    ),
    "rvm": Official(
        names=_rvm_names,
        optional=("refiner.",),
        variants=tuple({"backbone": each} for each in RVM_BACKBONES),
        unneeded=("segmentation_head",),
        onnx=True,
    ),
    "background_matting_v2": Official(
        names=_background_matting_names,
        optional=("refiner.",),
        variants=tuple({"backbone": each} for each in BGM_BACKBONES),
    ),
    "deeplabv3": _torchvision("deeplabv3", tuple({"backbone": each} for each in SEGMENTATION_BACKBONES)),
    "lraspp": _torchvision("lraspp"),
}
