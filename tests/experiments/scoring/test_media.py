"""Which test clips are pictured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from experiments.scoring.media import PICTURED_CLIPS, MediaFolder


def clip(stratum: str, name: str, number: int) -> Any:
    return SimpleNamespace(stratum=stratum, name=name, key=f"{stratum}/{number:04d}", num_frames=2)


def test_of_each_person_the_first_clip_of_a_condition_is_pictured_in_whatever_order_they_are_scored(
    tmp_path: Path,
) -> None:
    laps = [clip(stratum, f"p{n % 4}", n) for stratum in ("static", "fast") for n in range(12)]
    media = MediaFolder(tmp_path, laps)
    in_other_order = sorted(laps, key=lambda each: (each.stratum, each.name), reverse=True)
    assert {each.key for each in in_other_order if media.of(each)} == {
        each.key for each in laps if each.key[-2:] < "04"
    }
    first = media.of(laps[0])
    assert first is not None
    assert first.strips is not None
    assert first.stem == tmp_path / "static__p0"


def test_only_so_many_are_pictured(tmp_path: Path) -> None:
    many = [clip("static", f"p{n:02}", n) for n in range(20)]
    media = MediaFolder(tmp_path, many)
    assert [media.of(each) is not None for each in many] == [n < PICTURED_CLIPS for n in range(20)]
