"""Weights that a server of the tests publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.official import OFFICIAL
from lightning_modules.nets.published import PUBLISHED, Published
from tests.file_server import FileServer

SMALL = {"width": 0.25, "hidden": 8}


def publish(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any]) -> bytes:
    """A small MODNet under the published names, called "ours": on the server, and in the table with these options."""
    monkeypatch.setenv("PORTRAIT_MATTING_WEIGHTS", str(folder / "cache"))
    net = build_net("modnet", **SMALL)
    net.reset_parameters(1)
    theirs = {ours: theirs for theirs, ours in OFFICIAL["modnet"].names().items()}
    state = {f"{theirs[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in net.state_dict().items()}
    torch.save(state, folder / "ours.ckpt")
    content = server.files["ours.ckpt"] = (folder / "ours.ckpt").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    row = Published("modnet", f"{server.address}/ours.ckpt", sha256, "MIT", "https://page.example", options)
    monkeypatch.setitem(PUBLISHED, "ours", row)
    return content
