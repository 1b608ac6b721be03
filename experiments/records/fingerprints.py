"""What data a record is of: fingerprints of all that an evaluation or a cell reads, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from datamodules.files.fingerprint import Contents, fingerprint

# Parts of the data of an evaluation: a folder; the settings that composites of "people of test" and places depend on.
TEST_SET, TEST_CONDITIONS = "test set", "conditions of test"


def describe_data(parts: Mapping[str, Contents], cache_dir: str | Path | None) -> dict[str, Any]:
    """What a record says of its data: "fingerprint", "files" and "bytes" of all, and of each of the "parts".

    Args:
        parts: by name, "people of test" or "test set".
        cache_dir: keeps the hashes of files.

    Raises:
        ValueError: a file cannot be read.
    """
    found = {name: fingerprint(contents, cache_dir) for name, contents in parts.items()}
    return {
        "fingerprint": fingerprint({name: each.digest for name, each in found.items()}).digest,
        "files": sum(each.files for each in found.values()),
        "bytes": sum(each.bytes for each in found.values()),
        "parts": {name: asdict(each) for name, each in found.items()},
    }


def describe_weights(model: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the files whose weights a net starts from, by the option that names them."""
    flow = model.get("flow_options") or {}
    named = {"pretrained": model.get("pretrained"), "flow_options.weights": flow.get("weights")}
    return {
        option: fingerprint({"weights": Path(file)}).digest
        for option, file in named.items()
        if isinstance(file, str) and Path(file).is_file()
    }


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which parts of two descriptions differ and how, in one line; "" if all is the same.

    >>> part = {"digest": "ab", "files": 2, "bytes": 1_200_000}
    >>> one = {"fingerprint": "0", "parts": {"test set": part}}
    >>> what_changed(one, {"fingerprint": "1", "parts": {"test set": part | {"digest": "cd"}}})
    'test set (2 files, 1.2 MB, with other content)'
    """
    if before["fingerprint"] == now["fingerprint"]:
        return ""
    told = []
    for name in dict.fromkeys([*before["parts"], *now["parts"]]):
        old, new = before["parts"].get(name), now["parts"].get(name)
        if old != new:
            counts = size_text(old), size_text(new)
            told.append(
                f"{name} ({counts[0]}{', with other content' if len(set(counts)) == 1 else f'; now {counts[1]}'})"
            )
    return ", ".join(told)


def shared_data(data: Mapping[str, Any]) -> str | None:
    """One fingerprint of the people and places that all arms of a comparison have to see; None where none is told.

    Pictures for a segmentation pass are left out: they belong to the recipe that takes them, and so to the arm.
    """
    parts = data.get("parts") or {}
    digests = {name: each["digest"] for name, each in parts.items() if not name.startswith("segmentation.")}
    if len(digests) == len(parts):
        told: str | None = data.get("fingerprint")
        return told
    return fingerprint(digests).digest


def part_of_data(data: Mapping[str, Any], part: Literal["training", "test"]) -> str:
    """One fingerprint of what a record's `data` say of training and validation, or of the people and places of a test.

    "" where they say nothing of it. What else a test depends on, its conditions, is not in it.
    """
    digests = {
        name: each["digest"]
        for name, each in (data.get("parts") or {}).items()
        if name != TEST_CONDITIONS and (name.endswith("of test") or name == TEST_SET) == (part == "test")
    }
    return fingerprint(digests).digest if digests else ""


def size_text(data: Mapping[str, Any] | None) -> str:
    """How large some described data are: "2 files, 1.2 MB"."""
    if data is None:
        return "none"
    return f"{data['files']} files, {data['bytes'] / 1e6:.1f} MB" if data["files"] else "made by code"
