import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources.interface import BackgroundSource, ForegroundSource
from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
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
    files = list(tmp_path.rglob("person-train-0001.npz"))
    assert len(files) == 1
    reread = ProceduralPeople(**SMALL, cache_dir=tmp_path).read(1, [0, 1, 2])
    assert same(fresh, written)
    assert same(fresh, reread)


def test_prepare_fills_the_cache_once_and_tells_how_far_it_is(tmp_path) -> None:
    seen: list[tuple[int, int]] = []
    source = ProceduralPeople(**SMALL, cache_dir=tmp_path)
    fill_caches([source], lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 3
    times = [file.stat().st_mtime_ns for file in files]
    fill_caches([ProceduralPeople(**SMALL, cache_dir=tmp_path)])
    assert [file.stat().st_mtime_ns for file in files] == times


def test_other_options_use_another_folder(tmp_path) -> None:
    ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0])
    ProceduralPeople(**SMALL, hair_fineness=0.1, cache_dir=tmp_path).read(0, [0])
    ProceduralRooms(size=40, cache_dir=tmp_path).read(0, 1, torch.Generator())
    ProceduralRooms(size=40, clutter=1.0, cache_dir=tmp_path).read(0, 1, torch.Generator())
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("kind", ["flipped", "torn", "empty", "text", "another file"])
def test_a_damaged_clip_in_the_cache_is_told_and_rendered_anew(tmp_path: Path, kind: str) -> None:
    expected = ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0, 1, 2])
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "torn": whole[:middle],
        "empty": b"",
        "text": b"no clip",
        "another file": (np.save(tmp_path / "other.npy", np.ones(3)), (tmp_path / "other.npy").read_bytes())[1],
    }
    path.write_bytes(damaged[kind])
    with pytest.warns(UserWarning, match=r"person-train-0000\.npz is damaged \(.*\) and is rendered anew") as told:
        assert same(ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0, 1, 2]), expected)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert path.read_bytes() == whole
    assert same(ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0, 1, 2]), expected)


def test_no_flipped_bit_in_the_cache_changes_a_clip(tmp_path: Path) -> None:
    options = {"num_scenes": 1, "size": 32, "cache_dir": tmp_path}
    expected = ProceduralRooms(**options).read(0, 1, torch.Generator())
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    for place in range(0, len(whole), 61):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert same(ProceduralRooms(**options).read(0, 1, torch.Generator()), expected)


def test_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def stop(file, **arrays) -> None:
        file.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        ProceduralPeople(**SMALL, cache_dir=tmp_path).read(0, [0])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


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


def test_memory_holds_the_last_used_up_to_a_number_of_bytes(monkeypatch) -> None:
    source = ProceduralRooms(num_scenes=4, size=40, parallax=0.0)
    one = source.read(0, 1, torch.Generator()).pictures.numel()
    monkeypatch.setattr("datamodules.sources.procedural.HELD_BYTES", 2 * one)
    for i in (1, 0, 2):
        source.read(i, 1, torch.Generator())
    assert list(source._store.held) == ["room-train-0000", "room-train-0002"]
    assert source._store.num_bytes == 2 * one
