"""Nets by the name of their published weights; a server on this machine stands for the network."""

import hashlib
from pathlib import Path

import pytest
import torch

from lightning_modules.nets import build_net, from_pretrained
from lightning_modules.nets.pretrained import cache_folder, published_file
from lightning_modules.nets.published import PUBLISHED
from tests.file_server import FileServer
from tests.published_weights import SMALL, publish


@pytest.fixture
def weights(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    return publish(server, tmp_path, monkeypatch, {"width": 0.25})


@pytest.mark.slow
def test_a_net_comes_by_name_and_the_second_time_without_the_network(
    weights: bytes, server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = from_pretrained("ours", hidden=8)
    assert server.requests == ["ours.ckpt"]
    assert not first.training
    assert "weights   ours: MIT, https://page.example\n" in capsys.readouterr().err
    again = from_pretrained("ours", hidden=8)
    assert server.requests == ["ours.ckpt"]
    assert (tmp_path / "cache" / "ours.ckpt").read_bytes() == weights
    expected = build_net("modnet", **SMALL)
    expected.reset_parameters(1)
    for net in (first, again):
        assert all(torch.equal(net.state_dict()[key], value) for key, value in expected.state_dict().items())


def test_the_licence_is_told_before_anything_is_fetched(
    weights: bytes, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files.clear()
    with pytest.raises(ValueError, match="cannot be downloaded"):
        from_pretrained("ours")
    assert "ours: MIT" in capsys.readouterr().err


def test_offline_the_message_says_what_to_get_and_where_to_put_it(
    weights: bytes, server: FileServer, tmp_path: Path
) -> None:
    server.files.clear()
    place = tmp_path / "cache" / "ours.ckpt"
    with pytest.raises(ValueError, match="cannot be downloaded") as caught:
        published_file("ours")
    assert str(caught.value) == (
        f"ours cannot be downloaded (HTTP Error 404: Not Found): get {server.address}/ours.ckpt by other means "
        f"(its page: https://page.example) and put it at {place}"
    )
    place.write_bytes(weights)
    assert published_file("ours") == place


def test_a_damaged_file_in_the_cache_is_refused_by_name(weights: bytes, server: FileServer) -> None:
    path = published_file("ours")
    path.write_bytes(weights[:-1] + b"!")
    with pytest.raises(ValueError, match=f"^{path} is damaged or another file.*delete it"):
        from_pretrained("ours")
    assert server.requests == ["ours.ckpt"]


def test_a_file_whose_hash_nobody_has_published_is_taken_and_its_hash_told(
    weights: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PUBLISHED, "ours", PUBLISHED["ours"]._replace(sha256=None))
    published_file("ours")
    told = f"ours: SHA-256 {hashlib.sha256(weights).hexdigest()}; no published one is known"
    assert told in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_told(
    weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PORTRAIT_MATTING_WEIGHTS", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"cannot be written to .*file/cache \(Not a directory\); PORTRAIT_MATTING"):
        published_file("ours")


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PORTRAIT_MATTING_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "portrait-matting-lab" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "portrait-matting-lab" / "weights"
    monkeypatch.setenv("PORTRAIT_MATTING_WEIGHTS", "~/mine")
    assert cache_folder() == tmp_path / "mine"
