"""Nets with published weights by name: downloaded once into the user's cache and checked before each use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from lightning_modules.nets.downloads import download, file_sha256
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.official import load_official
from lightning_modules.nets.published import Published, published

CACHE_VARIABLE = "PORTRAIT_MATTING_WEIGHTS"


def from_pretrained(name: str, **options: Any) -> MattingNet:
    """A net with the published weights of that name, in eval mode on the CPU; downloads them once.

    Args:
        name: a key of `PUBLISHED`, such as "rvm_mobilenetv3".
        options: for `build_net`, beside those that the weights ask for.

    Raises:
        ValueError: no weights have that name, they cannot be had or are damaged, or do not fit the options.
    """
    weights = published(name)
    return load_official(weights.net, published_file(name), **{**weights.options, **options})


def published_file(name: str) -> Path:
    """Where the file of the published weights `name` lies, downloaded if it is not there, its bytes checked.

    Their licence is told on stderr, and the SHA-256 of those whose published one is not known, as they are taken as
    they come.

    Raises:
        ValueError: no weights have that name, the file cannot be had, or has other bytes.
    """
    weights = published(name)
    path = cache_folder() / weights.file
    _tell(f"{name}: {weights.licence}, {weights.source}")
    if not path.is_file():
        _download(name, weights, path)
    _check(name, weights, path)
    return path


def cache_folder() -> Path:
    """The folder that PORTRAIT_MATTING_WEIGHTS names, else one in the user's cache."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portrait-matting-lab" / "weights"


def _download(name: str, weights: Published, path: Path) -> None:
    try:
        download(weights.address, path, weights.sha256)
    except ConnectionError as error:
        raise ValueError(
            f"{name} cannot be downloaded ({error}): get {weights.address} by other means (its page: "
            f"{weights.source}) and put it at {path}"
        ) from None  # the error's own causes say the same in more words
    except OSError as error:
        raise ValueError(
            f"{name} cannot be written to {path.parent} ({error.strerror}); {CACHE_VARIABLE}=FOLDER names another place"
        ) from None


def _check(name: str, weights: Published, path: Path) -> None:
    found = file_sha256(path)
    if weights.sha256 is None:
        _tell(f"{name}: SHA-256 {found}; no published one is known, compare it with others' before you trust it")
    elif found != weights.sha256:
        raise ValueError(
            f"{path} is damaged or another file: its SHA-256 is {found}, the published one {weights.sha256}; delete "
            "it, and the next call downloads it again"
        )


def _tell(text: str) -> None:
    print(f"weights   {text}", file=sys.stderr, flush=True)
