"""The table of all nets, and how one is built from it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.nets.context_motion import ContextMotion
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.modnet import MODNet
from lightning_modules.nets.modnet_flow import MODNetFlow
from lightning_modules.nets.modnet_v import MODNetV
from lightning_modules.nets.rvm import RVM
from lightning_modules.nets.segmentation import LRASPP, DeepLabV3
from lightning_modules.options import check_names, check_options

NETS: dict[str, type[MattingNet]] = {
    "modnet": MODNet,
    "modnet_flow": MODNetFlow,
    "modnet_v": MODNetV,
    "rvm": RVM,
    "context_motion": ContextMotion,
    "background_matting_v2": BackgroundMattingV2,
    "deeplabv3": DeepLabV3,
    "lraspp": LRASPP,
}


def build_net(name: str, **options: Any) -> MattingNet:
    """A fresh net by its name in `NETS`; downloads nothing unless `pretrained=True` asks for it.

    Raises:
        ValueError: no net has that name, or that net no such option or value of it.
    >>> build_net("modnet", width=0.5).inference
    False
    """
    check_net(name, options)
    try:
        return NETS[name](**options)
    except ValueError as error:
        raise ValueError(f"net {name!r}: {error}") from error


def all_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a net with the defaults of those that are not given; none of a name that is not in `NETS`."""
    known = inspect.signature(NETS[name]).parameters.values() if name in NETS else ()
    return {option.name: options.get(option.name, option.default) for option in known}


def check_net(name: str, options: Mapping[str, Any]) -> None:
    """Check a net's name, and the names and types of its options, without building it.

    Raises:
        ValueError: no net has that name, or that net no such option, or an option is of another type.
    """
    if name not in NETS:
        raise ValueError(f"no net is called {name!r}; there are: {', '.join(sorted(NETS))}")
    check_names(f"net {name!r}", options, inspect.signature(NETS[name]).parameters)
    try:
        check_options(NETS[name], options)
    except ValueError as error:
        raise ValueError(f"net {name!r}: {error}") from error
