"""The net that a config describes, before it is trained."""

from __future__ import annotations

from typing import Any

from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import start_from_deeplabv3


def make_net(config: dict[str, Any]) -> MattingNet:
    """The untrained net; its weights depend on the seed and on their names alone, but for pretrained parts."""
    options = dict(config["model"])
    pretrained = options.pop("pretrained", False)
    net = build_net(options.pop("name"), **options)
    net.reset_parameters(config["seed"])
    if isinstance(pretrained, str):
        start_from_deeplabv3(net, pretrained)
    elif pretrained:
        net.load_pretrained()
    return net
