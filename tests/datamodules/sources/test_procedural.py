from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.painting.people import Person
from datamodules.sources.interface import BackgroundSource, ForegroundSource
from datamodules.sources.procedural import EXTRAS, ProceduralPeople, ProceduralRooms
from datamodules.sources.rendering import fill_caches

SMALL = {"num_clips": 3, "num_frames": 3, "size": 48, "seed": 5}


def same(a: object, b: object) -> bool:
    tensors = [(getattr(a, key), getattr(b, key)) for key in vars(a)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in tensors)


def test_sources_keep_the_protocols() -> None:
    assert isinstance(ProceduralPeople(**SMALL), ForegroundSource)
    assert isinstance(ProceduralRooms(), BackgroundSource)


def test_clip_is_a_function_of_seed_and_number_alone() -> None:
    alone = ProceduralPeople(**SMALL).read(2, [0, 1, 2])
    others_first = ProceduralPeople(**SMALL)
    others_first.read(0, [0])
    assert same(others_first.read(2, [0, 1, 2]), alone)
    more = ProceduralPeople(**{**SMALL, "num_clips": 9})
    assert same(more.read(2, [0, 1, 2]), alone)
    assert not same(ProceduralPeople(**{**SMALL, "seed": 6}).read(2, [0, 1, 2]), alone)


