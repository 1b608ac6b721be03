"""The command that mattes a user's own video, as a user calls it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from subprocess import CompletedProcess

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.video import probe, read_frames
from experiments import matte
from experiments.inference.saved_nets import load_net
from experiments.inference.streaming import Streaming, run_frames
from tests.datamodules.films import frame_times, sound_packets
from tests.experiments.in_process import run_here
from tests.experiments.matting.films_and_nets import TIMES
from tests.experiments.matting.films_and_nets import files as files

Command = Callable[..., CompletedProcess[str]]
WRITE = "alpha.mp4,alpha.png,composite.mp4,cutout.mov,cutout.webm,side_by_side.mp4,compare.png"


@pytest.fixture
def run(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    usual = (f"input={files}/film.mp4", f"checkpoint={files}/model.pt", "threads=1")
    return lambda *words: run_here(matte.main, [*usual, *words], monkeypatch, capsys)


def test_videos_keep_frames_times_and_sound_and_alpha_is_the_nets(run: Command, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (f"output={out}", f"write=[{WRITE}]", "over=#fff", "chunk=3")
    result = run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == {"alpha", "matte.json", *WRITE.split(",")} - {"alpha.png"}
    for name in ("alpha.mp4", "composite.mp4", "cutout.mov", "side_by_side.mp4"):
        assert frame_times(out / name) == frame_times(files / "film.mp4")
        assert sound_packets(out / name) == sound_packets(files / "film.mp4")
    assert all(
        abs(found - true) <= Fraction(1, 1000)
        for found, true in zip(frame_times(out / "cutout.webm"), frame_times(files / "film.mp4"), strict=True)
    )
    assert ".webm cannot hold sound in aac: coded anew as libopus" in result.stdout

    net, _ = load_net(files / "model.pt", "modnet_v")
    frames = read_frames(files / "film.mp4", list(range(len(TIMES))))
    mattes = run_frames(net, frames[None].float() / 255, None, None, Streaming(downsample_ratio="auto")).alpha[0]
    levels = (mattes * 255).round()
    pictures = [np.asarray(Image.open(out / "alpha" / f"{t:08d}.png")) for t in range(len(TIMES))]
    assert (torch.from_numpy(np.stack(pictures))[:, None] - levels).abs().max() <= 1
    assert probe(out / "alpha.mp4").num_frames == len(TIMES)
    decoded = read_frames(out / "alpha.mp4", list(range(len(TIMES))))
    assert (decoded[:, :1] - levels).abs().mean() < 1.5
    with av.open(str(out / "cutout.mov")) as container:
        cutout = np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)])
    assert (torch.from_numpy(cutout[..., 3])[:, None] - levels).abs().max() <= 2
    beside = np.asarray(Image.open(out / "compare.png")).astype(int)
    assert beside.shape == (64, 3 * 96, 3)
    assert np.array_equal(beside[:, :96], frames[0].permute(1, 2, 0).numpy())
    assert np.abs(beside[:, 96:192, 0] - levels[0, 0].numpy()).max() <= 1
    composite = read_frames(out / "composite.mp4", [0])[0].permute(1, 2, 0).numpy()
    assert np.abs(composite - beside[:, 192:]).mean() < 4

    assert run(*words).stdout == f"skip      {out}: complete; again=true mattes anew\n"


@pytest.mark.gpu
def test_gpu_mattes_a_video_as_a_cpu_does(run: Command, tmp_path: Path) -> None:
    pictures = {}
    ways = {"cpu": "device=cpu", "cuda": "device=cuda", "half": "device=cuda precision=16-mixed"}
    for name, words in ways.items():
        out = tmp_path / name
        told = run(f"output={out}", "write=[alpha.png]", "chunk=1", *words.split())
        assert told.returncode == 0, told.stderr
        pictures[name] = np.stack([np.asarray(Image.open(path)) for path in sorted((out / "alpha").iterdir())])
    for name in ("cuda", "half"):
        assert np.abs(pictures[name].astype(int) - pictures["cpu"]).mean() < 2


def test_what_is_given_twice_or_not_at_all_is_told_in_one_line(run: Command, files: Path, tmp_path: Path) -> None:
    for words, told in (
        ((f"output={tmp_path}", "weights=rvm"), "says which net it is and where it lies; leave checkpoint= out"),
        ((), "output must be given: add output=… to the command"),
        ((f"output={files}/film.mp4",), f"{files}/film.mp4 cannot be written (Not a directory); make room there"),
    ):
        result = run(*words)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert told in result.stderr
