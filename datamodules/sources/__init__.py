"""The tables of sources, by the names that configs use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from datamodules.sources.backgrounds import FolderBackgrounds
from datamodules.sources.image_mattes import ImageMattes
from datamodules.sources.interface import BackgroundSource, ForegroundSource
from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
from datamodules.sources.videomatte240k import VideoMatte240K, VideoMattes

FOREGROUNDS: dict[str, Callable[..., ForegroundSource]] = {
    "procedural": ProceduralPeople,
    "image_mattes": ImageMattes,
    "video_mattes": VideoMattes,
    "videomatte240k": VideoMatte240K,
}
BACKGROUNDS: dict[str, Callable[..., BackgroundSource]] = {
    "procedural": ProceduralRooms,
    "folder": FolderBackgrounds,
}


def build_foregrounds(name: str, **options: Any) -> ForegroundSource:
    """The source of people of that name; its options are its class's arguments.

    Raises:
        ValueError: the name or an option is unknown.
    """
    return build_source(FOREGROUNDS, name, options)


def build_backgrounds(name: str, **options: Any) -> BackgroundSource:
    """The source of backgrounds of that name; its options are its class's arguments.

    Raises:
        ValueError: the name or an option is unknown.
    """
    return build_source(BACKGROUNDS, name, options)


def build_source(table: Mapping[str, Callable[..., Any]], name: str, options: dict[str, Any]) -> Any:
    """The source of that name in a table.

    Raises:
        ValueError: the name or an option is unknown.
    """
    if name not in table:
        raise ValueError(f"no source named {name!r}; known are {', '.join(table)}")
    try:
        inspect.signature(table[name]).bind(**options)
    except TypeError as error:
        raise ValueError(f"source {name}: {error}; its options are {inspect.signature(table[name])}") from error
    return table[name](**options)
