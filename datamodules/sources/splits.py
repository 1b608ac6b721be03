"""Who belongs to train, val and test: decided from names alone, before anything is composited."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodules.files.folders import composed, natural_key

PARTS = ("train", "val", "test")
# What names have in common that differ only in the number at their end: the expression for `group` that joins them.
BUT_FOR_NUMBER = r".*\D(?=\d+$)"


def split_names(
    names: Sequence[str],
    part: str,
    where: Path,
    lists: str | Path | None = None,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    group: str = ".+",
) -> list[str]:
    """The names of one part in natural order; the three parts share no name and no group.

    Args:
        names: all names.
        part: "train", "val" or "test".
        where: the folder of the data, for messages.
        lists: folder with train.txt, val.txt and test.txt, UTF-8, a name a line, # before comments; None divides by a
            hash of the names.
        shares: of train, val and test; a share above 0 gets at least one group if there are enough.
        group: regular expression; names for which it matches the same text (one person) stay together.

    Raises:
        ValueError: the part is unknown or empty, a list is missing or names what is not there, or the group is no
            regular expression.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    chosen = _listed(names, part, where, Path(lists)) if lists else _hashed(names, part, shares, group)
    if not chosen:
        remedy = "fill its list" if lists else "train, val and test need one each that the others do not have: add data"
        grouped = "" if lists or group == ".+" else f", which belong together as {group!r} says"
        raise ValueError(f"{where}: no names for {part} among {len(names)}{grouped}; {remedy}")
    return sorted(chosen, key=lambda name: (natural_key(name), name))


def shared_stems(parts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Stems of names that differ only in the number at their end and yet are in several parts: perhaps one person.

    Args:
        parts: the names of each part.

    Returns:
        How many names each part has of each such stem.
    """
    counts: dict[str, dict[str, int]] = {}
    for part, names in parts.items():
        for name in names:
            if match := re.match(BUT_FOR_NUMBER, name):
                of_stem = counts.setdefault(match.group(), {})
                of_stem[part] = of_stem.get(part, 0) + 1
    return {stem: of_stem for stem, of_stem in counts.items() if len(of_stem) > 1}


def _listed(names: Sequence[str], part: str, where: Path, lists: Path) -> list[str]:
    spelt = {name: composed(name) for name in names}
    listed: dict[str, set[str]] = {}
    for each in PARTS:
        file = lists / f"{each}.txt"
        if each == part and not file.is_file():
            raise ValueError(f"{file}: no such split list; write one name a line")
        listed[each] = _read_list(file, set(spelt.values())) if file.is_file() else set()
    if unknown := sorted(listed[part] - set(spelt.values())):
        raise ValueError(f"{lists / part}.txt: {unknown[0]!r} is not in {where}; correct the list or add the data")
    for each in PARTS:
        if each != part and (both := sorted(listed[each] & listed[part])):
            raise ValueError(f"{lists}: {both[0]!r} is listed for {each} and for {part}; remove it from one")
    return [name for name in names if spelt[name] in listed[part]]


def _read_list(file: Path, known: set[str]) -> set[str]:
    """The names in a list, each in its composed spelling."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}, line {line}: not UTF-8; save the list as UTF-8") from error
    lines = (line.strip() for line in composed(text).split("\n"))
    return {line for line in lines if line in known or (line and not line.startswith("#"))}


def _hashed(names: Sequence[str], part: str, shares: tuple[float, float, float], group: str) -> list[str]:
    try:
        expression = re.compile(group)
    except re.error as error:
        raise ValueError(f"{group!r} is no regular expression for names: {error}; correct it") from error
    groups: dict[str, list[str]] = {}
    for name in names:
        match = expression.match(name)
        groups.setdefault(match.group() if match else name, []).append(name)
    order = sorted(groups, key=lambda key: hashlib.sha256(key.encode()).digest())
    by_share = sorted((k for k in range(3) if shares[k] > 0), key=lambda k: -shares[k])
    # One for each, the largest part first; then what each lacks of its share, and the largest takes the rest.
    counts = {each: int(k in by_share[: len(order)]) for k, each in enumerate(PARTS)}
    for k in by_share[:0:-1]:
        spare = len(order) - sum(counts.values())
        counts[PARTS[k]] += min(spare, max(0, round(len(order) * shares[k] / sum(shares)) - 1))
    counts[PARTS[by_share[0]]] += len(order) - sum(counts.values())
    start = sum(counts[each] for each in PARTS[: PARTS.index(part)])
    return [name for key in order[start : start + counts[part]] for name in groups[key]]
