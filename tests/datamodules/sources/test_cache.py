"""Frames come back from the disk as they were rendered, or are rendered again."""

import errno
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from datamodules.files import writing
from datamodules.sources import cache
from datamodules.sources.cache import Frame, FrameCache

CLIP = {
    "rgba": np.random.default_rng(0).integers(0, 256, (5, 4, 6, 7), np.uint8),
    "flow": np.random.default_rng(1).standard_normal((5, 2, 6, 7)).astype(np.float16),
}
PARTS = {"rgba": Frame((4, 6, 7)), "flow": Frame((2, 6, 7), "float16")}


def store(folder: Path | None, **changes: object) -> FrameCache:
    return FrameCache(
        **{"cache_dir": folder, "kind": "people", "version": 3, "described": "", "parts": PARTS} | changes
    )  # type: ignore[arg-type]


def unused() -> dict[str, np.ndarray]:
    raise AssertionError("it is there")


@pytest.mark.parametrize("frames", [None, [0], [4, 1, 1, 0], [2, 3]])
def test_what_is_read_is_what_was_rendered(tmp_path: Path, frames: list[int] | None) -> None:
    first = store(tmp_path).read("a", lambda: CLIP, frames)
    again = store(tmp_path).read("a", unused, frames)
    for part, whole in CLIP.items():
        expected = whole if frames is None else whole[frames]
        assert np.array_equal(first[part], expected)
        assert np.array_equal(again[part], expected)
        assert again[part].dtype == whole.dtype


@pytest.mark.parametrize("kind", ["flipped", "torn", "at a frame's end", "empty", "text", "longer"])
def test_a_damaged_file_is_told_in_one_line_and_rendered_anew(tmp_path: Path, kind: str) -> None:
    store(tmp_path).fill("a", lambda: CLIP)
    (path,) = tmp_path.rglob("a.rgba")
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "torn": whole[:middle],
        "at a frame's end": whole[: len(whole) // 5 * 3],
        "empty": b"",
        "text": b"no clip",
        "longer": whole + b"0",
    }
    path.write_bytes(damaged[kind])
    with pytest.warns(UserWarning, match=r"a\.rgba is damaged \(.*\) and is rendered anew") as told:
        assert np.array_equal(store(tmp_path).read("a", lambda: CLIP, [2])["rgba"], CLIP["rgba"][[2]])
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_no_flipped_bit_changes_a_frame(tmp_path: Path) -> None:
    store(tmp_path).fill("a", lambda: CLIP)
    for path in sorted(tmp_path.rglob("a.*")):
        whole = path.read_bytes()
        for place in range(0, len(whole), 13):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            with pytest.warns(UserWarning, match="damaged"):
                read = store(tmp_path).read("a", lambda: CLIP)
            assert all(np.array_equal(read[part], CLIP[part]) for part in CLIP)


def test_a_frame_is_checked_once_by_a_process_and_anew_by_another(tmp_path: Path) -> None:
    mine = store(tmp_path)
    mine.fill("a", lambda: CLIP)
    mine.read("a", unused, [0])
    (path,) = tmp_path.rglob("a.rgba")
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    assert mine.read("a", unused, [0])["rgba"][0, 0, 0, 0] == CLIP["rgba"][0, 0, 0, 0] ^ 1
    others = pickle.loads(pickle.dumps(mine))
    with pytest.warns(UserWarning, match=r"damaged \(frame 0\)"):
        assert np.array_equal(others.read("a", lambda: CLIP, [0])["rgba"], CLIP["rgba"][:1])


def test_a_full_disk_leaves_no_torn_file_and_what_is_whole_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path).fill("whole", lambda: CLIP)
    before = sorted(tmp_path.rglob("*"))

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(writing, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            store(tmp_path).fill("torn", lambda: CLIP)
    assert sorted(tmp_path.rglob("*")) == before
    assert not store(tmp_path).has("torn")
    store(tmp_path).fill("torn", lambda: CLIP)
    assert store(tmp_path).has("torn")


def test_a_part_that_is_missing_is_added(tmp_path: Path) -> None:
    bare = store(tmp_path, parts={"rgba": PARTS["rgba"]})
    bare.fill("a", lambda: CLIP)
    assert bare.has("a")
    assert not store(tmp_path).has("a")
    store(tmp_path).fill("a", lambda: CLIP)
    assert np.array_equal(store(tmp_path).read("a", unused, [1])["flow"], CLIP["flow"][[1]])
    assert bare.read("a", unused).keys() == {"rgba"}


def test_other_pixels_and_other_files_use_another_folder_and_old_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people-0123456789abcdef").mkdir()
    (tmp_path / "rooms-0123456789abcdef").mkdir()
    now = store(tmp_path)
    now.fill("a", lambda: CLIP)
    assert len({now.folder, store(tmp_path, described="other").folder, store(tmp_path, version=4).folder}) == 3
    assert now.outdated() == [tmp_path / "people-0123456789abcdef"]
    monkeypatch.setattr(cache, "LAYOUT", cache.LAYOUT + 1)
    assert store(tmp_path).outdated() == [tmp_path / "people-0123456789abcdef", now.folder]


def test_without_a_folder_memory_holds_the_last_used_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "HELD_BYTES", 2 * sum(array.nbytes for array in CLIP.values()))
    kept, rendered = store(None), list[str]()
    for name in ("b", "a", "c", "a", "b"):
        kept.read(name, lambda name=name: (rendered.append(name), CLIP)[1], [0])  # type: ignore[misc]
    assert rendered == ["b", "a", "c", "b"]


def test_an_unwritable_folder_that_is_whole_can_be_read(tmp_path: Path) -> None:
    store(tmp_path).fill("a", lambda: CLIP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = sorted(tmp_path.rglob("*"))
        store(tmp_path).read("a", unused)
        store(tmp_path).fill("a", unused)
    assert sorted(tmp_path.rglob("*")) == before
