"""No file that is read can bring code along that runs."""

import ast
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.sources.cache import Frame, FrameCache
from experiments.inference.saved_nets import load_net

ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("lightning_modules", "datamodules", "experiments", "sweeps")
           for path in sorted((ROOT / room).rglob("*.py"))]  # fmt: skip
# What would run code that a file or a setting brings along.
FORBIDDEN = {
    *("eval", "exec", "os.system", "os.popen", "instantiate", "hydra.utils.instantiate", "yaml.load", "yaml.full_load"),
    *("yaml.unsafe_load", "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "pd.read_pickle"),
    *("torch.jit.load", "torch.hub.load", "shelve.open", "marshal.loads", "load_from_checkpoint"),
}


class Touch:
    """Unpickled by a reader that trusts its file, it makes another file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(each.arg == keyword and ast.unparse(each.value) == "True" for each in call.keywords)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_call_runs_what_a_file_brings_along(path: Path) -> None:
    for name, call in calls(path):
        place = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        assert name not in FORBIDDEN, place
        assert not name.endswith(".load_from_checkpoint"), place
        assert not is_true(call, "shell"), place
        assert not is_true(call, "allow_pickle"), place
        if name == "torch.load" or name.endswith((".fit", ".validate", ".test")):
            assert is_true(call, "weights_only"), place


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    for content in ({"model": {"name": "modnet"}, "state_dict": Touch(tmp_path / "run")}, Touch(tmp_path / "run")):
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            load_net(tmp_path / "model.pt", "modnet")
    assert not (tmp_path / "run").exists()


def test_a_cached_clip_that_would_run_code_is_rendered_anew(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, "people", 1, "", {"frames": Frame((2,))})
    assert cache.folder is not None
    cache.folder.mkdir()
    (cache.folder / "person.frames").write_bytes(pickle.dumps(Touch(tmp_path / "run")))
    with pytest.warns(UserWarning, match=r"person\.frames is damaged .* rendered anew"):
        assert cache.read("person", lambda: {"frames": np.ones((1, 2), np.uint8)})["frames"].tolist() == [[1, 1]]
    assert not (tmp_path / "run").exists()
