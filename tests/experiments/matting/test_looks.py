from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.video import read_frames
from experiments.matting.looks import Backdrop, Painter, parse_targets
from lightning_modules.nets.interface import MattingOutput
from tests.datamodules.films import write_film

FRAMES = torch.full((2, 3, 40, 60), 200, dtype=torch.uint8)
ALPHA = torch.zeros(1, 2, 1, 40, 60)
ALPHA[..., 20:] = 0.5
ALPHA[..., 40:] = 1


@pytest.mark.parametrize("names", ["alpha.mp4", [], None])
def test_what_is_written_is_a_list(names: object) -> None:
    with pytest.raises(ValueError, match="write must be a list"):
        parse_targets(names)


def test_unknown_outputs_are_told_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"there is no alpha\.avi; there are alpha\.mp4, alpha\.png, foreground\.mp4"):
        parse_targets(["alpha.mp4", "alpha.avi"])


def test_the_composite_is_alpha_f_plus_the_rest_of_the_backdrop() -> None:
    painter = Painter(parse_targets(["composite.mp4", "cutout.mov"]), Backdrop("#0000c8", (40, 60)))
    foreground = torch.full((1, 2, 3, 40, 60), 0.2)
    looks = painter.paint(FRAMES, MattingOutput(ALPHA, foreground), [0.0, 0.1])
    assert looks["composite"][1, :, 0, [0, 30, 50]].T.tolist() == [[0, 0, 200], [26, 26, 125], [51, 51, 51]]
    assert looks["cutout"][1, :, 0, [0, 30, 50]].T.tolist() == [[0, 0, 0, 0], [51, 51, 51, 128], [51, 51, 51, 255]]


def test_a_foreground_is_estimated_where_the_net_gives_none() -> None:
    painter = Painter(parse_targets(["foreground.mp4"]), None)
    looks = painter.paint(FRAMES, MattingOutput(ALPHA), [0.0, 0.1])
    assert set(looks) == {"foreground"}
    assert looks["foreground"][0, :, 0, 50].tolist() == [200, 200, 200]
    assert looks["foreground"][..., :20].max() == 0


def test_beside_each_other_stand_input_alpha_and_composite() -> None:
    painter = Painter(parse_targets(["side_by_side.mp4"]), Backdrop("white", (40, 60)))
    row = painter.paint(FRAMES, MattingOutput(ALPHA, torch.zeros(1, 2, 3, 40, 60)), [0.0, 0.1])["side_by_side"]
    assert row.shape == (2, 3, 40, 180)
    assert row[0, 0, 0, [50, 60 + 30, 120 + 10, 120 + 50]].tolist() == [200, 128, 255, 0]


def test_a_picture_covers_the_frame(tmp_path: Path) -> None:
    pixels = np.zeros((20, 200, 3), np.uint8)
    pixels[:, 85:115] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    behind = Backdrop(str(tmp_path / "wide.png"), (40, 60)).at([0.0, 7.0])
    assert behind.shape == (2, 3, 40, 60)
    assert behind.float().mean() > 250


def test_a_video_moves_in_its_own_time_and_begins_again(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", [0, 5, 10, 15], Fraction(1, 50))  # 10 frames a second
    frames = read_frames(path, [0, 1, 2, 3])
    seconds = [0.0, 0.05, 0.11, 0.31, 0.41, 0.62, 0.1]
    shown = Backdrop(str(path), (64, 96)).at(seconds)
    assert torch.equal(shown, frames[[0, 0, 1, 3, 0, 2, 1]])


def test_what_is_neither_colour_nor_file_is_told() -> None:
    with pytest.raises(ValueError, match=r"over=nowhere\.jpg: no such file, and not a colour"):
        Backdrop("nowhere.jpg", (40, 60))
