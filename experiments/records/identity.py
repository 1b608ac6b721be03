"""What tells one cell from another: the hash of its settings, and names that files can have."""

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


# Settings that cannot change a cell's numbers; they are not in its hash.
WITHOUT_EFFECT = ("cache_dir", "logger", "num_workers", "checkpoint_every")


def settings_hash(config: dict[str, Any]) -> str:
    """Hash of those settings of a cell's resolved config that its numbers depend on."""
    return config_hash(effective(config))


def effective(settings: Any) -> Any:
    """A config, or any part of one, without the settings that cannot change a cell's numbers."""
    if not isinstance(settings, dict):
        return settings
    return {name: effective(value) for name, value in settings.items() if name not in WITHOUT_EFFECT}


def short_name(name: str, longest: int = 60) -> str:
    """The name as a file system takes it: other characters replaced, a long end by a hash of the whole.

    >>> short_name("data.world=5,model.width=0.75")
    'data.world=5,model.width=0.75'
    >>> short_name("data.root=../my people"), short_name("..")
    ('data.root=.._my_people', '__')
    """
    plain = re.sub(r"[^\w.,=+-]", "_", name) if name.strip(".") else "_" * len(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 9]}+{config_hash({'name': name})[:8]}"
