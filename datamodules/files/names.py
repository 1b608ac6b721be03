"""Names that come from files and settings and become paths: none leads out of the folder that it is joined to."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def inside(name: str) -> str:
    r"""The name as it is, if as a path it stays in its folder.

    Raises:
        ValueError: it is absolute, has a part `..`, or is no path at all.
    >>> inside("00f88c4f0a/00000.jpg"), inside("..a..b.png")
    ('00f88c4f0a/00000.jpg', '..a..b.png')
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.name or path.is_absolute() or ".." in path.parts or _CONTROL.search(name):
        raise ValueError(f"the name {name!r} leads out of its folder: give one without .. and a leading /")
    return name
