"""The net that a config describes, before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import start_from_deeplabv3


def make_net(model: Mapping[str, Any], seed: int) -> MattingNet:
    """The untrained net of config group `model`.

    Its weights depend on the seed and on their names alone, but for pretrained parts.
    """
    options = dict(model)
    pretrained = options.pop("pretrained", False)
    net = build_net(options.pop("name"), **options)
    net.reset_parameters(seed)
    if isinstance(pretrained, str):
        start_from_deeplabv3(net, pretrained)
    elif pretrained:
        net.load_pretrained()
    return net
