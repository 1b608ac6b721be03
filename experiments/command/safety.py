"""What a config must not hold: secrets, and names that would lead out of the output folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

SECRET_NAME = re.compile(
    r"((api|access|private|secret)_?key|(^|[_-])(secret|token|passw(or)?d|credentials?))$", re.IGNORECASE
)
SHORTEST_SECRET = 8  # characters; a shorter value of a variable may be an ordinary word


def refuse_secrets(config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Make sure that nothing secret would be written into records, W&B configs and reports.

    Args:
        config: resolved and plain.
        overrides: those of the command line, which records keep too.

    Raises:
        ValueError: a setting is called like a secret (api_key, token, password, …), or holds the value of an
            environment variable that is called so; the message does not repeat the value.
    """
    given = [(name, text) for text in overrides for name in re.findall(r"([\w.]+)\s*[=:]", text)]
    hidden = {value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET}
    for name, value in (*_leaves(config), *given):
        if SECRET_NAME.search(name.rpartition(".")[2]) or any(secret in str(value) for secret in hidden):
            raise ValueError(
                f"{name}: settings are kept in run records and sent to W&B, so a secret must not be one; leave it in "
                "the environment (W&B reads WANDB_API_KEY, or what `wandb login` has stored)"
            )


def check_names(names: Mapping[str, str]) -> None:
    """Make sure that settings which become names of files and folders stay within theirs.

    Args:
        names: setting → its value.

    Raises:
        ValueError: one has another character than letters, digits and `. _ + = , -`, or none but dots.
    """
    for setting, name in names.items():
        if not re.fullmatch(r"[\w.+=,-]+", str(name)) or not str(name).strip("."):
            raise ValueError(f"{setting}: {name!r} names files; use letters, digits and . _ + = , -")


def _leaves(settings: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every single value with its dotted name.

    >>> _leaves({"model": {"brm": True, "widths": [1, 2]}})
    [('model.brm', True), ('model.widths', 1), ('model.widths', 2)]
    """
    if isinstance(settings, Mapping):
        return [leaf for key, value in settings.items() for leaf in _leaves(value, f"{name}.{key}".lstrip("."))]
    if isinstance(settings, list | tuple):
        return [leaf for value in settings for leaf in _leaves(value, name)]
    return [(name, settings)]
