"""Files from the network, which a server on this machine stands for."""

import hashlib
import resource
import socket
from pathlib import Path

import pytest

from lightning_modules.nets.downloads import download, file_sha256
from tests.file_server import FileServer

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_file_arrives_whole(server: FileServer, tmp_path: Path, sha256: str | None) -> None:
    server.files["net.pth"] = CONTENT
    download(f"{server.address}/net.pth", tmp_path / "new" / "net.pth", sha256)
    assert (tmp_path / "new" / "net.pth").read_bytes() == CONTENT
    assert file_sha256(tmp_path / "new" / "net.pth") == SHA256
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["net.pth"]


def test_other_bytes_are_refused_and_nothing_is_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["net.pth"] = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match=f"gave another file than the published one.*not {SHA256}; nothing of it was"):
        download(f"{server.address}/net.pth", tmp_path / "net.pth", SHA256)
    assert not list(tmp_path.iterdir())


def test_what_an_earlier_call_left_is_not_lost_by_a_failure(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"earlier")
    server.files["net.pth"] = b"other"
    with pytest.raises(ValueError, match="another file"):
        download(f"{server.address}/net.pth", tmp_path / "net.pth", SHA256)
    assert (tmp_path / "net.pth").read_bytes() == b"earlier"


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_torn_download_is_refused_and_nothing_is_kept(server: FileServer, tmp_path: Path, sha256: str | None) -> None:
    server.files["net.pth"] = CONTENT
    server.torn.add("net.pth")
    with pytest.raises(ConnectionError, match=f"ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"):
        download(f"{server.address}/net.pth", tmp_path / "net.pth", sha256)
    assert not list(tmp_path.iterdir())


def test_a_web_page_is_no_file(server: FileServer, tmp_path: Path) -> None:
    server.files["net.pth"] = b"<html>Log in to this network</html>"
    server.pages.add("net.pth")
    with pytest.raises(ConnectionError, match="a web page came instead"):
        download(f"{server.address}/net.pth", tmp_path / "net.pth", None)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_told(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="HTTP Error 404: Not Found"):
        download(f"{server.address}/net.pth", tmp_path / "net.pth", None)


def test_where_nobody_answers_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionError, match=r"^\[Errno \d+\] Connection refused$"):
        download(f"http://127.0.0.1:{port}/net.pth", tmp_path / "net.pth", None)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    server.files["net.pth"] = CONTENT
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            download(f"{server.address}/net.pth", tmp_path / "net.pth", SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not isinstance(caught.value, ConnectionError)
    assert not list(tmp_path.iterdir())
