"""What tells one cell from another: a hash of settings, and names that files can have."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any


def config_hash(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that name a resolved config, whatever the order of its keys.

    >>> config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1})
    True
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def short_name(name: str, longest: int = 60) -> str:
    """The name as a file system takes it: other characters replaced, a long end by a hash of the whole.

    >>> short_name("data.world=5,model.width=0.75")
    'data.world=5,model.width=0.75'
    >>> short_name("data.root=../my people"), short_name("..")
    ('data.root=.._my_people', '__')
    """
    plain = re.sub(r"[^\w.,=+-]", "_", name) if name.strip(".") else "_" * len(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 9]}+{config_hash({'name': name})[:8]}"
