"""Caches are filled once, by several processes at once, with the pixels that one would have made."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datamodules.sources.procedural import ProceduralPeople, ProceduralRooms
from datamodules.sources.rendering import fill_caches, missing_pieces, total_cost

PEOPLE = {"num_clips": 3, "num_frames": 2, "size": 32, "extras": ()}


def sources(folder: Path) -> list[object]:
    return [ProceduralPeople(**PEOPLE, cache_dir=folder), ProceduralRooms(num_scenes=4, size=40, cache_dir=folder)]


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("[pr]*-*.*") if path.is_file()
    }


@pytest.mark.slow
def test_several_processes_make_the_pixels_of_one(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    fill_caches(sources(tmp_path / "one"), processes=1)
    fill_caches(sources(tmp_path / "two"), lambda done, total: told.append((done, total)), processes=2)
    assert told == [(done, 7) for done in range(1, 8)]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 7


def test_a_source_without_a_cache_and_one_that_is_none_are_passed_over(tmp_path: Path) -> None:
    fill_caches([ProceduralPeople(**PEOPLE), object(), "name"])
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_made_again_and_half_files_go(tmp_path: Path) -> None:
    people = sources(tmp_path)[0]
    fill_caches([people])
    first = contents(tmp_path)
    (kept, lost), folder = sorted(tmp_path.rglob("*.rgba"))[:2], people.cache
    times = kept.stat().st_mtime_ns
    lost.unlink()
    (folder / ".person-train-0001.rgba.k1ll3d.tmp").write_bytes(b"half")
    told: list[tuple[int, int]] = []
    fill_caches([people], lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]
    assert contents(tmp_path) == first
    assert kept.stat().st_mtime_ns == times
    assert not list(folder.glob("*.tmp"))


def test_a_whole_cache_is_not_written_to(tmp_path: Path) -> None:
    people = sources(tmp_path)[:1]
    fill_caches(people)
    (tmp_path / ".rendering").unlink()
    before = sorted(tmp_path.rglob("*"))
    fill_caches(people)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_error_in_another_process_is_that_of_the_call(tmp_path: Path) -> None:
    class Broken(ProceduralRooms):
        def fill(self, i: int) -> None:
            raise OSError(f"no room for {i}")

    with pytest.raises(OSError, match="no room for"):
        fill_caches([Broken(num_scenes=3, size=40, cache_dir=tmp_path)])


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server")
def test_a_kill_leaves_no_process_and_the_next_call_goes_on(tmp_path: Path) -> None:
    code = (
        "from datamodules.sources.procedural import ProceduralPeople\n"
        "from datamodules.sources.rendering import fill_caches\n"
        f"people = ProceduralPeople(num_clips=500, num_frames=2, size=32, cache_dir={str(tmp_path)!r}, extras=())\n"
        "fill_caches([people], processes=2)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 120
    while len(contents(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    deadline = time.monotonic() + 30
    while _of_session(killed.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _of_session(killed.pid)
    fill_caches([ProceduralPeople(num_clips=6, num_frames=2, size=32, cache_dir=tmp_path, extras=())])
    assert {f"person-train-{i:04d}.rgba" for i in range(6)} <= contents(tmp_path).keys()


@pytest.mark.slow
def test_two_commands_side_by_side_make_each_clip_once(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from datamodules.sources import rendering\n"
        "from datamodules.sources.procedural import ProceduralRooms\n"
        "class Told(ProceduralRooms):\n"
        "    def _render(self, i):\n"
        "        print('made', i, flush=True)\n"
        "        time.sleep(0.05)\n"
        "        return super()._render(i)\n"
        "rendering.PATIENCE = 0.05\n"
        f"rooms = Told(num_scenes=30, size=32, cache_dir={str(tmp_path)!r})\n"
        "rendering.fill_caches([rooms], lambda done, total: print('told', done, total, flush=True), processes=1)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(int(line.split()[1]) for told in lines for line in told if line.startswith("made")) == [*range(30)]
    # The one that waits sees how far the other is.
    assert all(told[-1].split()[:2] == ["told", told[-1].split()[2]] for told in lines if told)


def test_of_two_that_share_a_clip_it_is_made_once_with_all_that_is_asked_for(tmp_path: Path) -> None:
    bare = ProceduralPeople(**PEOPLE, cache_dir=tmp_path)
    whole = ProceduralPeople(**PEOPLE | {"extras": ("flow", "texture")}, cache_dir=tmp_path)
    told: list[tuple[int, int]] = []
    fill_caches([whole, bare, bare], lambda done, total: told.append((done, total)), processes=1)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {path.suffix for path in tmp_path.rglob("person-*")} == {".rgba", ".flow", ".texture"}


def test_the_cost_of_what_is_missing_is_the_size_of_its_files(tmp_path: Path) -> None:
    people = ProceduralPeople(**PEOPLE, cache_dir=tmp_path)
    expected = total_cost(missing_pieces([people])).num_bytes
    fill_caches([people])
    assert sum(path.stat().st_size for path in tmp_path.rglob("person-*")) == expected
    assert missing_pieces([people]) == []


def _of_session(session: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if "Z" not in line]
