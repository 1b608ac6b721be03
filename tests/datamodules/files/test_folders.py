import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.files import folders
from datamodules.files.folders import by_name, frame_files, name_of, natural_key, pairs, pictures_in, visible

SYSTEM = [".DS_Store", "._3.png", "Thumbs.db", "desktop.ini", ".hidden.png"]
SYSTEM_FOLDERS = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "lost+found"]


def touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True), st.sampled_from(["", "frame_", "Übung 2 "]))
def test_numbers_in_names_sort_as_numbers(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{number}.png" for number in sorted(numbers)]


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *[f"frame_{t}.png" for t in (10000, 2, 9999, 10)])
    assert [file.stem for file in frame_files(tmp_path)] == ["frame_2", "frame_10", "frame_9999", "frame_10000"]


def test_hidden_and_system_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, *SYSTEM, "1.png", "2.PNG", "notes.txt")
    for name in SYSTEM_FOLDERS:
        touch(tmp_path / name, "1.png")
    touch(tmp_path / "3.png", "inside.png")  # a folder, whatever it is called
    assert [path.name for path in visible(tmp_path)] == ["1.png", "2.PNG", "3.png", "notes.txt"]
    assert [path.name for path in pictures_in(tmp_path)] == ["1.png", "2.PNG"]


@pytest.mark.parametrize("other", ["0003.jpg", "3.png", "0003.PNG"])
def test_the_same_frame_twice_is_named(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "0002.png", "0003.png", other)
    with pytest.raises(ValueError, match=r"have one frame: rename or remove one") as error:
        frame_files(tmp_path)
    assert "0003.png" in str(error.value)
    assert other in str(error.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.1_rgb.mp4", "a.1_rgb"), ("a.2.png", "a.2"), ("v1.5", "v1.5"), ("x.tar", "x.tar"), ("B.MP4", "B")],
)
def test_names_keep_their_dots(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_folders_keep_what_looks_like_an_ending(tmp_path: Path) -> None:
    (tmp_path / "take.mp4").mkdir()
    assert name_of(tmp_path / "take.mp4") == "take.mp4"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    with pytest.raises(ValueError, match="have one name, 'Zoë'"):
        by_name([tmp_path / f"{composed}.png", tmp_path / f"{decomposed}.jpg"], name_of)


def test_partners_are_found_by_name_in_either_spelling_of_accents(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    first, second = (by_name([Path(f"{name}.png")], name_of) for name in (composed, decomposed))
    assert list(pairs(first, second, ("picture", "mask"), (tmp_path, tmp_path))) == [composed]


@pytest.mark.parametrize("lost", [0, 1])
def test_who_has_no_partner_is_named(tmp_path: Path, lost: int) -> None:
    sides = [{"a": Path("a.jpg"), "b": Path("b.jpg")}, {"a": Path("a.png"), "b": Path("b.png")}]
    del sides[lost]["b"]
    with pytest.raises(ValueError, match=f"b.{('png', 'jpg')[lost]}: no {('picture', 'mask')[lost]} for it"):
        pairs(sides[0], sides[1], ("picture", "mask"), (tmp_path, tmp_path))


@pytest.mark.parametrize("target", ["nowhere", "a_rgb"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "a_rgb").symlink_to(target)
    with pytest.raises(ValueError, match="a_rgb: a link that leads nowhere"):
        visible(tmp_path)


def test_a_folder_is_listed_again_when_a_file_comes_or_goes(tmp_path: Path) -> None:
    touch(tmp_path, "0.png", "1.png")
    assert len(frame_files(tmp_path)) == 2
    touch(tmp_path, "2.png")  # at once
    assert len(frame_files(tmp_path)) == 3
    os.utime(tmp_path, (1e9, 1e9))  # long ago
    frame_files(tmp_path)
    before = folders._listed.cache_info().hits
    assert [file.name for file in frame_files(tmp_path)] == ["0.png", "1.png", "2.png"]
    assert folders._listed.cache_info().hits == before + 1
    (tmp_path / "0.png").unlink()
    os.utime(tmp_path, (1e9 + 5, 1e9 + 5))
    assert [file.name for file in frame_files(tmp_path)] == ["1.png", "2.png"]
