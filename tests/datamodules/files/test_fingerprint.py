"""Data are the same or not by their content and their names, wherever they lie and whenever they were written."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.files import fingerprint as module
from datamodules.files.fingerprint import CACHE, SPOT, WHOLE, Contents, contents_of, fingerprint
from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
from datamodules.sources.segmentation import ProceduralSegmentation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    for t in range(3):
        (tmp_path / "clip" / f"{t}.png").write_bytes(bytes([t]) * 1000)
    (tmp_path / "alone.png").write_bytes(b"alone")
    return tmp_path


def contents(folder: Path) -> Contents:
    return {"clip": folder / "clip", "alone": folder / "alone.png"}


def test_it_counts_files_and_bytes_and_the_same_set_elsewhere_is_the_same(folder: Path) -> None:
    found = fingerprint(contents(folder))
    assert (found.files, found.bytes, len(found.digest)) == (4, 3005, 16)
    shutil.copytree(folder, folder / "copy")
    assert fingerprint(contents(folder / "copy")) == found
    assert fingerprint(dict(reversed(contents(folder).items()))) == found


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "clip/1.png").write_bytes(b"\1" * 500 + b"\0" + b"\1" * 499),  # of the same size
        lambda folder: (folder / "clip/1.png").write_bytes(b"\1" * 999),
        lambda folder: (folder / "clip/1.png").rename(folder / "clip/4.png"),
        lambda folder: (folder / "clip/1.png").unlink(),
        lambda folder: (folder / "clip/3.png").write_bytes(b"\1" * 1000),
    ],
)
def test_every_change_of_a_picture_is_seen(folder: Path, change: Callable[[Path], None], cached: bool) -> None:
    cache = folder / "cache" if cached else None
    before = fingerprint(contents(folder), cache)
    change(folder)
    assert fingerprint(contents(folder), cache).digest != before.digest


def test_a_change_that_sets_the_time_back_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED", -1.0)
    file, cache = folder / "alone.png", folder / "cache"
    before, state = fingerprint(contents(folder), cache), file.stat()
    time.sleep(0.02)
    file.write_bytes(b"other")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint(contents(folder), cache).digest != before.digest


def test_a_file_is_read_once_while_it_is_not_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, read, whole = folder / "cache", list[str](), module._hash

    def counted(file: Path, size: int) -> str:
        read.append(file.name)
        return whole(file, size)

    monkeypatch.setattr(module, "_hash", counted)
    first = fingerprint(contents(folder), cache)
    assert not (cache / CACHE).exists()  # just written, they could change once more within the same tick of the clock
    monkeypatch.setattr(module, "SETTLED", -1.0)
    for _ in range(2):
        assert fingerprint(contents(folder), cache) == first
    assert sorted(read) == sorted(["0.png", "1.png", "2.png", "alone.png"] * 2)
    written = (cache / CACHE).read_bytes()
    digest = json.loads(written)["files"][str(folder / "alone.png")][3].encode()
    for damaged in (b'{"half', 100_000 * b"[", written.replace(digest, digest[::-1]), b"[]"):
        (cache / CACHE).write_bytes(damaged)
        assert fingerprint(contents(folder), cache) == first
    assert [path.name for path in cache.iterdir()] == [CACHE]


def test_hidden_files_and_other_files_of_a_folder_of_frames_do_not_count(folder: Path) -> None:
    before = fingerprint(contents(folder))
    for name in (".DS_Store", "._0.png", "Thumbs.db", "notes.txt"):
        (folder / "clip" / name).write_bytes(b"x")
    assert fingerprint(contents(folder)) == before


def test_links_to_one_picture_are_read_once_and_a_name_is_one_in_both_of_its_unicode_forms(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "clip/1.png").unlink()
    (folder / "clip/1.png").symlink_to("0.png")
    read = list[str]()
    monkeypatch.setattr(module, "_hash", lambda file, size: read.append(file.name) or "x")
    assert fingerprint({"clip": folder / "clip"}).files == 3
    assert sorted(read) == ["0.png", "2.png"]
    alone = folder / "alone.png"
    assert fingerprint({"jos\u00e9": alone}) == fingerprint({"jose\u0301": alone})


def test_a_large_video_is_sampled_at_its_ends_and_between(tmp_path: Path) -> None:
    video, size = tmp_path / "long.mp4", WHOLE * 40
    with video.open("wb") as file:
        file.truncate(size)  # takes no room on the disk

    def changed_at(*places: int) -> str:
        with video.open("r+b") as file:
            for place in places:
                file.seek(place)
                file.write(b"\1")
        found = fingerprint({"clip": video})
        with video.open("r+b") as file:
            for place in places:
                file.seek(place)
                file.write(b"\0")
        return found.digest

    same = fingerprint({"clip": video}).digest
    assert all(changed_at(place) != same for place in (0, SPOT - 1, size - 1))
    run = [
        size // 2 + k * (SPOT // 2) for k in range(size // 256 // (SPOT // 2) + 2)
    ]  # as long as the gap of two spots
    assert changed_at(*run) != same
    assert fingerprint({"clip": video}).digest == same


def test_a_video_of_some_megabytes_counts_byte_by_byte(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(bytes(WHOLE))
    before = fingerprint({"clip": video})
    with video.open("r+b") as file:
        file.seek(WHOLE // 2 + 12345)
        file.write(b"\1")
    assert fingerprint({"clip": video}).digest != before.digest


def test_what_is_made_by_code_is_its_options(tmp_path: Path) -> None:
    def digest(source: object) -> str:
        found = fingerprint(contents_of(source), tmp_path)
        assert (found.files, found.bytes) == (0, 0)
        return found.digest

    assert digest(ProceduralPeople(seed=1)) == digest(ProceduralPeople(seed=1, cache_dir=tmp_path / "elsewhere"))
    sources = [
        *(
            ProceduralPeople(**options)
            for options in ({}, {"seed": 1}, {"num_clips": 3}, {"part": "val"}, {"size": 64})
        ),
        *(ProceduralRooms(**options) for options in ({}, {"seed": 1}, {"num_scenes": 3}, {"clutter": 0.1})),
        *(ProceduralSegmentation(**options) for options in ({}, {"seed": 1}, {"shares": (1.0,)})),
    ]
    assert len({digest(source) for source in sources}) == len(sources)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: cannot be read \(No such file"):
        fingerprint({"a": tmp_path / "gone.png"})
    with pytest.raises(ValueError, match=r"object does not say what it is made of"):
        contents_of(object())
