"""Files from the network: there whole or not at all, and with the bytes that they are told to have."""

from __future__ import annotations

import hashlib
import os
import secrets
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

SECONDS_WITHOUT_ANSWER = 30


def download(address: str, path: Path, sha256: str | None) -> None:
    """Get a file, with a bar on stderr if that is a terminal; its folder is made, and whatever fails leaves nothing.

    Raises:
        ConnectionError: the network, the server or something between gave no file, or only a part of it.
        ValueError: it has another SHA-256 than the one that is given.
        OSError: it cannot be written.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    console, digest = Console(stderr=True), hashlib.sha256()
    columns = (TextColumn(path.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with (
            temporary.open("xb") as file,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task(path.name, total=None)
            for block, size in _blocks(address):
                file.write(block)
                digest.update(block)
                progress.update(task, advance=len(block), total=size)
            file.flush()
            os.fsync(file.fileno())
        if sha256 not in (None, digest.hexdigest()):
            raise ValueError(
                f"{address} gave another file than the published one: its SHA-256 is {digest.hexdigest()}, "
                f"not {sha256}; nothing of it was kept"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _blocks(address: str) -> Iterator[tuple[bytes, int | None]]:
    """The bytes at an address, piece by piece, each with how many there are in all, where the server tells it."""
    try:
        with urllib.request.urlopen(address, timeout=SECONDS_WITHOUT_ANSWER) as response:
            if response.headers.get_content_type() == "text/html":
                raise ConnectionError("a web page came instead of the file")
            told = response.headers.get("Content-Length")
            size, done = None if told is None else int(told), 0
            while block := response.read(1 << 18):
                done += len(block)
                yield block, size
            if size is not None and done < size:
                raise ConnectionError(f"the connection ended after {done} of {size} bytes")
    except (OSError, HTTPException) as error:
        raise ConnectionError(str(error).removeprefix("<urlopen error ").removesuffix(">")) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
