"""Which person meets which scene, and that it hangs on (seed, stratum, number) alone."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.interface import ForegroundClip, Scene
from datamodules.testset.plans import ClipPlan, draw_plans, longest


class People:
    """Clips of some lengths; 1 is a still."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def name(self, i: int) -> str:
        return f"p{len(self) - i}"  # listed from the last name to the first

    def num_frames(self, i: int) -> int:
        return self.lengths[i]

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        raise AssertionError("a plan reads no pixels")


class Stills:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, i: int) -> str:
        return f"s{i:03d}"

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        raise AssertionError("a plan reads no pixels")


class Films(Stills):
    """The first `stills` are stills, the others videos of 10 frames."""

    def __init__(self, count: int, stills: int) -> None:
        super().__init__(count)
        self.stills = stills

    def is_video(self, i: int) -> bool:
        return i >= self.stills

    def num_frames(self, i: int) -> int:
        return 10 if self.is_video(i) else 1

    def read_frames(self, i: int, frames: list[int]) -> torch.Tensor:
        raise AssertionError("a plan reads no pixels")


def test_people_take_turns_and_every_second_lap_is_mirrored() -> None:
    plans = draw_plans(People(20, 20, 20), Films(12, 12), ["static"], 9, 10)
    assert [plan.foreground for plan in plans] == ["p1", "p2", "p3"] * 3
    assert [plan.mirrored for plan in plans] == [False] * 3 + [True] * 3 + [False] * 3
    assert [plan.folder for plan in plans] == [f"{i:04d}" for i in range(9)]


def test_scenes_come_in_a_random_order_of_their_own_in_each_stratum() -> None:
    plans = draw_plans(People(20), Films(40, 20), num_clips=20, num_frames=10)
    static, motion = ([plan.background for plan in plans if plan.stratum == each] for each in ("static", "motion"))
    assert sorted(static) == [f"s{i:03d}" for i in range(20)]
    assert sorted(motion) == [f"s{i:03d}" for i in range(20, 40)]
    assert static != sorted(static)
    assert [int(name[1:]) for name in static] != [int(name[1:]) - 20 for name in motion]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_no_pair_comes_twice_and_all_come_if_asked_for(people: int, scenes: int, num_clips: int) -> None:
    plans = draw_plans(People(*[20] * people), Stills(scenes), ["static"], num_clips, 10)
    pairs = {(plan.foreground, plan.background) for plan in plans}
    assert len(pairs) == len(plans) == min(num_clips, people * scenes)
    # Within the first common multiple the scenes just take turns, as in RVM's scripts.
    lap = math.lcm(people, scenes)
    assert all(a.background == b.background for a, b in zip(plans[:lap], plans[scenes:lap], strict=False))


def test_a_clip_does_not_hang_on_how_many_there_are_or_on_the_other_stratum() -> None:
    few = draw_plans(People(30, 1), Films(9, 4), num_clips=2, num_frames=5, seed=3)
    many = draw_plans(People(30, 1), Films(9, 4), num_clips=6, num_frames=5, seed=3)
    assert [plan for plan in few if plan.stratum == "motion"] == [p for p in many if p.stratum == "motion"][:2]
    assert few[:2] == draw_plans(People(30, 1), Films(9, 4), ["static"], 2, 5, seed=3)


def test_another_seed_is_another_set() -> None:
    one, two = (draw_plans(People(90), Films(9, 4), num_frames=5, seed=seed) for seed in (0, 1))
    assert [plan.start for plan in one] != [plan.start for plan in two]


@given(st.integers(0, 50))
def test_the_start_lies_in_the_protocols_range(seed: int) -> None:
    plans = draw_plans(People(13), Stills(5), ["static"], 5, 10, seed)
    assert all(0 <= plan.start <= 2 for plan in plans)
    assert {plan.start for plan in draw_plans(People(10), Stills(5), ["static"], 5, 10, seed)} == {0}


def test_stills_move_within_the_protocols_ranges() -> None:
    plans = draw_plans(People(1), Stills(200), ["static"], 200, 100)
    poses = [pose for plan in plans for pose in (plan.first_pose, plan.last_pose) if pose is not None]
    assert len(poses) == 400
    for values, low, high in (
        ([pose.degrees for pose in poses], -10, 10),
        ([pose.shift_x for pose in poses], -0.1, 0.1),
        ([pose.shift_y for pose in poses], -0.1, 0.1),
        ([pose.scale for pose in poses], 0.9, 1.1),
        ([pose.shear_degrees for pose in poses], -5, 5),
        ([plan.extent for plan in plans], 0, 1),
    ):
        assert low <= min(values) < low + (high - low) / 20
        assert high - (high - low) / 20 < max(values) <= high


def test_a_plan_survives_its_manifest() -> None:
    plans = draw_plans(People(1, 30), Stills(4), num_frames=7)
    assert [ClipPlan.of(entry) for entry in json.loads(json.dumps([asdict(plan) for plan in plans]))] == plans


def test_a_camera_moves_only_where_there_are_no_videos_or_where_it_is_asked_for() -> None:
    def cameras(scenes: Stills, moving_camera: bool | None) -> list[bool]:
        plans = draw_plans(People(20), scenes, num_clips=1, num_frames=5, moving_camera=moving_camera)
        return [plan.camera_seed is not None for plan in plans]

    assert cameras(Stills(3), None) == [False, True]
    assert cameras(Films(3, 3), None) == [False, True]
    assert cameras(Films(3, 2), None) == [False, False]
    assert cameras(Films(3, 2), True) == [False, True]


def test_the_shortest_video_limits_the_clips_and_a_still_does_not() -> None:
    assert longest(People(20, 1), Films(3, 2), ["static"], None) == (20, "p2")
    assert longest(People(20, 1), Films(3, 2), ["static", "motion"], None) == (10, "s002")
    assert longest(People(20, 1), Films(3, 2), ["static", "motion"], True) == (20, "p2")
    assert longest(People(1), Stills(3), ["static", "motion"], None) is None


@pytest.mark.parametrize(
    ("people", "scenes", "options", "message"),
    [
        (People(9), Films(2, 2), {}, "p1 has 9 frames, the test set's clips have 10"),
        (People(20), Films(2, 2), {"moving_camera": False}, "motion: no videos"),
        (People(20), Films(2, 0), {}, "static: no stills"),
        (People(20), Films(2, 1), {"num_frames": 11}, "s001 has 10 frames"),
        (People(20), Films(2, 1), {"strata": ["stil"]}, "stil unknown; known are static, motion"),
        (People(20), Films(2, 1), {"num_clips": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_made_is_told(people: People, scenes: Films, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_plans(people, scenes, **{"num_frames": 10, **options})  # type: ignore[arg-type]