def test_clip_does_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    clips = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            clips.append(ProceduralPeople(**SMALL).read(0, [0, 2]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(*clips)


def test_frames_come_in_the_order_asked_for() -> None:
    source = ProceduralPeople(**SMALL)
    forth, back = source.read(1, [0, 2]), source.read(1, [2, 0])
    assert torch.equal(forth.fgr.flip(0), back.fgr)
    assert torch.equal(forth.pha.flip(0), back.pha)


def test_parts_show_different_people_and_places() -> None:
    people = [ProceduralPeople(**SMALL, part=part) for part in ("train", "val", "test")]
    rooms = [ProceduralRooms(size=40, part=part) for part in ("train", "val", "test")]
    names = {source.name(i) for source in (*people, *rooms) for i in range(3)}
    assert len(names) == 18
    assert "person-test-0001" in names
    pictures = [room.read(0, 1, torch.Generator()).pictures for room in rooms]
    clips = [source.read(0, [0]) for source in people]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(clips[a].fgr, clips[b].fgr)
        assert not torch.equal(pictures[a], pictures[b])


def test_cached_clip_equals_a_fresh_one(tmp_path) -> None:
    fresh = ProceduralPeople(**SMALL).read(1, [0, 1, 2])
    written = ProceduralPeople(**SMALL, cache_dir=tmp_path).read(1, [0, 1, 2])
    files = list(tmp_path.rglob("person-train-0001.rgba"))
    assert len(files) == 1
    reread = ProceduralPeople(**SMALL, cache_dir=tmp_path).read(1, [0, 1, 2])
    assert same(fresh, written)
    assert same(fresh, reread)


def test_prepare_fills_the_cache_once_and_tells_how_far_it_is(tmp_path) -> None:
    seen: list[tuple[int, int]] = []
    source = ProceduralPeople(**SMALL, cache_dir=tmp_path)
    fill_caches([source], lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    files = sorted(tmp_path.rglob("person-*"))
    assert len(files) == 9
    times = [file.stat().st_mtime_ns for file in files]
    fill_caches([ProceduralPeople(**SMALL, cache_dir=tmp_path)])
    assert [file.stat().st_mtime_ns for file in files] == times


def test_other_options_use_another_folder(tmp_path) -> None:
    ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0])
    ProceduralPeople(**SMALL, hair_fineness=0.1, cache_dir=tmp_path).read(0, [0])
    ProceduralRooms(size=40, cache_dir=tmp_path).read(0, 1, torch.Generator())
    ProceduralRooms(size=40, clutter=1.0, cache_dir=tmp_path).read(0, 1, torch.Generator())
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("size", [48, 77])
def test_a_cached_clip_has_the_pixels_that_the_painter_returns(tmp_path: Path, size: int) -> None:
    source = ProceduralPeople(**SMALL | {"size": size}, cache_dir=tmp_path)
    fill_caches([source])
    painted = Person(np.random.default_rng([0, 5, 0, 2]), size, 3, 0.6).render()
    clip = source.read(2, [2, 0])
    for read, whole in zip((clip.fgr, clip.pha, clip.flow, clip.texture), painted, strict=True):
        assert all(frame.is_contiguous() for frame in read)
        assert torch.equal(read, whole[[2, 0]])


def test_without_extras_colour_and_alpha_are_the_same_and_nothing_else_is_kept(tmp_path: Path) -> None:
    whole, bare = (ProceduralPeople(**SMALL, extras=extras, cache_dir=tmp_path) for extras in (EXTRAS, ()))
    clip = bare.read(0, [1])
    assert clip.flow is None
    assert clip.texture is None
    assert [path.suffix for path in tmp_path.rglob("person-*")] == [".rgba"]
    expected = whole.read(0, [1])
    assert torch.equal(clip.fgr, expected.fgr)
    assert torch.equal(clip.pha, expected.pha)
    assert ProceduralPeople(**SMALL, extras=("texture",), cache_dir=tmp_path).read(0, [1]).flow is None
    with pytest.raises(ValueError, match="extras are flow, texture; got speed"):
        ProceduralPeople(**SMALL, extras=("speed",))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_thousands_of_samples_leave_memory_and_open_files_as_they_were(tmp_path: Path) -> None:
    people = ProceduralPeople(num_clips=40, num_frames=8, size=96, extras=(), cache_dir=tmp_path)
    rooms = ProceduralRooms(num_scenes=40, size=64, cache_dir=tmp_path)
    for i in range(40):  # no matter what is seen
        people._store.fill(people.name(i), lambda: {"rgba": np.zeros((8, 4, 96, 96), np.uint8)})
        rooms._store.fill(rooms.name(i), lambda: {"planes": np.zeros((7, 64, 64), np.uint8)})

    def read(times: int) -> tuple[int, int]:
        for i in range(times):
            people.read(i % 40, [i % 8, (i + 1) % 8])
            rooms.read(i % 40, 1, torch.Generator())
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096, len([*Path("/proc/self/fd").iterdir()])

    before, after = read(200), read(3000)
    assert after[0] - before[0] < 4 << 20  # of 12 MB that the clips have
    assert after[1] == before[1]


def test_room_is_a_function_of_seed_and_number_alone(tmp_path) -> None:
    options = {"num_scenes": 4, "size": (40, 56), "seed": 3, "parallax": 1.0}
    scene = ProceduralRooms(**options).read(1, 7, torch.Generator())
    others_first = ProceduralRooms(**options, cache_dir=tmp_path)
    fill_caches([others_first])
    assert same(others_first.read(1, 7, torch.Generator()), scene)
    assert scene.pictures.shape == (1, 3, 40, 56)
    assert scene.near is not None
    assert scene.near.shape == (4, 40, 56)
    assert not scene.is_video


@pytest.mark.parametrize(
    "options", [{"part": "dev"}, {"size": 8}, {"hair_fineness": 1.5}, {"motion_speed": -1}, {"num_frames": 0}]
)
def test_people_refuse_options_out_of_range(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ProceduralPeople(**options)


@pytest.mark.parametrize("options", [{"part": "dev"}, {"size": 8}, {"clutter": 1.5}, {"distractors": -1}])
def test_rooms_refuse_options_out_of_range(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ProceduralRooms(**options)


def test_number_beyond_the_source_is_refused() -> None:
    with pytest.raises(IndexError, match="3"):
        ProceduralPeople(**SMALL).read(3, [0])
