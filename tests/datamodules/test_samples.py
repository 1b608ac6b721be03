from pathlib import Path

import pytest
import torch

from datamodules.batch import Layers
from datamodules.difficulty import Difficulty
from datamodules.samples import EvaluationSamples, SampleKey, TrainingBatches, TrainingSamples
from datamodules.sources import build_backgrounds, build_foregrounds


def training(people: Path, rooms: Path, seed: int = 0) -> TrainingSamples:
    foregrounds = build_foregrounds("image_mattes", root=people, part="train", size=40)
    backgrounds = build_backgrounds("folder", root=rooms, part="train", size=48)
    return TrainingSamples(foregrounds, backgrounds, (32, 32), Difficulty(), seed)


def evaluation(people: Path, rooms: Path, num_clips: int = 3, **strata: Difficulty) -> EvaluationSamples:
    foregrounds = build_foregrounds("image_mattes", root=people, part="train", size=40)
    backgrounds = build_backgrounds("folder", root=rooms, part="train", size=48)
    return EvaluationSamples(foregrounds, backgrounds, (32, 32), strata, num_clips, 4, (0, "test"))


def equal(first: Layers, second: Layers) -> bool:
    pairs = [(value, getattr(second, name)) for name, value in vars(first).items()]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_sample_is_a_function_of_seed_and_index(people_folder: Path, rooms_folder: Path) -> None:
    samples = training(people_folder, rooms_folder)
    later = samples[SampleKey(5, 4)]
    assert equal(training(people_folder, rooms_folder)[SampleKey(5, 4)], later)
    assert not equal(samples[SampleKey(6, 4)], later)
    assert not equal(training(people_folder, rooms_folder, seed=1)[SampleKey(5, 4)], later)


def test_every_clip_and_scene_comes_once_a_lap(people_folder: Path, rooms_folder: Path) -> None:
    samples = training(people_folder, rooms_folder)
    assert len(samples.foregrounds) == len(samples.backgrounds) == 8
    laps = [[samples[SampleKey(i, 1)] for i in range(8 * lap, 8 * lap + 8)] for lap in range(3)]
    for name in ("clip", "scene"):
        orders = [[getattr(layers, name) for layers in lap] for lap in laps]
        assert all(len(set(order)) == 8 for order in orders)
        assert orders[0] != orders[1] != orders[2]
    assert len({(layers.clip, layers.scene) for lap in laps for layers in lap}) > 16


def test_strata_share_clips_scenes_and_draws(people_folder: Path, rooms_folder: Path) -> None:
    plain, loud = Difficulty(), Difficulty(noise_std=(0.1, 0.1))
    samples = evaluation(people_folder, rooms_folder, plain=plain, loud=loud)
    assert len(samples) == 6
    for i in range(3):
        first, second = samples[i], samples[3 + i]
        assert (first.stratum, second.stratum) == ("plain", "loud")
        assert (first.clip, first.scene) == (second.clip, second.scene)
        for name in ("fgr", "pha", "bgr", "fgr_affine", "bgr_affine", "fgr_gain", "bgr_gain"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        assert first.noise_std != second.noise_std


def test_more_clips_than_the_source_has_meet_other_scenes(people_folder: Path, rooms_folder: Path) -> None:
    samples = evaluation(people_folder, rooms_folder, 64, plain=Difficulty())
    pairs = {(samples[i].clip, samples[i].scene) for i in range(64)}
    assert len(pairs) == 64  # of 8 clips and 8 scenes


def test_pairs_are_distinct_whatever_the_numbers_of_clips_and_scenes(people_folder: Path, rooms_folder: Path) -> None:
    foregrounds = build_foregrounds("image_mattes", root=people_folder, part="train", size=40, shares=(0.2, 0.4, 0.4))
    backgrounds = build_backgrounds("folder", root=rooms_folder, part="train", size=48, shares=(0.3, 0.3, 0.4))
    assert (len(foregrounds), len(backgrounds)) == (2, 3)
    samples = EvaluationSamples(foregrounds, backgrounds, (32, 32), {"": Difficulty()}, 6, 1, (0, "test"))
    assert len({(samples[i].clip, samples[i].scene) for i in range(6)}) == 6


def test_no_pair_is_scored_twice_where_there_are_fewer_than_clips_asked_for(
    people_folder: Path, rooms_folder: Path
) -> None:
    assert len(evaluation(people_folder, rooms_folder, 65, plain=Difficulty(), slow=Difficulty())) == 2 * 64


def test_clip_length_is_drawn_for_a_batch() -> None:
    batches = list(TrainingBatches(200, 4, (1, 10), seed=3))
    lengths = [{key.num_frames for key in batch} for batch in batches]
    assert all(len(each) == 1 for each in lengths)
    drawn = [each.pop() for each in lengths]
    assert set(drawn) == set(range(1, 11))
    assert drawn == [batch[0][1] for batch in TrainingBatches(200, 4, (1, 10), seed=3)]
    assert drawn != [batch[0][1] for batch in TrainingBatches(200, 4, (1, 10), seed=4)]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_ranks_share_out_each_global_batch(num_ranks: int) -> None:
    whole = list(TrainingBatches(5, 6, (1, 10), seed=0))
    ranks = [list(TrainingBatches(5, 6, (1, 10), seed=0, rank=r, num_ranks=num_ranks)) for r in range(num_ranks)]
    for step, batch in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert sorted(sample for part in parts for sample in part) == batch
        assert {len(part) for part in parts} == {6 // num_ranks}


def test_restart_leaves_out_what_was_done_and_keeps_the_length() -> None:
    whole = list(TrainingBatches(6, 2, (1, 10), seed=0))
    resumed = TrainingBatches(6, 2, (1, 10), seed=0, start=4)
    assert len(resumed) == 6
    assert list(resumed) == whole[4:]
    assert list(resumed) == whole  # a second pass is whole


def test_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size 5 .* must divide by 2 devices"):
        TrainingBatches(1, 5, (1, 1), 0, num_ranks=2)
