"""The sources of train, val and test that a config describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datamodules.sources import build_backgrounds, build_foregrounds
from datamodules.sources.interface import BackgroundSource, ForegroundSource
from datamodules.sources.splits import PARTS

SourceSpec = str | Mapping[str, Any]
"""A name; or {name, options…}; or one of these, or a ready source, for each of train, val, test."""


def open_parts(
    source: SourceSpec,
    backgrounds: SourceSpec,
    side: int,
    flow: bool,
    extras: Mapping[str, Sequence[str]] | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, tuple[ForegroundSource, BackgroundSource]]:
    """People and scenes of each part.

    Args:
        source: the people. Without an option `size` their canvas is 4/3 of `side`.
        backgrounds: the scenes. Without an option `size` their canvas is twice `side`: room for the camera.
        side: the output's shorter one, pixels.
        flow: whether the true flow is asked for.
        extras: by part, what people made by code have beside colour and alpha; None for all that is known of them.
        parts: that are opened.

    Raises:
        ValueError: a source is not usable, two parts share a clip or a scene, or flow is asked for and backgrounds
            are videos.
    """
    opened = {
        part: (
            _build(source, part, build_foregrounds, round(4 / 3 * side), (extras or {}).get(part)),
            _build(backgrounds, part, build_backgrounds, 2 * side),
        )
        for part in parts
    }
    if flow and any(getattr(pair[1], "has_videos", False) for pair in opened.values()):
        raise ValueError("flow=True needs still backgrounds and cut_share 0: set kinds=stills for the backgrounds")
    _refuse_shared_names("clip", {part: pair[0] for part, pair in opened.items()})
    _refuse_shared_names("scene", {part: pair[1] for part, pair in opened.items()})
    return opened


def _build(spec: Any, part: str, build: Any, canvas: int, extras: Sequence[str] | None = None) -> Any:
    """The source of one part that a spec describes."""
    if isinstance(spec, Mapping) and "name" not in spec:
        if missing := [each for each in PARTS if each not in spec]:
            raise ValueError(f"a source needs a name, or a source for each part; {', '.join(missing)} missing")
        return _build(spec[part], part, build, canvas, extras)
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Mapping):
        made_by_code = {"extras": extras} if spec["name"] == "procedural" and extras is not None else {}
        return build(**{"size": canvas, "part": part, **made_by_code, **spec})
    if not hasattr(spec, "read") or not hasattr(spec, "name"):
        raise ValueError(f"a source must be a name, a mapping {{name: …, options}} or a source itself, got {spec!r}")
    return spec


def _refuse_shared_names(what: str, sources: Mapping[str, Any]) -> None:
    owners: dict[str, str] = {}
    for part, source in sources.items():
        for name in {source.name(i) for i in range(len(source))}:
            if name in owners:
                raise ValueError(f"{what} {name!r} is in {owners[name]} and in {part}: split the source anew")
            owners[name] = part
