"""Mattes that no net makes, against values worked by hand."""

from dataclasses import replace

import pytest
import torch

from datamodules.batch import MattingBatch
from datamodules.video_matting import VideoMattingDataModule
from experiments.scoring.floors import evaluate_floors, mean_training_matte, plate_difference
from experiments.training.data import make_typical_data
from tests.batches import tiny_batch
from tests.experiments.training.composed import settings_of, stage_of


class Clip:
    """Two frames; the person, white on black, is the left half, then the left three quarters."""

    name, scene, stratum, key = "anna", "room", "static", "static/0000"
    num_frames, size = 2, (32, 32)
    has_foreground = has_background = True

    def read(self, start: int, stop: int) -> MattingBatch:
        alpha = torch.zeros(1, 2, 1, 32, 32)
        alpha[:, 0, ..., :16] = alpha[:, 1, ..., :24] = 1
        alpha, white = alpha[:, start:stop], torch.ones(1, stop - start, 3, 32, 32)
        return tiny_batch(alpha, white, 0 * white, clip="anna", stratum="static")


def test_floors_score_what_they_do_by_hand() -> None:
    half = torch.zeros(1, 1, 1, 16, 16)
    half[..., :8] = 0.6
    half[..., 8:] = 0.4
    table = evaluate_floors([Clip()], half)
    mad = {method: rows["mad"].tolist() for method, rows in table.groupby("method")}
    assert mad["empty matte"] == pytest.approx([0.5, 0.75])
    assert mad["first true matte held"] == pytest.approx([0, 0.25])
    assert mad["mean training matte above ½"] == pytest.approx([0, 0.25])
    # The box reaches two columns past the edge: 5 of 25 pixels, or more, are above 1/20.
    assert mad["difference to the first plate"] == pytest.approx([2 / 32, 2 / 32])
    held = table[table["method"] == "first true matte held"]["dtssd"].tolist()
    assert held == pytest.approx([0, 0.5])  # the true matte changes by 1 in a quarter of the frame
    assert set(table) == {"clip", "scene", "stratum", "frame", "mad", "mse", "dtssd", "method"}


def test_floors_that_cannot_be_had_are_left_out() -> None:
    clip = Clip()
    clip.has_background = False
    assert set(evaluate_floors([clip], None)["method"]) == {"empty matte", "first true matte held"}


@pytest.mark.parametrize(("difference", "found"), [(0.04, 0), (0.06, 1)])
def test_a_frame_differs_from_its_plate_above_a_twentieth(difference: float, found: int) -> None:
    plate = torch.full((1, 1, 3, 8, 8), 0.5)
    assert plate_difference(plate.expand(1, 2, 3, 8, 8) - difference, plate).unique().tolist() == [found]


def test_the_mean_training_matte_is_that_of_single_frames_of_training() -> None:
    data = VideoMattingDataModule(
        source={part: {"name": "procedural", "num_clips": 2, "num_frames": 2} for part in ("train", "val", "test")},
        size=32, clip_length=1, batch_size=1, num_steps=2,
    )  # fmt: skip
    mattes = [batch.alpha for batch in data.train_loader(0, 2, 0, 1)]
    assert torch.equal(mean_training_matte(data), (mattes[0] + mattes[1]) / 2)


def test_typical_data_are_those_of_the_first_stage_with_mattes() -> None:
    settings = settings_of("scale=smoke", "data.evaluation_seed=3")
    batch = {"batch_size": 2, "size": 48}
    people, mattes = {"data": "segmentation.image", **batch}, {"data": "matting", **batch}
    first = stage_of(passes={"people": people, "none": None, "mattes": mattes}, order=["people", "mattes"])
    found = make_typical_data(replace(settings, stages={"first": first, "next": stage_of(size=64)}), 5)
    assert found is not None
    assert (found.size, found.clip_length, found.num_steps, found.seed) == ((48, 48), (1, 1), 5, 3)
    plain = make_typical_data(replace(settings, stages={"first": stage_of(size=96)}), 5)
    assert plain is not None
    assert plain.size == (96, 96)
    alone = stage_of(passes={"people": people}, order=["people"])
    assert make_typical_data(replace(settings, stages={"first": alone}), 5) is None
