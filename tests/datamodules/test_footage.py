from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.footage import Camera, Footage, Loop, open_footage
from datamodules.video import read_frames, stream_frames
from tests.datamodules.films import frame_times, write_film

UNEVEN = (0, 500, 1100, 1300, 2300, 2900, 3000, 4100)
BASE = Fraction(1, 12800)


@pytest.mark.parametrize("start", [0, 3, 7])
def test_a_stream_is_the_frames_that_are_read_singly(tmp_path: Path, start: int) -> None:
    path = write_film(tmp_path / "film.mp4", UNEVEN, BASE)
    streamed = torch.stack(list(stream_frames(path, start)))
    assert torch.equal(streamed, read_frames(path, list(range(start, len(UNEVEN)))))


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    footage = open_footage(str(write_film(tmp_path / "film.mp4", UNEVEN, BASE)))
    assert isinstance(footage, Footage)
    assert [time * footage.time_base for time in footage.times] == [time * BASE for time in UNEVEN]
    assert (footage.num_frames, footage.size) == (len(UNEVEN), (64, 96))


def test_a_clock_that_begins_anywhere_begins_with_the_film(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.ts", [3600 * k for k in range(6)], Fraction(1, 90_000))
    assert frame_times(path)[0] > 0
    footage = open_footage(str(path))
    assert isinstance(footage, Footage)
    assert [time * footage.time_base for time in footage.times] == [Fraction(k, 25) for k in range(6)]
    assert footage.origin == frame_times(path)[0]


def test_a_folder_has_the_rate_that_is_told(tmp_path: Path) -> None:
    for k in (1, 2, 10):
        Image.fromarray(np.full((40, 50, 3), 20 * k, np.uint8)).save(tmp_path / f"{k}.png")
    footage = open_footage(str(tmp_path), fps=12.5)
    assert [(float(time * footage.time_base), int(frame[0, 0, 0])) for time, frame in footage.read()] == [
        (0.0, 20), (0.08, 40), (0.16, 200)
    ]  # fmt: skip


def test_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="camera 97 cannot be opened"):
        open_footage("97")


def test_frames_of_a_camera_are_rgb_and_their_times_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Three:
        left = 4

        def __init__(self, number: int) -> None:
            assert number == 1

        def read(self) -> tuple[bool, Any]:
            self.left -= 1
            return (True, np.full((48, 64, 3), (1, 2, 3), np.uint8)) if self.left >= 0 else (False, None)

        def get(self, what: int) -> float:
            return 0.0

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Three)
    camera = open_footage("1", fps=15)
    assert isinstance(camera, Camera)
    assert (camera.size, camera.rate, camera.num_frames) == ((48, 64), 15, None)
    frames = camera.read()
    times, pictures = zip(*[next(frames) for _ in range(3)], strict=True)
    assert list(times) == sorted(set(times))
    assert pictures[0][:, 0, 0].tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="camera 1 gives no more pictures"):
        next(frames)


def test_a_loop_goes_on_where_the_film_ends_until_its_time_is_up(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", UNEVEN, BASE)
    film = Footage.open(tmp_path / "film.mp4", 30)
    shown = list(islice(Loop(film, 3, 60).read(), 7))
    times = [time for time, _ in shown]
    assert all(before < after for before, after in pairwise(times))
    assert times[:3] == list(film.times[:3])
    assert torch.equal(shown[0][1], shown[3][1])
    assert torch.equal(shown[0][1], shown[6][1])
    assert len(list(Loop(film, 3, 0).read())) == 1
