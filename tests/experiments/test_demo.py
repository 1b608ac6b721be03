"""The page, started as a user starts it, and asked for mattes over its API."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.video import probe
from experiments import demo
from experiments.matting import page
from tests.experiments.matting.films_and_nets import TIMES
from tests.experiments.matting.films_and_nets import files as files


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind((page.HOST, 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "experiments.demo", f"checkpoint={files}/model.pt", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"page      http://{page.HOST}:{port} on this machine alone")
            wait_for(port)
            yield f"http://{page.HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)  # though clients hold connections
            finally:
                process.kill()


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection((page.HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


@pytest.mark.slow
def test_a_picture_and_a_video_are_matted_and_nothing_is_asked_of_others(
    address: str, files: Path, tmp_path: Path
) -> None:
    client_module = pytest.importorskip("gradio_client")
    with urllib.request.urlopen(f"{address}/") as answer:
        policy, html = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert policy.startswith("default-src 'self'")
    assert not re.findall(r"(?:src|href)=\"https?://(?!127)", html)
    request = urllib.request.Request(f"{address}/", headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)

    net = demo.parse_net(f"checkpoint={files}/model.pt")
    client = client_module.Client(address, verbose=False, analytics_enabled=False, download_files=str(tmp_path))
    Image.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(tmp_path / "me.png")
    ask = {"api_name": "/matte"}
    handle = client_module.handle_file
    slider, left, right = client.predict(handle(tmp_path / "me.png"), net, net, "#ff0000", 0.5, **ask)[:3]
    assert (left, right) == (None, None)
    assert Image.open(slider[0]).size == (96, 64)
    slider, left, right = client.predict(handle(files / "film.mp4"), net, net, "white", 1.0, **ask)[:3]
    for video in (left, right):
        path = video["video"] if isinstance(video, dict) else video
        assert probe(path).num_frames == len(TIMES)
    with pytest.raises(Exception, match="unknown color specifier: 'no colour'"):
        client.predict(handle(files / "film.mp4"), net, net, "no colour", 0.5, **ask)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("rvm", "a net is weights=…, checkpoint=…, onnx=…, got 'rvm'"),
        ("weights=nobody", "nobody"),
        ("checkpoint=nowhere.pt", "there is no file nowhere.pt"),
    ],
)
def test_what_is_no_net_is_told(word: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        demo.main([word])


def test_a_checkpoint_that_does_not_say_its_net_is_told_before_the_page_is_shown(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "official.pth")
    with pytest.raises(ValueError, match=r"official.pth does not say which net it is of: .* weights=NAME"):
        demo.main([f"checkpoint={tmp_path / 'official.pth'}"])


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind((page.HOST, 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"--port .* cannot be used .* give another one"):
            demo.main(["--port", str(taken.getsockname()[1])])


def test_without_gradio_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=re.escape('gradio is missing: pip install -e ".[demo]"')):
        demo.main(["--port", "0"])


@pytest.mark.slow
def test_a_picture_is_matted_as_a_film_of_one_frame(files: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(tmp_path / "it's me.png")
    net = demo.parse_net(f"checkpoint={files}/model.pt")
    composite = page.matte_with(net, tmp_path / "it's me.png", "#010203", tmp_path / "work")
    assert page.picture_at(composite, 0.5).shape == (64, 96, 3)
