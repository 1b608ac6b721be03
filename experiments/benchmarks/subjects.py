"""The nets that a command line names: by their table, with options, or from a file of weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from experiments.inference.onnx_nets import load_onnx
from experiments.inference.saved_nets import load_net, saved_name
from lightning_modules.nets import all_options, build_net
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.pretrained import published_file
from lightning_modules.nets.published import published

# Millions of parameters in the papers' tables, by net and backbone.
PAPER_PARAMETERS = {
    ("modnet", None): 6.487,
    ("rvm", "mobilenetv3"): 3.749,
    ("rvm", "resnet50"): 26.890,
    ("background_matting_v2", "mobilenetv2"): 5.007,
    ("background_matting_v2", "resnet50"): 40.25,
    ("background_matting_v2", "resnet101"): 59.24,
    ("deeplabv3", "resnet101"): 61.00,
}


@dataclass
class Subject:
    """A net to be measured.

    Attributes:
        label: what the command line called it, and tables call it.
        name: of the net.
        options: for `build_net`, those that differ from their defaults.
        checkpoint: its weights, which fit the options, or with the name "onnx" the net itself; None for fresh ones.
    """

    label: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None

    def build(self) -> MattingNet:
        """The net in eval mode on the CPU; fresh weights are always the same.

        Raises:
            ValueError: no net has that name or those options, or the checkpoint does not fit.
        """
        if self.name == "onnx" and self.checkpoint is not None:
            return load_onnx(self.checkpoint)
        if self.checkpoint is not None:
            return load_net(self.checkpoint, self.name, **self.options)[0]
        net = build_net(self.name, **self.options)
        net.reset_parameters(0)
        net.skip_training_heads()
        return net.eval()

    @property
    def paper_parameters(self) -> float | None:
        """Millions of parameters that the paper prints for this net and backbone, None if it prints none."""
        return PAPER_PARAMETERS.get((self.name, all_options(self.name, self.options).get("backbone")))


def parse_subject(text: str) -> Subject:
    """The net that a command line names.

    Args:
        text: a name of `NETS`, a name with options, the path of a saved net, weights=NAME of published ones, or
            onnx=FILE of any net.

    Raises:
        ValueError: the text is none of these, the net has no such option, or the weights cannot be had.
    >>> parse_subject("rvm:backbone=resnet50").options
    {'backbone': 'resnet50'}
    """
    if text.endswith((".pt", ".pth", ".ckpt")):
        name = saved_name(Path(text))
        if name is None:
            raise ValueError(f"{text} does not say which net it holds; take a model.pt that experiments.run wrote")
        return Subject(f"{name} ({text})", name, checkpoint=Path(text))
    if text.startswith("onnx="):
        path = Path(text.removeprefix("onnx="))
        load_onnx(path)  # what it cannot do is told at once
        return Subject(str(path), "onnx", checkpoint=path)
    if text.startswith("weights="):
        label = text.removeprefix("weights=")
        weights = published(label)
        return Subject(label, weights.net, dict(weights.options), published_file(label))
    name, _, listed = text.partition(":")
    options = {}
    for setting in filter(None, listed.split(",")):
        key, sign, value = setting.partition("=")
        if not sign:
            raise ValueError(f"options of a net are key=value,key=value, got {setting!r} in {text!r}")
        options[key] = yaml.safe_load(value)
    with torch.device("meta"):  # a wrong name or option is told at once
        build_net(name, **options)
    return Subject(text, name, options)
