"""Settings that are refused, each in one line, and what nets need beside frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.inference.saved_nets import save_net
from experiments.inference.streamed_nets import StreamedNet
from experiments.matting.request import read_plate
from lightning_modules.nets import build_net
from tests.experiments.matting.films_and_nets import SMALL, TIMES, Planner
from tests.experiments.matting.films_and_nets import files as files
from tests.experiments.matting.films_and_nets import planner as planner


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"input": "nowhere.mp4"}, "cannot decode nowhere.mp4: no such file; check the path"),
        ({"input": "{files}/model.pt"}, "model.pt: Invalid data"),
        ({"input": "{files}"}, "a folder without pictures"),
        ({"input": 97}, "camera 97 cannot be opened"),
        ({"checkpoint": None}, "which net. give weights=NAME, checkpoint=FILE"),
        ({"checkpoint": "nowhere.pt"}, "there is no checkpoint nowhere.pt"),
        ({"write": ["alpha.gif"]}, r"write: there is no alpha\.gif; there are alpha\.mp4,"),
        ({"over": "nowhere.jpg"}, r"over=nowhere\.jpg: no such file"),
        ({"background": "{files}/film.mp4"}, "modnet_v makes no use of a background"),
        ({"downsample_ratio": 2}, "downsample_ratio must be above 0 and at most 1"),
        ({"crf": 60}, r"crf must be a whole number from 0 \(lossless\) to 51"),
        ({"fps": 0}, "fps must be a number above 0"),
        ({"sound": "loud"}, "sound must be true or false"),
        ({"threads": 0}, "threads must be a number from 1 on"),
    ],
)
def test_bad_input_is_told_in_one_line(
    planner: Planner, files: Path, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    given = {name: each.format(files=files) if isinstance(each, str) else each for name, each in settings.items()}
    with pytest.raises(ValueError, match=told) as caught:
        planner.job(tmp_path / "out", **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_net_is_one_for_streams(planner: Planner, tmp_path: Path) -> None:
    assert isinstance(planner.job(tmp_path / "out").net, StreamedNet)


def test_a_net_that_needs_a_plate_is_given_it(planner: Planner, tmp_path: Path) -> None:
    options = {"backbone": "mobilenetv2", "width": 0.25, "refine_mode": "full"}
    net = build_net("background_matting_v2", **options)
    save_net(tmp_path / "net.pt", net, {"name": "background_matting_v2", **options, "pretrained": False})
    settings = {"model": "background_matting_v2", "checkpoint": tmp_path / "net.pt", "write": ["alpha.png"]}
    with pytest.raises(
        ValueError, match="needs a picture of the place without the person, from the same camera: backg"
    ):
        planner.job(tmp_path / "out", **settings)
    Image.fromarray(np.full((128, 192, 3), 90, np.uint8)).save(tmp_path / "plate.png")
    assert planner.run(tmp_path / "out", background=tmp_path / "plate.png", **settings)
    assert len(list((tmp_path / "out/alpha").iterdir())) == len(TIMES)


def test_a_plate_is_a_picture_or_the_first_frame_of_a_video(files: Path, tmp_path: Path) -> None:
    assert read_plate(files / "film.mp4", (32, 48)).shape == (1, 1, 3, 32, 48)
    Image.fromarray(np.full((192, 128, 3), 90, np.uint8)).save(tmp_path / "tall.png")
    with pytest.raises(ValueError, match=r"tall\.png: 128×192 pixels, the frames are 96×64; it must be the same view"):
        read_plate(tmp_path / "tall.png", (64, 96))


def test_a_net_that_needs_the_true_flow_is_refused(planner: Planner, tmp_path: Path) -> None:
    net = build_net("modnet_v", **SMALL, motion="oracle")
    save_net(tmp_path / "net.pt", net, {"name": "modnet_v", **SMALL, "motion": "oracle", "pretrained": False})
    with pytest.raises(ValueError, match="needs the true flow, which no video has: take a net that estimates flow"):
        planner.job(tmp_path / "out", checkpoint=tmp_path / "net.pt")
