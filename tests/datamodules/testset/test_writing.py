"""What is written is what is read in memory, and a killed run goes on."""

import fcntl
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.testset import CompositeTestSet, FolderTestSet, TestSet
from datamodules.testset.plans import ClipPlan
from datamodules.testset.writing import write_test_set

MakeSet = Callable[..., CompositeTestSet]
LAYERS = ("frames", "alpha", "foreground", "background")


def manifest(test_set: CompositeTestSet) -> dict[str, Any]:
    return {"format": 1, "versions": {"torch": "2.11"}, "clips": [asdict(plan) for plan in test_set.plans]}


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video_set", "still_set"])
@pytest.mark.parametrize("num_frames", [1, 3, 6])
def test_a_folder_holds_the_bits_of_the_set_in_memory(
    kind: str, num_frames: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    test_set = request.getfixturevalue(kind)(num_frames=num_frames, size=(17, 31))
    write_test_set(test_set, tmp_path / "set", manifest(test_set))
    written = FolderTestSet(tmp_path / "set")
    assert len(written) == len(test_set)
    for clip, other in zip(test_set, written, strict=True):
        assert (clip.key, clip.name, clip.scene, clip.stratum) == (other.key, other.name, other.scene, other.stratum)
        assert (clip.num_frames, clip.size) == (other.num_frames, other.size)
        one, two = clip.read(0, num_frames), other.read(0, num_frames)
        assert all(torch.equal(getattr(one, layer), getattr(two, layer)) for layer in LAYERS)


def test_the_layout_is_the_official_one_and_still_backgrounds_are_links(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set(num_clips=1)
    write_test_set(test_set, tmp_path, manifest(test_set))
    frames = [f"{t:04d}.png" for t in range(5)]
    for stratum in ("static", "motion"):
        assert [each.name for each in sorted((tmp_path / stratum / "0000").iterdir())] == ["bgr", "com", "fgr", "pha"]
        for layer in ("bgr", "com", "fgr", "pha"):
            assert [each.name for each in sorted((tmp_path / stratum / "0000" / layer).iterdir())] == frames
            modes = {Image.open(tmp_path / stratum / "0000" / layer / frame).mode for frame in frames}
            assert modes == {"L" if layer == "pha" else "RGB"}
    links = [(tmp_path / "static/0000/bgr" / frame).is_symlink() for frame in frames]
    assert links == [False, True, True, True, True]
    assert not any((tmp_path / "motion/0000/bgr" / frame).is_symlink() for frame in frames)


def test_the_same_seed_writes_the_same_files(video_set: MakeSet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_test_set(video_set(), tmp_path / name, manifest(video_set()))
    assert files(tmp_path / "one") == files(tmp_path / "two")


class Named(TestSet):
    """A test set of one clip with this key."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return [SimpleNamespace(key=self.key)][index]


@pytest.mark.parametrize("key", ["../../evil/0000", "/tmp/evil/0000", ".."])
def test_a_condition_whose_name_leads_out_of_the_folder_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out of its folder"):
        write_test_set(Named(key), tmp_path / "a/b/set", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "set", "manifest.json"]


class Killed(TestSet):
    """A test set whose process dies in the middle of its third clip."""

    __test__ = False

    def __init__(self, test_set: CompositeTestSet) -> None:
        self.test_set = test_set

    def __len__(self) -> int:
        return len(self.test_set)

    def __getitem__(self, index: Any) -> Any:
        if index == 2:
            raise KeyboardInterrupt
        return self.test_set[index]


def test_a_killed_run_goes_on_and_ends_with_the_same_files(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set()
    write_test_set(test_set, tmp_path / "whole", manifest(test_set))
    with pytest.raises(KeyboardInterrupt):
        write_test_set(Killed(test_set), tmp_path / "cut", manifest(test_set))
    first = tmp_path / "cut/static/0000/com/0000.png"
    written = first.stat().st_mtime_ns
    half = tmp_path / "cut/static/.0002/com"  # what a kill leaves of the clip under way
    half.mkdir(parents=True)
    (half / "0004.png").write_bytes(b"half a pict")
    with pytest.raises(ValueError, match="static/0002 is missing; make the set again"):
        FolderTestSet(tmp_path / "cut")

    reported: list[str] = []
    write_test_set(test_set, tmp_path / "cut", manifest(test_set), report=lambda clip, _: reported.append(clip.key))
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert first.stat().st_mtime_ns == written
    assert set(reported) == {clip.key for clip in test_set}


def test_the_manifest_rebuilds_a_clip(still_set: MakeSet, tmp_path: Path) -> None:
    test_set = still_set()
    write_test_set(test_set, tmp_path, manifest(test_set))
    entries = json.loads((tmp_path / "manifest.json").read_text())["clips"]
    (rebuilt,) = still_set(plans=[ClipPlan.of(entries[4])])
    assert torch.equal(rebuilt.read(0, 5).frames, FolderTestSet(tmp_path)[4].read(0, 5).frames)


def test_another_set_does_not_enter_the_same_folder(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set(num_clips=1)
    write_test_set(test_set, tmp_path / "set", manifest(test_set))
    with pytest.raises(ValueError, match="holds a test set with other clips: choose another folder"):
        write_test_set(video_set(num_clips=2), tmp_path / "set", manifest(video_set(num_clips=2)))
    with pytest.raises(ValueError, match="other picture_format"):
        write_test_set(test_set, tmp_path / "set", manifest(test_set), "jpg")
    write_test_set(test_set, tmp_path / "set", {**manifest(test_set), "versions": {"torch": "2.99"}})
    with pytest.raises(ValueError, match="must be png or jpg, got 'webp'"):
        write_test_set(test_set, tmp_path / "webp", manifest(test_set), "webp")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("the only copy")
    with pytest.raises(ValueError, match=r"is not empty and holds no manifest\.json"):
        write_test_set(test_set, tmp_path / "full", manifest(test_set))
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_two_do_not_write_one_folder(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set(num_clips=1)
    write_test_set(test_set, tmp_path, manifest(test_set))
    with (tmp_path / "manifest.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is writing it"):
            write_test_set(test_set, tmp_path, manifest(test_set))


def test_jpeg_sets_are_near_but_not_the_same(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set(num_clips=1, size=(36, 64))
    write_test_set(test_set, tmp_path, manifest(test_set), "jpg")
    error = FolderTestSet(tmp_path)[0].read(0, 5).alpha - test_set[0].read(0, 5).alpha
    assert 0 < error.abs().mean() < 0.05


def test_what_a_set_does_not_know_is_not_written(video_set: MakeSet, tmp_path: Path) -> None:
    test_set = video_set(num_clips=1)
    write_test_set(test_set, tmp_path / "all", manifest(test_set))
    for stratum in ("static", "motion"):
        for file in (tmp_path / "all" / stratum / "0000/fgr").iterdir():
            file.unlink()
        (tmp_path / "all" / stratum / "0000/fgr").rmdir()
    write_test_set(FolderTestSet(tmp_path / "all"), tmp_path / "copy", manifest(test_set))
    assert [each.name for each in sorted((tmp_path / "copy/static/0000").iterdir())] == ["bgr", "com", "pha"]
