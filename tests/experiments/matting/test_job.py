"""A video matted into files: decoded again, stopped and gone on with, done once, on a full disk."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from datamodules.video import probe, read_frames
from experiments.inference.exported_files import write_onnx
from experiments.inference.saved_nets import load_net
from experiments.matting import job, pipeline
from lightning_modules.nets.frame_graphs import frame_graph
from tests.datamodules.films import frame_times, sound_packets, write_film
from tests.experiments.matting.films_and_nets import BASE, TIMES, Planner
from tests.experiments.matting.films_and_nets import files as files
from tests.experiments.matting.films_and_nets import planner as planner

FORKED = multiprocessing.get_context("fork")  # without a second import of everything


def seen(path: Path) -> Tensor:
    return read_frames(path, list(range(probe(path).num_frames)))


def test_a_turned_film_comes_out_upright_in_its_colours(planner: Planner, tmp_path: Path) -> None:
    film = write_film(tmp_path / "turned.mp4", TIMES[:3], BASE, turn=(0, 1, -1, 0))
    assert planner.run(tmp_path / "out", input=film, write=["side_by_side.mp4"])
    upright, row = seen(film), seen(tmp_path / "out/side_by_side.mp4")
    assert row.shape[-2:] == (96, 3 * 64)
    assert (row[..., :64].int() - upright.int()).abs().float().mean() < 4
    with av.open(str(tmp_path / "out/side_by_side.mp4")) as container:
        assert "DISPLAYMATRIX" not in next(container.decode(video=0)).side_data


def test_a_folder_of_frames_has_the_rate_that_is_told(planner: Planner, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for k in range(3):
        Image.fromarray(np.full((41, 67, 3), 60 * k, np.uint8)).save(tmp_path / "frames" / f"{k}.png")
    assert planner.run(tmp_path / "out", input=tmp_path / "frames", fps=10, write=["alpha.mp4", "foreground.png"])
    assert frame_times(tmp_path / "out/alpha.mp4") == [0, Fraction(1, 10), Fraction(1, 5)]
    assert Image.open(tmp_path / "out/foreground/00000002.png").size == (67, 41)


@pytest.mark.slow
def test_a_net_in_an_onnx_file_mattes_as_the_net_that_it_was_made_of(
    planner: Planner, files: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    net, _ = load_net(files / "model.pt", "modnet_v")
    write_onnx(tmp_path / "net.onnx", frame_graph(net), {})
    onnx = {"checkpoint": None, "model": None, "onnx": tmp_path / "net.onnx", "downsample_ratio": None}
    for name, settings in (("ours", {}), ("onnx", onnx)):
        assert planner.run(tmp_path / name, write=["alpha.png"], **settings)
    for k in range(len(TIMES)):
        ours, other = (np.asarray(Image.open(tmp_path / f"{name}/alpha/{k:08d}.png"), int) for name in ("ours", "onnx"))
        assert np.abs(ours - other).max() <= 1


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Segments of two pieces of two frames each; settings of a job that has them."""
    monkeypatch.setattr(job, "SEGMENT", 4)
    return {"write": ["alpha.png", "alpha.mp4"], "chunk": 2}


@pytest.fixture(scope="module")
def undisturbed(planner: Planner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `short_segments` gives in one go."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert planner.run(out, write=["alpha.png", "alpha.mp4"], chunk=2)
    return out


def stop_in(patch: pytest.MonkeyPatch, call: int, number: signal.Signals, saved: Path | None = None) -> None:
    """A signal reaches the process while the net works on a piece, and not before `saved` is there."""
    whole, calls = pipeline.run_frames, []

    def stopped(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            while saved is not None and not saved.exists():
                time.sleep(0.01)  # the net runs ahead of what writes
            os.kill(os.getpid(), number)
        return whole(*arguments)

    patch.setattr(pipeline, "run_frames", stopped)


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, 1), (signal.SIGKILL, -9)])
def test_what_is_stopped_goes_on_to_the_same_end(
    planner: Planner, files: Path, undisturbed: Path, short_segments: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals, ended: int,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_in(patch, 4, number, out / ".matte" / "progress.pt")
        process = FORKED.Process(target=lambda: os._exit(not planner.run(out, **short_segments)))
        process.start()
        process.join(60)
    assert process.exitcode == ended
    film = frame_times(files / "film.mp4")
    if number == signal.SIGINT:
        played = frame_times(out / "alpha.mp4")
        assert 2 <= len(played) < len(film)
        assert played == film[: len(played)]
        assert sound_packets(out / "alpha.mp4")[-1][0] < played[-1] + Fraction(1, 5)
    assert planner.run(out, **short_segments)
    assert "going on from frame" in capsys.readouterr().out
    assert not (out / ".matte").exists()
    for k in range(len(film)):
        name = f"alpha/{k:08d}.png"
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert frame_times(out / "alpha.mp4") == film
    assert sound_packets(out / "alpha.mp4") == sound_packets(files / "film.mp4")
    difference = seen(out / "alpha.mp4").int() - seen(undisturbed / "alpha.mp4").int()
    assert difference.abs().float().mean() < 3  # what coding does to noise, cut elsewhere


def test_what_is_finished_is_skipped_until_settings_input_or_files_change(
    planner: Planner, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = Path(shutil.copy(files / "film.mp4", tmp_path / "film.mp4"))

    def told(**settings: Any) -> str:
        assert planner.run(tmp_path / "out", input=film, write=["alpha.mp4"], **settings)
        return capsys.readouterr().out

    assert "done      10 frames" in told()
    assert "skip" in told()
    write_film(film, TIMES[:4], BASE)
    changed = told(crf=30)
    assert "changed   input, crf: " in changed
    assert "done      4 frames" in changed
    (tmp_path / "out/alpha.mp4").write_bytes(b"half")
    assert "done      4 frames" in told(crf=30)


def test_a_full_disk_is_told_and_what_is_done_is_kept(
    planner: Planner, short_segments: dict[str, Any], tmp_path: Path
) -> None:
    """No file may grow beyond a few kilobytes: what the system then says comes the same way as of a full disk."""
    settings = short_segments | {"write": ["cutout.mov"]}

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(ValueError, match=r"cannot be written \(File too large\); make room there or give another"):
            planner.run(tmp_path / "out", **settings)
        os._exit(7)

    process = FORKED.Process(target=cramped)
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert planner.run(tmp_path / "out", **settings)
    assert len(frame_times(tmp_path / "out/cutout.mov")) == len(TIMES)


def test_files_of_something_else_are_not_overwritten(planner: Planner, tmp_path: Path) -> None:
    (tmp_path / "alpha.mp4").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"holds alpha\.mp4 of something else; give another output="):
        planner.run(tmp_path)
    assert (tmp_path / "alpha.mp4").read_bytes() == b"mine"


def test_a_camera_is_recorded_until_it_is_stopped_and_never_overwritten(
    planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        def __init__(self, number: int) -> None:
            pass

        def read(self) -> tuple[bool, np.ndarray]:
            return True, np.full((64, 96, 3), 99, np.uint8)

        def get(self, what: int) -> float:
            return 25.0

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Endless)
    settings = {"input": 0, "chunk": 2, "write": ["alpha.mp4"]}
    with monkeypatch.context() as patch:
        stop_in(patch, 3, signal.SIGINT)
        assert planner.run(tmp_path / "out", **settings)
    times = frame_times(tmp_path / "out/alpha.mp4")
    assert len(times) >= 2
    assert times == sorted(set(times))
    with pytest.raises(ValueError, match="holds an earlier recording; give another output=, or again=true"):
        planner.run(tmp_path / "out", **settings)
