from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.splits import BUT_FOR_NUMBER, PARTS, shared_stems, split_names

HERE = Path("data")


@given(st.sets(st.text("abcxyz0123", min_size=1, max_size=6), min_size=3, max_size=60))
def test_parts_are_disjoint_whole_and_never_empty(names: set[str]) -> None:
    parts = [split_names(sorted(names), part, HERE) for part in PARTS]
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(names)
    assert all(parts)


def test_order_of_the_listing_does_not_matter() -> None:
    names = [f"clip{k}" for k in range(30)]
    assert split_names(names, "val", HERE) == split_names(names[::-1], "val", HERE)


def test_shares_are_kept() -> None:
    names = [f"clip{k}" for k in range(200)]
    assert [len(split_names(names, part, HERE)) for part in PARTS] == [160, 20, 20]
    assert len(split_names(names, "test", HERE, shares=(0, 0, 1))) == 200


def test_one_person_stays_in_one_part() -> None:
    names = [f"{person}_{k:02d}" for person in "abcdefgh" for k in range(5)]
    parts = [{name[0] for name in split_names(names, part, HERE, group=r"^.*?(?=_\d+$)")} for part in PARTS]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_names_come_in_the_order_of_their_numbers() -> None:
    names = [f"clip{k}" for k in (10, 9, 100, 1)]
    assert split_names(names, "train", HERE, shares=(1, 0, 0)) == ["clip1", "clip9", "clip10", "clip100"]


def test_names_that_differ_only_in_their_number_are_told_until_they_are_kept_together() -> None:
    names = [f"{who}_{k:02d}" for who in ("simpl_video1", "anna", "bo", "cy") for k in range(5)] + ["0001", "0002"]
    split = {part: split_names(names, part, HERE) for part in PARTS}
    assert "simpl_video1_" in (stems := shared_stems(split))
    assert sum(stems["simpl_video1_"].values()) == 5
    assert len(stems["simpl_video1_"]) > 1
    assert shared_stems({part: split_names(names, part, HERE, group=BUT_FOR_NUMBER) for part in PARTS}) == {}


def test_lists_decide(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\n")
    assert split_names(["c", "b", "a", "d"], "train", HERE, tmp_path) == ["a", "b"]
    assert split_names(["c", "b", "a", "d"], "test", HERE, tmp_path) == ["c"]


@pytest.mark.parametrize(
    ("name", "line"),
    [("e\u0301va", "\u00e9va"), ("\u00e9va", "e\u0301va"), ("a b", "a b"), ("#1", "#1")],
    ids=["decomposed name", "decomposed list", "blank", "number sign"],
)
def test_a_list_is_read_as_editors_write_it(tmp_path: Path, name: str, line: str) -> None:
    text = f"\ufeff# who trains\r\n{line}\r\n\r\nb  \r\n"
    (tmp_path / "train.txt").write_bytes(text.encode())
    assert split_names([name, "b", "c"], "train", HERE, tmp_path) == sorted([name, "b"])


def test_a_list_that_is_not_utf8_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("anna\n\u00e9va\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.txt, line 2: not UTF-8; save the list as UTF-8"):
        split_names(["anna"], "train", HERE, tmp_path)


def test_wrong_parts_and_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part must be one of"):
        split_names(["a"], "dev", HERE)
    with pytest.raises(ValueError, match="no names for test among 2"):
        split_names(["a", "b"], "test", HERE)
    with pytest.raises(ValueError, match=r"no names for val among 2, which belong together as 'a' says; .* add data"):
        split_names(["a1", "a2"], "val", HERE, group="a")
    with pytest.raises(ValueError, match=r"'\[' is no regular expression"):
        split_names(["a"], "train", HERE, group="[")
    with pytest.raises(ValueError, match=r"train\.txt: no such split list"):
        split_names(["a"], "train", HERE, tmp_path)
    (tmp_path / "train.txt").write_text("a\nz")
    with pytest.raises(ValueError, match="'z' is not in data"):
        split_names(["a"], "train", HERE, tmp_path)
    (tmp_path / "train.txt").write_text("a")
    (tmp_path / "test.txt").write_text("a")
    with pytest.raises(ValueError, match="listed for test and for train"):
        split_names(["a"], "train", HERE, tmp_path)
