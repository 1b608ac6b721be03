"""Whatever is given as a checkpoint: its tensors, or one line that says what it is."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_modules.nets.checkpoint_files import read_tensors
from lightning_modules.nets.official import OFFICIAL, load_official

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3).t(), "a.bias": torch.ones(2, dtype=torch.float16)}


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "inside"),
    [
        (TENSORS, ""),
        (OrderedDict((name, torch.nn.Parameter(value)) for name, value in TENSORS.items()), ""),
        ({"cur_itrs": 3, "model_state": TENSORS, "best_score": 0.5}, "model_state"),
        (TENSORS, "model_state"),
    ],
    ids=["dict", "parameters", "training checkpoint", "not inside"],
)
def test_state_dicts_of_both_formats_are_read(tmp_path: Path, content: Any, inside: str, zipped: bool) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(saved(content, _use_new_zipfile_serialization=zipped))
    read = read_tensors(path, inside)
    assert list(read) == list(TENSORS)
    assert all(torch.equal(read[name], value) for name, value in TENSORS.items())


def test_a_saved_net_of_ours_is_no_official_one(tmp_path: Path) -> None:
    torch.save({"model": {"name": "modnet"}, "state_dict": TENSORS}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is no state dict: its 'model' is of type dict; give a dict of"):
        load_official("modnet", tmp_path / "model.pt")


GARBAGE = {
    "empty": (b"", "it is empty"),
    "text": ("Gewichte für später\n".encode(), "it is text"),
    "yaml": (b"epochs: 3\n", "it is text"),
    "page": (b"\n<!DOCTYPE html><title>404</title>", "it is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(60), "it is damaged, or no file of torch.save"),
    "movie": (bytes(range(256)), "it is damaged, or no file of torch.save"),
    "torn zip": (saved(TENSORS)[:-40], "its archive is torn"),
    "torn legacy": (saved(TENSORS, _use_new_zipfile_serialization=False)[:-4], "it is damaged"),
    "other zip": (zipped(**{"word/document.xml": b"<x>"}), "it is a zip of word/document.xml, and none of torch.save"),
    "empty zip": (zipped(), "it is a zip without files"),
    "two in one": (zipped(**{"a/data.pkl": b"", "b/data.pkl": b""}), "it is a zip of a/data.pkl, b/data.pkl"),
    "pickle": (pickle.dumps({"a": 1}), "it is damaged, or no file of torch.save"),
    "code": (pickle.dumps(os.getcwd), "cannot be read as a checkpoint"),
    "net": (saved(torch.nn.Linear(1, 1)), "it asks for torch.nn.modules.linear.Linear, which is not run"),
    "ints": (saved({1: 2}), "is no state dict: its key 1 is no name"),
    "numbers": (saved({"a": 1}), "is no state dict: its 'a' is of type int"),
    "numbered": (saved({0: torch.ones(1)}), "is no state dict: its key 0 is no name"),
    "list": (saved([torch.ones(1)]), "is no state dict: it holds one object of type list"),
    "tensor": (saved(torch.ones(1)), "is no state dict: it holds one object of type Tensor"),
    "nothing": (saved({}), "is no state dict: it is an empty dict"),
}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("name", [next(iter(OFFICIAL))])
def test_garbage_is_refused_in_one_line(tmp_path: Path, kind: str, name: str) -> None:
    data, told = GARBAGE[kind]
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.pth") as error:
        load_official(name, path)
    print(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 250


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_official("modnet", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: b"\x80\x02" + data + b"."))
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.pth") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
