"""Files that are whole or not there, whatever ends their writer; real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.files import writing
from datamodules.files.writing import place_folder, remove_abandoned, whole_file, write_file

WRITER = """
import sys
from datamodules.files.writing import whole_file
with whole_file(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def writer(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process in the midst of writing a file, and the unfinished file."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_writer_has_left_is_removed_and_a_living_one_is_not_disturbed(tmp_path: Path) -> None:
    killed, torn = writer(tmp_path / "killed.npz")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    living, unfinished = writer(tmp_path / "living.npz")
    assert {torn, unfinished} == set(tmp_path.iterdir())
    remove_abandoned(tmp_path)
    assert [*tmp_path.iterdir()] == [unfinished]
    living.communicate("")
    assert living.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["living.npz"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_says_who_may_read_a_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_file(tmp_path / "a", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(writing, "sync", lambda path: synced.append((path.name, (tmp_path / "a").exists())))
    write_file(tmp_path / "a", b"data")
    assert [done for _, done in synced] == [False, True]
    assert synced[0][0].startswith(".a.")
    assert synced[1][0] == tmp_path.name


def test_all_of_a_folder_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = tmp_path / ".clip"
    (unfinished / "com").mkdir(parents=True)
    (unfinished / "com" / "0000.png").write_bytes(b"picture")
    (unfinished / "com" / "0001.png").symlink_to("0000.png")
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(writing, "sync", lambda path: synced.append((path.name, (tmp_path / "clip").exists())))
    place_folder(unfinished, tmp_path / "clip")
    assert synced == [("com", False), ("0000.png", False), (".clip", False), (tmp_path.name, True)]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def write_half() -> None:
        with whole_file(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            raise KeyError

    write_file(tmp_path / "a", b"old")
    with pytest.raises(KeyError):
        write_half()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_disk_that_is_full_at_the_end_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    write_file(path, b"old")

    def broken(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
