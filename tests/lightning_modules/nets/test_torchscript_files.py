"""Archives of TorchScript are read as torch.jit.load reads them, and none of their code is run."""

import contextlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_modules.nets import build_net
from lightning_modules.nets.checkpoint_files import read_tensors
from lightning_modules.nets.official import load_official
from tests.lightning_modules.nets.torchscript import exported

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Everything(nn.Module):
    """Attributes of all kinds; only parameters and buffers are in its state dict."""

    maybe: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1, bias=False)
        self.shared = self.conv
        self.list = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))])
        self.names = nn.ParameterList([nn.Parameter(torch.rand(2))])
        self.register_parameter("absent", None)
        storage = torch.arange(24.0)
        self.register_buffer("turned", storage.view(4, 6).t())
        self.register_buffer("part", storage[5:20:3])
        self.register_buffer("last", nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last).weight.detach())
        self.register_buffer("expanded", torch.ones(1).expand(3))
        self.register_buffer("scalar", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.plain = torch.rand(3)
        self.maybe = torch.rand(4)
        self.several = [torch.rand(1)]
        self.by_name = {"a": torch.rand(1)}
        self.sizes, self.pair, self.device = [1, 2], (1.5, "x"), torch.device("cpu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.conv(x)[:, :2]) + self.plain.sum() + self.several[0] + self.by_name["a"] + self.sizes[0]
        return x + self.passing.sum() + self.pair[0] + self.turned.to(self.device).sum()


NETS = {"modnet": {"width": 0.25, "hidden": 8}, "rvm": {"width": 0.25, "decoder_width": 0.25}}


def traced(name: str) -> torch.jit.ScriptModule:
    backbone = build_net(name, **NETS[name]).eval().backbone
    layers = nn.Sequential(*backbone.features) if name != "rvm" else backbone
    channels = next(backbone.parameters()).shape[1]
    return torch.jit.trace(layers, torch.rand(1, channels, 32, 32), check_trace=False)


ARCHIVES: dict[str, Callable[[], torch.jit.ScriptModule]] = {
    "every kind of attribute": lambda: torch.jit.script(Everything()),
    "half": lambda: torch.jit.script(Everything().half()),
    "bfloat16": lambda: torch.jit.script(Everything().bfloat16()),
    "double": lambda: torch.jit.script(Everything().double()),
    "scripted modnet": lambda: torch.jit.script(exported(build_net("modnet", **NETS["modnet"]).state_dict())),
    **{f"traced backbone of {name}": lambda name=name: traced(name) for name in NETS},
}  # fmt: skip


def assert_equal(read: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(read) == list(expected)
    for key, value in expected.items():
        assert (read[key].dtype, read[key].stride()) == (value.dtype, value.stride()), key
        assert torch.equal(read[key], value), key


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHIVES)
def test_tensors_are_those_of_the_state_dict(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.torchscript"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing
        ARCHIVES[kind]().save(str(path))
    read = read_tensors(path)
    assert read
    assert_equal(read, torch.jit.load(path).state_dict())


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of an archive with other contents of its files; None leaves one out."""
    other = path.with_name("other.torchscript")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            data = change(name.partition("/")[2], archive.read(name))
            if data is not None:
                copy.writestr(name, data)
    return other


def save(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.complex64])
def test_bytes_of_a_machine_with_the_big_end_first_are_turned(tmp_path: Path, dtype: torch.dtype) -> None:
    path = save(exported({"a": torch.arange(6).to(dtype)}), tmp_path / "net.torchscript")
    width = torch.empty(0, dtype=dtype).element_size() // (2 if dtype.is_complex else 1)

    def turn(name: str, data: bytes) -> bytes:
        if name == "byteorder":
            return b"big"
        turned = b"".join(data[i : i + width][::-1] for i in range(0, len(data), width))
        return turned if name.startswith("data/") else data

    assert_equal(read_tensors(rewritten(path, turn)), read_tensors(path))


def test_archives_from_before_buffers_were_declared_have_them(tmp_path: Path) -> None:
    path = save(nn.Sequential(nn.BatchNorm2d(2)), tmp_path / "net.torchscript")
    old = rewritten(
        path, lambda name, data: b"\n".join(line for line in data.split(b"\n") if b"__buffers__" not in line)
    )
    assert_equal(read_tensors(old), read_tensors(path))


class Writes(nn.Module):
    """Writes a file as soon as torch.jit.load restores it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a

    @torch.jit.export
    def __getstate__(self) -> dict[str, Tensor]:
        return {"a": self.a}

    @torch.jit.export
    def __setstate__(self, state: dict[str, Tensor]) -> None:
        self.a = state["a"]
        self.training = False
        torch.save(self.a, "WRITTEN")


@pytest.mark.parametrize("read", [read_tensors, lambda path: load_official("modnet", path)], ids=["tensors", "net"])
@pytest.mark.parametrize("wrap", [lambda net: net, nn.Sequential], ids=["root", "within"])
def test_an_archive_that_would_write_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any], wrap: Callable[[nn.Module], nn.Module]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(wrap(Writes()), tmp_path / "net.torchscript")
    with pytest.raises(ValueError, match=r"Writes restores itself by code \(__setstate__\), which is not run") as error:
        read(path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]
    torch.jit.load(path)
    assert (tmp_path / "WRITTEN").exists(), "the archive is harmless and this test shows nothing"


def pickled(path: Path, content: bytes) -> Path:
    """The archive at `path` with another data.pkl."""
    return rewritten(path, lambda name, data: content if name == "data.pkl" else data)


class Calls:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("function", [Path.mkdir, exec, getattr, __import__, io.open, torch.load, pickle.loads])
def test_nothing_outside_the_table_is_called(tmp_path: Path, function: Callable[..., Any]) -> None:
    path = save(exported({"a": torch.ones(1)}), tmp_path / "net.torchscript")
    content = pickle.dumps(Calls(function, tmp_path / "run"), protocol=2)
    with pytest.raises(ValueError, match=r"it asks for \S+, which is not run"):
        read_tensors(pickled(path, content))
    assert not (tmp_path / "run").exists()


def test_modules_that_hold_each_other_come_to_an_end(tmp_path: Path) -> None:
    path = save(exported({"a": torch.ones(1)}), tmp_path / "net.torchscript")
    with zipfile.ZipFile(path) as archive:
        (content,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    new = content[2 : content.index(b")\x81") + 2]  # the class, whose name tells how many were scripted before
    itself = b"\x80\x02" + new + b"q\x00}X\x01\x00\x00\x00aX\x01\x00\x00\x00a0h\x00sb."
    with pytest.raises(ValueError, match=r"a.* holds itself"):
        read_tensors(pickled(path, itself))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    path = save(exported({"a": torch.ones(5)}), tmp_path / "net.torchscript")
    short = rewritten(path, lambda name, data: data[:8] if name == "data/0" else data)
    with pytest.raises(ValueError, match="data/0 has 8 bytes, not 5 × 4"):
        read_tensors(short)
    with zipfile.ZipFile(path) as archive:
        (content,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_tensors(pickled(path, content.replace(b"K\x00(K\x05", b"K\x00(K\x06")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), script=st.booleans())
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, place: float, bit: int, script: bool) -> None:
    path = tmp_path / "whole"
    tensors = {"a": torch.arange(40.0), "b": torch.ones(3, dtype=torch.float16)}
    torch.jit.script(exported(tensors)).save(str(path)) if script else torch.save(tensors, path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    with contextlib.suppress(ValueError):
        assert_equal(read_tensors(damaged), tensors)
