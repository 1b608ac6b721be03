"""What makes damage to a record seen: checksums of files and of JSON, and values of the wrong type."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

NUMBER = (int, float)
# Of the dicts of a record: what their values are.
VALUES: dict[str, tuple[type, ...]] = {
    "versions": (str,),
    "checksums": (str,),
    "steps": (dict,),
    "durations": NUMBER,
    "metrics": (*NUMBER, NoneType),
    "cost": (*NUMBER, NoneType, str),
}
TEXTS_OF_COST = ("frame",)
DATA: dict[str, type] = {"fingerprint": str, "files": int, "bytes": int, "parts": dict}
PART: dict[str, type] = {"digest": str, "files": int, "bytes": int}


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_checksum(content: Any) -> str:
    """SHA-256 of what a JSON file says, however it is laid out.

    Raises:
        ValueError: it cannot be written as JSON in UTF-8.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: it is no JSON, holds a number that is not finite or beyond 64 bits, or half a character.
    """
    content = json.loads(path.read_text(encoding="utf-8"), parse_int=_number, parse_constant=_refuse)
    content_checksum(content)
    return content


def wrong_type(content: dict[str, Any], usual: dict[str, Any]) -> str:
    """Which entry of a record is of another type than usual, and which it is; "" if none is.

    >>> wrong_type({"seed": "a", "metrics": {"mad": 1.0}}, {"seed": 0, "metrics": {}})
    'seed is of type str'
    """
    for name, value in content.items():
        expected = (*NUMBER, NoneType) if usual[name] is None else (type(usual[name]),)
        if not isinstance(value, expected) or isinstance(value, bool):
            return f"{name} is of type {type(value).__name__}"
        for key, item in value.items() if isinstance(value, dict) and name in VALUES else ():
            is_text = name == "cost" and key in TEXTS_OF_COST
            if not isinstance(item, VALUES[name]) or (name == "cost" and isinstance(item, str) is not is_text):
                return f"{name}.{key} is of type {type(item).__name__}"
    return _wrong_data(content["data"]) if content.get("data") else ""


def _wrong_data(data: dict[str, Any]) -> str:
    """`wrong_type` of the description of data, whose entries must all be there."""
    parts = data["parts"].items() if isinstance(data.get("parts"), dict) else ()
    for place, entries, kinds in (("data", data, DATA), *((f"data.parts.{name}", part, PART) for name, part in parts)):
        for name, kind in kinds.items():
            value = entries.get(name) if isinstance(entries, dict) else entries
            if not isinstance(value, kind) or isinstance(value, bool):
                return f"{place}.{name} is of type {type(value).__name__}"
    return ""


def finite(value: Any) -> Any:
    """`value` with NaN and infinity as None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(digits: str) -> int:
    value = int(digits)
    if abs(value) >= 2**63:
        raise ValueError(f"{digits[:20]}… has more than 64 bits")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
